"""
The names that LiveCodeBench's problems take for granted, in the order in which LightEval's scorer gives them.

Loaded once by the sandbox, so that a program starts with them for nothing; a test holds it against LightEval's.
"""
# mypy: ignore-errors
# ruff: noqa: F403, I001, UP029 - this is a pile of names, as the problems assume it

from string import *
from re import *
from datetime import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from random import *
from statistics import *
from itertools import *
from functools import *
from operator import *
from io import *
from sys import *
from json import *
from builtins import *
from typing import *
import sys

sys.setrecursionlimit(50000)

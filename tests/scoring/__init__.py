"""Tests of the graders and of the processes they run in."""

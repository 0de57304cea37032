"""Solve rates of made-up exams that have a benchmark's planned mean and variance within problems."""

from __future__ import annotations

import numpy as np
from scipy.optimize import fsolve
from scipy.special import betaincinv

from pytest_r1eval.core.benchmarks import PlanningConstants
from pytest_r1eval.stats.pairs import Floats


def solve_rates(constants: PlanningConstants, *, drop: float = 0.0, spreads: bool = False) -> Floats:
    """
    Return solve rates of an exam's problems with the planned mean, less a drop, and the planned W exactly.

    They are beta quantiles: most problems nearly always or never solved, as on real exams.

    Args:
        constants: The benchmark's.
        drop: A fraction that the mean is lower by.
        spreads: Whether W moves with mu(1-mu) of the fallen mean; else it stays.
    """
    quantiles = (np.arange(constants.n_problems) + 0.5) / constants.n_problems
    mean, w = constants.mean - drop, constants.within_variance
    if spreads:
        w *= mean * (1 - mean) / (constants.mean * (1 - constants.mean))
    ratio = w / (mean * (1 - mean))

    def rates(parameters: Floats) -> Floats:
        centre, size = 1 / (1 + np.exp(-parameters[0])), np.exp(parameters[1])
        return np.asarray(betaincinv(centre * size, (1 - centre) * size, quantiles), dtype=np.float64)

    def misses(parameters: Floats) -> Floats:
        p = rates(parameters)
        return np.array([p.mean() - mean, (p * (1 - p)).mean() - w])

    start = np.array([np.log(mean / (1 - mean)), np.log(ratio / (1 - ratio))])
    return rates(np.asarray(fsolve(misses, start), dtype=np.float64))

"""
What the allocation gate costs and how often it errs, simulated.

Every run has a baseline of its own, because the allocation depends on the baseline's luck. Planning one takes the
product a third of a second, so many baselines are allocated by at once, with the size and the bounds of a few plans of
the product. Their allocations and statistics are compared with the product's own, and a difference is an error.

    python -m perf.allocation                      # 200,000 unchanged runs, 8,000 of each fall
    python -m perf.allocation --runs 4000 --dry
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from perf.machine import machine_line, publish
from perf.solve_rates import solve_rates
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.built_in import BUILT_IN
from pytest_r1eval.core.records import Counts
from pytest_r1eval.stats.allocated_plan import TARGET_FRACTIONS, sequential_plan
from pytest_r1eval.stats.allocation import Allocation, AllocationRule, allocated_z, offsets
from pytest_r1eval.stats.pairs import Floats, PairedCounts
from pytest_r1eval.stats.planning import SequentialPlan, expected_cost, plan
from pytest_r1eval.stats.tests import Design
from pytest_r1eval.stats.verdicts import GateRule

EXAMS = ("aime24", "lcb", "gpqa")
"""MATH-500 keeps equal rounds."""
RUNS, FALLEN_RUNS = 200_000, 8_000
CHUNK = 4_000
PLANS = 6
"""Baselines that the product plans by; their bounds differ by a few hundredths."""
COST_WRONG, COST_RIGHT = 20_000, 4_000
"""Tokens of a response to a problem that is never and always solved."""
CONSTANTS = AllocationRule()

Change = Callable[[Floats], Floats]
"""From the shares of many runs, shape (n_runs, n_problems), to their candidates' solve rates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocated:
    """What many baselines allocate: prior and shares; shapes (n_runs, 1) and (n_runs, n_problems)."""

    a: Floats
    b: Floats
    shares: Floats

    @classmethod
    def of(cls, correct: Floats, k: int) -> Allocated:
        """Allocate by baselines of k samples per problem, as `Prior` and `Shares` do by one."""
        n_problems, rates = correct.shape[1], correct / k
        pseudo = 1 / (n_problems * k)
        mean = np.clip(rates.mean(axis=1), pseudo, 1 - pseudo)
        within = (rates * (1 - rates) * k / (k - 1)).mean(axis=1) + pseudo
        dispersion = np.clip(within / (mean * (1 - mean)), *CONSTANTS.dispersion)
        size = dispersion / (1 - dispersion)
        a, b = (mean * size)[:, None], ((1 - mean) * size)[:, None]
        posterior, all_samples, left = (a + correct) / (a + b + k), a + b + k, 1 - CONSTANTS.fall
        variances = posterior * (1 - posterior) * all_samples / (all_samples + 1)
        spreads = np.sqrt(np.maximum(variances, left * posterior - left**2 * (posterior - variances)))
        return cls(a=a, b=b, shares=np.maximum(spreads / spreads.max(axis=1, keepdims=True), CONSTANTS.floor))

    def z(self, rows: NDArray[np.int64], x: Floats, k: Floats, y: Floats, k_b: int) -> Floats:
        """Compute the statistic of a look for some runs, as `allocated_z` does for one."""
        n_problems, m, per_sample = x.shape[1], k + k_b, 1 / k + 1 / k_b
        total, a, b = x + y, self.a[rows], self.b[rows]
        rate, posterior, size = total / m, (a + total) / (a + b + m), a + b + m
        own, theirs = (x + rate) / (k + 1), (y + rate) / (k_b + 1)
        pooled = rate * (1 - rate) * m / (m - 1) * per_sample
        shrunk = posterior * (1 - posterior) * size / (size + 1) * per_sample
        apart = own * (1 - own) * (k + 1) / k**2 + theirs * (1 - theirs) / k_b
        variance = np.max([each.sum(axis=1) for each in (pooled, shrunk, apart)], axis=0) / n_problems**2
        pseudo = ((1 / k).mean(axis=1) + 1 / k_b) * (1 / m).mean(axis=1) / n_problems**2
        difference = (x / k).mean(axis=1) - (y / k_b).mean(axis=1)
        return np.asarray(difference / np.sqrt(variance + pseudo), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How runs ended; shapes (n_runs,)."""

    failed: NDArray[np.bool_]
    n_samples: Floats
    n_tokens: Floats

    @property
    def p_fail(self) -> float:
        """How often they failed."""
        return float(self.failed.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of that."""
        half = 1.96 * (self.p_fail * (1 - self.p_fail) / len(self.failed)) ** 0.5
        return max(0.0, self.p_fail - half), self.p_fail + half


class Simulation:
    """
    One exam.

    Args:
        benchmark: The exam.
        rule: How its gate decides.
        seed: Of all draws.
    """

    def __init__(self, benchmark: Benchmark, *, rule: GateRule, seed: int) -> None:
        if benchmark.planning is None:
            raise ValueError(f"{benchmark.name} has no planning constants")
        self.name, self.k, self.rule = benchmark.name, benchmark.samples_per_problem, rule
        self.rates, self.rng = solve_rates(benchmark.planning), np.random.default_rng(seed)
        self.ids = tuple(f"{benchmark.name}-{number:03d}" for number in range(len(self.rates)))
        self.offsets = offsets(self.ids)
        self.fractions: Sequence[float] = ()
        kept = [each for each in (self._planned() for _ in range(PLANS)) if each.allocation is not None]
        if not kept:
            raise ValueError(f"{self.name} keeps equal rounds under this rule; nothing is allocated")
        self.n_allocated, self.n_looks = len(kept), len(self.fractions)
        self.plans = [each for each in kept if each.n_looks == self.n_looks]
        self.size = int(np.median([_allocation(each).size for each in self.plans]))
        numbers = range(1, self.n_looks + 1)
        self.fail_bounds = np.mean([[each.fail_bound(number) for number in numbers] for each in self.plans], axis=0)
        self.pass_bounds = np.mean([each.pass_bounds for each in self.plans], axis=0)
        self.margin = float(np.mean([each.margin for each in self.plans]))

    def _planned(self) -> SequentialPlan:
        """Draw a baseline, plan by it through the product, and compare allocation and statistic with ours."""
        y = self.rng.binomial(self.k, self.rates).astype(np.float64)
        baseline = Counts.from_rows(zip(self.ids, y.astype(int).tolist(), [self.k] * len(y), strict=True))
        found = sequential_plan(Design.from_baseline(baseline, n_samples=self.k), baseline, rule=self.rule)
        if found.allocation is not None:
            self._compare(found.allocation, y)
        return found

    def _compare(self, theirs: Allocation, y: Floats) -> None:
        ours = Allocated.of(y[None], self.k)
        # Of fractions with equal rounds the last one counts, as the last look replaces one that is as good.
        rounds = {self._rounds(ours.shares, fraction, size=theirs.size): fraction for fraction in CONSTANTS.fractions}
        self.fractions = [rounds[each] for each in theirs.rounds if each in rounds]
        k = np.array(theirs.rounds[0], dtype=np.float64)
        x = self.rng.binomial(k.astype(int), self.rates).astype(np.float64)
        pair = PairedCounts(x=x, k=k, y=y, k_b=np.full(len(y), float(self.k)))
        z = ours.z(np.array([0]), x[None], k[None], y[None], self.k)[0]
        if len(self.fractions) < len(theirs.rounds) or abs(z - float(allocated_z(pair, prior=theirs.prior))) > 1e-9:
            raise ValueError("the simulation's allocation or statistic is not the product's")

    def _rounds(self, shares: Floats, fraction: float, *, size: int) -> tuple[int, ...]:
        return tuple(int(k) for k in self._samples(shares, fraction, size=size)[0])

    def _samples(self, shares: Floats, fraction: float, *, size: int) -> Floats:
        whole: float = self.k * 2 ** (size / CONSTANTS.n_steps)
        return np.asarray(np.maximum(1.0, np.floor(fraction * whole * shares + self.offsets)), dtype=np.float64)

    def ended(self, change: Change, *, n_runs: int) -> Ended:
        """Draw baselines and candidates, and end each run at the look that decides."""
        chunks = [self._chunk(change, min(CHUNK, n_runs - done)) for done in range(0, n_runs, CHUNK)]
        failed, n_samples, n_tokens = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        return Ended(failed=failed.astype(bool), n_samples=n_samples, n_tokens=n_tokens)

    def _chunk(self, change: Change, n_runs: int) -> tuple[Floats, Floats, Floats]:
        y = self.rng.binomial(self.k, self.rates, (n_runs, len(self.rates))).astype(np.float64)
        allocated = Allocated.of(y, self.k)
        rates = np.broadcast_to(change(allocated.shares), y.shape)
        x, drawn, going = np.zeros_like(y), np.zeros_like(y), np.arange(n_runs)
        failed, n_samples, n_tokens = np.zeros(n_runs), np.zeros(n_runs), np.zeros(n_runs)
        for fraction, a, b in zip(self.fractions, self.fail_bounds, self.pass_bounds, strict=True):
            k = self._samples(allocated.shares[going], fraction, size=self.size)
            x[going] += self.rng.binomial((k - drawn[going]).astype(int), rates[going])
            drawn[going] = k
            z = allocated.z(going, x[going], k, y[going], self.k)
            failed[going], n_samples[going] = z <= a, k.sum(axis=1)
            n_tokens[going] = (k * cost(rates[going])).sum(axis=1)
            going = going[(z > a) & (z < min(b, -a))]
        return failed, n_samples, n_tokens

    def p_fail_of_equal_rounds(self, change: Change, *, n_runs: int) -> float:
        """Return how often the gate of eight equal looks fails, whose margin the allocation has to keep."""
        design, n_problems = self.plans[0].design, len(self.rates)
        eight = plan(design, paired=True, rule=self.rule, fractions=TARGET_FRACTIONS, beta_power=1.0)
        y = self.rng.binomial(self.k, self.rates, (n_runs, n_problems)).astype(np.float64)
        rates = np.broadcast_to(change(Allocated.of(y, self.k).shares), y.shape)
        x, drawn, going, failed = np.zeros_like(y), 0, np.arange(n_runs), np.zeros(n_runs, dtype=bool)
        for number, (k, b) in enumerate(zip(eight.ks, eight.pass_bounds, strict=True), start=1):
            a = eight.fail_bound(number)
            x[going] += self.rng.binomial(k - drawn, rates[going])
            drawn = k
            m, difference = k + self.k, x[going].mean(axis=1) / k - y[going].mean(axis=1) / self.k
            pooled = (x[going] + y[going]) / m
            variance = (pooled * (1 - pooled)).mean(axis=1) * m / (m - 1) + 1 / (n_problems * m)
            z = difference / np.sqrt(variance / n_problems * (1 / k + 1 / self.k))
            failed[going] = z <= a
            going = going[(z > a) & (z < min(b, -a))]
        return float(failed.mean())

    def unchanged(self, shares: Floats) -> Floats:  # noqa: ARG002 - a change that changes nothing
        """Leave solve rates as they are."""
        return self.rates

    def scenarios(self) -> Mapping[str, Change]:
        """Falls of the plan's margin, each on other problems."""
        rates, fall = self.rates, self.margin
        often, middle = rates > 0.9, (rates > 0.2) & (rates < 0.8)
        some = np.random.default_rng(7).permutation(len(rates))

        def fewest(shares: Floats) -> NDArray[np.int64]:
            return np.argsort(shares + 10 * (rates < 0.02), axis=1)

        return {
            "by as much in logits": lambda _: scaled(lambda size: logit_fall(rates, size), rates, fall),
            "always solved": lambda _: scaled(lambda size: np.where(often, rates * (1 - size), rates), rates, fall),
            "in the middle": lambda _: scaled(lambda size: np.where(middle, rates * (1 - size), rates), rates, fall),
            "a few to 0": lambda shares: on_some(rates, np.broadcast_to(some, shares.shape), fall, left=0.0),
            "fewest samples to 0": lambda shares: on_some(rates, fewest(shares), fall, left=0.0),
            "fewest samples to half": lambda shares: on_some(rates, fewest(shares), fall, left=0.5),
        }

    def lines(self, unchanged: Ended, *, n_fallen: int) -> Iterator[str]:
        """Yield the table of the exam."""
        low, high = unchanged.interval
        tokens = self.k * float(cost(self.rates).sum())
        design = self.plans[0].design
        twelve = expected_cost(plan(design, paired=True, rule=self.rule))
        eight = expected_cost(plan(design, paired=True, rule=self.rule, fractions=TARGET_FRACTIONS, beta_power=1.0))
        counts = f"{len(unchanged.failed):,} unchanged runs, {n_fallen:,} of each fall"
        yield f"{self.name}: {counts}; {self.n_allocated} of {PLANS} plans allocate"
        yield _row("unchanged, tokens over the fixed gate", unchanged.n_tokens.mean() / tokens)
        yield _row("unchanged, samples over the fixed gate", unchanged.n_samples.mean() / (self.k * len(self.rates)))
        yield _row("  the same of twelve equal looks, of eight", twelve, f"{eight:8.3f}")
        yield f"  {f'unchanged, FAIL (alpha {self.rule.alpha:.5f})':46}{unchanged.p_fail:8.5f}  [{low:.5f}, {high:.5f}]"
        for drop in (0.05, 0.10):
            fell = scaled(lambda size: logit_fall(self.rates, size), self.rates, drop)
            ended = self.ended(constant(fell), n_runs=n_fallen)
            yield _row(f"fall of {100 * drop:.0f} points, tokens over the fixed gate", ended.n_tokens.mean() / tokens)
        yield f"  {f'FAIL after a fall of {100 * self.margin:.1f} points':46}        of eight equal looks"
        for name, change in self.scenarios().items():
            ended, equal = self.ended(change, n_runs=n_fallen), self.p_fail_of_equal_rounds(change, n_runs=n_fallen)
            yield _row(f"  {name}", ended.p_fail, f"{equal:8.3f}")
        moved = self.ended(constant(rearranged(self.rates)), n_runs=5 * n_fallen)
        yield f"  {'FAIL, a tenth fell by .5 and a tenth rose':46}{moved.p_fail:8.5f}"


def constant(rates: Floats) -> Change:
    """Return the change to the same solve rates, whatever was allocated."""
    return lambda _: rates


def _allocation(planned: SequentialPlan) -> Allocation:
    if planned.allocation is None:
        raise ValueError("the plan has equal rounds")
    return planned.allocation


def _row(name: str, value: float, more: str = "") -> str:
    return f"  {name:46}{value:8.3f}{more}"


def cost(rates: Floats) -> Floats:
    """Tokens of a response to problems with these solve rates."""
    return np.asarray(COST_WRONG + (COST_RIGHT - COST_WRONG) * rates, dtype=np.float64)


def logit_fall(rates: Floats, size: float) -> Floats:
    """Let every solve rate fall by the same on the logit scale; a size of 1 leaves nothing."""
    return np.asarray(expit(logit(np.clip(rates, 1e-9, 1 - 1e-9)) - 30 * size), dtype=np.float64)


def scaled(change: Callable[[float], Floats], rates: Floats, fall: float) -> Floats:
    """Return the changed solve rates whose mean is lower by a fall: a change of size 0 to 1 is searched."""
    return change(float(brentq(lambda size: float((rates - change(size)).mean()) - fall, 0.0, 1.0)))


def on_some(rates: Floats, order: NDArray[np.int64], fall: float, *, left: float) -> Floats:
    """Let solve rates fall to a part of themselves, one problem after the other, until the mean is lower by a fall."""
    changed, missing = np.tile(rates, (len(order), 1)), np.full(len(order), fall * len(rates))
    rows = np.arange(len(order))
    for places in order.T:
        step = np.minimum(missing, (1 - left) * changed[rows, places])
        changed[rows, places] -= step
        missing -= step
    return changed


def rearranged(rates: Floats) -> Floats:
    """Let a tenth of the exam fall by a half and a tenth rise by a half: another model of nearly the same mean."""
    n, changed, order = len(rates) // 10, rates.copy(), np.argsort(rates)
    changed[order[-n:]] -= 0.5
    changed[order[:n]] += 0.5
    return np.clip(changed, 0.0, 1.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate and print; the exit code says whether unchanged models fail with no more than alpha."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--exams", nargs="+", default=EXAMS, choices=EXAMS)
    parser.add_argument("--runs", type=int, default=RUNS, help="unchanged runs of each exam")
    parser.add_argument("--seed", type=int, default=22)
    parser.add_argument("--dry", action="store_true", help="write no table")
    asked = parser.parse_args(arguments)
    by_name = {benchmark.name: benchmark for benchmark in BUILT_IN}
    lines, is_kept = [machine_line("numpy", "scipy")], True
    for name in asked.exams:
        simulation = Simulation(by_name[name], rule=GateRule(), seed=asked.seed)
        unchanged = simulation.ended(simulation.unchanged, n_runs=asked.runs)
        is_kept &= unchanged.interval[0] <= simulation.rule.alpha
        lines += simulation.lines(unchanged, n_fallen=min(FALLEN_RUNS, asked.runs))
    publish("allocation", lines, write=not asked.dry)
    return 0 if is_kept else 1


if __name__ == "__main__":
    raise SystemExit(main())

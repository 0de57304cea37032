"""pass@k against enumeration and simulation, maj@k against hand-counted votes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pytest_r1eval.core.records import Counts, Votes
from pytest_r1eval.stats.pass_at_k import maj_at_k, pass_at_k, shown_ks
from pytest_r1eval.stats.tests import pass_at_1


def counts(*rows: tuple[int, int]) -> Counts:
    """Build counts from (correct, samples) rows."""
    return Counts.from_rows((f"p{number}", *row) for number, row in enumerate(rows))


class TestPassAtK:
    """The unbiased estimator, with the jackknife's error."""

    @pytest.mark.parametrize("n", [1, 2, 5, 7])
    def test_it_is_the_mean_over_all_subsets(self, n: int) -> None:
        """pass@k equals the mean over all choices of k samples."""
        for c, k in itertools.product(range(n + 1), range(1, n + 1)):
            samples = [True] * c + [False] * (n - c)
            subsets = list(itertools.combinations(samples, k))
            expected = sum(map(any, subsets)) / len(subsets)
            assert pass_at_k(counts((c, n)), k=k).mean == pytest.approx(expected, abs=1e-12)

    def test_k_of_one_is_pass_at_1(self) -> None:
        """pass@k with k = 1 has pass@1's mean, and its variance without the pseudo-response."""
        held = counts((3, 8), (8, 8), (0, 8), (5, 8))
        one, gate = pass_at_k(held, k=1), pass_at_1(held)
        assert one.mean == pytest.approx(gate.mean)
        assert one.standard_error**2 == pytest.approx(gate.standard_error**2 - (4 * 8) ** -2)

    def test_the_error_is_that_of_another_run(self) -> None:
        """Over 500 simulated runs the root mean square of the estimated errors is the spread of the estimates."""
        rng = np.random.default_rng(5)
        solve_rates = rng.beta(0.6, 0.9, size=30)
        runs = [pass_at_k(counts(*((int(c), 64) for c in rng.binomial(64, solve_rates))), k=4) for _ in range(500)]
        spread = float(np.std([run.mean for run in runs], ddof=1))
        estimated = math.sqrt(float(np.mean([run.standard_error**2 for run in runs])))
        assert estimated == pytest.approx(spread, rel=0.15)
        truth = float(np.mean(1 - (1 - solve_rates) ** 4))
        assert float(np.mean([run.mean for run in runs])) == pytest.approx(truth, abs=4 * spread / math.sqrt(500))

    @pytest.mark.parametrize("k", [0, 5])
    def test_too_few_samples(self, k: int) -> None:
        """No number is made up where a problem has fewer than k samples."""
        with pytest.raises(ValueError, match=rf"pass@{k} needs {k} samples .* one has 4"):
            pass_at_k(counts((1, 8), (1, 4)), k=k)

    @pytest.mark.parametrize(("n", "ks"), [(1, ()), (2, ()), (4, (2,)), (16, (2, 4, 8)), (64, (2, 4, 8, 16, 32))])
    def test_shown_ks(self, n: int, ks: tuple[int, ...]) -> None:
        """The values of k that are shown are at most half the samples, as larger ones hang on a few responses."""
        assert shown_ks(n) == ks


class TestMajAtK:
    """The most frequent answer of all responses."""

    @pytest.mark.parametrize(
        ("vote", "expected"),
        [
            (Votes(n_correct=3, wrong=(2, 2, 2)), 1.0),
            (Votes(n_correct=2, wrong=(3,)), 0.0),
            (Votes(n_correct=2, wrong=(2, 1)), 0.5),
            (Votes(n_correct=1, n_abstained=9), 1.0),
            (Votes(n_correct=0, n_abstained=4), 0.0),
        ],
    )
    def test_the_right_answer_needs_the_most_votes(self, vote: Votes, expected: float) -> None:
        """The right answer needs the most votes; ties are shared, and a response without an answer does not vote."""
        assert maj_at_k([vote]).mean == expected

    def test_the_error_is_that_of_another_run(self) -> None:
        """The bootstrap's error is the spread over 150 simulated runs, within what 150 runs can tell."""
        rng = np.random.default_rng(3)
        chances = rng.dirichlet([2.0, 1.0, 1.0, 0.5], size=40)

        def run() -> list[Votes]:
            drawn = [rng.multinomial(16, chance) for chance in chances]
            return [Votes(n_correct=int(d[0]), wrong=tuple(map(int, d[1:3])), n_abstained=int(d[3])) for d in drawn]

        scores = [maj_at_k(run(), seed=number) for number in range(150)]
        spread = float(np.std([score.mean for score in scores], ddof=1))
        assert float(np.mean([score.standard_error for score in scores])) == pytest.approx(spread, rel=0.25)
        assert {score.k for score in scores} == {16}

    def test_an_empty_exam(self) -> None:
        """An empty exam and an empty vote are refused."""
        with pytest.raises(ValueError, match="no problems"):
            maj_at_k([])
        with pytest.raises(ValueError, match="no responses"):
            Votes(n_correct=0)

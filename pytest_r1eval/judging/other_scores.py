"""pass@k and maj@k beside a verdict, of the same samples; they decide nothing."""

from dataclasses import replace

from pytest_r1eval.core.records import Counts
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.stats.pass_at_k import maj_at_k, pass_at_k, shown_ks


def with_other_scores(result: GateResult, counts: Counts, run: RunReader) -> GateResult:
    """
    Add pass@k and maj@k to a result; nothing where looks ended the run, which biases them as it biases pass@1.

    Args:
        result: A result that has a pass@1.
        counts: The run's counts.
        run: The run, for its answers; programs have none that could be compared.
    """
    if result.is_at_stop:
        return result
    fewest = min(problem.n_samples for problem in counts.problems)
    ks = shown_ks(fewest)
    are_programs = any(problem.tests for problem in run.exam(result.benchmark).problems)
    votes = () if are_programs else run.votes(result.benchmark, k=fewest)
    return replace(
        result,
        pass_at_k=tuple(pass_at_k(counts, k=k) for k in ks),
        maj_at_k=maj_at_k(votes) if ks and votes else None,
    )

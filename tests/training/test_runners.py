"""A training's checkpoints are measured by the last one that held, by real runs of pytest."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from pytest_r1eval.core.lineage import Lineage
from pytest_r1eval.errors import EvaluationError, StoreError
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.stats.verdicts import Verdict
from pytest_r1eval.training.cluster_runner import ClusterRunner, Place, RayPlace, SlurmPlace
from pytest_r1eval.training.runners import LocalRunner, Runner
from tests.processes import PIDS, wait_for_samples
from tests.recordings import record_run
from tests.training.trainings import Training


def test_a_fallen_checkpoint_is_no_reference(training: Training) -> None:
    """A checkpoint is compared with the last one that did not fall, which is its parent in the stored lineage."""
    first = training.judged(training.checkpoint(100))
    assert first["smoke"].verdict is Verdict.INCONCLUSIVE
    assert first.header.lineage == Lineage(step=100, commit="abc")

    second = training.judged(training.checkpoint(200))
    assert second["smoke"].verdict is Verdict.PASS
    assert second.header.lineage == Lineage(step=200, parent="out/checkpoint-100", commit="abc")
    assert second["smoke"].result.baseline == f"run {first.run}"

    fallen = training.judged(training.checkpoint(300, solve_rate=0.1))
    assert fallen["smoke"].verdict is Verdict.FAIL_REGRESSED

    after = training.judged(training.checkpoint(400))
    assert after["smoke"].result.baseline == f"run {second.run}"
    assert after.header.lineage == Lineage(step=400, parent="out/checkpoint-200", commit="abc")


def test_a_suspicious_rise_is_no_reference_by_itself(training: Training) -> None:
    """The checkpoint after a suspicious rise is compared with the one before the rise."""
    first = training.judged(training.checkpoint(100, solve_rate=0.4))
    risen = training.judged(training.checkpoint(200, solve_rate=0.95))
    assert risen["smoke"].verdict is Verdict.SUSPICIOUS_IMPROVED

    after = training.judged(training.checkpoint(300, solve_rate=0.4))

    assert after["smoke"].result.baseline == f"run {first.run}"


def test_an_anchor_is_tested_beside_the_previous_checkpoint(training: Training) -> None:
    """The report of a checkpoint has a test against the previous checkpoint and one against the anchor."""
    anchor = record_run(training.folder / "anchor", n_samples=64, seed=7, weights="w0")
    first = training.judged(training.checkpoint(100), anchor=str(anchor))
    second = training.judged(training.checkpoint(200), anchor=str(anchor))

    assert first["smoke"].result.baseline == f"run {anchor}"
    assert first["smoke"].result.references == ()
    assert [reference.baseline for reference in second["smoke"].result.references] == [
        f"run {first.run}",
        f"run {anchor}",
    ]


def test_a_resumed_training_goes_on_from_its_runs(training: Training) -> None:
    """A resumed training is not compared with later steps' runs, nor with other trainings'."""
    first = training.judged(training.checkpoint(100))
    training.judged(training.checkpoint(300))
    training.judged(training.checkpoint(150, training="other"))
    again = training.judged(training.checkpoint(200))
    assert again["smoke"].result.baseline == f"run {first.run}"


def test_a_run_that_was_killed_at_its_start_is_passed_over(training: Training) -> None:
    """A run that was killed at its start is skipped as a reference."""
    first = training.judged(training.checkpoint(100))
    torn = training.folder / "r1eval" / "out" / "checkpoint-150" / "run"
    torn.mkdir(parents=True)
    (torn / FILE_NAME).touch()
    assert training.judged(training.checkpoint(200))["smoke"].result.baseline == f"run {first.run}"


def test_a_fixed_baseline_stays(training: Training) -> None:
    """A baseline that the user names is used at every step."""
    reference = record_run(training.folder / "reference", n_samples=16)
    for step in (100, 200):
        report = training.judged(training.checkpoint(step), baseline=str(reference))
        assert report["smoke"].result.baseline == f"run {reference}"


def test_what_is_known_of_the_lineage_is_kept(training: Training) -> None:
    """The lineage that the user gives goes before the one that is found."""
    report = training.judged(training.checkpoint(100), lineage={"parent": "org/base", "commit": "def"})
    assert report.header.lineage == Lineage(step=100, parent="org/base", commit="def")


def test_an_evaluation_that_cannot_run_says_why(training: Training) -> None:
    """An evaluation that cannot run raises with pytest's own reason."""
    with pytest.raises(EvaluationError, match="--r1-sigmas is '0'"):
        training.judged(training.checkpoint(100), sigmas=0)


def test_checkpoints_are_judged_in_one_process(training: Training) -> None:
    """Checkpoints are judged in one process, each in a run of its own, until one fails or the runner closes."""
    (training.folder / "conftest.py").write_text(PIDS)
    checkpoints = [training.checkpoint(step) for step in (100, 200, 300)]
    with closing(LocalRunner(training.order(), workers=None, gpus=())) as runner:
        reports = [runner.judge(saved) for saved in checkpoints[:2]]
        (training.folder / "pytest.ini").write_text("[pytest]\nrequired_plugins = made-up\n")
        with pytest.raises(EvaluationError, match="made-up"):
            runner.judge(checkpoints[2])
        (training.folder / "pytest.ini").unlink()
        runner.judge(checkpoints[2])
    first, second, third = (training.folder / "pids").read_text().split()
    assert first == second != third
    assert reports[1]["smoke"].result.baseline == f"run {reports[0].run}"
    assert not Path("/proc", third).exists()


@pytest.mark.parametrize(("gpus", "n_processes"), [(None, 2), ((), 1)])
def test_a_rest_frees_the_gpus_of_the_training(
    training: Training, gpus: Sequence[int] | None, n_processes: int
) -> None:
    """As no checkpoint waits, the process that judges ends where the training uses its GPUs, and stays elsewhere."""
    (training.folder / "conftest.py").write_text(PIDS)
    with closing(LocalRunner(training.order(), workers=None, gpus=gpus)) as runner:
        for step in (100, 200):
            runner.judge(training.checkpoint(step))
            runner.rest()
    assert len(set((training.folder / "pids").read_text().split())) == n_processes


@pytest.mark.parametrize("place", [None, SlurmPlace(), RayPlace()])
def test_a_gate_that_was_stopped_begins_nothing(training: Training, place: Place | None) -> None:
    """A runner that was stopped before a checkpoint judges nothing."""
    order = training.order()
    gate: Runner = ClusterRunner(order, place) if place else LocalRunner(order, workers=None, gpus=())
    gate.stop()
    with pytest.raises(EvaluationError, match="the training ended before its turn"):
        gate.judge(training.checkpoint(100))
    assert not (training.folder / "r1eval").exists()


TORN = """
from pathlib import Path
def pytest_unconfigure():
    for store in Path("r1eval").glob("*/*/*/run.sqlite"):
        store.write_bytes(b"torn")
"""


def test_a_run_that_cannot_be_read_ends_the_process_too(training: Training) -> None:
    """After any failure, an unreadable run among them, the next checkpoint is judged in a process of its own."""
    (training.folder / "conftest.py").write_text(PIDS + TORN)
    saved = training.checkpoint(100)
    runner = LocalRunner(training.order(), workers=None, gpus=())
    for _ in range(2):
        with pytest.raises(StoreError):
            runner.judge(saved)
        shutil.rmtree(training.folder / "r1eval")
    assert len(set((training.folder / "pids").read_text().split())) == 2


@pytest.mark.parametrize("workers", [None, 1])
def test_stopping_ends_the_run(training: Training, *, workers: int | None) -> None:
    """Stopping a runner from another thread ends its evaluation, in the process of all and in one of its own."""
    saved = training.checkpoint(100)
    gate = LocalRunner(training.order(engine_arg={"delay_s": 1.0, "n_concurrent": 1}), workers=workers, gpus=())
    said: list[str] = []

    def judge() -> None:
        try:
            gate.judge(saved)
        except EvaluationError as error:
            said.append(str(error))

    thread = threading.Thread(target=judge)
    thread.start()
    runs = training.folder / "r1eval" / "out" / "checkpoint-100"
    while not (found := [*runs.glob("*/run.sqlite")]):
        time.sleep(0.05)
    wait_for_samples(found[0].parent, 4)
    gate.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert "the evaluation ended without a verdict (exit code 2)" in said[0]

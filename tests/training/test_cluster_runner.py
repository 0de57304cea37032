"""
A cluster judges a training's checkpoints as submissions, by a stand-in of sbatch.

tests/slurm/test_jobs.py and tests/ray/test_cluster.py have the same runner on real clusters.
"""

from __future__ import annotations

import os

import pytest

from pytest_r1eval.errors import RehearsalError
from pytest_r1eval.judging.release import ReleaseVerdict
from pytest_r1eval.training.cluster_runner import ClusterRunner, SlurmPlace
from pytest_r1eval.training.queue import SavedCheckpoint, kept_copy
from tests.recordings import record_run
from tests.training.trainings import Training


def test_jobs_that_would_fail_are_not_submitted(training: Training) -> None:
    """Jobs with a wrong option are refused before Slurm is asked for a node."""
    order = training.order(sigmas="abc")
    with pytest.raises(RehearsalError, match="--r1-sigmas is 'abc'; expected a number above 0"):
        ClusterRunner(order, SlurmPlace(gpus_per_node=0, workers="1")).judge(training.checkpoint(100))
    assert not (order.output_dir / "slurm").exists()


POLICY = """
[benchmarks.smoke]
tier = "critical"
[benchmarks.aime24]
tier = "supporting"
required = true
"""
SBATCH = """\
#!/bin/bash
# A cluster that runs each script at once: the judge depends on the slices.
case "$*" in
  *--dependency*) SLURM_JOB_ID=8 bash "${@: -1}" >&2; echo 8 ;;
  *) SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=1 bash "${@: -1}" >&2; echo 7 ;;
esac
exit 0
"""


def test_an_invalid_release_is_a_verdict_of_a_cluster(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that lacks a required benchmark is INVALID and no failure of the jobs, which are found again."""
    program = training.folder / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text(SBATCH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    (training.folder / "policy.toml").write_text(POLICY)
    run = record_run(training.folder / "out" / "checkpoint-100", n_samples=16)
    kept = kept_copy(run, to=training.folder / "kept" / "out" / "checkpoint-100")
    saved = SavedCheckpoint(step=100, epoch=None, folder=kept)
    place = SlurmPlace(gpus_per_node=0, workers="1", interval_s=0.1)
    reports = [ClusterRunner(training.order(policy="policy.toml"), place).judge(saved) for _ in range(2)]
    assert {report.release and report.release.verdict for report in reports} == {ReleaseVerdict.INVALID}
    assert len([*(training.folder / "r1eval" / "slurm").iterdir()]) == 1

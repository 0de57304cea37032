"""
A gate on a real Slurm: arrays, GPUs, restarts, a lost node, a cancelled job, and the exit code at the end.

The scenarios run at the same time, as jobs of one cluster; each test looks at what one
of them left.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pytest

from pytest_r1eval.cluster.attempts import attempts
from pytest_r1eval.cluster.status import stored
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.slurm.jobs import submitted_in
from tests.recordings import record_run
from tests.requirements import SLURM, need
from tests.slurm_cluster import TIMEOUT_S, Cluster, own, started_cluster

pytestmark = pytest.mark.timeout(600)

SLOW = ("--r1-engine-arg", "delay_s=0.2", "--r1-engine-arg", "n_concurrent=1")
"""About ten seconds for 192 samples, four of which are one request: long enough to be interrupted in."""
SLOWER = ("--r1-engine-arg", "delay_s=0.8", "--r1-engine-arg", "n_concurrent=1")
"""About forty: an orphan still draws when its slice has begun again, and a gate when a second command cancels it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """
    What a scenario left.

    Attributes:
        code: The exit code of `r1eval slurm wait`.
        said: What it printed.
        folder: The submission's folder.
        n_before: Samples stored when it was disturbed.
        more: What only one scenario has, in numbers.
    """

    code: int
    said: str
    folder: Path
    n_before: int = 0
    more: dict[str, int] = field(default_factory=dict)

    def log(self, name: str) -> str:
        """Return one log."""
        return (self.folder / "logs" / f"{name}.log").read_text()

    @property
    def merged(self) -> Path:
        """The judged run."""
        (found,) = re.findall(r"^run: (.+)$", self.said, re.MULTILINE)
        return Path(found)


def submit(cluster: Cluster, model: str, *arguments: str, **variables: str) -> Path:
    """Submit a gate of a recorded run and return its folder."""
    done = cluster.r1eval(
        *("slurm", "submit", "--model", model, "--benchmarks", "smoke", "--workers", "1", "--r1-engine", "replay"),
        *("--r1-baseline", "local/toy", *arguments),
        **variables,
    )
    assert done.returncode == 0, done.stderr
    (found,) = re.findall(r"^folder: (.+)$", done.stdout, re.MULTILINE)
    return Path(found)


def verdict(cluster: Cluster, folder: Path, *, n_before: int = 0, more: dict[str, int] | None = None) -> Left:
    """Wait for the exit code."""
    done = cluster.r1eval("slurm", "wait", str(folder), "--interval", "0.5")
    return Left(code=done.returncode, said=done.stdout + done.stderr, folder=folder, n_before=n_before, more=more or {})


def disturbed(cluster: Cluster, *arguments: str, pace: tuple[str, ...] = SLOW) -> tuple[Path, int, int]:
    """Submit a slow gate, wait until some of its samples are stored; return folder, job and how many."""
    folder = submit(cluster, "good", "--gpus-per-node", "0", *pace, *arguments)
    n_stored = cluster.waited(lambda: (n := n_samples(folder)) > 4 and n, f"samples of {folder}")
    return folder, int(cluster.task(submitted_in(folder).array_job, 1)["job_id"]), n_stored


def n_samples(folder: Path) -> int:
    """Count what the newest attempt of the only slice has stored."""
    return sum(one.n_samples for one in stored(folder / "slices" / "1"))


def pytest_of(folder: Path) -> int:
    """Return the process id of the pytest that draws a submission's slice."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"--r1-slice" in words and any(word.startswith(os.fsencode(folder)) for word in words):
                return int(path.parent.name)
    raise LookupError(folder)


def array(cluster: Cluster) -> Left:
    """Two slices on one node, two GPUs each, of a checkpoint that is worse than its baseline; names want quoting."""
    arguments = ("--nodes", "2", "--gpus-per-node", "2", "--sbatch-arg", "--nodelist=n1", "--junitxml", "gate.xml")
    place = ("--output-dir", 'data/it\'s %j "here" #1')
    return verdict(cluster, submit(cluster, "worse", *SLOW, *arguments, *place, HF_TOKEN="hf_secret"))  # noqa: S106 - made up


def requeued(cluster: Cluster) -> Left:
    """An operator, or preemption, starts a slice again."""
    folder, job, n_before = disturbed(cluster, "--sbatch-arg", "--nodelist=n1")
    assert cluster.run("scontrol", "requeue", str(job)).returncode == 0
    return verdict(cluster, folder, n_before=n_before)


def preempted(cluster: Cluster) -> Left:
    """A job of a partition that goes before takes the GPUs."""
    folder, _, n_before = disturbed(cluster, "--sbatch-arg", "--partition=spare", "--gpus-per-node", "4")
    assert cluster.run("sbatch", "--partition=urgent", "--gres=gpu:4", "--wrap=sleep 1").returncode == 0
    return verdict(cluster, folder, n_before=n_before)


def killed(cluster: Cluster) -> Left:
    """Something kills pytest, as a node without memory does."""
    folder, _, n_before = disturbed(cluster, "--sbatch-arg", "--nodelist=n1")
    os.kill(pytest_of(folder), signal.SIGKILL)
    return verdict(cluster, folder, n_before=n_before)


def warned(cluster: Cluster) -> Left:
    """Slurm warns that the time limit is near, with the signal that the script asks for."""
    folder, job, n_before = disturbed(cluster, "--sbatch-arg", "--nodelist=n1")
    assert cluster.run("scancel", "--batch", "--signal=USR1", str(job)).returncode == 0
    return verdict(cluster, folder, n_before=n_before)


def lost(cluster: Cluster) -> Left:
    """A node's daemon dies and the node is given up, while what runs on it goes on writing."""
    folder, job, n_before = disturbed(cluster, pace=SLOWER)
    first = folder / "slices" / "1"
    node = next(entry["nodes"] for entry in cluster.jobs() if entry["job_id"] == job)
    daemon = cluster.daemons[node]
    os.killpg(daemon.pid, signal.SIGKILL)
    daemon.wait(timeout=TIMEOUT_S)
    cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
    cluster.waited(lambda: len(attempts(first)) == 2 and attempts(first)[1].run, "the second start")
    orphan = attempts(first)[0].run
    assert orphan is not None
    n_at_restart = n_in(orphan)
    n_later = cluster.waited(lambda: (n := n_in(orphan)) > n_at_restart and n, "a sample of the orphan")
    return verdict(cluster, folder, n_before=n_before, more={"n_at_restart": n_at_restart, "n_later": n_later})


def n_in(run: Path) -> int:
    """Count the samples of a run; the orphan's host is this one, so it may be opened."""
    with closing(RunReader.open(run)) as store:
        return store.progress("smoke").n_stored


def cancelled(cluster: Cluster) -> Left:
    """A gate is cancelled, and its scripts are submitted again."""
    folder, _, n_before = disturbed(cluster, "--sbatch-arg", "--nodelist=n1", pace=SLOWER)
    os.kill(pytest_of(folder), signal.SIGSTOP)  # two commands take long on a busy machine; a cancel sends SIGCONT
    refused = cluster.r1eval("slurm", "resubmit", str(folder))
    cluster.r1eval("slurm", "cancel", str(folder))
    first = verdict(cluster, folder)
    cluster.waited(
        lambda: cluster.r1eval("slurm", "resubmit", str(folder)).returncode == 0, "the end of what was cancelled"
    )
    more = {"refused": refused.returncode, "first": first.code, "said_cancelled": int("CANCELLED" in first.said)}
    return verdict(cluster, folder, n_before=n_before, more=more)


TRAINING = """
from pathlib import Path
from pytest_r1eval.training.cluster_runner import ClusterRunner, SlurmPlace
from pytest_r1eval.training.runners import GateOrder
from pytest_r1eval.training.queue import SavedCheckpoint, kept_copy
here = Path.cwd()
order = GateOrder(benchmarks=("smoke",), output_dir=here / "training", folder=here, commit="abc",
                  options={"engine": "replay", "samples": {"smoke": 8}}, first_baseline="local/toy")
place = SlurmPlace(gpus_per_node=0, workers="1", sbatch_arguments=("--nodelist=n1",), interval_s=0.5)
saved = SavedCheckpoint(step=20, epoch=None, folder=kept_copy(here / "good", to=here / "kept" / "checkpoint-20"))
report = ClusterRunner(order, place).judge(saved)
again = ClusterRunner(order, place).judge(saved)  # as after a kill: the jobs are found by their scripts
print("again:", again.run)
print("folder:", *(here / "training" / "slurm").iterdir())
print("run:", report.run)
print("verdict:", report["smoke"].verdict.name, report.header.lineage)
"""


def trained(cluster: Cluster) -> Left:
    """A training on the cluster gates its checkpoint there, from one of its own ranks."""
    variables = {"RANK": "0", "WORLD_SIZE": "8", "SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_MEM_PER_NODE": "1"}
    done = cluster.run(sys.executable, "-c", TRAINING, **variables)
    (folder,) = re.findall(r"^folder: (.+)$", done.stdout, re.MULTILINE) or [str(cluster.folder)]
    return Left(code=done.returncode, said=done.stdout + done.stderr, folder=Path(folder))


Scenario: TypeAlias = Callable[[Cluster], Left]
SCENARIOS: tuple[Scenario, ...] = (lost, requeued, preempted, killed, warned, cancelled, array, trained)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start the cluster and record what it judges."""
    need(SLURM)
    with started_cluster() as cluster:
        record_run(cluster.folder / "base", n_problems=12)
        record_run(cluster.folder / "good", n_problems=12, n_samples=16, seed=3, weights="w3")
        record_run(cluster.folder / "worse", seed=2, weights="w2", solve_rate=0.1)
        (cluster.folder / "conftest.py").write_text(
            "import os\n\ndef pytest_report_header():\n"
            "    return ['probe: ' + ', '.join(f'{name} {os.environ.get(name)}' for name in ('HF_TOKEN', 'RANK'))]\n"
        )
        own(cluster, cluster.folder)
        judged = ("-m", "pytest", "--r1-judge-only", "base", "--r1-save-baseline", "local/toy")
        recorded = cluster.run(sys.executable, *judged)
        assert recorded.returncode == 0, recorded.stdout + recorded.stderr
        yield cluster


@pytest.fixture(scope="module")
def running(cluster: Cluster) -> Iterator[dict[str, Future[Left]]]:
    """Start all scenarios at once."""
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        yield {scenario.__name__: pool.submit(scenario, cluster) for scenario in SCENARIOS}


def stored_samples(run: Path) -> set[tuple[object, ...]]:
    """Read every sample of a run."""
    with closing(RunReader.open(run)) as store:
        return {
            (sample.problem_id, sample.index, sample.seed, sample.response.text, sample.grade.outcome)
            for sample in store.samples("smoke")
        }


class TestArray:
    def test_failing_gate_ends_as_the_exit_code_of_wait(self, running: dict[str, Future[Left]]) -> None:
        """`wait` ends with exit code 1 for a checkpoint that fell, judged on the samples of both slices."""
        left = running["array"].result()
        assert left.code == 1, left.said
        assert "FAIL_REGRESSED" in left.said
        assert stored_samples(left.merged) == stored_samples(left.folder.parents[3] / "worse")
        assert (left.folder.parents[3] / "gate.xml").is_file()

    def test_tasks_have_gpus_of_their_own(self, running: dict[str, Future[Left]]) -> None:
        """Two tasks on one node get two GPUs each, and none twice."""
        left = running["array"].result()
        given = [re.findall(r"GPUs (\S+)", left.log(f"slice-{number}")) for number in (1, 2)]
        assert sorted(gpus for (gpus,) in given) == ["0,1", "2,3"]

    def test_secrets_reach_the_judge_alone(self, running: dict[str, Future[Left]]) -> None:
        """The token of an upload reaches the judge's job and neither the slices nor the scripts."""
        left = running["array"].result()
        assert "probe: HF_TOKEN None" in left.log("slice-1")
        assert "probe: HF_TOKEN hf_secret" in left.log("judge")
        assert "hf_secret" not in "".join(path.read_text() for path in left.folder.glob("*.sbatch"))

    def test_status_and_logs(self, running: dict[str, Future[Left]], cluster: Cluster) -> None:
        """`slurm status` prints a line for each job with what is stored, and `slurm logs` the logs by their paths."""
        left = running["array"].result()
        status = cluster.r1eval("slurm", "status", str(left.folder)).stdout
        assert re.search(r"^slice 2/2 .* smoke 48/48$", status, re.MULTILINE), status
        assert re.search(r"^judge .* exit code 1$", status, re.MULTILINE), status
        jobs = json.loads(cluster.r1eval("slurm", "status", str(left.folder), "--json").stdout)["jobs"]
        assert jobs[1]["samples"] == [{"benchmark": "smoke", "n_samples": 48, "n_planned": 48}]
        assert jobs[2]["exit_code"] == 1
        logs = cluster.r1eval("slurm", "logs", str(left.folder), "--slice", "2").stdout
        assert logs.startswith(f"== {left.folder}/logs/slice-2.log\n")


class TestTraining:
    def test_checkpoint_is_judged_as_jobs(self, running: dict[str, Future[Left]]) -> None:
        """A training's checkpoint is judged by jobs, which report its lineage and do not take themselves for a rank."""
        left = running["trained"].result()
        assert left.code == 0, left.said
        assert "verdict: PASS Lineage(parent=None, step=20, commit='abc')" in left.said
        assert left.merged.is_relative_to(left.folder.parents[1])
        assert "RANK None" in left.log("slice-1")

    def test_jobs_of_an_earlier_start_are_found_again(self, running: dict[str, Future[Left]]) -> None:
        """A runner that finds jobs of its very copy and words waits for those, and submits no others."""
        left = running["trained"].result()
        (run,) = re.findall(r"^run: (.+)$", left.said, re.MULTILINE)
        assert f"again: {run}\n" in left.said
        assert len([*left.folder.parent.iterdir()]) == 1


class TestRestarts:
    @pytest.mark.parametrize("scenario", ["requeued", "preempted", "killed", "warned"])
    def test_slice_goes_on_with_what_is_stored(self, running: dict[str, Future[Left]], scenario: str) -> None:
        """
        A second start of a slice takes over the first one's samples in a folder of its own.

        The verdict is the same as without the interruption.
        """
        left = running[scenario].result()
        assert left.code == 0, left.said + left.log("slice-1")
        first, second = attempts(left.folder / "slices" / "1")
        assert (first.restart, second.restart) == (0, 1)
        assert first.run is not None
        assert second.run is not None
        assert first.run.name == second.run.name
        assert n_in(first.run) >= left.n_before
        assert n_in(first.run) < n_in(second.run) == 192
        assert stored_samples(left.merged) == stored_samples(left.folder.parents[3] / "good")

    def test_orphan_of_a_lost_node_writes_where_nobody_looks(self, running: dict[str, Future[Left]]) -> None:
        """The orphan of a lost node draws on in a file of its own, and the merged run has each sample once."""
        left = running["lost"].result()
        assert left.code == 0, left.said + left.log("slice-1")
        assert left.more["n_later"] > left.more["n_at_restart"] >= left.n_before
        assert len(attempts(left.folder / "slices" / "1")) == 2
        assert stored_samples(left.merged) == stored_samples(left.folder.parents[3] / "good")

    def test_cancelled_gate_has_no_verdict_and_goes_on_later(self, running: dict[str, Future[Left]]) -> None:
        """`wait` ends with exit code 2 for a cancelled gate, and submitting it again draws nothing twice."""
        left = running["cancelled"].result()
        assert left.more == {"refused": 2, "first": 2, "said_cancelled": 1}
        assert left.code == 0, left.said
        first, second = attempts(left.folder / "slices" / "1")
        assert first.job < second.job
        assert first.run is not None
        assert second.run is not None
        assert first.run.name == second.run.name

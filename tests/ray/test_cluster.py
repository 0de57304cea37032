"""
A gate on a real Ray cluster of three nodes: a lost node, a job, a cancelled gate, a watcher, a training, refusals.

The scenarios run one after the other; each test looks at what one of them left.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_r1eval.cluster.attempts import attempts
from pytest_r1eval.cluster.status import stored
from pytest_r1eval.commands.cli import main
from pytest_r1eval.runs.reading import RunReader
from tests.judged_runs import judged
from tests.ray_cluster import Cluster, pytest_of, ray, raylet_of, started_cluster
from tests.recordings import record_run
from tests.training.watched import write_trl
from tests.warm_pytest import ROOT

pytestmark = pytest.mark.timeout(600)

GATE = ("--benchmarks", "smoke", "--gpus", "0", "--r1-engine", "replay", "--r1-baseline", "local/toy")
WATCH = (
    *("gates", "out", "--framework", "trl", "--benchmarks", "smoke", "--first-baseline", "good", "--json"),
    *("--r1-engine", "replay", "--r1-samples", "smoke=8"),
    *("--runner", "ray", "--slices", "2", "--gpus-per-slice", "0"),
)
SPY = """
import asyncio
import itertools
import os
import sys
import time
from pathlib import Path
from pytest_r1eval.engines.replay import ReplayEngine

def pytest_sessionstart(session):
    while "--r1-judge-only" in sys.argv and Path("hold-judge").exists():
        time.sleep(0.05)

generate, asked = ReplayEngine.generate, itertools.count(1)

async def noted(self, request):
    number = next(asked)
    while number > 8 and Path("hold").exists():
        await asyncio.sleep(0.05)
    answer = await generate(self, request)
    with open("drawn.txt", "a") as lines:
        lines.write(f"{request.problem_id} {request.index}\\n")
    return answer

ReplayEngine.generate = noted

def pytest_report_header():
    return ["probe: " + ", ".join(f"{name} {os.environ.get(name)}" for name in ("HF_TOKEN", "CUDA_VISIBLE_DEVICES"))]
"""
"""
A conftest of the user's, which notes what the engine is asked.

While there is a file `hold`, each engine answers eight requests, and with `hold-judge` no judge begins: what a test
disturbs is in mid-run, however slow the machine is.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """
    What a scenario left.

    Attributes:
        code: The exit code of what waited.
        said: What it printed.
        folder: The submission's folder.
    """

    code: int
    said: str
    folder: Path

    def log(self, name: str) -> str:
        """Return one log."""
        return (self.folder / "logs" / f"{name}.log").read_text()

    @property
    def merged(self) -> Path:
        """The judged run."""
        (found,) = re.findall(r"^run: (.+)$", self.said, re.MULTILINE)
        return Path(found)


def folder_in(said: str) -> Path:
    """Read the submission's folder from what submit printed."""
    found = re.findall(r"^folder: (.+)$", said, re.MULTILINE)
    assert found, said
    return Path(found[0])


def submit(cluster: Cluster, model: str, *arguments: str, **variables: str) -> Path:
    """Submit a gate of a recorded run and return its folder."""
    done = cluster.r1eval("ray", "submit", "--model", model, *GATE, "--ship-every", "0.5", *arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder_in(done.stdout)


def waited(cluster: Cluster, folder: Path) -> Left:
    """Wait for the exit code."""
    done = cluster.r1eval("ray", "wait", str(folder), "--interval", "0.5")
    return Left(code=done.returncode, said=done.stdout + done.stderr, folder=folder)


def n_shipped(folder: Path, number: int) -> int:
    """Count what the newest attempt of a slice has shipped."""
    return sum(one.n_samples for one in stored(folder / "slices" / str(number)))


@contextmanager
def held(cluster: Cluster, name: str = "hold") -> Iterator[None]:
    """Let engines answer no more than eight requests each within, or no judge begin."""
    hold = cluster.folder / name
    hold.touch()
    try:
        yield
    finally:
        hold.unlink()


def drawn(cluster: Cluster) -> Counter[tuple[str, int]]:
    """Count how often the engines were asked for each sample."""
    file = cluster.folder / "drawn.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return Counter((id_, int(index)) for id_, _, index in (line.partition(" ") for line in lines))


def keys(run: Path) -> set[tuple[str, int]]:
    """Return which samples a run holds."""
    with closing(RunReader.open(run)) as store:
        return {(sample.problem_id, sample.index) for sample in store.samples("smoke")}


def stored_samples(run: Path) -> set[tuple[object, ...]]:
    """Read every sample of a run."""
    with closing(RunReader.open(run)) as store:
        return {
            (sample.problem_id, sample.index, sample.seed, sample.response.text, sample.grade.outcome)
            for sample in store.samples("smoke")
        }


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start the cluster and record what it judges."""
    with started_cluster() as cluster:
        record_run(cluster.folder / "base", n_problems=12)
        record_run(cluster.folder / "good", n_problems=12, n_samples=16, seed=3, weights="w3")
        record_run(cluster.folder / "worse", seed=2, weights="w2", solve_rate=0.1)
        (cluster.folder / "conftest.py").write_text(SPY)
        judged(cluster.folder / "base", root=cluster.folder)
        yield cluster


@pytest.fixture(scope="module")
def cancelled(cluster: Cluster, as_job: Left) -> tuple[Left, Left, Left]:
    """Cancel a gate in mid-run, submit it again, cancel its judge, and submit it once more."""
    assert as_job.code == 1  # in turn: two cores are few for both
    with held(cluster):
        folder = submit(cluster, "good")
        cluster.waited(lambda: n_shipped(folder, 1) > 4, "samples")
        refused = cluster.r1eval("ray", "resubmit", str(folder))
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert cluster.r1eval("ray", "cancel", str(folder)).returncode == 0
        first = waited(cluster, folder)
    with held(cluster, "hold-judge"):
        assert cluster.r1eval("ray", "resubmit", str(folder)).returncode == 0
        cluster.waited((folder / "logs" / "judge.log").exists, "the judge")
        assert cluster.r1eval("ray", "cancel", str(folder)).returncode == 0
        second = waited(cluster, folder)
    assert cluster.r1eval("ray", "resubmit", str(folder)).returncode == 0
    return first, second, waited(cluster, folder)


@pytest.fixture(scope="module")
def as_job(cluster: Cluster) -> Left:
    """Submit a gate by `ray job submit`, as a RayJob of KubeRay does: by the entrypoint that is rendered for one."""
    here = str(cluster.folder)
    place = ("--mount", here, "--image", "registry.example/r1eval:1", "--claim", "evals", "--name", "gate")
    asked = (*GATE, "--model", f"{here}/worse", "--slices", "2", "--gpus", "2")
    rendered = cluster.r1eval("k8s", "render", "--ray", *place, *asked, "--json")
    (manifest,) = json.loads(rendered.stdout)["manifests"]
    submitter = (ray(), "job", "submit", "--address", f"http://127.0.0.1:{cluster.dashboard}", "--")
    done = cluster.run("bash", "-c", f"{shlex.join(submitter)} {manifest['spec']['entrypoint']}")
    said = done.stdout + done.stderr
    return Left(code=done.returncode, said=said, folder=folder_in(said))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """
    What a watcher left, which was killed while the first of two checkpoints was judged, and started again.

    Attributes:
        code: The exit code of the second start.
        told: What it printed.
        n_asked: How often the engines were asked for each sample, by both gates together.
        submissions: The folders of submissions.
    """

    code: int
    told: tuple[Mapping[str, Any], ...]
    n_asked: Counter[tuple[str, int]]
    submissions: tuple[Path, ...]


@pytest.fixture(scope="module")
def watched(cluster: Cluster, cancelled: tuple[Left, Left, Left]) -> Watched:  # noqa: ARG001 - in turn
    """Kill a watcher, and start it again when a second checkpoint is there."""
    (cluster.folder / "drawn.txt").unlink()
    out = cluster.folder / "out"
    write_trl(out, step=10)
    with held(cluster):
        watcher = cluster.started(*WATCH, "--interval", "0.2")
        try:
            cluster.waited(lambda: len(drawn(cluster)) > 4, "samples of step 10")
        finally:
            watcher.kill()
            watcher.wait()
    write_trl(out, step=20, solve_rate=0.1)
    done = cluster.r1eval(*WATCH, "--once")
    assert done.stderr == ""
    return Watched(
        code=done.returncode,
        told=tuple(map(json.loads, done.stdout.splitlines())),
        n_asked=drawn(cluster),
        submissions=tuple(sorted((out / "r1eval" / "ray").iterdir())),
    )


TRAINING = """
import json
from pathlib import Path
import ray
from pytest_r1eval.training.callback import R1EvalCallback, RayPlace
from tests.training.trainers import logged, trainer_in

def train():
    trainer = trainer_in(Path.cwd() / "training", max_steps=4)
    trainer.falls_at = 4
    options = {"benchmarks": ["smoke"], "engine": "replay", "first_baseline": "good"}
    place = RayPlace(slices=2, gpus=0, interval_s=0.5)
    trainer.add_callback(R1EvalCallback(trainer, **options, ray=place))
    trainer.train()
    return logged(trainer)

ray.init(logging_level="ERROR", log_to_driver=False)
print(json.dumps(ray.get(ray.remote(train).remote())))
"""
"""A training in a task of Ray, as Ray Train and most trainers of reasoning models run it."""


@pytest.fixture(scope="module")
def trained(cluster: Cluster, watched: Watched) -> Left:  # noqa: ARG001 - in turn
    """Train in a task of the cluster, with a gate on the same cluster for each checkpoint."""
    done = cluster.run(sys.executable, "-c", TRAINING, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stdout + done.stderr
    return Left(code=done.returncode, said=done.stdout, folder=cluster.folder / "training" / "out" / "r1eval" / "ray")


@pytest.fixture(scope="module")
def lost(cluster: Cluster, trained: Left) -> Left:  # noqa: ARG001 - a node is lost last
    """Kill a node's raylet while it draws."""
    (cluster.folder / "drawn.txt").unlink()
    with held(cluster):
        folder = submit(cluster, "good", "--slices", "2", HF_TOKEN="hf_secret")  # noqa: S106 - made up
        cluster.waited(lambda: min(n_shipped(folder, number) for number in (1, 2)) > 4, "samples of both slices")
        process = pytest_of(2, 2)
        assert process is not None
        os.kill(raylet_of(process), signal.SIGKILL)
        cluster.waited(lambda: pytest_of(2, 2) != process, "the end of the lost slice", n_lost=1)
    return waited(cluster, folder)


class TestLostNode:
    def test_counts_and_verdict_are_those_of_an_undisturbed_run(self, lost: Left) -> None:
        """A gate that loses a node passes with every sample once, as it would have without."""
        assert lost.code == 0, lost.said + lost.log("slice-2")
        assert "smoke: PASS" in lost.said
        assert stored_samples(lost.merged) == stored_samples(lost.folder.parents[3] / "good")

    def test_nothing_that_was_shipped_is_drawn_twice(self, lost: Left, cluster: Cluster) -> None:
        """What a lost start had shipped is in the next start's store, and the engine is asked for it once."""
        first, second = attempts(lost.folder / "slices" / "2")
        assert (first.restart, second.restart) == (0, 1)
        assert first.run is not None
        assert second.run is not None
        shipped = keys(first.run)
        assert 4 < len(shipped) <= 8 < len(keys(second.run)) == 96
        asked = drawn(cluster)
        assert {asked[key] for key in shipped} == {1}
        assert set(asked) == keys(lost.merged)

    def test_secrets_reach_the_judge_alone(self, lost: Left) -> None:
        """The submitter's token reaches the judge and no slice, and neither does a node's own; none is stored."""
        assert "probe: HF_TOKEN None" in lost.log("slice-1")
        assert "probe: HF_TOKEN hf_secret" in lost.log("judge")
        assert "hf_secret" not in (lost.folder / "ray.json").read_text()

    def test_the_log_says_so(self, lost: Left, cluster: Cluster) -> None:
        """The slice's log names the loss, and `status` prints the new start with all its samples."""
        assert "what was shipped is kept, the slice goes on in a new start" in lost.log("slice-2")
        status = cluster.r1eval("ray", "status", str(lost.folder)).stdout
        assert re.search(r"^slice 2/2 .* smoke 96/96$", status, re.MULTILINE), status
        assert re.search(r"^judge .* exit code 0$", status, re.MULTILINE), status


class TestJob:
    def test_a_job_of_ray_ends_as_its_gate_does(self, as_job: Left) -> None:
        """`ray job submit` of a gate that fails is a failed job, and prints the verdict."""
        assert as_job.code == 1, as_job.said
        assert "FAIL_REGRESSED" in as_job.said

    def test_slices_have_gpus_of_their_own(self, as_job: Left) -> None:
        """Two slices of two GPUs each get both GPUs of a node."""
        for number in (1, 2):
            assert "CUDA_VISIBLE_DEVICES 0,1" in as_job.log(f"slice-{number}")

    def test_logs_of_one_slice(self, as_job: Left, cluster: Cluster) -> None:
        """`logs --slice` prints the end of a slice's log, which came from its node."""
        said = cluster.r1eval("ray", "logs", str(as_job.folder), "--slice", "2").stdout
        assert said.startswith(f"== {as_job.folder}/logs/slice-2.log\n")
        assert "48 of 48 samples" in said


class TestCancelled:
    def test_it_has_no_verdict_and_goes_on_later(self, cancelled: tuple[Left, Left, Left]) -> None:
        """`wait` ends with exit code 2 for a gate that is cancelled while it draws; again, it draws the rest."""
        first, _, last = cancelled
        assert first.code == 2
        assert "ended without a verdict (CANCELLED)" in first.said
        assert last.code == 0, last.said + last.log("slice-1")
        tries = attempts(last.folder / "slices" / "1")
        assert [(one.job, one.restart) for one in tries] == [(1, 0), (2, 0), (3, 0)]
        before, after, again = (keys(one.run) for one in tries if one.run is not None)
        assert before < after == again

    def test_a_judge_is_cancelled_too(self, cancelled: tuple[Left, Left, Left]) -> None:
        """A gate that is cancelled while it is judged has no verdict."""
        _, second, _ = cancelled
        assert second.code == 2
        assert "ended without a verdict (CANCELLED)" in second.said
        assert not (second.folder / "results" / "2-0.txt").exists()


class TestWatcher:
    def test_a_killed_watcher_finds_its_gate_again(self, watched: Watched) -> None:
        """The gate outlives its watcher, whose next start waits for it: one submission, and nothing is drawn twice."""
        assert [path.name.partition("-step-")[2].partition("-")[0] for path in watched.submissions] == ["10", "20"]
        assert len(watched.n_asked) == 96
        assert set(watched.n_asked.values()) == {2}

    def test_a_fallen_checkpoint_is_compared_with_the_one_before(self, watched: Watched) -> None:
        """A watcher's gates on Ray have verdicts in the order of steps, and its exit code is the worst."""
        assert [(one["step"], one["what"], one["exit_code"]) for one in watched.told] == [
            (10, "judged", 0),
            (20, "judged", 1),
        ]
        assert "FAIL_REGRESSED" in watched.told[1]["message"]
        assert f"against run {watched.told[0]['run']}" in watched.told[1]["message"]
        assert watched.code == 1


class TestTraining:
    def test_each_checkpoint_of_a_trainer_is_judged_on_the_cluster(self, trained: Left) -> None:
        """`R1EvalCallback(ray=...)` submits each checkpoint of a real Trainer, and logs the verdicts at their steps."""
        logged = json.loads(trained.said.splitlines()[-1])
        assert {step: entry["r1eval/smoke/verdict"] for step, entry in logged.items()} == {
            "2": "PASS",
            "4": "FAIL_REGRESSED",
        }
        assert len([*trained.folder.iterdir()]) == 2


class TestRefusals:
    def refusal(self, cluster: Cluster, *arguments: str) -> tuple[int, str]:
        """Submit what cannot be done; return the exit code and the one line that says why."""
        done = cluster.r1eval("ray", "submit", "--model", "good", *GATE, "--output-dir", "refused", *arguments)
        assert not (cluster.folder / "refused").exists()
        (line,) = done.stderr.splitlines()
        return done.returncode, line

    def test_more_slices_than_samples(self, cluster: Cluster) -> None:
        """More slices than samples are refused with the number of samples."""
        code, line = self.refusal(cluster, "--slices", "500", "--r1-samples", "smoke=8")
        assert (code, "--slices 500: the run has 96 samples" in line) == (4, True), line

    def test_a_wrong_engine_argument(self, cluster: Cluster) -> None:
        """An engine argument that its engine refuses is refused before anything is submitted."""
        code, line = self.refusal(cluster, "--r1-engine-arg", "delay_s=-1")
        assert (code, "delay_s is -1; expected seconds" in line) == (4, True), line

    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("127.0.0.1:1", ("no Ray cluster at 127.0.0.1:1", "ray start --head")),
            ("ray://127.0.0.1:10001", ("ray job submit",)),
        ],
    )
    def test_no_cluster(
        self,
        address: str,
        words: Sequence[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """An address where no cluster answers, or only Ray's client does, is refused in one line, by both commands."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "out").mkdir()
        assert main(["ray", "submit", "--model", "good", *GATE, "--address", address, "--no-check"]) == 2
        assert main([*WATCH, "--address", address]) == 4
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 2
        assert all(word in line for word in words for line in lines)
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_more_gpus_than_a_node_has(self, cluster: Cluster) -> None:
        """A slice that no node can hold is refused, as Ray would wait for one for ever."""
        code, line = self.refusal(cluster, "--gpus", "16", "--no-check")
        assert (code, "a slice needs 16 GPUs and 1 CPUs of one node, and the largest has 2" in line) == (2, True), line


def test_json(as_job: Left, cluster: Cluster) -> None:
    """`--json` prints the same as one document."""
    jobs = json.loads(cluster.r1eval("ray", "status", str(as_job.folder), "--json").stdout)["jobs"]
    assert jobs[1]["samples"] == [{"benchmark": "smoke", "n_samples": 48, "n_planned": 48}]
    assert jobs[2]["exit_code"] == 1

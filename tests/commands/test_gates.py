"""
`r1eval gates` as a user starts it: real gates in real processes, on recorded checkpoints.

Kills, deletions and signals reach a process that judges. The checkpoints are recorded runs, which the replay engine
answers from; tests/training/test_watcher.py has the policies and failures without an engine.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_r1eval.commands.cli import main
from pytest_r1eval.core.lineage import Lineage
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.runs.store import FILE_NAME
from tests.processes import TIMEOUT_S, n_stored, wait_for_none_with
from tests.recordings import record_run
from tests.training.watched import write_recorded, write_trl

PROGRAM = "import sys; from pytest_r1eval.commands.cli import main; sys.exit(main(sys.argv[1:]))"
GATES = ("gates", "out", "--framework", "trl", "--benchmarks", "smoke", "--gpus", "none", "--json")
REPLAY = ("--r1-engine", "replay", "--r1-inconclusive", "pass")
FIRST = ("--first-baseline", "start")
SLOW = ("--r1-engine-arg", "delay_s=0.2", "--r1-engine-arg", "n_concurrent=4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder in which a trainer saves to `out`."""

    folder: Path

    def command(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [sys.executable, "-c", PROGRAM, *GATES, *REPLAY, *arguments]

    def once(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        """Judge what is there; return the exit code and what was told."""
        done = subprocess.run(
            self.command("--once", *arguments), cwd=self.folder, capture_output=True, text=True, check=False,
            timeout=4 * TIMEOUT_S,
        )  # fmt: skip
        assert done.stderr == ""
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    @contextmanager
    def watching(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Watch in a process, and leave nothing of it behind."""
        environment = {**os.environ, "WATCHED_IN": str(self.folder)}
        process = subprocess.Popen(
            self.command("--interval", "0.1", *arguments), cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            wait_for_none_with("WATCHED_IN", str(self.folder))

    @property
    def became(self) -> dict[int, str]:
        """What became of each checkpoint."""
        journal = self.folder / "out" / "r1eval" / ".kept" / "out.json"
        entries = json.loads(journal.read_text())["entries"] if journal.is_file() else []
        return {entry["step"]: entry["became"] for entry in entries}

    def runs(self, step: int) -> list[Path]:
        """List the runs of a step."""
        found = (self.folder / "out" / "r1eval" / "out" / f"checkpoint-{step}").glob(f"*/{FILE_NAME}")
        return sorted(path.parent for path in found)

    def is_drawing(self, step: int) -> bool:
        """Whether a step's gate is under way."""
        return any(n_stored(run) for run in self.runs(step))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Make a folder."""
    (tmp_path / "out").mkdir()
    record_run(tmp_path / "start", n_samples=16, seed=3, weights="w0")
    return Place(folder=tmp_path)


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 4 * TIMEOUT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_each_is_compared_with_the_last_that_held_and_with_the_anchor(place: Place) -> None:
    """Checkpoints are compared in numeric order with the last that held and with the anchor; the worst is the code."""
    anchor = record_run(place.folder / "anchor", n_samples=64, seed=7, weights="w0")
    for step, solve_rate in ((1000, 0.6), (200, 0.6), (400, 0.1)):
        write_trl(place.folder / "out", step=step, solve_rate=solve_rate)
    code, told = place.once("--r1-anchor", str(anchor), "--r1-lineage", "parent=org/base")
    assert code == 1
    assert [(one["step"], one["exit_code"]) for one in told] == [(200, 0), (400, 1), (1000, 0)]
    first, fallen, last = (read_report(Path(one["run"])) for one in told)
    assert first["smoke"].result.baseline == f"run {anchor}"
    assert first.header.lineage == Lineage(step=200, parent="org/base")
    assert "FAIL_REGRESSED" in told[1]["message"]
    assert not fallen.passes
    references = [reference.baseline for reference in last["smoke"].result.references]
    assert references == [f"run {first.run}", f"run {anchor}"]

    code, told = place.once("--r1-anchor", str(anchor))
    assert (code, told) == (1, [])


def test_a_watcher_that_is_killed_loses_and_repeats_nothing(place: Place) -> None:
    """A killed watcher takes its gate along; the next start judges what had no verdict, and nothing else."""
    for step in (10, 20, 30):
        write_trl(place.folder / "out", step=step)
    with place.watching(*FIRST, *SLOW) as process:
        until(lambda: place.became.get(10) == "judged" and place.is_drawing(20))
        process.kill()
        process.wait()
        wait_for_none_with("WATCHED_IN", str(place.folder))
    assert place.became == {10: "judged", 20: "kept", 30: "kept"}
    for step in (20, 30):  # save_total_limit
        shutil.rmtree(place.folder / "out" / f"checkpoint-{step}")
    code, told = place.once(*FIRST)
    assert code == 0
    assert [one["step"] for one in told] == [20, 30]
    assert place.became == {10: "judged", 20: "judged", 30: "judged"}
    assert len(place.runs(10)) == 1
    assert len([run for run in place.runs(20) if (run / "verdicts.json").is_file()]) == 1
    assert [path.name for path in (place.folder / "out" / "r1eval" / ".kept" / "out").iterdir()] == ["run.lock"]


def test_a_checkpoint_is_deleted_while_it_is_judged(place: Place) -> None:
    """A checkpoint that its trainer deletes in its gate has its verdict, and SIGTERM then ends the watcher cleanly."""
    write_trl(place.folder / "out", step=10)
    with place.watching(*FIRST, *SLOW) as process:
        until(lambda: place.is_drawing(10))
        shutil.rmtree(place.folder / "out" / "checkpoint-10")
        until(lambda: place.became == {10: "judged"})
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 128 + signal.SIGTERM
    (told,) = map(json.loads, output.splitlines())
    assert (told["step"], told["what"], told["exit_code"]) == (10, "judged", 0)


def test_ctrl_c_stores_what_is_drawn(place: Place) -> None:
    """Ctrl-C ends gate and watcher without a traceback; what is drawn and the copy stay for the next start."""
    write_trl(place.folder / "out", step=10)
    with place.watching(*FIRST, *SLOW) as process:
        until(lambda: place.is_drawing(10))
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=4 * TIMEOUT_S)
    assert process.returncode == 130
    assert output == ""
    assert place.became == {10: "kept"}
    assert n_stored(place.runs(10)[0]) > 0
    code, told = place.once(*FIRST)
    assert (code, [one["step"] for one in told]) == (0, [10])


def test_a_converter_runs_before_the_gate(place: Place) -> None:
    """A converter's checkpoint is judged under the training's name and step."""
    write_recorded(place.folder / "out" / "global_step_20" / "actor", step=20)
    (place.folder / "out" / "latest_checkpointed_iteration.txt").write_text("20")
    program = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"
    convert = shlex.join([sys.executable, "-c", program, "{checkpoint}", "{out}"])
    code, told = place.once(*FIRST, "--framework", "verl", "--convert", convert)
    assert (code, [one["step"] for one in told]) == (0, [20])
    assert len(place.runs(20)) == 1


class TestRefusals:
    """What cannot be done as asked is one line on standard error, and exit code 4."""

    def refused(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
        """Run the command in this process; return its line."""
        code = main(["gates", *arguments])
        out, err = capsys.readouterr()
        assert (code, out) == (4, "")
        (line,) = err.splitlines()
        return line

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("nothing", "--framework", "trl"), "nothing: no such folder; expected the one that the trainer writes to"),
            (("out", "--framework", "varl"), "--framework varl: no such preset (did you mean verl?)"),
            (
                ("out", "--framework", "trl", "--once"),
                "matches 'checkpoint-*'; expected checkpoints: see --framework, --pattern",
            ),
            (("out",), "no layout: expected --framework NAME"),
            (("out", "--pattern", "final"), "--pattern 'final': expected a path below the folder with *"),
            (("out", "--framework", "trl", "--backlog", "every:0"), "--backlog every:0; expected all, newest, or"),
            (("out", "--framework", "trl", "--convert", "no-such {checkpoint} {out}"), "there is no program no-such"),
            (("out", "--framework", "trl", "--r1-sigma", "3"), "--r1-sigma: no such option of a gate here"),
            (("out", "--framework", "trl", "--r1-sigmas"), "--r1-sigmas has no value; expected --r1-sigmas"),
            (("out", "--framework", "trl", "--r1-sigmas", "x"), "--r1-sigmas is 'x'; expected a number above 0"),
            (("out", "--framework", "trl", "--r1-resume=x"), "--r1-resume: no such option of a gate here"),
            (
                ("out", "--framework", "trl", "--r1-gate", "sequential"),
                "gate='sequential' with the previous checkpoint as baseline",
            ),
        ],
    )
    def test_it_is_one_line(
        self,
        place: Place,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        arguments: Sequence[str],
        words: str,
    ) -> None:
        """A wrong folder, preset, pattern, command or option is refused in one line before anything is judged."""
        monkeypatch.chdir(place.folder)
        line = self.refused(capsys, *arguments, "--benchmarks", "smoke")
        assert line.startswith("r1eval gates")
        assert words in line

    def test_an_unknown_benchmark(
        self, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An unknown benchmark is refused with those that there are."""
        monkeypatch.chdir(place.folder)
        line = self.refused(capsys, "out", "--framework", "trl", "--benchmarks", "aime2024")
        assert "--benchmarks aime2024: no such benchmark; expected some of aime24" in line

"""What trackers can do to a gate: nothing. Stand-in trackers of another package fail in every way."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_r1eval.commands.cli import main
from pytest_r1eval.config.registered import TRACKERS
from pytest_r1eval.config.tracker_choice import TrackerChoice
from pytest_r1eval.trackers.delivery import log_run
from tests.plugin_runs import judge, judge_only, runs_of, save_baseline
from tests.recordings import record_run

STAND_INS = """
import json, os, subprocess, sys, time
from pathlib import Path

class Tracker:
    module, has_versions = "json", False
    def __init__(self, act):
        self.log = act

def note(run):
    print("a tracker prints")
    told = {"id": run.id, "verdict": run.verdict, "worker": os.environ.get("PYTEST_XDIST_WORKER")}
    with open(os.environ["NOTES"], "a") as notes:
        print(json.dumps(told), file=notes)
    return f"noted as {run.id}"

def fail(run):
    raise ConnectionError(f"refused: {os.environ['ACME_API_KEY']} at http://ann:hidden-word@acme.test/")

def hang(run):
    Path(os.environ["NOTES"]).write_text(str(subprocess.Popen(["sleep", "300"]).pid))
    time.sleep(300)

def ramble(run):
    raise ValueError("x" * 380 + os.environ["ACME_API_KEY"] + "y" * 5000)

def vanish(run):
    print("fatal: no route", file=sys.stderr)
    os._exit(3)

NOTE, FAIL, HANG, RAMBLE, VANISH = map(Tracker, (note, fail, hang, ramble, vanish))
"""
SECRET = "k3y-of-acme-42"  # noqa: S105 - made up


@pytest.fixture
def notes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install stand-in trackers where this process and those it starts find them, and name the file they write to."""
    site = pytester.mkdir("site")
    (site / "acme_trackers.py").write_text(STAND_INS)
    metadata = site / "acme_trackers-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme_trackers\nVersion: 1\n")
    lines = [f"{name} = acme_trackers:{name.upper()}" for name in ("note", "fail", "hang", "ramble", "vanish")]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{TRACKERS.group}]", *lines, ""]))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("ACME_API_KEY", SECRET)
    path = pytester.path / "notes"
    monkeypatch.setenv("NOTES", str(path))
    return path


def noted(path: Path) -> Iterator[dict[str, str | None]]:
    """Read what the stand-in was told."""
    for line in path.read_text().splitlines():
        yield json.loads(line)


@pytest.mark.usefixtures("notes")
class TestFailures:
    """A tracker that fails is a line below the verdict."""

    @pytest.mark.parametrize(("model", "code"), [("good", 0), ("bad", 1)])
    def test_the_exit_code_is_the_verdicts(
        self, pytester: pytest.Pytester, recorded: Callable[..., Path], model: str, code: int
    ) -> None:
        """Failing and vanishing trackers leave the exit code alone, name their reason, and print no secret."""
        recorded("base", seed=1)
        save_baseline(pytester, "base")
        recorded("good", seed=2)
        recorded("bad", seed=3, weights="w2", solve_rate=0.05)
        result = judge(pytester, model, "--r1-log=fail", "--r1-log=vanish")
        assert result.ret == code
        (run,) = runs_of(pytester)
        result.stdout.fnmatch_lines(
            [
                (
                    "fail: failed: ConnectionError: refused: [*][*][*] at http://[*][*][*]@acme.test/; "
                    f"log it again with: r1eval log {run} --to fail"
                ),
                "vanish: failed: its process ended: fatal: no route; log it again with: *--to vanish",
            ]
        )
        assert not [text for text in (SECRET, "hidden-word", "a tracker prints") if text in result.stdout.str()]

    def test_a_tracker_that_hangs_is_ended(self, judged_copy: Callable[[str], Path], notes: Path) -> None:
        """A tracker that does not answer is ended at its limit, with the processes that it started."""
        started = time.monotonic()
        (logged,) = log_run(judged_copy("green"), [TrackerChoice(name="hang")], limit_s=3)
        assert time.monotonic() - started < 30
        assert logged.answer.error == "it did not answer within 3 s"
        child = int(notes.read_text())
        stat = Path(f"/proc/{child}/stat")
        assert not stat.is_file() or stat.read_text().split()[2] == "Z"

    def test_a_long_line_is_cut_behind_its_secrets(self, judged_copy: Callable[[str], Path]) -> None:
        """A long error is cut after secrets are left out of it, so that no half of one remains."""
        (logged,) = log_run(judged_copy("green"), [TrackerChoice(name="ramble")])
        error = logged.answer.error
        assert error is not None
        assert error.startswith(f"ValueError: {'x' * 380}***")
        assert len(error) == 400

    def test_several_at_once_share_the_time(self, judged_copy: Callable[[str], Path], notes: Path) -> None:
        """A tracker that hangs keeps no other from being told, and the limit is for all together."""
        started = time.monotonic()
        logged = log_run(
            judged_copy("green"), [TrackerChoice(name=name) for name in ("hang", "vanish", "ramble")], limit_s=20
        )
        assert time.monotonic() - started < 60
        hung, *others = [one.answer.error or "" for one in logged]
        assert hung == "it did not answer within 20 s"
        assert [error.partition(":")[0] for error in others] == ["its process ended", "ValueError"]
        assert notes.is_file()

    def test_the_command_says_what_failed(
        self, judged_copy: Callable[[str], Path], capsys: pytest.CaptureFixture[str], notes: Path
    ) -> None:
        """`r1eval log` logs to what answers, names what does not in one line, and exits with 2."""
        run = judged_copy("green")
        assert main(["log", str(run), "--to", "fail", "--to", "note"]) == 2
        printed = capsys.readouterr()
        (told,) = noted(notes)
        assert printed.out == f"note: noted as {told['id']}\n"
        assert printed.err.startswith(f"r1eval log: error: {run} is not logged to fail: ConnectionError: refused: ***")
        assert SECRET not in printed.err

    def test_the_command_prints_json(
        self, judged_copy: Callable[[str], Path], capsys: pytest.CaptureFixture[str], notes: Path
    ) -> None:
        """`r1eval log --json` has place or error of each tracker, for other programs."""
        run = judged_copy("green")
        assert main(["log", str(run), "--to", "note", "--json"]) == 0
        (told,) = noted(notes)
        found = json.loads(capsys.readouterr().out)
        assert found["trackers"] == {"note": {"place": f"noted as {told['id']}", "error": None}}

    def test_what_is_not_judged_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """`r1eval log` of a run without a verdict says how it is judged, in one line."""
        run = record_run(tmp_path / "run")
        assert main(["log", str(run), "--to", "note"]) == 2
        assert capsys.readouterr().err == (
            f"r1eval log: error: {run} was not judged yet; judge it with pytest --r1-judge-only {run}\n"
        )


class TestSuccess:
    """A judged run is told once, by the process that judges."""

    def test_the_judging_process_tells_it(
        self,
        pytester: pytest.Pytester,
        recorded: Callable[..., Path],
        mode: tuple[str, ...],
        notes: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """However a run is spread, one process tells its tracker, and a run judged again is told under the same id."""
        monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # of a worker that runs this test
        recorded("base", seed=1)
        save_baseline(pytester, "base")
        recorded("good", seed=2)
        result = judge(pytester, "good", "--r1-log=note", *mode)
        assert result.ret == 0
        (told,) = noted(notes)
        assert told == {"id": told["id"], "verdict": "PASS", "worker": None}
        result.stdout.fnmatch_lines([f"note: noted as {told['id']}"])
        (run,) = runs_of(pytester)
        judge_only(pytester, run, "--r1-log=note")
        assert [again["id"] for again in noted(notes)] == [told["id"]] * 2

    def test_a_red_run_is_told_too(
        self, pytester: pytest.Pytester, recorded: Callable[..., Path], notes: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run that is INVALID is told as such; R1_LOG names the tracker as the option does."""
        recorded("holes", skip=frozenset({("p003", 5)}))
        monkeypatch.setenv("R1_LOG", "note")
        assert judge(pytester, "holes").ret == 1
        assert [told["verdict"] for told in noted(notes)] == ["INVALID"]

    def test_no_tracker_is_no_process(self, pytester: pytest.Pytester, recorded: Callable[..., Path]) -> None:
        """Without --r1-log a gate imports no module of the trackers."""
        recorded("base", seed=1)
        pytester.makeconftest(
            "import sys\n"
            "def pytest_unconfigure():\n"
            "    print('LOADED', [name for name in sys.modules if 'pytest_r1eval.trackers' in name])"
        )
        result = judge(pytester, "base", "-s")
        result.stdout.fnmatch_lines(["*LOADED []*"])


class TestRefusals:
    """What is asked wrongly is refused before anything is drawn."""

    @pytest.mark.parametrize(
        ("choices", "message"),
        [
            (["nowhere"], "--r1-log is 'nowhere'; expected one of *mlflow*"),
            (["mlflow:name"], "--r1-log is 'mlflow:name'; expected TRACKER or TRACKER:MODEL/VERSION, *"),
            (["wandb", "wandb"], "--r1-log: wandb, wandb; expected each tracker once"),
        ],
    )
    def test_options(self, pytester: pytest.Pytester, choices: list[str], message: str) -> None:
        """A tracker that is not registered, half a model version and a tracker named twice are usage errors."""
        result = judge(pytester, "nothing", *[f"--r1-log={choice}" for choice in choices])
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {message}"])

    def test_a_package_that_is_not_installed(
        self, pytester: pytest.Pytester, recorded: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A tracker whose package is missing is named with the command that installs it, before an engine starts."""
        recorded("base", seed=1)
        site = pytester.mkdir("site")
        (site / "none.py").write_text(
            "class T:\n    module, has_versions = 'not_here', False\n    log = str\nT = T()\n"
        )
        metadata = site / "none-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: none\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text(f"[{TRACKERS.group}]\nnone = none:T\n")
        monkeypatch.setenv("PYTHONPATH", str(site))
        result = judge(pytester, "base", "--r1-log=none")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            [
                (
                    "ERROR: --r1-log none needs not_here, which is not installed; install it: "
                    'pip install "pytest-r1eval[[]none[]]"'
                )
            ]
        )
        assert not os.path.lexists(pytester.path / "data")

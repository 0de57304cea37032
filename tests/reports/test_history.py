"""`r1eval history`: pass@1 over the steps of a training, from several judged runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pytest_r1eval.commands.cli import main
from pytest_r1eval.errors import RunError
from pytest_r1eval.reports.history import history
from pytest_r1eval.runs.finished import StoredRun
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.stats.tests import pass_at_1
from tests.judged_runs import judged, judged_against, sequential_gate
from tests.recordings import record_run

RATES = {100: 0.3, 200: 0.5, 1000: 0.7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Judge a training: three steps, one of them twice; one that stopped early, one INVALID, one of another model."""
    root = tmp_path_factory.mktemp("training")
    base = record_run(root / "base", solve_rate=0.4, n_samples=16)
    judged(base)
    for step, rate in RATES.items():
        name = f"org/checkpoint-{step}"
        run = record_run(
            root / "runs" / f"b{step:04d}", seed=step, weights=f"w{step}", solve_rate=rate, model_name=name
        )
        judged_against(run, root / "root")
    rows: dict[str, dict[str, object]] = {
        "a-older": {"model_name": "org/checkpoint-200", "weights": "old", "solve_rate": 0.0},
        "c-stopped": {
            "model_name": "org/checkpoint-300",
            "n_samples": 16,
            "solve_rate": 0.0,
            "gate": sequential_gate(base, n_samples=16),
        },
        "d-no-step": {"model_name": "org/model"},
        "e-invalid": {"model_name": "org/checkpoint-400", "skip": frozenset({("p000", 0)})},
    }
    for number, (name, details) in enumerate(rows.items()):
        judged_against(record_run(root / "runs" / name, seed=number + 2, **details), root / "root")  # type: ignore[arg-type]
    record_run(root / "runs" / "f-running", model_name="org/checkpoint-500", n_samples=2)
    return root / "runs"


def test_steps_ascend_and_the_newest_run_of_a_step_counts(folder: Path) -> None:
    """The history sorts steps by number and takes the newest complete, judged run of each."""
    (points,) = history(folder).points.values()
    assert [point.step for point in points] == [100, 200, 1000]
    assert [Path(point.run).name for point in points] == ["b0100", "b0200", "b1000"]
    for point in points:
        measured = StoredRun(folder=Path(point.run)).measured("smoke")
        assert point.mean == pytest.approx(pass_at_1(measured.counts).mean)
        assert point.standard_error > 0
        assert point.model == f"org/checkpoint-{point.step}"
        assert point.baseline is not None
        assert point.baseline.startswith("baselines/local/toy.json, run base")
    assert [point.verdict for point in points] == ["PASS", "PASS", "SUSPICIOUS_IMPROVED"]


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON has the points of the page, in fractions."""
    assert main(["history", str(folder), "--json"]) == 0
    content = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    (points,) = history(folder).points.values()
    assert content["schema_version"] == 1
    assert [(row["step"], row["mean"]) for row in content["benchmarks"]["smoke"]] == [
        (point.step, point.mean) for point in points
    ]


def test_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`history` prints a row for each step, in points."""
    assert main(["history", str(folder)]) == 0
    name, head, _, *rows = capsys.readouterr().out.splitlines()
    assert (name, head.split()) == ("smoke", ["step", "pass@1", "baseline", "verdict"])
    assert [row.split()[0] for row in rows if row] == ["100", "200", "1000", "note:"]
    assert " ± " in rows[0]


def test_page(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """
    The history's page has a point with an error bar for each step and a line for the baseline.

    It loads nothing from elsewhere, and names no folder of this machine.
    """
    path = tmp_path / "history.html"
    assert main(["history", str(folder), "--out", str(path)]) == 0
    assert capsys.readouterr().out == f"written to {path}\n"
    text = path.read_text("utf-8")
    assert text.count('class="dot run"') == text.count('class="bar own run"') == 3
    assert text.count('class="baseline"') == 1
    assert "http" not in text.replace("http-equiv", "")
    assert str(folder) not in text
    assert main(["history", str(folder), "--out", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema_version": 1, "folder": str(folder), "page": str(path)}


def test_nothing_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without a judged run of a known step is refused in one line."""
    with pytest.raises(RunError, match="holds no judged run of a known training step; expected the output folder"):
        history(tmp_path)
    judged(record_run(tmp_path / "run"))
    assert main(["history", str(tmp_path)]) == 2
    assert "of checkpoints whose name ends in it, such as checkpoint-200" in capsys.readouterr().err


def test_what_stopped_early_is_counted(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every form of the history counts the runs that stopped early and tells how to complete them."""
    words = "1 verdict of runs that stopped early left out: their pass@1 is biased by the stopping; complete one"
    assert main(["history", str(folder)]) == 0
    assert f"note: {words} to a score with --r1-resume RUN --r1-gate fixed\n" in capsys.readouterr().out
    assert main(["history", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_stopped"] == 1
    page = tmp_path / "deep" / "history.html"
    assert main(["history", str(folder), "--out", str(page)]) == 0
    assert words in page.read_text("utf-8")
    capsys.readouterr()
    assert main(["history", str(folder / "c-stopped")]) == 2
    assert "holds only runs that stopped early (1 verdict)" in capsys.readouterr().err


def test_a_torn_run_hides_no_other(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that a kill left empty is named in a note, and the other runs are shown."""
    runs = tmp_path / "runs"
    shutil.copytree(folder, runs)
    (runs / "torn").mkdir()
    (runs / "torn" / FILE_NAME).touch()
    assert len(history(runs).points["smoke"]) == len(RATES)
    assert main(["history", str(runs)]) == 0
    assert f"note: a run left out: the run store {runs / 'torn' / FILE_NAME} cannot be used" in capsys.readouterr().out
    assert main(["history", str(runs / "torn")]) == 2
    assert "holds no run that can be read (1 found): the run store" in capsys.readouterr().err


def test_red_steps_are_red(folder: Path, tmp_path: Path) -> None:
    """A failing step has a red point on the history's page."""
    points = history(folder).points["smoke"]
    assert [point.passes for point in points] == [True, True, True]
    page = tmp_path / "history.html"
    assert main(["history", str(folder), "--out", str(page)]) == 0
    assert [f"<tr><td>{step}<td>" in page.read_text("utf-8") for step in RATES] == [True, True, True]
    lower = record_run(tmp_path / "lower" / "run", solve_rate=0.0, model_name="org/checkpoint-7", weights="low")
    judged_against(lower, folder.parent / "root")
    assert main(["history", str(tmp_path / "lower"), "--out", str(page)]) == 0
    assert 'class="dot red"' in page.read_text("utf-8")


def test_a_page_that_cannot_be_written(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that cannot be written is refused with the option that names another file."""
    (tmp_path / "in").write_text("a file where a folder has to be")
    assert main(["history", str(folder), "--out", str(tmp_path / "in/the/way.html")]) == 2
    assert "name another file by --out" in capsys.readouterr().err

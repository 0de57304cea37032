"""The page of all runs in a folder, read from real stores and shown in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from pytest_r1eval.commands.cli import main
from pytest_r1eval.errors import RunError
from pytest_r1eval.reports.files import PAGE_NAME
from pytest_r1eval.reports.index import INDEX_NAME, index_page, read_index, write_index
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.upload.after_verdict import finish
from tests.judged_runs import TASKS, judged, judged_against
from tests.recordings import record_run
from tests.reports.pages import CLASHES, CONTRASTS, overflowing, showing


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an output folder: a baseline's run, a green and a red checkpoint, and one without a verdict."""
    folder = tmp_path_factory.mktemp("data")
    root = folder.parent / "root"
    judged(record_run(folder / "org/base/20260101-000000", n_problems=20, n_samples=16), root=root)
    for step, details in ((100, {"seed": 2}), (200, {"seed": 3, "weights": "w2", "solve_rate": 0.1})):
        name = f"org/checkpoint-{step}"
        run = record_run(folder / name / f"20260102-000{step}", n_problems=20, n_samples=16, model_name=name, **details)
        finish(run, judged_against(run, root), tasks=TASKS, wishes=None)
    record_run(folder / "org/open/20260103-000000", n_problems=20, n_samples=16, model_name="org/open")
    return folder


def test_the_newest_run_comes_first(runs: Path) -> None:
    """Every run has a row, with its step, verdict, scores, and a link to its report where there is one."""
    index = read_index(runs)
    assert [(run.number, run.model, run.step, run.has_page) for run in index.runs] == [
        (1, "local/toy", None, False),
        (2, "org/checkpoint-100", 100, True),
        (3, "org/checkpoint-200", 200, True),
        (4, "org/open", None, False),
    ]
    text = index_page(index)
    assert "4 runs: 2 green, 1 not green, 1 without all verdicts" in text
    assert text.index("org/open") < text.index("org/checkpoint-200") < text.index("org/checkpoint-100")
    assert 'href="org/checkpoint-200/20260102-000200/report.html"' in text
    assert "<td>none yet</td>" in text
    assert str(runs) not in text, "a page that is passed on names no folder of this machine"


def test_a_finished_run_is_in_the_index_of_its_folder(tmp_path: Path) -> None:
    """The page beside the runs is written after every verdict, and the terminal names it."""
    run = record_run(tmp_path / "org/m/20260101-000000")
    finished = finish(run, judged(run), tasks=TASKS, wishes=None, index=tmp_path)
    assert finished.reports == (f"report: {run / PAGE_NAME}", f"all runs: {tmp_path / INDEX_NAME}")
    assert "local/toy" in (tmp_path / INDEX_NAME).read_text("utf-8")


def test_a_torn_run_hides_no_other(runs: Path, tmp_path: Path) -> None:
    """A torn run is named at the end of the page with its reason, and the others are shown."""
    folder = tmp_path / "copy"
    shutil.copytree(runs, folder)
    torn = folder / "org/torn/20260104-000000" / FILE_NAME
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"no database")
    index = read_index(folder)
    assert (len(index.runs), len(index.unreadable)) == (4, 1)
    assert "Left out" in index_page(index)
    with pytest.raises(RunError, match="1 run, none of which can be read"):
        read_index(torn.parent)


def test_a_folder_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without runs is refused in one line."""
    assert main(["index", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"r1eval index: error: {tmp_path} holds no run; expected the output folder of runs (--r1-output-dir)\n"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_read_on_a_telephone_and_at_night(browser: Browser, runs: Path, width: int, scheme: str) -> None:
    """The index fits on a telephone's screen, keeps its pictures' words apart, and has contrasts of 4.5 or more."""
    page = write_index(runs)
    with showing(browser, page.read_text("utf-8"), page) as shown:
        shown.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        shown.set_viewport_size({"width": width, "height": 800})
        assert overflowing(shown) == []
        assert shown.evaluate(CLASHES) == []
        assert {name: ratio for name, ratio in shown.evaluate(CONTRASTS).items() if ratio < 4.5} == {}
        assert shown.inner_text("tbody tr:nth-child(2) .verdict") == "FAIL_REGRESSED"
        is_cut = shown.evaluate("(box => box.scrollWidth > box.clientWidth)(document.querySelector('.scroll'))")
        assert is_cut == (width == 390), "a desk's screen has room for every column"

"""A converter is a command without a shell, and says why it failed with its last lines."""

from __future__ import annotations

import shlex
import sys
import threading
from pathlib import Path

import pytest

from pytest_r1eval.errors import PlanError
from pytest_r1eval.training.converting import ConversionError, Converter, converter_of

COPY = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"


def python(program: str, *arguments: str) -> str:
    """Return a command line that runs a Python program."""
    return shlex.join([sys.executable, "-c", program, *arguments])


def run(converter: Converter, folder: Path, *, stopped: threading.Event | None = None) -> Path:
    """Convert a folder."""
    out = folder.parent / "out folder"
    converter.run(folder, out=out, step=7, log=folder.parent / "log", stopped=stopped or threading.Event())
    return out


def test_place_holders_are_replaced_within_words(tmp_path: Path) -> None:
    """A path with spaces and signs of a shell stays one word."""
    folder = tmp_path / "a b; $(touch x) '"
    folder.mkdir()
    (folder / "weights").write_text("w")
    out = run(converter_of(python(COPY, "{checkpoint}", "{out}")), folder)
    assert (out / "weights").read_text() == "w"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([folder.name, "out folder", "log"])


def test_the_last_lines_of_a_failure_are_shown(tmp_path: Path) -> None:
    """A converter that fails is named with its exit code, its last three lines and its log."""
    (tmp_path / "in").mkdir()
    program = "import sys; [print('line', n) for n in range(9)]; sys.exit(3)"
    with pytest.raises(ConversionError) as caught:
        run(converter_of(python(program, "{checkpoint}{out}")), tmp_path / "in")
    assert str(caught.value) == (
        f"the converter failed (exit code 3): line 6 | line 7 | line 8 (all of it: {tmp_path / 'log'})"
    )


def test_a_converter_that_writes_nothing_failed(tmp_path: Path) -> None:
    """A converter that ends well and makes no folder has failed."""
    (tmp_path / "in").mkdir()
    with pytest.raises(ConversionError, match=r"wrote no \{out\} folder: it printed nothing"):
        run(converter_of(python("pass", "{checkpoint}{out}")), tmp_path / "in")


def test_it_ends_with_the_watcher(tmp_path: Path) -> None:
    """A converter that is under way is ended when the watcher is."""
    (tmp_path / "in").mkdir()
    stopped = threading.Event()
    threading.Timer(0.3, stopped.set).start()
    with pytest.raises(ConversionError, match="step 7: the converter was ended with the watcher"):
        run(converter_of(python("import time; time.sleep(600)", "{checkpoint}{out}")), tmp_path / "in", stopped=stopped)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("python -m merge {checkpoint}", r"has no \{out\}; expected a command with \{checkpoint\}"),
        ("python -m merge {out}", r"has no \{checkpoint\}"),
        ("python 'unclosed {checkpoint} {out}", "No closing quotation; expected a command as a shell reads it"),
        ("no-such-program {checkpoint} {out}", "there is no program no-such-program; expected one on PATH"),
    ],
)
def test_a_command_that_cannot_work_is_refused(command: str, words: str) -> None:
    """A command that lacks a place holder, a quote or its program is refused before anything is watched."""
    with pytest.raises(PlanError, match=words):
        converter_of(command)

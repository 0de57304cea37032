"""A file or folder is whole or not there."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pytest_r1eval.atomic_files import making, replacing, write_text


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    """Writing a file replaces the old one and leaves nothing beside it."""
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    write_text(path, "new")
    assert [each.name for each in path.parent.iterdir()] == ["file.txt"]
    assert path.read_text() == "new"


def test_a_folder_takes_its_place_when_it_is_full(tmp_path: Path) -> None:
    """A folder gets its name only once it is full."""
    folder = tmp_path / "deep" / "copy"
    with making(folder) as part:
        (part / "a").write_text("1")
        assert not folder.exists()
    assert (folder / "a").read_text() == "1"
    assert [each.name for each in folder.parent.iterdir()] == ["copy"]


def test_nothing_is_left_of_a_folder_that_fails(tmp_path: Path) -> None:
    """A folder whose filling fails leaves nothing behind."""

    def fail() -> None:
        with making(tmp_path / "copy") as part:
            (part / "a").write_text("1")
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("has_links", [True, False])
def test_a_new_file_replaces_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_links: bool) -> None:
    """The first writer of a new file keeps its name, on a file system without hard links too."""

    def refuse(_path: Path, _target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = tmp_path / "file"
    with replacing(path, is_new=True) as part:
        part.write_text("first")
    with pytest.raises(FileExistsError), replacing(path, is_new=True) as part:
        part.write_text("second")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"file": "first"}

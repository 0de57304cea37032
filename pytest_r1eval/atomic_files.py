"""
Files and folders that are whole or not there, and never somewhere else than they say.

A run's folder may come from elsewhere: a CI's artifact, a colleague. A link in it, or a name with ``..``, must not lead
a file of ours out of it, so nothing is written through a link: what was written takes the link's place.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path, *, inside: Path | None = None, is_new: bool = False) -> Iterator[Path]:
    """
    Give a name to write to, and put what was written in the file's place at once.

    Args:
        path: The file; a folder that is not there is made, a link in the file's place is replaced.
        inside: The folder that the file must be in, whatever links there are; None for anywhere.
        is_new: Whether nothing may be replaced; of several that write it at once, one does.

    Raises:
        FileExistsError: If it is there and has to be new.
        OSError: If it cannot be written, or would not be inside.
    """
    if inside is not None:
        _demand_inside(_nearest_folder(path), inside, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if inside is not None:
        _demand_inside(path.parent, inside, path)
    part = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}.part")
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    try:
        yield part
        if is_new:
            _put_new(part, path)
        else:
            part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _put_new(part: Path, path: Path) -> None:
    """Give a file its name, which no other file has."""
    try:
        path.hardlink_to(part)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP}:
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))  # no hard links here
        part.replace(path)


def write_text(path: Path, text: str, *, inside: Path | None = None) -> None:
    """
    Write a text in UTF-8, whole or not at all; see `replacing`.

    Raises:
        OSError: If it cannot be written, or would not be inside.
    """
    with replacing(path, inside=inside) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def making(folder: Path) -> Iterator[Path]:
    """
    Give a folder to fill, and put it in its place at once when it is full; nothing is left of one that fails.

    Args:
        folder: The folder; it is not there yet, or empty.

    Raises:
        OSError: If it cannot be made, or put in its place.
    """
    part = folder.with_name(f".{folder.name[:200]}.{secrets.token_hex(8)}.part")
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _nearest_folder(path: Path) -> Path:
    """Return the last folder above a file that is there, with no ``..`` left in it for a link to turn around."""
    return next(folder for folder in path.parents if folder.exists() or folder.is_symlink())


def _demand_inside(folder: Path, inside: Path, path: Path) -> None:
    real, home = folder.resolve(), inside.resolve()
    if ".." in path.parts[len(inside.parts) :] or not (real == home or home in real.parents):
        raise OSError(errno.EXDEV, f"it would be outside of {inside}, in {real}", str(path))

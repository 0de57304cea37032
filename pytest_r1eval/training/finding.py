"""
Checkpoints below a folder, by step, and whether each is complete.

A step is a number, so 1000 comes after 200. A checkpoint is known by its step and by the stamps of its weights: one
that a resumed training wrote again under the same step is another checkpoint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from pytest_r1eval.checkpoints.adapter import adapter_weights, is_adapter
from pytest_r1eval.checkpoints.files import ADAPTER_WEIGHTS, WEIGHTS, weights_of
from pytest_r1eval.checkpoints.weights import check_weights, stored_tensors
from pytest_r1eval.core.codec import digest
from pytest_r1eval.errors import ModelError, PlanError
from pytest_r1eval.training.frameworks import Marker, MarkerKind

_NOT_THE_MODEL = ("optim*", "extra*", "rng*", "scheduler*", "scaler*", "dataloader*", "data.pt", "*.json")
"""Of a native checkpoint: what a trainer may remove or add later, without another model."""
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """
    A folder that matches the pattern.

    Attributes:
        step: Its training step.
        folder: The folder.
    """

    step: int
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """
    Where checkpoints lie below a folder.

    Attributes:
        text: As it was given.
        parts: One expression for each part of a path; what a `*` matches is a group.
    """

    text: str
    parts: tuple[re.Pattern[str], ...]

    def step_of(self, path: PurePosixPath) -> int | None:
        """Return the step that a path names: the last number that a `*` matches; None without one."""
        matches = [part.fullmatch(name) for part, name in zip(self.parts, path.parts, strict=True)]
        starred = [group for match in matches if match for group in match.groups()]
        numbers = [found[-1] for group in starred if (found := _NUMBER.findall(group))]
        return int(numbers[-1]) if numbers else None


def pattern_of(text: str) -> Pattern:
    """
    Read a pattern.

    Raises:
        PlanError: If it leads out of the folder, or names no step.
    """
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "**" in text or "*" not in text:
        raise PlanError(
            f"--pattern {text!r}: expected a path below the folder with * for the step, as in "
            "'global_step_*/actor/huggingface'"
        )
    return Pattern(text=text, parts=tuple(map(_expression, path.parts)))


def _expression(part: str) -> re.Pattern[str]:
    return re.compile("(.*)".join(map(re.escape, part.split("*"))))


def found_in(folder: Path, pattern: Pattern, *, without: Path) -> tuple[Found, ...]:
    """
    Find the checkpoints below a folder, in numeric order of their steps.

    Args:
        folder: The folder.
        pattern: Where they lie.
        without: A folder that is not searched: what is kept of them.

    Raises:
        PlanError: If two of them are one step.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.glob(pattern.text)):
        step = pattern.step_of(PurePosixPath(path.relative_to(folder).as_posix()))
        if step is None or not path.is_dir() or without in (path, *path.parents):
            continue
        if step in found:
            raise PlanError(
                f"--pattern {pattern.text!r} matches {found[step]} and {path}, both step {step}; expected one folder "
                "for each step: narrow the pattern"
            )
        found[step] = path
    return tuple(Found(step=step, folder=found[step]) for step in sorted(found))


def is_marked(found: Found, marker: Marker, *, root: Path) -> bool | None:
    """Whether the trainer says that a checkpoint is complete; None where it says nothing."""
    match marker.kind:
        case MarkerKind.IN_FOLDER:
            return (found.folder / marker.name).is_file()
        case MarkerKind.TRACKER:
            return found.step <= _tracked(root / marker.name)
        case MarkerKind.RENAMED:
            return True
        case MarkerKind.SETTLED:
            return None


def _tracked(path: Path) -> int:
    """Return the newest complete step; below all where there is none, or it is being written."""
    try:
        return int(path.read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return -1


def check_whole(folder: Path) -> None:
    """
    Refuse a folder that an engine cannot load yet: a model whose files are not all there, or half an adapter.

    Raises:
        ModelError: With what is missing.
    """
    try:
        if is_adapter(folder):
            stored_tensors(adapter_weights(folder, name=str(folder)))
            return
        if not (weights := weights_of(folder)):
            raise ModelError(f"{folder} holds no weights; expected {', '.join(WEIGHTS)}, or an adapter")
        check_weights(folder, weights, config=json.loads((folder / "config.json").read_bytes()))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} cannot be read: {error}; expected a checkpoint's files") from error


def stamp_of(folder: Path, *, is_native: bool) -> str | None:
    """Return what tells a checkpoint from a later one under the same name; None while it has no weights."""
    files: Iterable[Path]
    if is_native:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_beside(path, folder)]
    else:
        files = weights_of(folder) or [path for name in ADAPTER_WEIGHTS if (path := folder / name).is_file()]
    return _stamps(files, folder)


def state_of(folder: Path) -> str | None:
    """Return the stamps of every file below a folder, which change while it is written."""
    return _stamps((path for path in sorted(folder.rglob("*")) if path.is_file()), folder)


def _is_beside(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    return any(fnmatchcase(part, pattern) for part in parts for pattern in _NOT_THE_MODEL)


def _stamps(files: Iterable[Path], folder: Path) -> str | None:
    try:
        found = [(path.relative_to(folder).as_posix(), path.stat()) for path in files]
    except OSError:  # deleted between the two
        return None
    return digest([[name, stat.st_size, stat.st_mtime_ns] for name, stat in found]) if found else None

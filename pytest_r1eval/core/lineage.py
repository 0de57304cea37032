"""A checkpoint's place in its training: given by the training, or read off its name."""

import re
from dataclasses import dataclass

from pytest_r1eval.core.fields import MODEL_NAME

_STEP = re.compile(r"(?:checkpoint|global_?step|step|iter(?:ation)?)[-_]?([0-9]+)", re.IGNORECASE)


def is_model_name(text: str) -> bool:
    """Whether a text is ``org/name``, as baselines are filed under: no part of it leads out of a folder."""
    return text in MODEL_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """
    A checkpoint's place in a training.

    Attributes:
        parent: ``org/name`` of the checkpoint it was trained from; None if not given.
        step: Its training step; None if not given.
        commit: The commit of the training code; None if not given.

    Raises:
        ValueError: If the step is negative, or a text is empty.
    """

    parent: str | None = None
    step: int | None = None
    commit: str | None = None

    def __post_init__(self) -> None:
        if self.step is not None and self.step < 0:
            raise ValueError(f"step is {self.step!r}; expected a whole number, 0 or more")
        for field, text in (("parent", self.parent), ("commit", self.commit)):
            if text is not None and not text.strip():
                raise ValueError(f"{field} is {text!r}; expected some text")


def step_of(name: str) -> int | None:
    """Read the training step off a checkpoint's name, such as ``run/checkpoint-200``; None where it names none."""
    found = _STEP.fullmatch(name.rpartition("/")[2])
    return None if found is None else int(found[1])


def lineage_from(name: str, *, parent: str | None, step: int | None, commit: str | None) -> Lineage | None:
    """
    Put together what is known of a checkpoint's place in its training; None where nothing is.

    Args:
        name: ``org/name`` of the checkpoint, which may end in its step.
        parent: The checkpoint it was trained from.
        step: Its training step; None takes the name's.
        commit: The commit of the training code.
    """
    found = step_of(name) if step is None else step
    return None if (parent, found, commit) == (None, None, None) else Lineage(parent=parent, step=found, commit=commit)


def is_one_training(one: tuple[str, Lineage], other: tuple[str, Lineage]) -> bool:
    """
    Whether two checkpoints of one organisation may belong to one training.

    Trainers write checkpoints side by side, each named after its step: those do. What goes by names of its own
    shares its organisation with other trainings; if both say what they were trained from, that must agree.

    Args:
        one: ``org/name`` of a checkpoint, and its place.
        other: The same of one of an earlier step.
    """
    (name, place), (earlier_name, earlier_place) = one, other
    if None not in {step_of(name), step_of(earlier_name)} or earlier_name in {name, place.parent}:
        return True
    parents = {place.parent, earlier_place.parent}
    return None in parents or len(parents) == 1

"""
Where trainers leave checkpoints, and how each says that one is complete.

A preset is a table row: the folder that transformers can load, the folder that a converter reads, and the marker of
each. Both were read in the framework's public source at the commit that its row names; nothing of it is copied.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from pytest_r1eval.errors import PlanError


class MarkerKind(StrEnum):
    """How a trainer says that a checkpoint is complete."""

    IN_FOLDER = "in folder"
    """A file in the checkpoint's folder, written last."""
    TRACKER = "tracker"
    """A file in the watched folder that holds the newest complete step."""
    RENAMED = "renamed"
    """The folder's name: it is written under another one."""
    SETTLED = "settled"
    """Nothing: all files that the weights' index names are there, and none of them changed between two looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """
    What says that a checkpoint is complete.

    Attributes:
        kind: How.
        name: The file; empty where there is none.
    """

    kind: MarkerKind
    name: str = ""


SETTLED = Marker(kind=MarkerKind.SETTLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """
    Where checkpoints lie below the watched folder.

    Attributes:
        pattern: Relative, with `*` for the step.
        marker: What says that one is complete.
    """

    pattern: str
    marker: Marker = SETTLED


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """
    A trainer's layout.

    Attributes:
        name: As of `--framework`.
        source: Where its layout was read.
        whole: Checkpoints that transformers loads; None where the trainer writes none by itself.
        native: What a converter reads; None where that is the same folder.
        converter: The trainer's own converter, as of `--convert`.
        advice: What makes the trainer write checkpoints that need no converter.
    """

    name: str
    source: str
    whole: Layout | None
    native: Layout | None = None
    converter: str | None = None
    advice: str | None = None


_TRAINER_STATE = Layout(pattern="checkpoint-*", marker=Marker(kind=MarkerKind.IN_FOLDER, name="trainer_state.json"))
_MERGE_SHARDS = "accelerate merge-weights {checkpoint}/pytorch_model_fsdp_0 {out}"
_WHOLE_STATE = "FULL_STATE_DICT as FSDP's state dict type"
_TRACKER = Marker(kind=MarkerKind.TRACKER, name="latest_checkpointed_iteration.txt")

FRAMEWORKS: Mapping[str, Framework] = {
    row.name: row
    for row in (
        Framework(
            name="verl",
            source="verl-project/verl, ray_trainer.py at 0094eb2, fsdp_checkpoint_manager.py at 063d91b",
            whole=Layout(pattern="global_step_*/actor/huggingface", marker=_TRACKER),
            native=Layout(pattern="global_step_*/actor", marker=_TRACKER),
            converter="python -m verl.model_merger merge --backend fsdp --local_dir {checkpoint} --target_dir {out}",
            advice="hf_model in actor_rollout_ref.actor.checkpoint.save_contents",
        ),
        Framework(
            name="nemo-rl",
            source="NVIDIA-NeMo/RL, nemo_rl/utils/checkpoint.py at 01e9028",
            whole=None,
            native=Layout(pattern="step_*", marker=Marker(kind=MarkerKind.RENAMED)),
            converter=(
                "python examples/converters/convert_dcp_to_hf.py --config {checkpoint}/config.yaml "
                "--dcp-ckpt-path {checkpoint}/policy/weights --hf-ckpt-path {out}"
            ),
        ),
        Framework(
            name="openrlhf",
            source="OpenRLHF/OpenRLHF, trainer/ray/ppo_actor.py at 012aae8",
            whole=Layout(pattern="global_step*_hf"),
            advice="--save_hf_ckpt",
        ),
        Framework(
            name="slime",
            source="THUDM/slime, backends/megatron_utils at 5b64101",
            whole=None,
            native=Layout(pattern="iter_*", marker=_TRACKER),
            converter=(
                "python tools/convert_torch_dist_to_hf.py --input-dir {checkpoint} --output-dir {out} "
                "--origin-hf-dir MODEL"
            ),
            advice="--save-hf 'DIR/hf/rollout_{rollout_id}', and --pattern 'hf/rollout_*' here",
        ),
        Framework(
            name="prime-rl",
            source="PrimeIntellect-ai/prime-rl, trainer/ckpt.py at 047eeea",
            whole=Layout(pattern="weights/step_*", marker=Marker(kind=MarkerKind.IN_FOLDER, name="STABLE")),
            advice="[ckpt.weights]",
        ),
        Framework(
            name="trl",
            source="transformers 5.19.0, Trainer._save_checkpoint",
            whole=_TRAINER_STATE,
            converter=_MERGE_SHARDS,
            advice=_WHOLE_STATE,
        ),
        Framework(
            name="axolotl",
            source="transformers 5.19.0, Trainer._save_checkpoint, which axolotl uses",
            whole=_TRAINER_STATE,
            converter=_MERGE_SHARDS,
            advice=_WHOLE_STATE,
        ),
    )
}


def framework_named(name: str) -> Framework:
    """
    Return a preset.

    Raises:
        PlanError: If there is none of that name.
    """
    if (found := FRAMEWORKS.get(name)) is not None:
        return found
    close = difflib.get_close_matches(name.lower(), FRAMEWORKS, n=1, cutoff=0.5)
    meant = f" (did you mean {close[0]}?)" if close else ""
    raise PlanError(
        f"--framework {name}: no such preset{meant}; expected one of {', '.join(FRAMEWORKS)}, or --pattern for another "
        "layout"
    )


def layout_of(framework: Framework | None, *, pattern: str | None, marker: str | None, converts: bool) -> Layout:
    """
    Return where checkpoints are looked for.

    Args:
        framework: The preset; None for none.
        pattern: In place of the preset's.
        marker: A file in each checkpoint's folder that is written last, in place of the preset's.
        converts: Whether a converter reads them.

    Raises:
        PlanError: If neither a preset nor a pattern says where.
    """
    found = None if framework is None else (framework.native or framework.whole if converts else framework.whole)
    if pattern is not None:
        found = Layout(pattern=pattern) if found is None else replace(found, pattern=pattern)
    if found is None:
        if framework is None:
            raise PlanError(
                "no layout: expected --framework NAME, or where checkpoints lie below the folder, as in "
                "--pattern 'checkpoint-*'"
            )
        raise PlanError(f"--framework {framework.name}: {without_weights(framework)}")
    return found if marker is None else replace(found, marker=Marker(kind=MarkerKind.IN_FOLDER, name=marker))


def without_weights(framework: Framework) -> str:
    """Say what to do where a trainer wrote no weights that transformers loads."""
    ways = [] if framework.advice is None else [f"train with {framework.advice}"]
    ways += [] if framework.converter is None else [f"add --convert '{framework.converter}'"]
    return f"it writes no checkpoint that an engine loads; {', or '.join(ways)}"

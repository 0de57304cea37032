"""
A LoRA adapter: what its files say, whether vLLM serves it, and whether it belongs to a base model.

vLLM loads an adapter after the base model, and one that it refuses then ends the engine. A setting of PEFT that vLLM
does not know is left out without a message, so that another function answers. All of it is read here, from
adapter_config.json and two safetensors headers: what is not known to be served is refused.

References:
    .. [1] ``PEFTHelper`` of vllm/lora/peft_helper.py and ``LoRAModel`` of vllm/lora/lora_model.py, vLLM 0.32.0.
    .. [2] ``LoraConfig`` of peft/tuners/lora/config.py, PEFT 0.21.2.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_r1eval.checkpoints.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, FolderDigests, weights_of
from pytest_r1eval.checkpoints.weights import StoredTensor
from pytest_r1eval.errors import ModelError

MAX_RANK = 512
"""The highest rank that vLLM serves."""

_WITHOUT_EFFECT = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config",
        "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern", "layers_to_transform", "loftq_config",
        "lora_alpha", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core", "peft_type", "peft_version",
        "qalora_group_size", "r", "revision", "runtime_config", "target_modules", "task_type",
    }
)  # fmt: skip
"""Settings of PEFT's that name the adapter, or decided how it was trained: the stored matrices hold their effect."""
_SERVED = frozenset({"use_rslora"})
"""Settings that vLLM follows as PEFT does: it scales by alpha / sqrt(r) where rsLoRA is set."""
_PLAIN_STARTS = frozenset({"gaussian", "eva", "orthogonal", "mica", "lora_ga"})
"""Starts of the matrices that leave the base model as it is; PiSSA, OLoRA, CorDA and LoftQ change its weights."""
_EMBEDDINGS = frozenset({"embed_tokens", "lm_head"})
"""Modules that vLLM adapts in some architectures only."""
_MATRIX = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
"""Number formats whose shapes are the module's; those of packed weights are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """
    What adapter_config.json says.

    Attributes:
        base_model: The model that it was trained on: a folder or a Hub id; None where it does not say.
        base_revision: That model's revision on the Hub.
        rank: Of its matrices; None for what is not LoRA.
        unserved: The settings that vLLM does not serve, as written.
        is_transposed: Whether the base model stores its matrices transposed, as GPT-2 does.
    """

    base_model: str | None
    base_revision: str | None
    rank: int | None
    unserved: tuple[str, ...]
    is_transposed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """
    An adapter that is judged on its base model.

    Attributes:
        folder: Its folder.
        rank: The rank of its matrices; 0 for one that is merged and not LoRA.
        n_parameters: The numbers that it adds to the base model's.
        is_merged: Whether it is merged into a copy of the base model, which is served in its place.
        digests: What was read of its folder.
    """

    folder: Path
    rank: int
    n_parameters: int
    is_merged: bool
    digests: FolderDigests = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraModule:
    """
    One adapted module.

    Attributes:
        name: Its name in the base model.
        n_in: Numbers that it takes.
        n_out: Numbers that it gives.
        rank: Of its two matrices.
    """

    name: str
    n_in: int
    n_out: int
    rank: int


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter without a whole model."""
    return (folder / ADAPTER_CONFIG).is_file() and not weights_of(folder)


def adapter_config(content: Mapping[str, object], *, name: str) -> AdapterConfig:
    """
    Read the content of adapter_config.json, or what PEFT's configuration gives as a dictionary.

    Args:
        content: The content.
        name: The adapter, for messages.

    Raises:
        ModelError: If it is not the configuration of an adapter.
    """
    kind, rank = content.get("peft_type"), content.get("r")
    if not isinstance(kind, str):
        raise ModelError(
            f"{name}: {ADAPTER_CONFIG} has no peft_type; expected what PEFT's save_pretrained writes: save it again"
        )
    kind = str(getattr(kind, "value", kind))  # PEFT's own is an enum
    is_lora = kind == "LORA"
    if is_lora and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
        raise ModelError(f"{name}: the rank r in {ADAPTER_CONFIG} is {rank!r}; expected a whole number, 1 or more")
    base, revision = content.get("base_model_name_or_path"), content.get("revision")
    return AdapterConfig(
        base_model=base if isinstance(base, str) and base else None,
        base_revision=revision if isinstance(revision, str) and revision else None,
        rank=rank if is_lora and isinstance(rank, int) else None,
        unserved=tuple(_unserved(content)) if is_lora else (f"peft_type={kind}",),
        is_transposed=content.get("fan_in_fan_out") is True,
    )


def _unserved(content: Mapping[str, object]) -> Iterator[str]:
    """Find the settings that vLLM does not serve; one that is unknown here counts among them where it is set."""
    rank, named = content.get("r"), content.get("target_modules")
    if isinstance(rank, int) and rank > MAX_RANK:
        yield f"r={rank}, above {MAX_RANK}"
    for module in sorted(map(str, named)) if isinstance(named, Iterable) and not isinstance(named, str) else ():
        if module.rpartition(".")[2] in _EMBEDDINGS:
            yield f"target_modules with {module}"
    for key, value in sorted(content.items()):
        is_set = value not in (None, False, "", [], {}, "none")
        is_plain = key == "init_lora_weights" and (value is True or str(value).lower() in _PLAIN_STARTS)
        if is_set and not is_plain and key not in _WITHOUT_EFFECT | _SERVED:
            yield f"{key}={json.dumps(value, default=str)}"


def lora_modules(
    tensors: Mapping[str, StoredTensor], config: AdapterConfig, *, name: str
) -> tuple[tuple[LoraModule, ...], tuple[str, ...]]:
    """
    Return the modules that an adapter's weights adapt, and the tensors that vLLM does not serve.

    Args:
        tensors: What the header of adapter_model.safetensors lists.
        config: What adapter_config.json says.
        name: The adapter, for messages.

    Raises:
        ModelError: If a matrix lacks its other half, or ranks differ from the configuration's.
    """
    pairs: dict[str, dict[str, tuple[int, ...]]] = {}
    others = []
    for tensor, stored in tensors.items():
        match = _MATRIX.fullmatch(tensor)
        if match is None or len(stored.shape) != 2 or match["module"].rpartition(".")[2] in _EMBEDDINGS:
            others.append(tensor)
        else:
            pairs.setdefault(match["module"], {})[match["side"]] = stored.shape
    modules = tuple(_module(module, sides, config, name=name) for module, sides in pairs.items())
    if not modules and not others:
        raise ModelError(f"{name}: its weights hold no tensor; expected an adapter's matrices: save it again")
    return modules, tuple(others)


def _module(module: str, sides: Mapping[str, tuple[int, ...]], config: AdapterConfig, *, name: str) -> LoraModule:
    if len(sides) < 2:
        (found,) = sides
        raise ModelError(
            f"{name} holds lora_{found} of {module} and not its other half; expected both: copy the adapter again, or "
            "save it again"
        )
    (rank, n_in), (n_out, other_rank) = sides["A"], sides["B"]
    has_own_ranks = any(each.startswith("rank_pattern=") for each in config.unserved)
    if rank != other_rank or (rank != config.rank and not has_own_ranks):
        raise ModelError(
            f"{name}: the matrices of {module} have the ranks {rank} and {other_rank}, and {ADAPTER_CONFIG} says "
            f"{config.rank}; expected files of one save: copy the adapter again"
        )
    return LoraModule(name=module, n_in=n_in, n_out=n_out, rank=rank)


def refuse_unserved(what: Iterable[str], *, name: str, base: str) -> None:
    """
    Refuse what vLLM does not serve, with the two ways to merge it.

    Args:
        what: Settings and tensors that it does not serve; nothing is refused where there is none.
        name: The adapter's folder.
        base: Its base model.

    Raises:
        ModelError: With the first of them.
    """
    found = tuple(what)
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise ModelError(
            f"{name} is an adapter that vLLM does not serve: {found[0]}{more}; expected plain LoRA. Add "
            f"--r1-adapter-merge, or merge it: {merge_command(name, base=base, out='MERGED')}"
        )


def merge_command(name: str, *, base: str, out: str) -> str:
    """Return the command that writes a whole checkpoint of an adapter and its base model."""
    return f"python -m pytest_r1eval.checkpoints.merging {shlex.quote(name)} {shlex.quote(base)} {out}"


def refuse_other_base(
    modules: Iterable[LoraModule], tensors: Mapping[str, StoredTensor], config: AdapterConfig, *, name: str, base: str
) -> None:
    """
    Refuse an adapter whose modules the base model lacks, or has in another size.

    A library may name a model's parts otherwise in memory than they are stored. So a module is found by its whole name
    or by the part from its layer on.

    Args:
        modules: The adapter's.
        tensors: The base model's, from the headers of its weights.
        config: What adapter_config.json says.
        name: The adapter.
        base: The base model.

    Raises:
        ModelError: With the first such module.
    """
    stored: dict[str, list[StoredTensor]] = {}
    for tensor, entry in tensors.items():
        owner = tensor.rpartition(".")[0]
        for key in {owner, _from_layer(owner)}:
            stored.setdefault(key, []).append(entry)
    for module in modules:
        found = stored.get(module.name) or stored.get(_from_layer(module.name))
        expected = (module.n_in, module.n_out) if config.is_transposed else (module.n_out, module.n_in)
        shapes = {each.shape for each in found or () if each.dtype in _FLOATS and len(each.shape) == 2}
        if found is None or (shapes and expected not in shapes):
            there = "is missing" if found is None else f"is {' or '.join(map(_shape, sorted(shapes)))}"
            named = f"; {ADAPTER_CONFIG} names {config.base_model}" if config.base_model else ""
            raise ModelError(
                f"{name} is an adapter of another model than {base}: {module.name} {there} in it, and the adapter's "
                f"is {_shape(expected)}{named}. Give the model that it was trained on as --r1-base-model"
            )


def _from_layer(module: str) -> str:
    """Return a module's name from its layer on: what is in front of it differs between libraries and releases."""
    return module[module.rfind("layers.") :] if "layers." in module else module


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def n_numbers(tensors: Mapping[str, StoredTensor]) -> int:
    """Count an adapter's parameters."""
    return sum(tensor.n_numbers for tensor in tensors.values())


def adapter_weights(folder: Path, *, name: str) -> Path:
    """
    Return the file of an adapter's weights, whose header is read.

    Raises:
        ModelError: If there is none, or it is not a safetensors file.
    """
    path = folder / ADAPTER_WEIGHTS[0]
    if path.is_file():
        return path
    found = "adapter_model.bin, whose content is a program" if (folder / ADAPTER_WEIGHTS[1]).is_file() else "no weights"
    raise ModelError(
        f"{name} is an adapter with {found}; expected {path.name}: save it again (save_pretrained of PEFT writes that)"
    )

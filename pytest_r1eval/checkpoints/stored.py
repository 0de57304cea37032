"""
What is stored of a model: parameters and bytes, by the index of its weights and their headers.

A packed tensor holds several parameters in a stored number, and has scales and zero points beside it that are none.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.checkpoints.files import header_bytes, weights_of
from pytest_r1eval.checkpoints.quantization import Quantization
from pytest_r1eval.checkpoints.size import ModelSize, model_size
from pytest_r1eval.checkpoints.weights import MAX_HEADER_BYTES

_INDEX = "model.safetensors.index.json"
_HEAD, _EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"
_BESIDE = re.compile(
    r"(?:^|[._])(?:[qkv]_scale|scales?|scale_\w+|\w*_scale|q?zeros|zero_point|g_idx|weight_shape|absmax|quant_map|SCB"
    r"|nested_\w+|weight_format|quant_state\..+)$"
)
"""Tensors beside packed weights, by the last part of their names: AWQ, GPTQ, compressed-tensors, bitsandbytes, FP8."""
_WORD_BITS = {"I32": 32, "U32": 32, "U8": 8, "I64": 64}
"""Number formats that several weights of fewer bits are packed into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One tensor of a header."""

    dtype: str
    n_numbers: int
    n_bytes: int


def stored_size(config: Mapping[str, object], folder: Path, *, quantization: Quantization | None) -> ModelSize:
    """
    Read a model's sizes from the index of its weights, from their headers, or from its config, in this order.

    Of packed weights the headers come first: an index counts stored numbers, which are not parameters.

    Args:
        config: The content of its config.json.
        folder: Where its files are; of a model on the Hub, the small ones.
        quantization: How its weights are packed; None for not.
    """
    index = _index(folder)
    n_parameters, n_bytes = (_count(index.get(key)) for key in ("total_parameters", "total_size"))
    if quantization is not None or n_bytes is None:
        entries = _unused_left_out(_entries(folder), config)
        if entries:
            n_bytes = sum(entry.n_bytes for entry in entries.values()) or None
            counted = _n_parameters(entries, bits=None if quantization is None else quantization.bits)
            n_parameters = counted if quantization is not None else n_parameters or counted
        elif quantization is not None:
            n_parameters, n_bytes = None, n_bytes or sum(path.stat().st_size for path in weights_of(folder)) or None
    return model_size(config, n_stored_parameters=n_parameters, n_stored_bytes=n_bytes, quantization=quantization)


def _unused_left_out(entries: Mapping[str, _Entry], config: Mapping[str, object]) -> Mapping[str, _Entry]:
    """Leave out an output layer that is stored beside the embeddings it is tied to: no engine keeps it."""
    if config.get("tie_word_embeddings") is not True or _EMBEDDINGS not in entries:
        return entries
    return {name: entry for name, entry in entries.items() if name != _HEAD}


def _n_parameters(entries: Mapping[str, _Entry], *, bits: int | None) -> int | None:
    """Count parameters; None where it is unknown how many a packed number holds."""
    total = 0
    for name, entry in entries.items():
        if _BESIDE.search(name):
            continue
        word = _WORD_BITS.get(entry.dtype)
        if word is not None and bits is None:
            return None
        total += entry.n_numbers if word is None or bits is None else entry.n_numbers * word // bits
    return total or None


def _entries(folder: Path) -> dict[str, _Entry]:
    """List what the headers hold; Mistral puts the same weights beside them once more, as consolidated.safetensors."""
    files = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
    return {name: entry for file in files for name, entry in _header(file)}


def _header(path: Path) -> Iterable[tuple[str, _Entry]]:
    """List the tensors of a safetensors header; nothing where it is not such a header."""
    n_bytes = header_bytes(path)
    if n_bytes > MAX_HEADER_BYTES:
        return []
    with path.open("rb") as file:
        header = file.read(n_bytes)[8:]
    try:
        return [
            (
                name,
                _Entry(
                    dtype=str(entry["dtype"]),
                    n_numbers=math.prod(entry["shape"]),
                    n_bytes=entry["data_offsets"][1] - entry["data_offsets"][0],
                ),
            )
            for name, entry in json.loads(header).items()
            if name != "__metadata__"
        ]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return []  # the engine says what is wrong with it


def _index(folder: Path) -> Mapping[str, object]:
    """Read the totals of the index; nothing where there is none."""
    try:
        content = json.loads((folder / _INDEX).read_bytes())
    except (OSError, ValueError):
        return {}
    said = content.get("metadata") if isinstance(content, dict) else None
    return said if isinstance(said, dict) else {}


def _count(value: object) -> int | None:
    """Take a positive whole number; transformers writes total_size as a float by now and then."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 1 else None

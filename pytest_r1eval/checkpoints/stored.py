"""
What is stored of a model: parameters and bytes, by the index of its weights and their headers.

A packed tensor holds several parameters in a stored number, and has scales and zero points beside it that are none.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pytest_r1eval.checkpoints.files import json_member, weights_of
from pytest_r1eval.checkpoints.quantization import quantization_of
from pytest_r1eval.checkpoints.size import ModelSize, is_tied, model_size
from pytest_r1eval.checkpoints.weights import StoredTensor, stored_tensors
from pytest_r1eval.errors import ModelError

_INDEX = "model.safetensors.index.json"
_HEAD, _EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"
_BESIDE = re.compile(
    r"(?:^|[._])(?:[qkv]_scale|scales?|scale_\w+|\w*_scale|q?zeros|zero_point|g_idx|weight_shape|absmax|quant_map|SCB"
    r"|nested_\w+|weight_format|quant_state\..+)$"
)
"""Tensors beside packed weights, by the last part of their names: AWQ, GPTQ, compressed-tensors, bitsandbytes, FP8."""
_WORD_BITS = {"I32": 32, "U32": 32, "U8": 8, "I64": 64}
"""Number formats that several weights of fewer bits are packed into."""


def stored_size(config: Mapping[str, object], folder: Path) -> ModelSize:
    """
    Read a model's sizes from the index of its weights, from their headers, or from its config, in this order.

    Of packed weights the headers come first: an index counts stored numbers, which are not parameters.

    Args:
        config: The content of its config.json.
        folder: Where its files are; of a model on the Hub, the small ones.

    Raises:
        ModelError: If several models lie in it.
    """
    quantization = quantization_of(config, folder)
    index = json_member(folder / _INDEX, "metadata")
    index = index if isinstance(index, dict) else {}
    n_parameters, n_bytes = (_count(index.get(key)) for key in ("total_parameters", "total_size"))
    if quantization is not None or n_bytes is None:
        tensors = _unused_left_out(_tensors(folder), config)
        if tensors:
            n_bytes = sum(tensor.n_bytes for tensor in tensors.values()) or None
            counted = _n_parameters(tensors, bits=None if quantization is None else quantization.bits)
            n_parameters = counted if quantization is not None else n_parameters or counted
        elif quantization is not None:
            n_parameters, n_bytes = None, n_bytes or sum(path.stat().st_size for path in weights_of(folder)) or None
    return model_size(config, n_stored_parameters=n_parameters, n_stored_bytes=n_bytes, quantization=quantization)


def _unused_left_out(tensors: Mapping[str, StoredTensor], config: Mapping[str, object]) -> Mapping[str, StoredTensor]:
    """Leave out an output layer that is stored beside the embeddings it is tied to: no engine keeps it."""
    if not is_tied(config) or _EMBEDDINGS not in tensors:
        return tensors
    return {name: tensor for name, tensor in tensors.items() if name != _HEAD}


def _n_parameters(tensors: Mapping[str, StoredTensor], *, bits: int | None) -> int | None:
    """Count parameters; None where it is unknown how many a packed number holds."""
    total = 0
    for name, tensor in tensors.items():
        if _BESIDE.search(name):
            continue
        word = _WORD_BITS.get(tensor.dtype)
        if word is not None and bits is None:
            return None
        total += tensor.n_numbers if word is None or bits is None else tensor.n_numbers * word // bits
    return total or None


def _tensors(folder: Path) -> dict[str, StoredTensor]:
    """List what the headers hold; Mistral puts the same weights beside them once more, as consolidated.safetensors."""
    found: dict[str, StoredTensor] = {}
    for file in sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors")):
        with suppress(ModelError):  # the engine says what is wrong with it
            found |= stored_tensors(file)
    return found


def _count(value: object) -> int | None:
    """Take a positive whole number; transformers writes total_size as a float by now and then."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 1 else None

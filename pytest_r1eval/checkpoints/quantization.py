"""
How a checkpoint's weights are packed, read from its config and the names of its files.

Two things need it: sizes, because a packed tensor holds several parameters in a stored number, and the fingerprint,
because four bits answer otherwise than sixteen. The engine decides what it serves; nothing is refused here but a
folder of which nothing says what would be served.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.checkpoints.files import json_member, levels_of, weights_of
from pytest_r1eval.errors import ModelError

_CONFIG_KEYS = ("quantization_config", "compression_config")
"""Of config.json; the second is what compressed-tensors wrote at first."""
_MODELOPT_FILE = "hf_quant_config.json"
"""Where NVIDIA's ModelOpt puts the same."""
_BITS_KEYS = ("bits", "w_bit", "num_bits")
_BITS_OF_NAMES = {"fp8": 8, "fbgemm_fp8": 8, "mxfp4": 4, "nvfp4": 4, "mxfp8": 8, "int8": 8}
"""Of methods and algorithms whose name is the number format."""
_GGUF_TYPE = re.compile(r"(?:^|[-._])(?P<type>I?Q(?P<bits>\d)\w*|BF16|F16|F32)$", re.IGNORECASE)
_GGUF_FLOATS = {"BF16": 16, "F16": 16, "F32": 32}
_SPLIT = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """
    How weights are packed.

    Attributes:
        method: Its name, as the checkpoint has it: ``awq``, ``gptq``, ``fp8``, ``compressed-tensors``, ``gguf``.
        bits: Of one weight; None where the checkpoint does not say, or mixes several.
        kv_cache: The number format that it asks for in the KV cache; None for the computation's.
    """

    method: str
    bits: int | None = None
    kv_cache: str | None = None

    def __str__(self) -> str:
        bits = "" if self.bits is None else f" {self.bits}-bit"
        return f"{self.method}{bits}{'' if self.kv_cache is None else f', KV cache {self.kv_cache}'}"


def quantization_of(config: Mapping[str, object], folder: Path) -> Quantization | None:
    """
    Tell how a checkpoint is quantised; None where it is not.

    Args:
        config: The content of its config.json.
        folder: Where its files are.

    Raises:
        ModelError: If it holds several GGUF files and no other weights.
    """
    names = [path.name for path in weights_of(folder)]
    if names and all(name.endswith(".gguf") for name in names):
        return _of_gguf(names, folder)
    said = (level.get(key) for level in levels_of(config) for key in _CONFIG_KEYS)
    found = [each for each in said if isinstance(each, Mapping)]
    if found:
        return _of_config(found[0])
    modelopt = json_member(folder / _MODELOPT_FILE, "quantization")
    return _of_config({"quant_method": "modelopt", **modelopt}) if isinstance(modelopt, dict) else None


def _of_config(said: Mapping[str, object]) -> Quantization:
    method = said.get("quant_method")
    algorithm = str(said.get("quant_algo") or "").lower()
    return Quantization(
        method=method.lower() if isinstance(method, str) else "unnamed",
        bits=_bits(said, names=(algorithm, str(method).lower())),
        kv_cache=_kv_cache(said),
    )


def _bits(said: Mapping[str, object], *, names: Sequence[str]) -> int | None:
    for key in _BITS_KEYS:
        if (bits := _whole(said.get(key))) is not None:
            return bits
    for key, bits in (("load_in_4bit", 4), ("load_in_8bit", 8), ("_load_in_4bit", 4), ("_load_in_8bit", 8)):
        if said.get(key) is True:
            return bits
    groups = said.get("config_groups")
    if isinstance(groups, Mapping):
        weights = [group.get("weights") for group in groups.values() if isinstance(group, Mapping)]
        found = {_whole(each.get("num_bits")) for each in weights if isinstance(each, Mapping)}
        return found.pop() if len(found) == 1 else None
    return next((_BITS_OF_NAMES[name] for name in names if name in _BITS_OF_NAMES), None)


def _kv_cache(said: Mapping[str, object]) -> str | None:
    algorithm, scheme = said.get("kv_cache_quant_algo"), said.get("kv_cache_scheme")
    if isinstance(algorithm, str) and algorithm.lower() not in {"", "none"}:
        return algorithm.lower()
    if not isinstance(scheme, Mapping):
        return None
    bits = _whole(scheme.get("num_bits"))
    return f"{'fp' if scheme.get('type') == 'float' else 'int'}{bits}" if bits is not None else None


def _of_gguf(names: Iterable[str], folder: Path) -> Quantization:
    stems = sorted({_SPLIT.sub("", name.removesuffix(".gguf")) for name in names})
    if len(stems) > 1:
        raise ModelError(
            f"{folder} holds {len(stems)} GGUF models ({', '.join(f'{stem}.gguf' for stem in stems[:3])}); expected "
            "one, so that it is known which is judged: leave one of them in the folder"
        )
    found = _GGUF_TYPE.search(stems[0])
    if found is None:
        return Quantization(method="gguf")
    kind = found["type"].upper()
    return Quantization(method=f"gguf {kind}", bits=int(found["bits"]) if found["bits"] else _GGUF_FLOATS[kind])


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

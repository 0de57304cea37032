"""
Whether the weights in a folder are whole, by names, sizes and safetensors headers.

An engine takes a minute to refuse half a checkpoint, in its own words, and does not
refuse all of them: of an int8 checkpoint without an index, vLLM loads one shard of two.
The index decides which files count; without one, the names ``-00001-of-00002`` do.
A shard under the name of a whole model shows in its headers: layers that the config has are not there.
"""

import json
import math
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.checkpoints.files import ADAPTER, files_of, header_bytes, levels_of
from pytest_r1eval.errors import ModelError

MAX_HEADER_BYTES = 100_000_000
"""What the safetensors library takes at most."""
MAX_POINTER_BYTES = 1024
"""A Git-LFS pointer is three lines."""

_POINTER = b"version https://git-lfs.github.com/spec/"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<total>\d+)(?P<suffix>\.\w+)")
_LAYER = re.compile(r"(?P<stack>(?:[^.]*[^.\d][^.]*\.)*)(?P<number>\d{1,6})\.")
_COPY = "copy the whole checkpoint again, or save it again"


def check_weights(folder: Path, weights: Sequence[Path], *, config: Mapping[str, object]) -> None:
    """
    Refuse a folder whose files are not whole.

    Args:
        folder: The checkpoint's folder.
        weights: Its weight files, at least one.
        config: The content of its config.json.

    Raises:
        ModelError: If a file or layer is missing, empty, cut off or a pointer, or an adapter is beside the model.
    """
    refuse_pointers(folder)
    for path in weights:
        _check_size(path)
    refuse_adapter_beside(folder, name=str(folder))
    loaded = [path for path in weights if path.suffix == ".safetensors"] or list(weights)
    headers = {path.name: stored_tensors(path) for path in loaded if path.suffix == ".safetensors"}
    index = _index(folder, loaded)
    if index is None:
        _check_shards(folder, [path.name for path in loaded])
        tensors = frozenset[str]().union(*headers.values())
    else:
        tensors = _check_index(folder, index, headers=headers)
    _check_layers(folder, tensors, config=config)


def refuse_adapter_beside(folder: Path, *, name: str) -> None:
    """
    Refuse an adapter beside a whole model: transformers would add it to the model, vLLM would not.

    Raises:
        ModelError: If there is one.
    """
    found = sorted(file for file in ADAPTER if (folder / file).exists())
    if found:
        raise ModelError(
            f"{name} holds a whole model and an adapter (LoRA) beside it, {found[0]}; expected one of them: move the "
            "adapter's files out of the folder, or merge it into the model (merge_and_unload of PEFT) and save that"
        )


def refuse_pointers(folder: Path) -> None:
    """
    Refuse a folder that holds pointers of Git LFS in the place of files.

    Raises:
        ModelError: If there is one.
    """
    for path in files_of(folder):
        if path.stat().st_size <= MAX_POINTER_BYTES and path.read_bytes().startswith(_POINTER):
            raise ModelError(
                f"{path} is a Git-LFS pointer, not the file; expected its content: run git lfs pull in {folder}"
            )


def _check_size(path: Path) -> None:
    if not path.exists():
        raise ModelError(f"{path} is a link to {path.readlink()}, which is not there; {_COPY}")
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty; expected weights (was the save interrupted?): {_COPY}")
    with path.open("rb") as file:
        is_archive = file.read(4) == b"PK\x03\x04"
    if is_archive and not zipfile.is_zipfile(path):
        raise ModelError(f"{path} is cut off: its archive has no end (is the disk full?); {_COPY}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """
    One tensor of a safetensors file.

    Attributes:
        dtype: Its number format, as the header has it.
        shape: Its shape.
        n_bytes: What it takes in the file.
    """

    dtype: str
    shape: tuple[int, ...]
    n_bytes: int

    @property
    def n_numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """
    Return a safetensors file's tensors by name, all of which are in it.

    Raises:
        ModelError: If it is cut off, or has no header.
    """
    size, n_header = path.stat().st_size, header_bytes(path)
    with path.open("rb") as file:
        n_said = 8 + int.from_bytes(file.read(8), "little")
        if n_said > size and n_said <= MAX_HEADER_BYTES:
            raise _cut_off(path, size, n_said)
        header = file.read(n_header - 8) if 8 < n_said <= MAX_HEADER_BYTES else b""
    try:
        entries = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        tensors = {
            name: StoredTensor(
                dtype=str(entry["dtype"]),
                shape=tuple(map(int, entry["shape"])),
                n_bytes=entry["data_offsets"][1] - entry["data_offsets"][0],
            )
            for name, entry in entries.items()
        }
        n_bytes = n_said + max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(f"{path} has no safetensors header; expected one: {_COPY}") from error
    if n_bytes > size:
        raise _cut_off(path, size, n_bytes)
    return tensors


def _cut_off(path: Path, size: int, expected: int) -> ModelError:
    return ModelError(
        f"{path} is cut off: it has {size:,} bytes, and its header needs {expected:,} (is the disk full?); {_COPY}"
    )


def _index(folder: Path, loaded: Sequence[Path]) -> Path | None:
    """Return the index of the files that an engine loads; the one of ``model`` goes before others."""
    indexes = sorted(folder.glob(f"*{loaded[0].suffix}.index.json"), key=lambda path: path.name.startswith("model."))
    return indexes[-1] if indexes else None


def _check_index(folder: Path, index: Path, *, headers: Mapping[str, Mapping[str, StoredTensor]]) -> frozenset[str]:
    """Find every file and every tensor that the index names, and return the tensors."""
    files = _weight_map(index)
    named = sorted(set(files.values()))
    missing = [name for name in named if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"{folder} lacks {missing[0]}, one of {len(missing)} missing of the {len(named)} files that {index.name} "
            f"names; {_COPY}, or remove the index if it is left over"
        )
    for tensor, name in files.items():
        if name in headers and tensor not in headers[name]:
            raise ModelError(
                f"{folder / name} lacks the tensor {tensor}, which {index.name} says is in it; expected shards and "
                f"index of one save: {_COPY}"
            )
    return frozenset(files)


def _weight_map(index: Path) -> Mapping[str, str]:
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {str(tensor): str(name) for tensor, name in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} has no weight_map; expected the file of each tensor: {_COPY}") from error
    if not files:
        raise ModelError(f"{index} names no tensor; expected the file of each: {_COPY}")
    return files


def _check_shards(folder: Path, names: Sequence[str]) -> None:
    """Find every shard that the names of the others promise."""
    found: dict[tuple[str, str, str], list[re.Match[str]]] = {}
    for match in filter(None, map(_SHARD.fullmatch, names)):
        found.setdefault((match["stem"], match["total"], match["suffix"]), []).append(match)
    for (stem, total, suffix), shards in found.items():
        numbers = {int(shard["number"]) for shard in shards}
        first = 0 if 0 in numbers else 1
        missing = sorted(set(range(first, first + int(total))) - numbers)
        if missing:
            number = str(missing[0]).zfill(len(shards[0]["number"]))
            raise ModelError(
                f"{folder} lacks {stem}-{number}-of-{total}{suffix}: it holds {len(numbers)} of {int(total)} shards; "
                f"{_COPY}"
            )


def _check_layers(folder: Path, tensors: Iterable[str], *, config: Mapping[str, object]) -> None:
    """
    Find a tensor of every layer that the config counts, where tensors are named by layers.

    A model may have several stacks of layers, as for images; one of them must have as many as the config says. A
    config that describes each block by itself (``block_configs``) may leave blocks empty.
    """
    levels = levels_of(config)
    counts = [count for level in levels if isinstance(count := level.get("num_hidden_layers"), int)]
    if not counts or any("block_configs" in level for level in levels):
        return
    n_layers, stacks = counts[0], dict[str, set[int]]()
    for stack, number in filter(None, map(_layer, tensors)):
        stacks.setdefault(stack, set()).add(number)
    if not stacks:
        return
    held = max(({number for number in stack if number < n_layers} for stack in stacks.values()), key=len)
    if len(held) < n_layers:
        first = next(number for number in range(n_layers) if number not in held)
        raise ModelError(
            f"{folder} lacks {n_layers - len(held)} of the {n_layers} layers that config.json counts, the first of "
            f"them layer {first}; {_COPY}"
        )


def _layer(tensor: str) -> tuple[str, int] | None:
    """Return the stack of layers that a tensor belongs to, by its name up to the first number, and that number."""
    match = _LAYER.match(tensor)
    return None if match is None else (match["stack"], int(match["number"]))

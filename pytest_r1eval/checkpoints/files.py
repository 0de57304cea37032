"""
Which files of a folder are the checkpoint, and their digests.

Every file of the folder counts but the by-products that no engine reads: one that is
unknown here may change an answer. Of sub-folders only additional chat templates count:
transformers reads custom code from the folder itself, and a trainer keeps older
checkpoints, logs and its own state below it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from pytest_r1eval.core.fingerprints import FileDigest

WHOLE_FILE_BYTES = 64 * 2**20
"""Files up to this size are hashed whole."""
N_BLOCKS = 256
BLOCK_BYTES = 64 * 2**10
"""Larger files: 256 blocks of 64 KiB evenly spread, so 16 MiB a file; any training step changes all of them."""

WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTER = frozenset({*ADAPTER_WEIGHTS, ADAPTER_CONFIG})
"""What PEFT saves of a LoRA adapter."""

_NO_WEIGHTS = frozenset({"training_args.bin", "optimizer.bin", "scheduler.bin"}) | ADAPTER
"""What trainers leave beside the weights under one of their suffixes."""
_TEMPLATES = "additional_chat_templates"
_BY_PRODUCTS = (
    ".*",
    "*.md",
    "*.log",
    "*.lock",
    "*.out",
    "*.err",
    "*.xml",
    "*.tmp",
    "*.jsonl",
    "*.csv",
    "*.html",
    "*.pdf",
    "*.png",
    "*.jpg",
    "LICENSE*",
    "NOTICE*",
    "events.out.tfevents.*",
    # Accelerate, the Trainer and DeepSpeed
    "*_results.json",
    "latest",
    "optimizer*.bin",
    "optimizer*.pt",
    "rng_state*.pth",
    "random_states_*.pkl",
    "sampler*.bin",
    "scaler.pt",
    "scheduler*.bin",
    "scheduler*.pt",
    "trainer_state.json",
    "training_args.bin",
    "zero_to_fp32.py",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStamp:
    """
    A file's status in the file system, which changes with every write and every replacement.

    A program can set the time of modification back, but not that of the last change of the inode. So a write in place
    that keeps size and time is seen, too.
    """

    name: str
    size: int
    modified_ns: int
    changed_ns: int
    inode: int
    device: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderDigests:
    """
    Digests of a folder.

    Attributes:
        files: Of each file that counts, by name.
        weights: Of the weights alone, an adapter's where there are no others.
        stamps: Of each file, taken before it was read.
    """

    files: tuple[FileDigest, ...]
    weights: str
    stamps: tuple[FileStamp, ...]


def json_member(path: Path, key: str) -> object:
    """Return a member of a JSON file's object; None where there is no such file, object or member."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content.get(key) if isinstance(content, dict) else None


def levels_of(config: Mapping[str, object]) -> tuple[Mapping[str, object], ...]:
    """Return a config.json, and the part of it that is about text where it has one."""
    text = config.get("text_config")
    return (config, text) if isinstance(text, Mapping) else (config,)


def weights_of(folder: Path) -> list[Path]:
    """Return the files that hold weights, by name."""
    return sorted(path for pattern in WEIGHTS for path in folder.glob(pattern) if path.name not in _NO_WEIGHTS)


def files_of(folder: Path) -> list[Path]:
    """Return the files that can change an answer, by name; those of an adapter beside a whole model cannot."""
    by_products = (*_BY_PRODUCTS, *ADAPTER) if weights_of(folder) else _BY_PRODUCTS
    own = [path for path in folder.iterdir() if not any(fnmatchcase(path.name, pattern) for pattern in by_products)]
    return sorted(path for path in [*own, *folder.glob(f"{_TEMPLATES}/*.jinja")] if path.is_file())


def folder_digests(folder: Path) -> FolderDigests:
    """
    Read the digests of a folder: names, sizes, safetensors headers and sampled content.

    Raises:
        OSError: If a file cannot be read.
    """
    weights = set(weights_of(folder)) or {folder / name for name in ADAPTER_WEIGHTS}
    all_weights = hashlib.sha256()
    files, stamps = [], []
    for path in files_of(folder):
        stamps.append(_stamp(path, folder))
        digest = hashlib.sha256()
        for part in _parts(path):
            digest.update(part)
            if path in weights:
                all_weights.update(part)
        files.append(FileDigest(name=stamps[-1].name, digest=digest.hexdigest()))
    return FolderDigests(files=tuple(files), weights=all_weights.hexdigest(), stamps=tuple(stamps))


def digests_now(folder: Path, *, known: FolderDigests) -> tuple[FileDigest, ...]:
    """
    Return the digests of a folder's files as it is now; only files whose stamp changed are read again.

    Raises:
        OSError: If a file cannot be read.
    """
    unchanged = dict(zip(known.stamps, known.files, strict=True))
    return tuple(
        unchanged.get(stamp := _stamp(path, folder)) or FileDigest(name=stamp.name, digest=_file_digest(path))
        for path in files_of(folder)
    )


def _stamp(path: Path, folder: Path) -> FileStamp:
    found = path.stat()
    return FileStamp(
        name=path.relative_to(folder).as_posix(),
        size=found.st_size,
        modified_ns=found.st_mtime_ns,
        changed_ns=found.st_ctime_ns,
        inode=found.st_ino,
        device=found.st_dev,
    )


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    for part in _parts(path):
        digest.update(part)
    return digest.hexdigest()


def header_bytes(path: Path) -> int:
    """Length of a safetensors header, its own length field included; 0 for other formats."""
    if path.suffix != ".safetensors":
        return 0
    with path.open("rb") as file:
        return min(8 + int.from_bytes(file.read(8), "little"), path.stat().st_size)


def _parts(path: Path) -> Iterable[bytes]:
    """Return what a file's digest covers, one piece after the other."""
    size = path.stat().st_size
    yield f"{path.name}\0{size}\0".encode("utf-8", "surrogateescape")
    with path.open("rb") as file:
        yield from _blocks(file, size, header=header_bytes(path))


def _blocks(file: BinaryIO, size: int, *, header: int) -> Iterable[bytes]:
    if size <= WHOLE_FILE_BYTES:
        yield file.read()
        return
    yield file.read(header)
    step = (size - header - BLOCK_BYTES) // (N_BLOCKS - 1)
    for number in range(N_BLOCKS):
        file.seek(header + number * step)
        yield file.read(BLOCK_BYTES)

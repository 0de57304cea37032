"""
What an engine takes of a checkpoint's folder beside the values of its weights.

Checkpoints of one layout differ in those values alone: the same configuration, tokenizer and further files, and tensors
of the same names, number formats and shapes. An engine that has loaded one can load the other in place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from pytest_r1eval.checkpoints.files import weights_of
from pytest_r1eval.checkpoints.weights import stored_tensors
from pytest_r1eval.core.fingerprints import FileDigest
from pytest_r1eval.errors import ModelError

_CONFIG = "config.json"
_HARMLESS = frozenset({"_name_or_path", "transformers_version"})
"""Of config.json: where a model came from, and what wrote the file."""
_INDEX = "*.safetensors.index.json"
"""Which file holds which tensor; all of them are read."""


def layout_of(folder: Path, files: Sequence[FileDigest]) -> str | None:
    """
    Return a digest of a folder's layout; None where weights are not whole safetensors files, or cannot be read.

    Args:
        folder: The checkpoint's.
        files: Digests of its files, as they were inspected.
    """
    weights = weights_of(folder)
    if not weights or any(path.suffix != ".safetensors" for path in weights):
        return None
    try:
        config = json.loads((folder / _CONFIG).read_bytes())
        headers = [stored_tensors(path) for path in weights]
    except (OSError, ValueError, ModelError):  # it was inspected, so it has changed since, which the run finds
        return None
    tensors = {name: (tensor.dtype, tensor.shape) for header in headers for name, tensor in header.items()}
    if len(tensors) < sum(map(len, headers)):  # two files with one tensor: which of them counts is the engine's choice
        return None
    apart = {_CONFIG, *(path.name for path in [*weights, *folder.glob(_INDEX)])}
    others = sorted((file.name, file.digest) for file in files if file.name not in apart)
    settings = {key: value for key, value in config.items() if key not in _HARMLESS}
    text = json.dumps([settings, others, sorted(tensors.items())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()

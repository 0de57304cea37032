"""
What a checkpoint is, read from its files without loading a weight.

A folder that is written over keeps its name, so names say nothing: LightEval's
cache answers for the new checkpoint with the old one's responses. The digests here
cover file names, sizes, safetensors headers and sampled content.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_r1eval.checkpoints.context import longest_context
from pytest_r1eval.checkpoints.files import (
    ADAPTER,
    WEIGHTS,
    FolderDigests,
    digests_now,
    folder_digests,
    header_bytes,
    weights_of,
)
from pytest_r1eval.checkpoints.size import ModelSize, model_size
from pytest_r1eval.checkpoints.weights import MAX_HEADER_BYTES, check_weights, refuse_adapter_beside
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.fingerprints import FileDigest, ModelIdentity, checkpoint_digest
from pytest_r1eval.errors import ModelError

_DATE = "strftime_now"
"""By this function transformers gives a chat template the date."""
_TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "tokenizer_config.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """
    A checkpoint as it is stored.

    Attributes:
        model: What the engine is given: a folder or a Hub id.
        revision: The resolved Hub commit; None for a folder.
        name: ``org/name``, the key of its baselines.
        identity: Digests.
        max_position: The longest context that the model takes, tokens; None if its config does not say.
        folder: Where its small files are; None for a recorded run.
        recommended: The sampling that it recommends, where that is asked for.
        size: Parameters, heads and cache; nothing known for a recorded run.
        prints_date: Whether the chat template asks for today's date.
        digests: What was read of a folder; None for a model on the Hub, whose commit cannot change, and for a
            recorded run.
    """

    model: str
    revision: str | None
    name: str
    identity: ModelIdentity
    max_position: int | None
    folder: Path | None = field(default=None, compare=False)
    recommended: Sampling | None = None
    size: ModelSize = field(default_factory=ModelSize)
    prints_date: bool = False
    digests: FolderDigests | None = field(default=None, compare=False, repr=False)

    def changes(self, *, reread: bool = False) -> str:
        """
        Say in words what became of the folder's files since they were inspected, nothing where all are the same.

        Args:
            reread: Whether to read all files again, which costs what the inspection did; otherwise only those are
                read of which the file system says that they changed.
        """
        if self.digests is None:
            return ""
        folder = Path(self.model)
        try:
            files = self._files_now(folder, self.digests, reread=reread)
        except OSError as error:
            return f"{folder} cannot be read any more ({_first_line(error)})"
        now = replace(self.identity, files=files, checkpoint=checkpoint_digest(files))
        return now.changes_since(self.identity)

    @staticmethod
    def _files_now(folder: Path, known: FolderDigests, *, reread: bool) -> tuple[FileDigest, ...]:
        """Read the folder, once more where a file vanishes between being listed and being read: it is gone then."""
        unchanged = replace(known, files=(), stamps=()) if reread else known
        try:
            return digests_now(folder, known=unchanged)
        except FileNotFoundError:
            return digests_now(folder, known=unchanged)


def inspect_checkpoint(model: str, *, revision: str | None) -> Checkpoint:
    """
    Read a checkpoint's identity from a folder, or from the Hub.

    Raises:
        ModelError: If it does not exist or cannot be read, has no weights, no tokenizer or no chat template.
    """
    try:
        return _inspected(model, revision=revision)
    except (OSError, UnicodeDecodeError, RuntimeError) as error:  # RuntimeError: ~user without a home here
        raise ModelError(
            f"--r1-model {model} cannot be read: {_first_line(error)}; expected a readable checkpoint's folder "
            "or a Hub id (org/name)"
        ) from error


def _inspected(model: str, *, revision: str | None) -> Checkpoint:
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _from_folder(folder.resolve())
    if folder.exists():
        raise ModelError(f"--r1-model {model} is a file; expected a checkpoint's folder or a Hub id (org/name)")
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelError(f"--r1-model {model}: no such folder, and a Hub id would read org/name; check the path")
    return _from_hub(model, revision=revision)


def _from_folder(folder: Path) -> Checkpoint:
    weights = weights_of(folder)
    if not weights:
        _refuse_adapter(folder, name=str(folder))
    config = _json(folder / "config.json", folder)
    if not weights:
        raise ModelError(
            f"{folder} has a config.json but no weights; expected {', '.join(WEIGHTS)} (was the save interrupted?)"
        )
    check_weights(folder, weights, config=config)
    tokenizer, chat_template = _tokenizer_digest(folder), _chat_template(folder)
    digests = folder_digests(folder)
    return Checkpoint(
        model=str(folder),
        revision=None,
        name=_name(folder),
        identity=ModelIdentity(
            weights=digests.weights,
            tokenizer=tokenizer,
            chat_template=_digest([chat_template.encode()]),
            checkpoint=checkpoint_digest(digests.files),
            files=digests.files,
        ),
        max_position=longest_context(config),
        folder=folder,
        size=_size(config, folder),
        prints_date=_DATE in chat_template,
        digests=digests,
    )


def _refuse_adapter(folder: Path, *, name: str) -> None:
    """Tell whether a folder without a model is an adapter."""
    if any((folder / file).is_file() for file in ADAPTER):
        raise ModelError(
            f"{name} holds an adapter (LoRA) without its model; expected a whole checkpoint: merge the adapter into "
            "its model (merge_and_unload of PEFT) and save that with its tokenizer"
        )


def _name(folder: Path) -> str:
    """Name a folder like a Hub model, org/name, by its last two parts."""
    parts = [re.sub(r"[^A-Za-z0-9_.-]", "-", part).lstrip(".-") for part in folder.parts[-2:]]
    organisation, name = (["", "", *parts])[-2:]
    return f"{organisation or 'local'}/{name or 'model'}"


def _from_hub(model: str, *, revision: str | None) -> Checkpoint:
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - half a second, and only for Hub ids
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415
    except ImportError as error:
        raise ModelError(
            f"--r1-model {model}: no such folder, and a Hub id needs huggingface_hub, which is not installed; "
            "install pytest-r1eval[vllm] or pytest-r1eval[cpu]"
        ) from error

    patterns = ["*.json", "*.jinja", "tokenizer.model", "merges.txt"]
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"--r1-model {model}: no such folder, and the Hub did not give it ({_first_line(error)}); "
            "check the name, the network, and HF_TOKEN if the model is gated"
        ) from error
    if not (folder / "config.json").is_file():
        _refuse_adapter(folder, name=model)
    refuse_adapter_beside(folder, name=model)
    config, chat_template = _json(folder / "config.json", folder), _chat_template(folder)
    return Checkpoint(
        model=model,
        revision=folder.name,
        name=model,
        identity=ModelIdentity(
            weights=f"hub:{folder.name}",
            tokenizer=_tokenizer_digest(folder),
            chat_template=_digest([chat_template.encode()]),
            checkpoint=f"hub:{folder.name}",
        ),
        max_position=longest_context(config),
        folder=folder,
        size=_size(config, folder),
        prints_date=_DATE in chat_template,
    )


def _tokenizer_digest(folder: Path) -> str:
    found = [folder / name for name in _TOKENIZER if (folder / name).is_file()]
    if not found:
        raise ModelError(
            f"{folder} has no tokenizer; expected one of {', '.join(_TOKENIZER)}; "
            "save the tokenizer beside the weights (tokenizer.save_pretrained)"
        )
    return _digest(part for path in found for part in (path.name.encode(), path.read_bytes()))


def _chat_template(folder: Path) -> str:
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            template = _json(folder / name, folder).get("chat_template")
            if template:
                return json.dumps(template, sort_keys=True)
    raise ModelError(
        f"{folder} has no chat template; expected chat_template.jinja, or chat_template in tokenizer_config.json. "
        "Reasoning models are asked through theirs: copy it from the base model's tokenizer"
    )


def _size(config: dict[str, object], folder: Path) -> ModelSize:
    """Read the sizes from the index of the weights, from their headers, or from the config, in this order."""
    path = folder / "model.safetensors.index.json"
    said = _json(path, folder).get("metadata") if path.is_file() else None
    index = said if isinstance(said, dict) else {}
    n_parameters, n_bytes = (_count(index.get(key)) for key in ("total_parameters", "total_size"))
    if n_bytes is None:
        # Mistral puts the same weights beside them once more, as consolidated.safetensors.
        files = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
        counts = [_header_counts(file) for file in files]
        n_parameters = n_parameters or sum(count for count, _ in counts) or None
        n_bytes = sum(size for _, size in counts) or None
    return model_size(config, n_stored_parameters=n_parameters, n_stored_bytes=n_bytes)


def _header_counts(path: Path) -> tuple[int, int]:
    """Count the numbers and the bytes that a safetensors header lists; nothing where it is not such a header."""
    n_bytes = header_bytes(path)
    if n_bytes > MAX_HEADER_BYTES:
        return 0, 0
    with path.open("rb") as file:
        header = file.read(n_bytes)[8:]
    try:
        tensors = json.loads(header)
        entries = [entry for name, entry in tensors.items() if name != "__metadata__"]
        n_numbers = sum(math.prod(entry["shape"]) for entry in entries)
        return n_numbers, sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in entries)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return 0, 0  # the engine says what is wrong with it


def _count(value: object) -> int | None:
    """Take a positive whole number; transformers writes total_size as a float by now and then."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 1 else None


def _json(path: Path, folder: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} is not a checkpoint: {path.name} is missing; give the folder that holds it"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {_first_line(error)}; expected a JSON object") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a JSON {type(content).__name__}; expected an object")
    return content


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

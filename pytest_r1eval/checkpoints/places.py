"""
Where a model or an adapter is: a folder, or a Hub id whose small files are fetched.

Weights are fetched of an adapter alone: a model's are the engine's matter.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.checkpoints.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from pytest_r1eval.checkpoints.weights import StoredTensor
from pytest_r1eval.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """
    Where a model or an adapter was found.

    Attributes:
        name: As a person gave it, a folder in full.
        folder: Its folder; for a Hub id, where the Hub's client keeps what was fetched.
        commit: The Hub's; None for a folder.
    """

    name: str
    folder: Path
    commit: str | None


def place_of(model: str, *, revision: str | None, option: str) -> Place:
    """
    Find a model or an adapter.

    Args:
        model: A folder or a Hub id.
        revision: Its revision on the Hub.
        option: What names it, for messages.

    Raises:
        ModelError: If it is not there, or cannot be read.
    """
    try:
        return _located(model, revision=revision, option=option)
    except (OSError, UnicodeDecodeError, RuntimeError) as error:  # RuntimeError: ~user without a home here
        raise unreadable(option, model, error) from error


def unreadable(option: str, model: str, error: Exception) -> ModelError:
    """Say that the system does not give a model's files."""
    return ModelError(
        f"{option} {model} cannot be read: {first_line(error)}; expected a readable checkpoint's folder "
        "or a Hub id (org/name)"
    )


def _located(model: str, *, revision: str | None, option: str) -> Place:
    folder = Path(model).expanduser()
    with suppress(FileNotFoundError, NotADirectoryError):
        folder.stat()  # raises what `is_dir` keeps to itself since Python 3.14
    if folder.is_dir():
        resolved = folder.resolve()
        return Place(name=str(resolved), folder=resolved, commit=None)
    if folder.exists():
        raise ModelError(f"{option} {model} is a file; expected a checkpoint's folder or a Hub id (org/name)")
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelError(f"{option} {model}: no such folder, and a Hub id would read org/name; check the path")
    fetched = _fetched(model, revision=revision, option=option)
    if (fetched / ADAPTER_CONFIG).is_file() and not (fetched / "config.json").is_file():
        fetched = _fetched(model, revision=fetched.name, option=option, weights=ADAPTER_WEIGHTS)
    return Place(name=model, folder=fetched, commit=fetched.name)


def _fetched(model: str, *, revision: str | None, option: str, weights: Iterable[str] = ()) -> Path:
    """
    Fetch what a model on the Hub says about itself.

    Args:
        model: Its id.
        revision: Its revision.
        option: The option that names it, for messages.
        weights: Files of weights to fetch as well.

    Returns:
        The folder where the Hub's client keeps it, named by its commit.
    """
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - half a second, and only for Hub ids
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415
    except ImportError as error:
        raise ModelError(
            f"{option} {model}: no such folder, and a Hub id needs huggingface_hub, which is not installed; "
            "install pytest-r1eval[vllm] or pytest-r1eval[cpu]"
        ) from error

    patterns = ["*.json", "*.jinja", "tokenizer.model", "merges.txt", *weights]
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"{option} {model}: no such folder, and the Hub did not give it ({first_line(error)}); "
            "check the name, the network, and HF_TOKEN if the model is gated"
        ) from error


def published_tensors(model: Place) -> dict[str, StoredTensor]:
    """Read the headers of a Hub model's weights from the Hub; nothing where it has none, or gives none."""
    from huggingface_hub import get_safetensors_metadata  # noqa: PLC0415 - as above
    from huggingface_hub.errors import (  # noqa: PLC0415
        HfHubHTTPError,
        NotASafetensorsRepoError,
        OfflineModeIsEnabled,
        SafetensorsParsingError,
    )

    try:
        files = get_safetensors_metadata(model.name, revision=model.commit).files_metadata.values()
    except (HfHubHTTPError, NotASafetensorsRepoError, OfflineModeIsEnabled, SafetensorsParsingError, OSError):
        return {}  # the engine checks what it downloads
    return {
        name: StoredTensor(
            dtype=str(tensor.dtype),
            shape=tuple(tensor.shape),
            n_bytes=tensor.data_offsets[1] - tensor.data_offsets[0],
        )
        for file in files
        for name, tensor in file.tensors.items()
    }


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its kind where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

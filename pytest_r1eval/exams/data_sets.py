"""
The rows of a task's data set, from a local copy or from the Hub, and where they came from.

Local JSON Lines are read as they are written, without Arrow's guesses about types. So an error can name the line, and a
local copy gives the ids that the Hub's gives.
"""
# ruff: noqa: PLC0415 - LightEval, datasets and transformers load inside functions; see `tasks`

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.errors import ExamError, in_one_line
from pytest_r1eval.exams.tasks import task_file
from pytest_r1eval.hub.errors import causes

if TYPE_CHECKING:
    from lighteval.tasks.lighteval_task import LightevalTaskConfig

Row = Mapping[str, Any]
"""One record of a data set; its columns are the task's business."""

_HUB_TIMEOUT_S = 10
"""For the first answer of the Hub."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """
    Rows as the task's prompt function takes them, and where they came from.

    Attributes:
        rows: The records.
        origin: Where they were read, for errors: a folder of this machine, or a data set of the Hub at a commit.
        name: What they are, for pages that are passed on: no folder of this machine.
    """

    rows: Iterable[Row]
    origin: str
    name: str


def read_data(benchmark: Benchmark, config: LightevalTaskConfig, *, data_dir: Path | None) -> DataSet:
    """
    Find a task's data set and open the rows of its evaluation splits.

    Args:
        benchmark: The benchmark.
        config: Its task.
        data_dir: Folder of local copies.

    Raises:
        ExamError: If it cannot be had.
    """
    folder = _local_folder(benchmark, config, data_dir=data_dir)
    if folder is None:
        return _hub_data(benchmark, config, data_dir=data_dir)
    subsets = _subsets(config)
    splits = [
        _local_rows(folder, subset, split, n_subsets=len(subsets))
        for subset in subsets
        for split in config.evaluation_splits
    ]
    return DataSet(rows=itertools.chain(*splits), origin=str(folder), name=_local_name(config.hf_repo))


def _subsets(config: LightevalTaskConfig) -> tuple[str, ...]:
    """Return the subsets of the data set that a task reads: LightEval's tasks read one, ours may read several."""
    return getattr(config, "hf_subsets", ()) or (config.hf_subset,)


def _local_name(repo: str) -> str:
    """Name a local copy by its data set on the Hub, a task's own folder by its last part."""
    return f"{Path(repo).name} (a local folder)" if Path(repo).is_absolute() else f"{repo} (a local copy)"


def _folder_names(repo: str) -> tuple[str, str]:
    return repo.rsplit("/", maxsplit=1)[-1], repo.replace("/", "__")


def _local_folder(benchmark: Benchmark, config: LightevalTaskConfig, *, data_dir: Path | None) -> Path | None:
    """Find the data set in the user's folder of copies, or where the task itself points to a folder."""
    if data_dir is not None:
        if not data_dir.is_dir():
            raise ExamError(f"{data_dir}: no such folder; expected a folder of local data sets. Check --r1-data")
        for name in _folder_names(config.hf_repo):
            if (data_dir / name).is_dir():
                return data_dir / name
    own = (task_file(benchmark) or Path()).parent / config.hf_repo
    return own if own.is_dir() else None


def _local_rows(folder: Path, subset: str, split: str, *, n_subsets: int) -> Iterable[Row]:
    """Read a subset of a local copy."""
    if n_subsets > 1:
        return _whole(
            _own_rows(folder, subset, split, n_subsets=n_subsets), place=f"{folder / subset}: split {split!r}"
        )
    for candidate in (folder / subset / f"{split}.jsonl", folder / f"{split}.jsonl"):
        if candidate.is_file():
            return _json_lines(candidate)
    return _folder_rows(folder, subset, split)


def _own_rows(folder: Path, subset: str, split: str, *, n_subsets: int) -> Iterable[Row]:
    """Read one of several subsets from its own folder or file; the file of another would be read for each of them."""
    own = folder / subset
    if (rows := own / f"{split}.jsonl").is_file():
        return _json_lines(rows)
    if subset in _named_subsets(folder / "README.md"):
        return _folder_rows(folder, subset, split)
    if own.is_dir():
        return _folder_rows(own, subset, split)
    raise ExamError(
        f"{folder}: found no folder {subset}; expected one for each of the {n_subsets} subsets that the task reads. "
        "Copy the whole data set"
    )


@cache
def _named_subsets(card: Path) -> frozenset[str]:
    """Name the subsets for which the README of a snapshot names files; none where there is no README."""
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    try:
        metadata = metadata_load(card) if card.is_file() else None
    except (OSError, ValueError, YAMLError) as error:
        raise ExamError(
            f"{card}: cannot be read ({in_one_line(error)}); expected the one of the Hub's data set. Copy it again"
        ) from error
    configs = (metadata or {}).get("configs") or []
    return frozenset(str(config.get("config_name")) for config in configs if isinstance(config, dict))


def _whole(rows: Iterable[Row], *, place: str) -> Iterator[Row]:
    """Give the rows of one of several subsets; one without a row would go unseen beside the others."""
    given = iter(rows)
    first = next(given, None)
    if first is None:
        raise ExamError(f"{place} holds no row; expected at least one of each subset. Copy the whole data set")
    yield first
    yield from given


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ExamError(
                f"{path}: line {number} is not JSON ({error.msg}); expected one object a line. Copy the file again"
            ) from error
        if not isinstance(row, dict):
            raise ExamError(f"{path}: line {number} is {type(row).__name__}; expected one JSON object a line")
        yield row


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise ExamError(
            f"{path}: cannot be read ({in_one_line(error)}); expected JSON Lines in UTF-8. "
            "Check its permissions and copy"
        ) from error


def _folder_rows(folder: Path, subset: str, split: str) -> Iterable[Row]:
    """Read what is not JSON Lines (Parquet, a snapshot of a Hub data set) through datasets."""
    import datasets

    if all(path.is_dir() for path in folder.iterdir()) and not (folder / subset).is_dir():
        raise ExamError(
            f"{folder}: found {', '.join(sorted(path.name for path in folder.iterdir())) or 'no file'}, expected "
            f"{subset} with its {split}.jsonl or {split}.parquet. Put a copy there, or choose what is there"
        )
    name = subset if (folder / "README.md").is_file() else None
    try:
        return cast("Iterable[Row]", datasets.load_dataset(str(folder), name=name, split=split))
    except Exception as error:  # datasets raises a different type for each of its file formats
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "no file"
        raise ExamError(
            f"{folder}: split {split!r} cannot be read ({in_one_line(error)}); found {found}, expected {split}.jsonl, "
            f"{split}.parquet or a snapshot of the Hub's data set. Put one there"
        ) from error


def _hub_data(benchmark: Benchmark, config: LightevalTaskConfig, *, data_dir: Path | None) -> DataSet:
    try:
        commit = _hub_commit(config.hf_repo, revision=benchmark.revision)
        splits = [
            _hub_rows(config, subset=subset, split=split, commit=commit)
            for subset in _subsets(config)
            for split in config.evaluation_splits
        ]
    except Exception as error:  # the Hub's client, its transport and datasets share no base class
        raise _hub_error(benchmark, config, error, data_dir=data_dir) from error
    origin = f"{config.hf_repo}@{commit}"
    return DataSet(rows=itertools.chain(*splits), origin=origin, name=origin)


def _hub_rows(config: LightevalTaskConfig, *, subset: str, split: str, commit: str) -> Iterable[Row]:
    import datasets
    from huggingface_hub import constants

    rows = datasets.load_dataset(config.hf_repo, name=subset, split=split, revision=commit)
    if constants.HF_HUB_OFFLINE and not any(commit in Path(file["filename"]).parts for file in rows.cache_files):
        # offline, datasets 5.2 takes the newest revision it has and ignores the one that was asked for
        raise FileNotFoundError(f"the cache holds another revision than {commit}")
    return cast("Iterable[Row]", rows)


def _hub_commit(repo: str, *, revision: str | None) -> str:
    """
    Ask the Hub for the commit of a revision, so that the exam can name it.

    Where no Hub answers, a pinned revision may still lie in the cache: the libraries are told to look there alone,
    because each of their requests is tried six times over, half a minute in all.
    """
    import datasets
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return str(HfApi().dataset_info(repo, revision=revision, timeout=_HUB_TIMEOUT_S).sha)
    except HfHubHTTPError:
        raise
    except Exception:  # transports differ between releases of the client: whatever it is, no answer came
        if revision is None:
            raise
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
        return revision


def _hub_error(
    benchmark: Benchmark, config: LightevalTaskConfig, error: Exception, *, data_dir: Path | None
) -> ExamError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    repo = config.hf_repo
    local = f"--r1-data DIR with a folder {' or '.join(_folder_names(repo))} in it"
    looked = f" (and no copy in {data_dir})" if data_dir is not None else ""
    chain = tuple(causes(error))
    if any(isinstance(cause, GatedRepoError) or "is a gated dataset" in str(cause) for cause in chain):
        return ExamError(
            f"{benchmark.name}: the data set {repo} is gated{looked}; expected access to it. "
            f"Accept its licence at https://huggingface.co/datasets/{repo} and set HF_TOKEN, or give {local}"
        )
    if any(isinstance(cause, RepositoryNotFoundError | RevisionNotFoundError) for cause in chain):
        return ExamError(
            f"{benchmark.name}: no data set {repo} at {benchmark.revision or 'its main revision'} on the Hub{looked}. "
            f"Correct hf_repo in the task, set HF_TOKEN if it is private, or give {local}"
        )
    return ExamError(
        f"{benchmark.name}: the data set {repo} cannot be had from the Hub ({in_one_line(error)}){looked}; "
        f"expected its split {', '.join(config.evaluation_splits)}. Without a network, give {local}"
    )

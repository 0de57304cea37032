"""
Where a run's files go on the Hub, and how the card of their repository lists them.

Two conventions are kept, because people look in the places they know: LightEval's
(one folder a run, one config a task, a split a run and `latest`) and open-r1's (one
config a run and task, results below `eval_results/`). `load_dataset(repo, config,
split="latest")` works in both.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_r1eval.core.choices import UploadLayout

LATEST = "latest"
RESULTS_CONFIG = "results"
OPEN_R1_SPLIT = "train"
_END = "<!-- r1eval: end -->"


def checked_repo(text: str) -> str:
    """
    Return the name of a repository, or of an organisation alone.

    Raises:
        ValueError: If it is neither; the message says what is expected.
    """
    name = text.strip()
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name, flags=re.ASCII):
        raise ValueError("org/name, or org alone")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadWishes:
    """
    Where a run is to be uploaded.

    Attributes:
        repo: ``org/name`` of a data set's repository, or ``org`` alone for the layout's own name in it.
        layout: Whose names are used.
        is_public: Whether the repository is public.
        model_page: The model's repository, to show scores on its page; None for no page.
    """

    repo: str
    layout: UploadLayout = UploadLayout.LIGHTEVAL
    is_public: bool = False
    model_page: str | None = None

    def repo_of(self, model_name: str) -> str:
        """
        Name the repository for a model's runs.

        Args:
            model_name: ``org/name`` of the checkpoint.
        """
        if "/" in self.repo:
            return self.repo
        match self.layout:
            case UploadLayout.LIGHTEVAL:
                ending = "" if self.is_public else "_private"
                return f"{self.repo}/details_{model_name.replace('/', '__')}{ending}"
            case UploadLayout.OPEN_R1:
                return f"{self.repo}/details-{model_name.replace('/', '_')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """
    What names a run's files on the Hub.

    Attributes:
        model_name: ``org/name`` of the checkpoint.
        revision: Its commit on the Hub; ``main`` for one from a folder.
        date: The run's date as LightEval writes it in names.
    """

    model_name: str
    revision: str
    date: str

    @property
    def split(self) -> str:
        """The run's split in LightEval's configs."""
        return re.sub(r"[^\w.]", "_", self.date)


def task_config(task: str) -> str:
    """Name a task's config as LightEval does: ``aime24|0`` is ``aime24_0``."""
    return re.sub(r"\W", "_", task)


def details_path(task: str, key: RunKey, layout: UploadLayout) -> str:
    """Say where a task's details lie in the repository; `task` is LightEval's full name, ``aime24|0``."""
    match layout:
        case UploadLayout.LIGHTEVAL:
            return f"{key.date}/details_{task}_{key.date}.parquet"
        case UploadLayout.OPEN_R1:
            return f"{_open_r1_config(task, key)}/{OPEN_R1_SPLIT}-00000-of-00001.parquet"


def results_paths(tasks: Sequence[str], key: RunKey, layout: UploadLayout) -> tuple[str, ...]:
    """Say where a run's results lie in the repository: open-r1 keeps a copy for each task."""
    name = f"results_{key.date}.json"
    match layout:
        case UploadLayout.LIGHTEVAL:
            return (name,)
        case UploadLayout.OPEN_R1:
            folder = f"eval_results/{key.model_name}/{key.revision}"
            return tuple(f"{folder}/{_bare(task)}/{name}" for task in tasks) or (f"{folder}/{name}",)


def results_table_path(key: RunKey) -> str:
    """Say where the results lie as a table, for the viewer."""
    return f"results_{key.date}.parquet"


def verdicts_path(key: RunKey) -> str:
    """Say where a run's verdicts lie; the name sorts behind LightEval's results, which takes the first it finds."""
    return f"verdicts_{key.date}.json"


def foreign_details(paths: Sequence[str]) -> str | None:
    """
    Find details that another program wrote: no verdicts lie beside them.

    A config's splits must have the same columns, and theirs are not ours: one
    upload into their repository would make every split of it unreadable.
    """
    dates = {match[1] for path in paths if (match := re.fullmatch(r"verdicts_(.+)\.json", path))}
    found = [
        path for path in paths if (match := re.search(r"(?:^|/)details_.+_(\d+-\d+-\d+T.+)\.parquet$", path))
        and match[1] not in dates
    ]  # fmt: skip
    return found[0] if found else None


Config = Mapping[str, object]
"""One entry of a card's `configs`, as its YAML holds it."""


def with_run(configs: Sequence[Config], tasks: Sequence[str], key: RunKey, layout: UploadLayout) -> list[Config]:
    """
    Add a run's splits to a card's configs, and point `latest` at the newest run of each.

    Args:
        configs: What the card holds; entries of others stay as they are.
        tasks: Full names of the tasks that have details.
        key: The run.
        layout: Whose names are used.
    """
    added = {task_config(task): (key.split, details_path(task, key, layout)) for task in tasks}
    added[RESULTS_CONFIG] = (key.split, results_table_path(key))
    known = {str(config.get("config_name")): config for config in configs}
    for name, (split, path) in added.items():
        known[name] = {"config_name": name, "data_files": _with_split(known.get(name), split, path)}
    if layout is UploadLayout.OPEN_R1:
        for task in tasks:
            files = [{"split": OPEN_R1_SPLIT, "path": details_path(task, key, layout)}]
            name = _open_r1_config(task, key)
            known[name] = {"config_name": name, "data_files": files}
    return [known[name] for name in sorted(known)]


def _with_split(config: Config | None, split: str, path: str) -> list[dict[str, str]]:
    files = [] if config is None else config.get("data_files")
    entries = files if isinstance(files, list) else []
    splits = {entry["split"]: entry["path"] for entry in entries if isinstance(entry, dict) and len(entry) == 2}
    splits.pop(LATEST, None)
    splits[split] = path
    newest = max(name for name in splits if name[:1].isdigit())  # a date; people name splits as well
    rows = [{"split": name, "path": splits[name]} for name in sorted(splits)]
    return [*rows, {"split": LATEST, "path": splits[newest]}]


def _open_r1_config(task: str, key: RunKey) -> str:
    return f"{key.revision}.{_bare(task)}.{key.date}"


def _bare(task: str) -> str:
    """Return a task's name without its number of examples, as a folder or a config may be named."""
    return task_config(task.rpartition("|")[0] or task)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardRow:
    """
    One benchmark on a card.

    Attributes:
        task: LightEval's full name of the task.
        score: pass@1, a fraction; None where there is no score.
        standard_error: Its error; None where there is no score.
        baseline: What it was compared with, a fraction; None for nothing.
        samples_per_problem: How many; None where there was no plan.
        verdict: The verdict, in capitals.
        note: Why there is no score; empty where there is one.
    """

    task: str
    score: float | None
    standard_error: float | None
    baseline: float | None
    samples_per_problem: int | None
    verdict: str
    note: str


def card_body(body: str, *, repo: str, key: RunKey, rows: Sequence[CardRow]) -> str:
    """
    Write a card's text: a section for each model, with the verdicts of its newest run; what others wrote stays.

    Args:
        body: The text there is.
        repo: The repository.
        key: The run.
        rows: Its benchmarks.
    """
    mark = f"<!-- r1eval: begin {key.model_name} "
    before, found, rest = body.partition(mark)
    date, _, rest = rest.partition(" -->")
    if found and date > key.date:
        return body
    after = rest.partition(_END)[2] if found else ""
    section = f"{mark}{key.date} -->\n{_card_text(repo, key, rows)}\n{_END}"
    return f"{before.rstrip()}\n\n{section}\n{after.lstrip()}".lstrip()


def _card_text(repo: str, key: RunKey, rows: Sequence[CardRow]) -> str:
    example = next((task_config(row.task) for row in rows if row.samples_per_problem), RESULTS_CONFIG)
    return "\n".join(
        [
            f"# Evaluation of {key.model_name}",
            "",
            f"The newest run is {key.date} of revision `{key.revision}`, judged by pytest-r1eval.",
            "",
            "| task | pass@1 | baseline | difference | samples per problem | verdict |",
            "| --- | --- | --- | --- | --- | --- |",
            *map(_card_line, rows),
            "",
            "One config a task, one row a problem with all its samples; one split a run. This run's:",
            "",
            "```python",
            "from datasets import load_dataset",
            "",
            f'samples = load_dataset("{repo}", "{example}", split="{key.split}")',
            "```",
            "",
            f"`{LATEST}` is the newest run of all models that are here.",
        ]
    )


def _card_line(row: CardRow) -> str:
    baseline = "-" if row.baseline is None else f"{100 * row.baseline:.1f}"
    difference = "-" if row.score is None or row.baseline is None else f"{100 * (row.score - row.baseline):+.1f}"
    cells = (f"`{row.task}`", _score(row), baseline, difference, str(row.samples_per_problem or "-"), row.verdict)
    return f"| {' | '.join(cells)} |"


def _score(row: CardRow) -> str:
    if row.score is None or row.standard_error is None:
        return f"no score ({row.note})"
    return f"{100 * row.score:.1f} ± {100 * row.standard_error:.1f}"

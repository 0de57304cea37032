"""
From a benchmark to its exam, and from the exam to prompts: the sole importer of LightEval's tasks.

Decisions:

- One task module is imported and its `TASKS_TABLE` read; LightEval's `Registry` imports every task it has, and
  one of those downloads a file at import.
- Nothing heavy is imported with this module: LightEval, datasets and transformers load inside the functions,
  which run in a child process (see `scoring.pool`). Only `task_names` is meant for the pytest process.
- An exam may not depend on who builds it. A prompt function that draws from the global `random` (GPQA's order of
  options) draws from a seed made of the row itself, so every shard and every run sits the same exam.
- Local JSON Lines are read as they are written, without Arrow's guesses about types, so that an error can name the
  line and a local copy gives the ids that the Hub's gives.
- Rows are read one by one: a window of LiveCodeBench has gigabytes of tests, which go to the cache of tests row by row.
- LightEval's prompt function for LiveCodeBench unpickles the private tests. A pickle is a program; here stands a reader
  in its place that takes the one string and runs nothing (`pickled_text`).
"""
# ruff: noqa: PLC0415 - see the second decision

from __future__ import annotations

import ast
import base64
import datetime as dt
import functools
import hashlib
import importlib
import importlib.util
import itertools
import json
import random
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_r1eval.core.benchmarks import Benchmark, Exam, Grader, Problem
from pytest_r1eval.core.code_tests import CodeTests
from pytest_r1eval.errors import ExamError, ModelError
from pytest_r1eval.exams.code_test_cache import CodeTestCache
from pytest_r1eval.exams.pickled_text import text_of

if TYPE_CHECKING:
    from types import ModuleType

    from lighteval.tasks.lighteval_task import LightevalTaskConfig
    from lighteval.tasks.requests import Doc

Row = Mapping[str, Any]
"""One record of a data set; its columns are the task's business."""

_ID_DIGITS = 12
"""Hexadecimal digits of a problem id: 48 bits, one accidental collision in 2e9 exams of 500 problems."""
_HUB_TIMEOUT_S = 10
"""For the first answer of the Hub."""
_OWN_IDS = ("id", "ID", "unique_id", "Record ID", "question_id", "task_id", "problem_id")
"""Columns in which AIME, MATH-500, GPQA, LiveCodeBench and most other data sets keep a row's own id."""
_LABEL_CHARS = 60
_IMPORT_TIMEOUT_S = 300
"""For importing a task file in a process of its own; LightEval alone takes 10 to 20 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltExam:
    """
    An exam, ready to be put to one model.

    Attributes:
        exam: The problems.
        prompts: Token ids of each problem's prompt, in the exam's order.
    """

    exam: Exam
    prompts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _DataSet:
    """Rows as the task's prompt function takes them, and where they came from."""

    rows: Iterable[Row]
    origin: str


def load_exam(benchmark: Benchmark, *, data_dir: Path | None, tests: CodeTestCache | None = None) -> Exam:
    """
    Build a benchmark's problems in the order of its data set.

    Args:
        benchmark: The benchmark.
        data_dir: Folder of local copies, one folder per data set (``aime_2024`` or ``HuggingFaceH4__aime_2024``).
        tests: Where the tests of programs are kept; only a benchmark that asks for programs needs it.

    Raises:
        ExamError: If the task or its data set cannot be had, or does not fit.
    """
    config = task_config(benchmark)
    if config.num_fewshots:
        raise ExamError(
            f"{benchmark.name}: task {benchmark.task!r} asks for {config.num_fewshots} few-shot examples; "
            "problems are put without examples here. Set num_fewshots=0 in the task"
        )
    data = _read_data(benchmark, config, data_dir=data_dir)
    problems = tuple(_problems(benchmark, config, data, tests=tests))
    if not problems:
        raise ExamError(
            f"{benchmark.name}: no problem in {data.origin}; expected at least one in split "
            f"{', '.join(config.evaluation_splits)}. Check the data set and the task's filter"
        )
    return Exam(benchmark=benchmark.name, problems=problems, dataset=data.origin)


def render_prompts(
    exam: Exam, *, model: str, revision: str | None, system_prompt: str | None, template_date: dt.date
) -> tuple[tuple[int, ...], ...]:
    """
    Render every problem with the model's chat template, as LightEval's prompt manager does.

    The template already holds the beginning-of-sequence token, so the tokenizer may not add its own. A template that
    prints the date sees one that does not pass: prompts of two days, or of two sides of midnight, are equal.

    Args:
        exam: The problems.
        model: A folder or a Hub id.
        revision: The model's revision on the Hub.
        system_prompt: Put before the problem where given.
        template_date: The date that the template sees.

    Returns:
        Token ids, one tuple per problem.

    Raises:
        ModelError: If the tokenizer cannot be loaded, or has no chat template.
    """
    from lighteval.tasks.prompt_manager import PromptManager

    tokenizer = _tokenizer(model, revision=revision)
    dated = _DatedTokenizer(tokenizer, template_date)
    manager = PromptManager(use_chat_template=True, tokenizer=dated, system_prompt=system_prompt)
    try:
        texts = [manager.prepare_prompt(as_doc(problem)) for problem in exam.problems]
    except Exception as error:  # a template is a program of the model's author and may raise anything
        raise ModelError(
            f"{model}: its chat template cannot be rendered ({_one_line(error)}); expected one that takes "
            f"{'a system and a user message' if system_prompt is not None else 'a user message'}. Fix the template"
            f"{', or leave the system prompt out' if system_prompt is not None else ''}"
        ) from error
    return tuple(tuple(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"])


def task_names(path: Path) -> tuple[str, ...]:
    """
    List the tasks of a custom-task file without importing LightEval here.

    The file is read where its names are literal, and imported by a process of its own where they are computed.

    Raises:
        ExamError: If the file cannot be read, is no Python, or has no `TASKS_TABLE`.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ExamError(
            f"{path}: cannot be read ({_one_line(error)}); expected a LightEval custom-task file. Check the path"
        ) from error
    except (SyntaxError, ValueError) as error:
        raise ExamError(f"{path}: is no Python ({_one_line(error)}); expected a LightEval custom-task file") from error
    names = _literal_names(tree)
    return names if names is not None else _imported_names(path)


@functools.cache
def task_config(benchmark: Benchmark) -> LightevalTaskConfig:
    """
    Find a benchmark's LightEval task; once per process.

    Raises:
        ExamError: If the module cannot be imported, or its `TASKS_TABLE` does not hold the task.
    """
    table = _tasks_table(_task_module(benchmark.task_module), source=benchmark.task_module)
    for config in table:
        if config.name == benchmark.task:
            return config
    raise ExamError(
        f"{benchmark.name}: no task {benchmark.task!r} in {benchmark.task_module}; "
        f"its TASKS_TABLE has {', '.join(sorted(config.name for config in table)) or 'no task'}. Name one of these"
    )


def task_file(benchmark: Benchmark) -> Path | None:
    """
    Name the file of a benchmark's task module; None where it has none.

    Raises:
        ExamError: If the module cannot be imported.
    """
    found = _task_module(benchmark.task_module).__file__
    return None if found is None else Path(found)


def as_doc(problem: Problem) -> Doc:
    """Convert a problem back to LightEval's own type; a new one each time, because its metrics write into it."""
    from lighteval.tasks.requests import Doc

    return Doc(
        query=problem.query,
        choices=list(problem.choices),
        gold_index=problem.gold_index,
        instruction=problem.instruction,
    )


# -- tasks ------------------------------------------------------------------------------------------------------------


@functools.cache
def _task_module(name: str) -> ModuleType:
    try:
        return _module_from_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except ExamError:
        raise
    except ModuleNotFoundError as error:
        raise ExamError(
            f"{name}: cannot be imported, no module named {error.name!r}; expected a module with a TASKS_TABLE. "
            "Install it (LightEval comes with pytest-r1eval[lighteval]) or correct the name"
        ) from error
    except Exception as error:  # a task module is the user's program and may raise anything at import
        raise ExamError(
            f"{name}: fails when imported ({_one_line(error)}); expected a module with a TASKS_TABLE. Fix the module"
        ) from error


def _module_from_file(path: Path) -> ModuleType:
    """Import a file under a name that cannot shadow a real module (a task file may be called math.py)."""
    if not path.is_file():
        raise ExamError(f"{path}: no such file; expected a LightEval custom-task file. Check the path")
    spec = importlib.util.spec_from_file_location(f"_r1eval_tasks_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ExamError(f"{path}: cannot be imported; expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _tasks_table(module: ModuleType, *, source: str) -> list[LightevalTaskConfig]:
    table = getattr(module, "TASKS_TABLE", None)
    if table is None:
        raise ExamError(f"{source}: has no TASKS_TABLE; expected a list of LightevalTaskConfig under that name")
    return list(table)


def _literal_names(tree: ast.Module) -> tuple[str, ...] | None:
    """Read the names of `TASKS_TABLE`'s tasks off the source; None where one of them is computed."""
    values: dict[str, ast.expr] = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value):
                values[target] = value
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
                values[target] = value
    table = values.get("TASKS_TABLE")
    if not isinstance(table, ast.List | ast.Tuple):
        return None
    names = [
        _literal_name(values.get(element.id) if isinstance(element, ast.Name) else element) for element in table.elts
    ]
    return None if None in names else tuple(name for name in names if name is not None)


def _literal_name(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            match keyword:
                case ast.keyword(arg="name", value=ast.Constant(value=str(name))):
                    return name
    return None


def _imported_names(path: Path) -> tuple[str, ...]:
    program = "import sys; from pytest_r1eval.exams.tasks import print_task_names; print_task_names(sys.argv[1])"
    child = subprocess.run(  # noqa: S603 - our own program; the user named the file to be imported
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        timeout=_IMPORT_TIMEOUT_S,
        check=False,
    )
    if child.returncode:
        raise ExamError(child.stdout.splitlines()[-1] if child.stdout else f"{path}: importing it ended the process")
    return tuple(json.loads(child.stdout.splitlines()[-1]))


def print_task_names(path: str) -> None:
    """Print the names of a task file's tasks as JSON, or one line that says what is wrong, as the last line."""
    try:
        names = [config.name for config in _tasks_table(_task_module(path), source=path)]
    except ExamError as error:
        print(error)  # noqa: T201 - the answer to the parent process
        sys.exit(1)
    print(json.dumps(names))  # noqa: T201 - the answer to the parent process


# -- problems ---------------------------------------------------------------------------------------------------------


def _problems(
    benchmark: Benchmark, config: LightevalTaskConfig, data: _DataSet, *, tests: CodeTestCache | None
) -> Iterator[Problem]:
    occurrences: Counter[str] = Counter()
    _read_private_tests_without_unpickling(config)
    for number, row in enumerate(data.rows):
        digest = _row_digest(row)
        try:
            if config.hf_filter is not None and not config.hf_filter(row):
                continue
            with _seeded(digest):
                doc = config.prompt_function({**row, "__few_shots": False, "__index": number}, config.name)
        except Exception as error:  # the task's own code, which may raise anything
            raise ExamError(
                f"{benchmark.name}: row {number + 1} of {data.origin} does not fit task {benchmark.task!r} "
                f"({_one_line(error)}); its columns are {', '.join(map(str, row))}. Give the data set this task reads"
            ) from error
        if doc:
            occurrences[digest] += 1
            ordinal = f"-{occurrences[digest]}" if occurrences[digest] > 1 else ""
            problem = _problem(doc, id_=digest[:_ID_DIGITS] + ordinal, benchmark=benchmark)
            problem = replace(problem, label=_label(row, number=number)).whole
            if benchmark.grader is Grader.CODE:
                problem = replace(problem, tests=_kept_tests(doc, problem, benchmark=benchmark, cache=tests))
            yield problem


def _read_private_tests_without_unpickling(config: LightevalTaskConfig) -> None:
    """Put our reader where a task's module unpickles tests; this process builds one exam and ends."""
    module = sys.modules.get(config.prompt_function.__module__)
    if hasattr(module, "translate_private_test_cases"):
        module.translate_private_test_cases = private_tests  # type: ignore[union-attr]  # hasattr says it is one


def private_tests(encoded: str) -> Any:  # noqa: ANN401 - whatever JSON the data set holds; the task's function reads it
    """
    Decode LiveCodeBench's private tests: base64 of zlib of a pickled string of JSON, no pickle being run.

    Raises:
        ValueError: If they are anything else.
    """
    return json.loads(text_of(zlib.decompress(base64.b64decode(encoded))))


def _kept_tests(doc: Doc, problem: Problem, *, benchmark: Benchmark, cache: CodeTestCache | None) -> str:
    if cache is None:
        raise ExamError(f"{benchmark.name}: programs are asked for, and there is no place to keep their tests")
    specific = doc.specific or {}
    try:
        tests = CodeTests(
            inputs=tuple(specific["inputs"]), outputs=tuple(specific["outputs"]), function=specific["fn_name"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ExamError(
            f"{benchmark.name}: problem {problem.id} has no tests to run ({_one_line(error)}); expected inputs, "
            "outputs and fn_name from the task's prompt function. Fix the task"
        ) from error
    return cache.write(tests)


def _problem(doc: Doc, *, id_: str, benchmark: Benchmark) -> Problem:
    golds = [doc.gold_index] if isinstance(doc.gold_index, int) else list(doc.gold_index)
    if len(golds) != 1 or not 0 <= golds[0] < len(doc.choices):
        raise ExamError(
            f"{benchmark.name}: problem {id_} has gold_index {doc.gold_index!r} for {len(doc.choices)} choices; "
            "expected exactly one right answer. Only tasks with one gold answer per problem can be gated"
        )
    if not all(isinstance(choice, str) for choice in doc.choices):
        raise ExamError(
            f"{benchmark.name}: problem {id_} has the choices {doc.choices!r}; expected text. "
            "Convert the answers to str in the task's prompt function"
        )
    if doc.images or doc.fewshot_samples:
        raise ExamError(f"{benchmark.name}: problem {id_} carries images or few-shot examples; expected text alone")
    return Problem(
        id=id_, query=doc.query, instruction=doc.instruction, choices=tuple(doc.choices), gold_index=golds[0]
    ).whole


def _label(row: Row, *, number: int) -> str:
    """Return what a data set calls a row: its own id, cut, else its number from 1."""
    own = next((str(row[name]) for name in _OWN_IDS if isinstance(row.get(name), str | int) and str(row[name])), None)
    return f"row {number + 1}" if own is None else own[:_LABEL_CHARS]


def _row_digest(row: Row) -> str:
    """Hash a row's content; a column without a value counts as absent, as files differ in that."""
    content = {name: value for name, value in row.items() if value is not None}
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def _seeded(digest: str) -> Iterator[None]:
    """Let the global `random` start from a digest, and put its state back afterwards."""
    state = random.getstate()
    random.seed(int(digest, 16))
    try:
        yield
    finally:
        random.setstate(state)


# -- data sets --------------------------------------------------------------------------------------------------------


def _read_data(benchmark: Benchmark, config: LightevalTaskConfig, *, data_dir: Path | None) -> _DataSet:
    folder = _local_folder(benchmark, config, data_dir=data_dir)
    if folder is None:
        return _hub_data(benchmark, config, data_dir=data_dir)
    splits = [_local_rows(folder, config.hf_subset, split) for split in config.evaluation_splits]
    return _DataSet(rows=itertools.chain(*splits), origin=str(folder))


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


def _local_rows(folder: Path, subset: str, split: str) -> Iterable[Row]:
    for candidate in (folder / subset / f"{split}.jsonl", folder / f"{split}.jsonl"):
        if candidate.is_file():
            return _json_lines(candidate)
    return _folder_rows(folder, subset, split)


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ExamError(
                f"{path}: line {number} is no JSON ({error.msg}); expected one object a line. Copy the file anew"
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
            f"{path}: cannot be read ({_one_line(error)}); expected JSON Lines in UTF-8. Check its permissions and copy"
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
            f"{folder}: split {split!r} cannot be read ({_one_line(error)}); found {found}, expected {split}.jsonl, "
            f"{split}.parquet or a snapshot of the Hub's data set. Put one there"
        ) from error


def _hub_data(benchmark: Benchmark, config: LightevalTaskConfig, *, data_dir: Path | None) -> _DataSet:
    try:
        commit = _hub_commit(config.hf_repo, revision=benchmark.revision)
        splits = [_hub_rows(config, split=split, commit=commit) for split in config.evaluation_splits]
    except Exception as error:  # the Hub's client, its transport and datasets share no base class
        raise _hub_error(benchmark, config, error, data_dir=data_dir) from error
    return _DataSet(rows=itertools.chain(*splits), origin=f"{config.hf_repo}@{commit}")


def _hub_rows(config: LightevalTaskConfig, *, split: str, commit: str) -> Iterable[Row]:
    import datasets
    from huggingface_hub import constants

    rows = datasets.load_dataset(config.hf_repo, name=config.hf_subset, split=split, revision=commit)
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
    except Exception:  # transports differ between releases of the client: whatever it is, nobody answered
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
    chain = tuple(_causes(error))
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
        f"{benchmark.name}: the data set {repo} cannot be had from the Hub ({_one_line(error)}){looked}; "
        f"expected its split {', '.join(config.evaluation_splits)}. Without a network, give {local}"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


# -- prompts ----------------------------------------------------------------------------------------------------------


def _tokenizer(model: str, *, revision: str | None) -> Any:  # noqa: ANN401 - transformers is untyped
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
    except Exception as error:  # transformers, tokenizers and the Hub's client share no base class
        raise ModelError(
            f"{model}: its tokenizer cannot be loaded ({_one_line(error)}); expected tokenizer.json and "
            "tokenizer_config.json. Check the model's name or folder"
        ) from error
    if tokenizer.chat_template is None:
        raise ModelError(
            f"{model}: has no chat template; expected chat_template.jinja or a chat_template in "
            "tokenizer_config.json. Save the tokenizer of the model it was trained from beside the weights"
        )
    return tokenizer


class _DatedTokenizer:
    """A tokenizer whose chat template sees a given date, at midnight, whatever the clock says."""

    def __init__(self, tokenizer: Any, date: dt.date) -> None:  # noqa: ANN401 - transformers is untyped
        self._tokenizer = tokenizer
        self._now = dt.datetime(date.year, date.month, date.day)  # noqa: DTZ001 - as naive as what it replaces

    def apply_chat_template(self, conversation: object, **options: object) -> object:
        """Render; a variable goes before the function of that name that transformers gives to templates."""
        return self._tokenizer.apply_chat_template(conversation, strftime_now=self._now.strftime, **options)


class PromptTokenizer:
    """
    A model's tokenizer, for an engine that takes prompts as text alone.

    Args:
        model: A folder or a Hub id.
        revision: The model's revision on the Hub.

    Raises:
        ModelError: If it cannot be loaded.
    """

    def __init__(self, *, model: str, revision: str | None) -> None:
        self._model = model
        self._tokenizer = _tokenizer(model, revision=revision)

    @property
    def first_id(self) -> int | None:
        """The beginning-of-sequence token, if the model has one."""
        found: int | None = self._tokenizer.bos_token_id
        return found

    def encode(self, text: str) -> tuple[int, ...]:
        """Return a text's token ids and no others."""
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: tuple[int, ...]) -> str:
        """
        Return the text that has exactly these ids.

        Raises:
            ModelError: If there is none.
        """
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if self.encode(text) != ids:
            raise ModelError(
                f"{self._model}: its tokenizer does not give a prompt's own ids back from its text; expected the same "
                "prompt whoever tokenizes it. Use a server that takes token ids (vLLM does)"
            )
        return text


def _one_line(error: BaseException) -> str:
    """Name an error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__

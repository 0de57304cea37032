"""
What LightEval's programs for IFEval and IFBench need, and what keeps their grades the same everywhere.

They check each instruction of a prompt: a number of words, a language, a last sentence. For that they use packages and
data of NLTK and spaCy that LightEval itself does not install, and fetch from the network when a grade needs them.
Graders have no network: what lacks is named before anything is drawn, with the command that gets it.

Known trade-offs (accepted): LightEval 0.13.0 leaves out values of a row that are 0 or empty, and draws in their place;
and langdetect guesses languages by chance. Both start from a fixed seed here, so that a response has one grade.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lighteval.utils.imports import is_package_available

from pytest_r1eval.errors import ScoringError

if TYPE_CHECKING:
    from pytest_r1eval.core.benchmarks import Benchmark

_SEED = 0
_SPACY_MODEL = "en_core_web_sm"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Needs:
    """What a task's programs use: packages, resources of NLTK, and whether spaCy's small model is among them."""

    packages: tuple[str, ...]
    resources: tuple[str, ...]
    has_model: bool = False


_NEEDS = {
    "lighteval.tasks.tasks.ifeval.main": _Needs(packages=("langdetect",), resources=("tokenizers/punkt_tab",)),
    "lighteval.tasks.tasks.ifbench.main": _Needs(
        packages=("emoji", "spacy", "syllapy"),
        resources=("corpora/stopwords", "taggers/averaged_perceptron_tagger_eng", "tokenizers/punkt_tab"),
        has_model=True,
    ),
}


def fetch_nothing(benchmark: Benchmark) -> None:
    """Keep a task's programs from the network, which they ask as they are imported; before that."""
    if benchmark.task_module in _NEEDS:
        _nltk().download = lambda *_, **__: False


def check_instructions(benchmark: Benchmark) -> None:
    """
    Refuse a benchmark whose programs lack something here.

    Raises:
        ScoringError: If something lacks.
    """
    needs = _NEEDS.get(benchmark.task_module)
    if needs is None:
        return
    packages = [name for name in needs.packages if not is_package_available(name)]
    if packages:
        raise _lacking(benchmark, packages, "python -m pip install 'pytest-r1eval[instructions]'")
    resources = [name for name in needs.resources if not _has_resource(name)]
    if resources:
        names = [name.rpartition("/")[2] for name in resources]
        raise _lacking(benchmark, names, f"python -m nltk.downloader {' '.join(names)}")
    if needs.has_model and util.find_spec(_SPACY_MODEL) is None:
        raise _lacking(benchmark, [_SPACY_MODEL], f"python -m spacy download {_SPACY_MODEL}")


def data_of_instructions() -> Iterator[Path]:
    """Name the folders of NLTK's data, which its functions read as they need them; none where it is not imported."""
    if "nltk" in sys.modules:
        yield from (folder for name in _nltk().data.path if (folder := Path(name)).is_dir())


@contextmanager
def fixed_chance() -> Iterator[None]:
    """Let all that a program draws start from one seed, and put the global `random` back afterwards."""
    state = random.getstate()
    random.seed(_SEED)
    with suppress(ImportError):
        from langdetect import DetectorFactory  # noqa: PLC0415 - only IFEval's programs bring it

        DetectorFactory.seed = _SEED
    try:
        yield
    finally:
        random.setstate(state)


def _has_resource(name: str) -> bool:
    try:
        _nltk().data.find(name)
    except LookupError:
        return False
    return True


def _nltk() -> Any:  # noqa: ANN401 - NLTK is untyped
    import nltk  # noqa: PLC0415 - LightEval brings it

    return nltk


def _lacking(benchmark: Benchmark, names: list[str], command: str) -> ScoringError:
    return ScoringError(
        f"{benchmark.name}: {', '.join(names)} not found; expected what LightEval's programs for it use. Run {command}"
    )

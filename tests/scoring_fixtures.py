"""
One pool of scoring processes for the whole session, a Hub to read from and a tokenizer.

LightEval is imported once, by the pool's fork server; tests see it through grades and exams only.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_r1eval.core.choices import CodeGrader
from pytest_r1eval.sandbox import Limits
from pytest_r1eval.scoring.grading import CodeGrading
from pytest_r1eval.scoring.pool import GradingPool
from tests.requirements import LIGHTEVAL, need
from tests.toys import SECRETS, Hub, write_tokenizer


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    """Serve a Hub on this machine."""
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def code_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Name the folder where the session's processes keep the tests of programs."""
    return tmp_path_factory.mktemp("code-tests")


@pytest.fixture(scope="session")
def pool(hub: Hub, code_tests: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GradingPool]:
    """Start two scoring processes that stop a grader after four seconds, from an environment full of secrets."""
    need(LIGHTEVAL)
    places = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path_factory.mktemp("huggingface")), "HF_HUB_OFFLINE": "0"}
    code = CodeGrading(grader=CodeGrader.LIGHTEVAL, limits=Limits(), tests=code_tests)
    from tests.instruction_data import stand_in_for_spacy, write_nltk_data  # noqa: PLC0415 - NLTK comes with LightEval

    write_nltk_data(nltk_data := tmp_path_factory.mktemp("nltk-data"))
    environ = {**os.environ, **SECRETS, **places, "NLTK_DATA": str(nltk_data)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", stand_in_for_spacy(tmp_path_factory.mktemp("modules")))
        started = GradingPool(n_processes=2, timeout_s=4, code=code, environ=environ)
        started.start()
    with started:
        yield started


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a tokenizer with one token per character, which puts <bos> in front, as its chat template does."""
    folder = tmp_path_factory.mktemp("model")
    messages = "{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}"
    write_tokenizer(folder, chat_template=f"{{{{ bos_token }}}}{messages}[assistant]")
    return str(folder)

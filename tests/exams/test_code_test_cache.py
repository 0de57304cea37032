"""The cache of tests: what is read is what was written, or nothing."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from pytest_r1eval.core.code_tests import CodeTests, lighteval_json
from pytest_r1eval.errors import ExamError, ScoringError
from pytest_r1eval.exams.code_test_cache import CodeTestCache, cache_folder

TESTS = CodeTests(inputs=("1\n" * 10_000,), outputs=("1\n",))


def test_tests_come_back_by_their_digest(tmp_path: Path) -> None:
    """Tests are read back by their digest, and stored once and compressed."""
    cache = CodeTestCache(folder=tmp_path)
    assert [cache.write(TESTS), cache.write(TESTS)] == [TESTS.digest] * 2
    assert cache.read(TESTS.digest) == TESTS
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.stat().st_size < len(lighteval_json(TESTS)) / 10


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"no zlib", "cannot be read"),
        (zlib.compress(lighteval_json(CodeTests(inputs=("2",), outputs=("2",))).encode()), "are not those"),
    ],
    ids=["missing", "damaged", "exchanged"],
)
def test_what_is_not_what_was_written_is_an_error(tmp_path: Path, content: bytes | None, words: str) -> None:
    """Missing, damaged or exchanged tests are an error, never a wrong answer."""
    cache = CodeTestCache(folder=tmp_path)
    cache.write(TESTS)
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ScoringError, match=words):
        cache.read(TESTS.digest)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A cache that cannot be written is named, with what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ExamError, match="Set XDG_CACHE_HOME"):
        CodeTestCache(folder=tmp_path / "file").write(TESTS)


def test_the_folder_is_the_users_cache() -> None:
    """The cache of tests is in XDG_CACHE_HOME, or else in ~/.cache."""
    assert cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/pytest-r1eval/code-tests")
    assert cache_folder({}) == Path.home() / ".cache/pytest-r1eval/code-tests"

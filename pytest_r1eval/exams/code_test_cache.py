"""
Where the tests of code benchmarks are kept between runs: one compressed file per problem, named by its digest.

They are the data set's, not a run's: LiveCodeBench v4_v5 has gigabytes of them, and
a store that held them would be a copy per run. What is missing is written again when
the exam is built, and a damaged file is not used.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.atomic_files import replacing
from pytest_r1eval.core import code_tests
from pytest_r1eval.core.code_tests import CodeTests
from pytest_r1eval.errors import ExamError, ScoringError

_LEVEL = 1
"""The fastest: tests are long rows of numbers, which the best level packs a tenth smaller in ten times the time."""


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Say where tests are kept: below ``XDG_CACHE_HOME``, else the user's ``.cache``."""
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pytest-r1eval" / "code-tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTestCache:
    """A folder of tests."""

    folder: Path

    def write(self, tests: CodeTests) -> str:
        """
        Keep tests and return their digest; what is there already stays.

        Raises:
            ExamError: If the folder cannot be written.
        """
        digest = tests.digest
        path = self._path(digest)
        if path.is_file():
            return digest
        try:
            with replacing(path) as part:
                part.write_bytes(zlib.compress(code_tests.lighteval_json(tests).encode(), _LEVEL))
        except OSError as error:
            raise ExamError(
                f"the tests of a code benchmark cannot be kept in {self.folder} ({error.strerror}); expected a "
                "writable folder with room left. Set XDG_CACHE_HOME to one"
            ) from error
        return digest

    def read(self, digest: str) -> CodeTests:
        """
        Return the tests with this digest.

        Raises:
            ScoringError: If they are not there, or are no longer what was written.
        """
        path = self._path(digest)
        try:
            tests = code_tests.from_lighteval_json(zlib.decompress(path.read_bytes()).decode())
        except (OSError, zlib.error, ValueError, KeyError) as error:
            raise ScoringError(_lost(path, f"cannot be read ({type(error).__name__})")) from error
        if tests.digest != digest:
            raise ScoringError(_lost(path, "are not those the exam was built with"))
        return tests

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.z"


def _lost(path: Path, how: str) -> str:
    return (
        f"the tests of a problem ({path}) {how}; expected what was written when the exam was built. "
        "Delete that file and start a new run, which builds the exam again"
    )

"""Where the real rows of AIME 2024 and MATH-500 come from: the caller's folder, one beside the checkout, or the Hub."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from tests.hub_server import StandInHub
from tests.real_data import FILES, real_data_in

AIME = [{"id": 60, "problem": "1+1?", "answer": "002"}, {"id": 61, "problem": "π?", "answer": "003"}]
MATH = b'{"problem": "x", "answer": "\\\\frac{1}{2}"}\n'


def filled(folder: Path, *names: str) -> Path:
    """Write files that a folder of copies holds."""
    for name in names:
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("{}\n")
    return folder


def test_the_callers_folder_comes_first(tmp_path: Path) -> None:
    """R1_TEST_DATA goes before the data beside the checkout, and nothing is fetched."""
    given, beside = filled(tmp_path / "given", *FILES), filled(tmp_path / "beside", *FILES)
    assert real_data_in(tmp_path, given=str(given), beside=beside, environ={}) == given
    assert real_data_in(tmp_path, given=None, beside=beside, environ={}) == beside


def test_a_callers_folder_that_lacks_a_file_is_named(tmp_path: Path) -> None:
    """An R1_TEST_DATA that lacks a file is named, and no other folder takes its place."""
    given = filled(tmp_path / "given", "aime_2024/train.jsonl")
    found = real_data_in(tmp_path, given=str(given), beside=filled(tmp_path / "beside", *FILES), environ={})
    assert found == f"R1_TEST_DATA={given} holds no MATH-500/test.jsonl"


class TestHub:
    """The real client of the Hub reads from a stand-in."""

    def test_rows_are_fetched_once_and_cached(self, served: StandInHub, tmp_path: Path) -> None:
        """Rows are fetched from the Hub once, stored as JSON lines, and then read from the cache."""
        served.reset()
        table = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(AIME), table)
        for (repo, name), content in zip(FILES.values(), (table.getvalue(), MATH), strict=True):
            served.make_repo(repo, files={name: content})
        environ = {**os.environ, **served.environment(tmp_path / "home", token=None), "HF_HUB_OFFLINE": "0"}
        found = real_data_in(tmp_path / "data", given=None, beside=tmp_path / "none", environ=environ)
        assert found == tmp_path / "data", found
        lines = (tmp_path / "data" / "aime_2024" / "train.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == AIME
        assert (tmp_path / "data" / "MATH-500" / "test.jsonl").read_bytes() == MATH
        cached = {**environ, "HF_HUB_OFFLINE": "1"}
        again = real_data_in(tmp_path / "again", given=None, beside=tmp_path / "none", environ=cached)
        assert again == tmp_path / "again", again

    def test_no_answer_is_a_reason(self, served: StandInHub, tmp_path: Path) -> None:
        """A Hub without the data gives the reason for which the tests are skipped."""
        served.reset()
        environ = {**os.environ, **served.environment(tmp_path / "home", token=None), "HF_HUB_OFFLINE": "0"}
        found = real_data_in(tmp_path / "data", given=None, beside=tmp_path / "none", environ=environ)
        assert isinstance(found, str)
        assert found.startswith("the Hub gave none: ")

"""Run files from elsewhere, damaged or edited: one line that names the file, whatever is asked of it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.baselines.terms import Terms
from pytest_r1eval.commands.cli import main
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.errors import R1EvalError
from pytest_r1eval.judging.judge import Judge
from pytest_r1eval.judging.result import write_verdicts
from pytest_r1eval.plugin.wiring import checkpoint_of
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.schema import MAX_TEXT_BYTES
from pytest_r1eval.runs.store import FILE_NAME, Store
from pytest_r1eval.sampling.open_run import open_run
from pytest_r1eval.stats.verdicts import GateRule
from pytest_r1eval.upload.after_verdict import finish
from tests.judged_runs import TASKS, judged_examples
from tests.recordings import record_run
from tests.toys import toy

Damage = Callable[[sqlite3.Connection], object]


PLACES = {
    "header": "value FROM run WHERE key = 'header'",
    "plan": "plan FROM benchmark WHERE TRUE",
    "problem": "content FROM problem WHERE position = 0",
}


def edited(what: str, **changes: object) -> Damage:
    """Change fields of a header, a plan or a problem."""
    column, _, rest = PLACES[what].partition(" FROM ")
    table, _, condition = rest.partition(" WHERE ")

    def damage(db: sqlite3.Connection) -> None:
        (text,) = db.execute(f"SELECT {column} FROM {table} WHERE {condition}").fetchone()  # noqa: S608 - from above
        content = json.dumps({**json.loads(text), **changes})
        db.execute(f"UPDATE {table} SET {column} = ? WHERE {condition}", (content,))  # noqa: S608 - the same

    return damage


def sql(statement: str, *values: object) -> Damage:
    """Change the file by a statement."""
    return lambda db: db.execute(statement, values)


def schema(script: str) -> Damage:
    """Change what SQLite itself knows of the file."""
    return lambda db: db.executescript(f"PRAGMA writable_schema = ON; {script}")


DAMAGES: Mapping[str, Damage] = {
    "an outcome that is none": sql("UPDATE sample SET outcome = 'corrfct' WHERE idx = 0"),
    "a finish reason that is none": sql("UPDATE sample SET finish_reason = 'stopp' WHERE idx = 0"),
    "negative tokens": sql("UPDATE sample SET n_tokens = -5 WHERE idx = 0"),
    "more thought than tokens": sql("UPDATE sample SET n_thought_tokens = n_tokens + 1 WHERE idx = 0"),
    "negative thought": sql("UPDATE sample SET n_thought_tokens = -1 WHERE idx = 0"),
    "thought that is text": sql("UPDATE sample SET n_thought_tokens = 'much' WHERE idx = 0"),
    "a plan whose tags are one": edited(
        "plan", think_tags={"opening": "a", "closing": "a", "special": [], "is_open": True}
    ),
    "tokens that are text": sql("UPDATE sample SET n_tokens = 'many' WHERE idx = 0"),
    "an answer that is bytes": sql("UPDATE sample SET answer = x'00ff' WHERE idx = 0"),
    "an index that is text": sql("UPDATE sample SET idx = 'zero' WHERE idx = 0"),
    "a plan without fields": sql("UPDATE benchmark SET plan = '{}'"),
    "a plan that is no JSON": sql("UPDATE benchmark SET plan = 'plan'"),
    "a plan of deep JSON": sql("UPDATE benchmark SET plan = ?", "[" * 100_000),
    "a plan with a temperature that is none": sql("UPDATE benchmark SET plan = replace(plan, '0.6', 'NaN')"),
    "a plan of text": edited("plan", rounds=["8"]),
    "another benchmark's plan": edited("plan", benchmark="x"),
    "no data set": sql("UPDATE benchmark SET dataset = NULL"),
    "a state that is none": sql("UPDATE benchmark SET state = 'begun'"),
    "a benchmark with a line end": sql("UPDATE benchmark SET name = 'smoke' || char(10) || '::error::x'"),
    "a header that is a list": sql("UPDATE run SET value = '[]' WHERE key = 'header'"),
    "no header": sql("DELETE FROM run WHERE key = 'header'"),
    "a header with text for a seed": edited("header", seed="one"),
    "a header without a date": edited("header", created="yesterday"),
    "a header's date without an offset": edited("header", created="2025-01-20T00:00:00"),
    "a header's date before all dates": edited("header", created="0001-01-01T00:00:00+14:00"),
    "a name that leads out": edited("header", model_name="../../../x"),
    "a name that is absolute": edited("header", model_name="/home/x"),
    "a name with a line end": edited("header", model_name="a/b\n"),
    "a model with an escape": edited("header", model="\x1b[2J"),
    "a schema that is no JSON": sql("UPDATE run SET value = '{' WHERE key = 'schema'"),
    "a harness of numbers": sql("UPDATE worker SET harness = '{\"engine\": 1}'"),
    "a harness that is none": sql("UPDATE worker SET harness = '7'"),
    "a problem without a query": sql("UPDATE problem SET content = '{}' WHERE position = 0"),
    "a right answer that is not there": edited("problem", gold_index=7),
    "a prompt of half a number": sql("UPDATE problem SET prompt = x'00' WHERE position = 0"),
    "a round that is text": sql("UPDATE round SET number = '[]'"),
    "a round of less than nothing": sql("UPDATE round SET n_samples = -96, n_open_units = -1"),
    "no table": sql("DROP TABLE look"),
    "a view for a table": lambda db: db.executescript(
        "ALTER TABLE verdict RENAME TO v; CREATE VIEW verdict AS SELECT * FROM v;"
    ),
    "a trigger of somebody": sql(
        "CREATE TRIGGER mine AFTER INSERT ON verdict BEGIN UPDATE sample SET outcome = 'correct'; END"
    ),
    "a trigger by a name of SQLite's": schema(
        "CREATE TRIGGER mine AFTER INSERT ON verdict BEGIN UPDATE sample SET outcome = 'correct'; END;"
        "UPDATE sqlite_master SET name = 'sqlite_mine', sql = replace(sql, 'mine', 'sqlite_mine') WHERE name = 'mine'"
    ),
    "a table's name that is no UTF-8": schema(
        "UPDATE sqlite_master SET name = CAST(x'6dff' AS TEXT), sql = 'CREATE TABLE' WHERE name = 'look'"
    ),
    "a table's name with an escape": schema(
        "UPDATE sqlite_master SET name = 'm' || char(27) || '[2J', sql = 'CREATE TABLE' WHERE name = 'look'"
    ),
    "a seed of somebody": sql("UPDATE sample SET seed = 7 WHERE idx = 0"),
    "an exam of somebody": edited("problem", query="1+1?"),
    "a plan of fewer samples": edited("plan", rounds=[4]),
    "a plan of fewer problems": edited("plan", problem_ids=["p000", "p001"]),
    "a question of somebody": edited("header", asked=[1]),
    "a plan of another seed": edited("plan", seed=99),
}

TEXTS: Mapping[str, bytes] = {
    "that is not compressed": b"no zlib",
    "without its end": zlib.compress(bytes(range(256)) * 40)[:-8],
    "that is no UTF-8": zlib.compress(b"\xff\xfe" * 200),
    "that unpacks to a gigabyte": zlib.compress(bytes(MAX_TEXT_BYTES + 1)),
}


def damaged(run: Path, damage: Damage) -> Path:
    """Change a run's file as its own checks would not allow."""
    with closing(sqlite3.connect(run / FILE_NAME, isolation_level=None)) as db:
        db.execute("PRAGMA ignore_check_constraints = 1")
        damage(db)
    return run


def judge_only(run: Path) -> None:
    """Do what `pytest --r1-judge-only RUN` does with a run."""
    settings = Settings(model="", root=run.parent, output_dir=run.parent, judge_only=run)
    checkpoint = checkpoint_of(settings)
    with closing(RunReader.open(run)) as stored:
        names = stored.selected
    catalog = {name: toy(name) for name in names}
    opened = open_run(run, settings=settings, catalog=catalog, checkpoint=checkpoint, selected=names)
    opened.lock.release()
    with closing(opened.store) as store:
        shelf = BaselineShelf(root=run.parent, choice=None, model_name=store.header.model_name)
        Judge(store=store, terms={"smoke": Terms(shelf=shelf, rule=GateRule())}, save_as="local/toy").judge(
            [*catalog.values()]
        )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record a run, once."""
    return record_run(tmp_path_factory.mktemp("whole") / "run", seed=1)


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """Copy the run."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.mark.parametrize("what", DAMAGES)
def test_it_is_not_judged(run: Path, what: str) -> None:
    """A damaged run is refused in one short printable line and gets no verdict."""
    damaged(run, DAMAGES[what])
    with pytest.raises(R1EvalError) as caught:
        judge_only(run)
    said = str(caught.value)
    assert said.isprintable()
    assert str(run) in said or "name" in said
    assert len(said) < 700
    assert not (run.parent / "baselines").exists()


@pytest.mark.parametrize("what", DAMAGES)
def test_it_is_no_baseline(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Commands that read a damaged run refuse it in one line, without a traceback."""
    monkeypatch.chdir(run.parent)
    damaged(run, DAMAGES[what])
    for command in (["baseline", "record", str(run), "local/toy"], ["aggregate", str(run), str(run)]):
        assert main(command) == 2, command
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("r1eval")
        assert line.isprintable()
    for command in (
        ["watch", str(run), "--once"],
        ["upload", str(run), "--repo", "acme/x"],
        ["history", str(run.parent)],
    ):
        assert main(command) in {0, 2}, command
        assert len(capsys.readouterr().err.splitlines()) <= 1


@pytest.mark.parametrize("what", TEXTS)
def test_a_text_that_cannot_be_read_is_a_line_beside_the_verdict(run: Path, what: str) -> None:
    """A damaged text of a response leaves the verdict, and one line names the file that could not be written."""
    damaged(run, sql("UPDATE response SET text = ? WHERE id = 3", TEXTS[what]))
    with closing(Store.open(run)) as store:
        shelf = BaselineShelf(root=run.parent, choice=None, model_name="local/toy")
        results = Judge(store=store, terms={"smoke": Terms(shelf=shelf, rule=GateRule())}, save_as="local/toy").judge(
            [toy("smoke")]
        )
    finished = finish(run, results, tasks=TASKS, wishes=None)
    (details,) = [line for line in finished.lines if line.startswith("details:")]
    assert details.startswith("details: not written: ")
    assert f"{run / FILE_NAME}: sample " in details
    assert details.isprintable()


@pytest.fixture(scope="module")
def examples_of_own(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Record and judge runs of every ending, to be damaged."""
    return judged_examples(tmp_path_factory.mktemp("examples"))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("green", sql("UPDATE verdict SET content = '{}'")),
        ("green", sql("UPDATE verdict SET content = 'PASS'")),
        ("green", sql("UPDATE verdict SET content = replace(content, '\"pass\"', '\"passed\"')")),
        ("green", sql('UPDATE verdict SET content = replace(content, \'"n_samples": 320\', \'"n_samples": "320"\')')),
        ("stopped", sql("UPDATE look SET content = '{}'")),
        ("stopped", sql("UPDATE look SET content = '[1]'")),
        ("stopped", sql('UPDATE look SET content = replace(content, \'"z": \', \'"z": "x", "was": \')')),
    ],
)
def test_a_stored_verdict_or_look_that_is_none(
    examples_of_own: Mapping[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, damage: Damage
) -> None:
    """`report` refuses a damaged verdict or look in one line with exit code 2."""
    run = damaged(Path(shutil.copytree(examples_of_own[name], tmp_path / "run")), damage)
    assert main(["report", str(run)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{run / FILE_NAME}: " in line
    assert "cannot be read" in line


@pytest.mark.parametrize(
    "gate", ["{}", "[]", "gate", '{"plan": "{}", "reference": {}, "tau_source": 1, "baseline": 2}']
)
def test_a_stored_gate_that_is_none(examples_of_own: Mapping[str, Path], tmp_path: Path, gate: str) -> None:
    """A sequential run is judged by what it stored before the first token, or not at all."""
    run = damaged(
        Path(shutil.copytree(examples_of_own["stopped"], tmp_path / "run")), sql("UPDATE benchmark SET gate = ?", gate)
    )
    with pytest.raises(R1EvalError, match="the gate of smoke cannot be read"):
        judge_only(run)


class TestPlaces:
    @pytest.mark.parametrize("name", ["verdicts.json", "report.html", "results", "details", "run.lock", "upload.json"])
    def test_a_link_is_not_written_through(self, run: Path, tmp_path: Path, name: str) -> None:
        """A file or folder behind a link of a foreign run stays as it was."""
        outside = tmp_path / "outside"
        (outside / "local").mkdir(parents=True)
        (outside / "file").write_text("theirs")
        is_folder = name in {"results", "details"}
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(outside if is_folder else outside / "file")
        if name == "run.lock":
            with pytest.raises(R1EvalError, match="cannot write to the run's folder"):
                judge_only(run)
        else:
            judge_only(run)
            with closing(Store.open(run)) as store:
                shelf = BaselineShelf(root=run.parent, choice=None, model_name="local/toy")
                results = Judge(store=store, terms={"smoke": Terms(shelf=shelf, rule=GateRule())}).judge([toy("smoke")])
            write_verdicts(run, results)
            finished = finish(run, results, tasks=TASKS, wishes=None)
            assert bool(finished.lines) == is_folder
        assert (outside / "file").read_text() == "theirs"
        assert sorted(path.name for path in outside.rglob("*")) == ["file", "local"]

    def test_another_runs_store_is_not_written_through_a_link(self, run: Path, tmp_path: Path) -> None:
        """A link in place of a run's file is refused, and the store behind it stays as it was."""
        other = record_run(tmp_path / "other", seed=2) / FILE_NAME
        before = other.read_bytes()
        (run / FILE_NAME).unlink()
        (run / FILE_NAME).symlink_to(other)
        with pytest.raises(R1EvalError, match=f"{run / FILE_NAME} is a link; expected the run's file itself"):
            judge_only(run)
        assert other.read_bytes() == before


def test_exit_code_4_and_one_line(pytester: pytest.Pytester) -> None:
    """A damaged run ends pytest with exit code 4 and one line, and no file outside of its folder is written."""
    run = damaged(record_run(pytester.path / "place" / "run"), DAMAGES["a name that leads out"])
    result = pytester.runpytest_subprocess("--r1-judge-only", str(run), "-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert line.startswith(f"ERROR: {run / FILE_NAME}: the header cannot be read (its model's name is ")
    assert not [*pytester.path.rglob("details*"), *pytester.path.rglob("x")]

"""`r1eval baseline` as a user types it."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.commands.cli import main
from pytest_r1eval.config.baseline_choice import Previous
from pytest_r1eval.core.baselines import BASELINE_FILE, PublishedBaseline, PublishedHarness
from pytest_r1eval.core.codec import from_json, to_json
from pytest_r1eval.core.lineage import Lineage
from pytest_r1eval.core.records import Counts, FinishReason
from pytest_r1eval.runs.finished import StoredRun
from pytest_r1eval.stats.verdicts import Verdict
from tests.judged_runs import judged, judged_against, sequential_gate
from tests.recordings import record_run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder with three runs."""
    monkeypatch.chdir(tmp_path)
    record_run(Path("base"), seed=1, solve_rate=0.5)
    record_run(Path("better"), seed=2, weights="w2", solve_rate=0.8)
    record_run(Path("worse"), seed=3, weights="w3", solve_rate=0.2)


def say(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command; return its exit code and what it printed, on either stream."""
    code = main(["baseline", *arguments])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_record_then_bless_up_and_down(capsys: pytest.CaptureFixture[str]) -> None:
    """A baseline is recorded once; `bless` replaces it, needs a reason for a lower number, and keeps the history."""
    assert say(capsys, "record", "base", "org/model", "--step", "100", "--parent", "org/base")[0] == 0
    code, words = say(capsys, "record", "better", "org/model")
    assert (code, "has a baseline for smoke already" in words) == (2, True)
    assert say(capsys, "bless", "better", "org/model", "--step", "200")[0] == 0
    code, words = say(capsys, "bless", "worse", "org/model")
    assert (code, "or --reason with why it is" in words) == (2, True)
    assert say(capsys, "bless", "worse", "org/model", "--reason", "the exam was leaked")[0] == 0
    _, shown = say(capsys, "show", "org/model")
    assert ": the exam was leaked" in shown
    (entry,) = from_json(BASELINE_FILE, Path("baselines/org/model.json").read_text(), name="f").measured
    assert [blessing.reason for blessing in entry.history] == [None, "the exam was leaked"]


def test_below_a_project_it_is_the_project_s(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder below a project a baseline is written where a run that is started there finds it, and listed."""
    Path("pyproject.toml").write_text("[tool.pytest.ini_options]\n", encoding="utf-8")
    Path("work").mkdir()
    monkeypatch.chdir("work")
    assert say(capsys, "record", "../base", "org/model")[0] == 0
    assert (tmp_path / "baselines/org/model.json").is_file()
    assert "org/model" in say(capsys, "list")[1]
    assert say(capsys, "show", "org/model")[0] == 0
    assert say(capsys, "verify") == (0, "1 file checked\n")


def test_a_run_that_is_not_whole_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """`record` refuses an incomplete run with the judge's reason and writes nothing."""
    record_run(Path("holes"), skip=frozenset({("p003", 5)}))
    code, words = say(capsys, "record", "holes", "org/model")
    assert (code, "1 of 96 planned samples are missing" in words) == (2, True)
    assert not Path("baselines").exists()


def test_a_sick_run_needs_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """`record` and `bless` refuse an unhealthy run without a reason; `show` prints the reason."""
    record_run(Path("sick"), seed=9, weights="w9", finish_reason=FinishReason.LENGTH, solve_rate=0.9)
    for command in ("record", "bless"):
        code, words = say(capsys, command, "sick", "org/model")
        assert (code, "100.0 % of the responses were truncated" in words) == (2, True), words
    assert not Path("baselines").exists()
    assert say(capsys, "record", "sick", "org/model", "--reason", "a base model rambles")[0] == 0
    (entry,) = from_json(BASELINE_FILE, Path("baselines/org/model.json").read_text(), name="f").measured
    assert entry.reason == "a base model rambles"
    assert "    reason: a base model rambles" in say(capsys, "show", "org/model")[1]
    assert say(capsys, "verify", "--run", "sick") == (0, "1 file checked\n")


class TestOther:
    """`--other RUN`: two runs of one checkpoint show how far it moves by itself, and the gate allows for it."""

    @staticmethod
    def moving(name: str, *, seed: int, first: float, last: float) -> None:
        """Record a run in which half of the problems moved against the other half."""
        record_run(Path(name), seed=seed, weights="w7", n_samples=64, solve_rates=(first, last))

    def test_it_is_stored_and_widens_the_gate(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """A baseline of two runs of one checkpoint does not fail a third for a difference that the two show."""
        self.moving("one", seed=1, first=0.75, last=0.45)
        self.moving("two", seed=2, first=0.45, last=0.75)
        record_run(Path("fallen"), seed=3, weights="w8", n_samples=64, solve_rate=0.48)
        assert say(capsys, "record", "one", "org/alone")[0] == 0
        assert say(capsys, "record", "one", "org/both", "--other", "two")[0] == 0
        (entry,) = from_json(BASELINE_FILE, Path("baselines/org/both.json").read_text(), name="f").measured
        assert entry.correlation is not None
        assert 0.03 < entry.correlation < 0.25
        assert "its runs move beyond sampling by rho = 0." in say(capsys, "show", "org/both")[1]
        (narrow,) = judged_against(Path("fallen"), tmp_path, choice="org/alone")
        (wide,) = judged_against(Path("fallen"), tmp_path, choice="org/both")
        assert narrow.judgement.verdict is Verdict.FAIL_REGRESSED
        assert wide.judgement.verdict is Verdict.PASS
        assert wide.judgement.tau is not None
        assert wide.judgement.tau.source.startswith("runs of the baseline's checkpoint move beyond sampling (rho = 0.")

    def test_other_seeds_of_one_checkpoint_are_asked_for(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`record --other` refuses a run of another checkpoint and a run with the same samples."""
        code, words = say(capsys, "record", "base", "org/model", "--other", "better")
        assert (code, "the runs differ in model.weights" in words) == (2, True), words
        code, words = say(capsys, "record", "base", "org/model", "--other", "base")
        assert (code, "they are the same samples" in words) == (2, True), words


def test_list_finds_ours_and_the_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    """`baseline list` prints the project's and the shipped baselines, as text and as JSON."""
    say(capsys, "record", "base", "org/model")
    assert "org/model " in say(capsys, "list")[1]
    rows = json.loads(say(capsys, "list", "--json")[1])["baselines"]
    kinds = {(row["model"], row["benchmark"]): row["kind"] for row in rows}
    assert kinds["org/model", "smoke"] == "measured"
    assert kinds["deepseek-ai/DeepSeek-R1", "aime24"] == "published"


def test_diff_says_what_moved(capsys: pytest.CaptureFixture[str]) -> None:
    """`diff` prints numbers, z and problems that changed between two files, or `no change`."""
    say(capsys, "record", "base", "org/old")
    say(capsys, "record", "worse", "org/new")
    _, words = say(capsys, "diff", "org/old", "org/new")
    first, *rest = words.splitlines()
    assert first.startswith("smoke: ")
    assert "(z = -" in first
    assert [line for line in rest if " % -> " in line]
    assert say(capsys, "diff", "org/old", "org/old") == (0, "no change\n")
    changes = json.loads(say(capsys, "diff", "org/old", "org/new", "--json")[1])["changes"]
    assert changes[0]["new"] < changes[0]["old"]


def test_verify_finds_what_an_editor_did(capsys: pytest.CaptureFixture[str]) -> None:
    """`verify` finds counts and settings that differ from the run's, another form, and a broken file."""
    say(capsys, "record", "base", "org/model")
    path = Path("baselines/org/model.json")
    assert say(capsys, "verify", "--run", "base") == (0, "1 file checked\n")
    good = path.read_text()
    measured = from_json(BASELINE_FILE, good, name="f").measured[0].counts.problems[0]
    line = f"[{measured.n_correct}, 8]"
    path.write_text(good.replace(f'"{measured.problem_id}": {line}', f'"{measured.problem_id}": [8, 8]'))
    code, words = say(capsys, "verify", "--run", "base")
    assert (code, "smoke: counts not as in the run base" in words) == (1, True)
    path.write_text(good.replace('"temperature": 0.6', '"temperature": 0.7'))
    assert "smoke: fingerprint not as in the run base" in say(capsys, "verify", "--run", "base")[1]
    path.write_text(good.replace("  ", "\t"))
    code, words = say(capsys, "verify")
    assert (code, "not in the form that diffs well" in words) == (1, True)
    path.write_text("{")
    content = json.loads(say(capsys, "verify", "--json")[1])
    assert "no JSON" in content["wrong"][str(path)]


def test_verify_says_where_it_had_nothing_to_check(capsys: pytest.CaptureFixture[str]) -> None:
    """`verify` exits with 2 for a run that no baseline file holds."""
    say(capsys, "record", "base", "org/model")
    code, words = say(capsys, "verify", "--run", "better")
    assert (code, "none of baselines/org/model.json holds the run better" in words) == (2, True)


def test_verify_reads_the_history(capsys: pytest.CaptureFixture[str]) -> None:
    """`verify` finds a number or a run that is not the one with which the history ends."""
    say(capsys, "record", "base", "org/model")
    say(capsys, "bless", "better", "org/model")
    assert say(capsys, "verify") == (0, "1 file checked\n")
    path = Path("baselines/org/model.json")
    file = from_json(BASELINE_FILE, path.read_text(), name="f")
    (entry,) = file.measured
    rows = [(problem.problem_id, 0, problem.n_samples) for problem in entry.counts.problems]
    path.write_text(to_json(BASELINE_FILE, replace(file, measured=(replace(entry, counts=Counts.from_rows(rows)),))))
    code, words = say(capsys, "verify")
    assert (code, "smoke: 0.0 by its counts, " in words) == (1, True)
    path.write_text(to_json(BASELINE_FILE, replace(file, measured=(replace(entry, run="base"),))))
    code, words = say(capsys, "verify")
    assert (code, "its history goes from run better to base" in words) == (1, True)


def test_diff_says_what_else_was_edited(capsys: pytest.CaptureFixture[str]) -> None:
    """`diff` reports changed published numbers, lineages and seeds."""
    say(capsys, "record", "base", "org/old", "--step", "1")
    old = Path("baselines/org/old.json")
    file = from_json(BASELINE_FILE, old.read_text(), name="f")
    number = PublishedBaseline(
        benchmark="aime24",
        pass_at_1=0.5,
        rounding_unit=0.001,
        harness=PublishedHarness.OTHER,
        source="a paper",
        date=None,
        sampling=None,
        samples_per_problem=None,
        note=None,
    )
    edited = replace(file.measured[0], seed=9, lineage=Lineage(step=2, parent="org/base"))
    old.write_text(to_json(BASELINE_FILE, replace(file, published=(number,))))
    higher = replace(number, pass_at_1=0.6, note="from a table")
    Path("new.json").write_text(to_json(BASELINE_FILE, replace(file, published=(higher,), measured=(edited,))))
    assert say(capsys, "diff", "org/old", "new.json")[1].splitlines() == [
        "aime24, published by a paper: 50.0 -> 60.0",
        "  note: None -> from a table",
        "smoke: 47.9 -> 47.9 (z = +0.00)",
        "  seed is another, of the same run",
        "  lineage: step 1 -> parent org/base, step 2",
    ]
    Path("less.json").write_text(to_json(BASELINE_FILE, file))
    assert say(capsys, "diff", "org/old", "less.json")[1] == "aime24, published by a paper: 50.0 -> nothing\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("record nowhere org/model", "no run at nowhere"),
        ("record base model", "model is 'model'; expected org/name"),
        ("show org/nobody", "no such baseline"),
        ("verify", "no baseline to verify"),
        ("bless base", "Missing argument 'NAME'"),
        ("bless base org/model --reason ''", "--reason is ''; expected some text"),
        ("record base org/model --parent ''", "--parent is ''; expected some text"),
        ("record base org/model --commit ' '", "--commit is ' '; expected some text"),
    ],
)
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], arguments: str, words: str) -> None:
    """`baseline` refuses bad input in one line with exit code 2."""
    code, said = say(capsys, *shlex.split(arguments))
    assert (code, said.count("\n"), words in said) == (2, 1, True), said


class TestLineage:
    """`--r1-baseline previous` is the last blessed checkpoint of the same training."""

    def find(self, model_name: str, tmp_path: Path) -> str | None:
        """Say where the baseline of a checkpoint was found."""
        shelf = BaselineShelf(
            root=tmp_path, choice=Previous(), model_name=model_name, output_dir=tmp_path, run=tmp_path / "z" / "y" / "x"
        )
        found = shelf.find("smoke")
        return None if found is None else found.source

    def test_the_highest_step_below_its_own(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """The baseline of a checkpoint is the highest step below its own, of the same training."""
        for step, run in ((100, "base"), (200, "better"), (400, "worse")):
            say(capsys, "record", run, f"train/checkpoint-{step}", "--step", str(step))
        say(capsys, "record", "base", "other/checkpoint-250", "--step", "250")
        assert self.find("train/checkpoint-300", tmp_path) == "baselines/train/checkpoint-200.json, run better"
        assert self.find("train/checkpoint-150", tmp_path) == "baselines/train/checkpoint-100.json, run base"

    def test_another_training_of_the_organisation(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """Models with names of their own are told apart by their parents, as the run itself says them."""
        for run, name in (("base", "acme/llama"), ("better", "acme/qwen")):
            say(capsys, "record", run, name, "--step", "100" if run == "base" else "200", "--parent", f"{name}-base")
        place = Lineage(parent="acme/llama-base", step=300)
        shelf = BaselineShelf(root=tmp_path, choice=Previous(), model_name="acme/llama-v2", lineage=place)
        found = shelf.find("smoke")
        assert found is not None
        assert found.source == "baselines/acme/llama.json, run base"

    def test_without_a_lineage_the_newest_run_before_it(self, tmp_path: Path) -> None:
        """Without a lineage, the baseline is the newest run before, whether or not the name has a step."""
        record_run(tmp_path / "a" / "b" / "run1", seed=5)
        assert self.find("train/checkpoint-300", tmp_path) == f"run {tmp_path / 'a' / 'b' / 'run1'}"
        assert self.find("org/model", tmp_path) == f"run {tmp_path / 'a' / 'b' / 'run1'}"


class TestSaveBaseline:
    """`--r1-save-baseline NAME`: what a judged run puts in a baseline's place."""

    def test_a_fallen_run_lowers_nothing(self, tmp_path: Path) -> None:
        """A failing run leaves the baseline alone, and a warning shows how to lower a baseline on purpose."""
        judged(Path("base"), root=tmp_path)
        path = tmp_path / "baselines/local/toy.json"
        before = path.read_bytes()
        (result,) = judged(Path("worse"), root=tmp_path)
        assert result.judgement.verdict is Verdict.FAIL_REGRESSED
        assert result.recorded is None
        (warning,) = [words for words in result.judgement.warnings if words.startswith("Not recorded. ")]
        assert "r1eval baseline bless RUN NAME --reason TEXT" in warning
        assert path.read_bytes() == before

    def test_all_is_judged_against_what_was_there(self, tmp_path: Path) -> None:
        """A run that is recorded is judged against the previous baseline, not against itself."""
        judged(Path("base"), root=tmp_path)
        (result,) = judged(Path("better"), root=tmp_path)
        assert result.recorded is not None
        assert result.reference == StoredRun(folder=Path("base")).measured("smoke").counts.problems

    def test_a_higher_run_leaves_a_history(self, tmp_path: Path) -> None:
        """A higher run replaces the baseline with one entry in the history, even if it is judged twice."""
        for run in ("base", "better", "better"):
            judged(Path(run), root=tmp_path)
        (entry,) = from_json(BASELINE_FILE, (tmp_path / "baselines/local/toy.json").read_text(), name="f").measured
        assert [(blessing.replaced_run, blessing.run) for blessing in entry.history] == [("base", "better")]

    def test_a_sequential_run_to_its_last_look_is_recorded(self, tmp_path: Path) -> None:
        """A sequential run that reaches its last look is recorded, because it holds every planned sample."""
        base = record_run(Path("wide"), seed=1, n_problems=20, n_samples=16)
        gate = sequential_gate(base, n_samples=16)
        size = {"n_problems": 20, "n_samples": 16, "gate": gate, "weights": "w2", "solve_rate": 0.5}
        (whole,) = judged(record_run(Path("whole"), seed=4, **size), root=tmp_path)  # type: ignore[arg-type]
        assert (whole.n_samples, whole.is_at_stop) == (320, False)
        assert whole.recorded == str(tmp_path / "baselines/local/toy.json")

    def test_one_that_stopped_is_not(self, tmp_path: Path) -> None:
        """A run that stopped early is not recorded, and a warning shows how to complete it."""
        base = record_run(Path("wide"), seed=1, n_problems=20, n_samples=16)
        gate = sequential_gate(base, n_samples=16)
        run = record_run(
            Path("early"), seed=2, weights="w2", n_problems=20, n_samples=16, gate=gate, skip=frozenset({("p003", 15)})
        )
        (early,) = judged(run, root=tmp_path)
        assert (early.recorded, early.is_at_stop) == (None, True)
        (warning,) = [words for words in early.judgement.warnings if words.startswith("Not recorded")]
        assert "The run stopped after 319 of 320 planned samples, and a pass@1 at stop is not a score." in warning
        assert warning.endswith("--r1-resume early --r1-gate fixed.")

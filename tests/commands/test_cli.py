"""The `r1eval` command as a user types it: text, JSON, exit codes, refusals."""

from __future__ import annotations

import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from pytest_r1eval.commands.cli import main
from pytest_r1eval.runs.finished import StoredRun
from tests.judged_runs import judged
from tests.recordings import record_run

NAMES = (
    "aime24, aime25, math500, gpqa, lcb, aime26, hmmt_feb25, hmmt_nov25, gsm8k, ifeval, ifbench, mmlu_pro, mmlu_redux, "
    "lcb_v6, smoke, smoke_code, aime_all (and lcb_v5, ...: other windows of LiveCodeBench)"
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)


def project_with_a_pool(folder: Path) -> Path:
    """Make a project with a pool and its baseline, and an empty folder `work` below it; return a run of the pool."""
    text = '[tool.pytest.ini_options]\n[tool.r1eval.pools]\nours = ["aime24", "aime25"]\n'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    (folder / "work").mkdir()
    pool = {"benchmarks": ("ours",), "parts": ("aime24", "aime25"), "n_samples": 16}
    judged(record_run(folder / "pooled", seed=1, **pool), root=folder, save_as="local/pooled")  # type: ignore[arg-type]
    return record_run(folder / "unchanged", seed=2, **pool)  # type: ignore[arg-type]


class Said:
    """What one command printed, and its exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        try:
            self.code: int | str | None = main(arguments)
        except SystemExit as stopped:
            self.code = stopped.code
        self.out, self.err = capsys.readouterr()

    def only(self, key: str) -> dict[str, Any]:
        """Return the one item of a list in the JSON."""
        (item,) = self.json()[key]
        assert isinstance(item, dict)
        return item

    def json(self) -> dict[str, Any]:
        """Parse the output, refusing what JSON does not have."""

        def refuse(constant: str) -> object:
            raise AssertionError(f"{constant} is no JSON")

        content = json.loads(self.out, parse_constant=refuse)
        assert isinstance(content, dict)
        assert content["schema_version"] == 1
        return content


class TestPower:
    def test_aime(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`power` prints MDE, samples needed, plan and cost for AIME, each with what it assumes."""
        said = Said(capsys, "power", "--benchmark", "aime24", "--max-samples", "auto")
        assert said.code == 0
        assert said.out.splitlines()[:8] == [
            "aime24: 30 problems, 64 samples each",
            "  decides: 3 standard errors of the difference",
            "  baseline: none yet; one with per-problem counts is assumed",
            "  baseline samples per problem: 64 (assumed)",
            (
                "  W, the variance within problems: 0.120, assumed from seed-to-seed SDs of the Sober Look leaderboard;"
                " standard errors at k = 1, 4, 8 in lighteval#771"
            ),
            (
                "  tau, the noise between harnesses: 0.0 points, because candidate and baseline are assumed to share"
                " one harness"
            ),
            "",
            "fixed gate: the fall of pass@1 that turns it red",
        ]
        for line in (
            "  with 80 % power: 4.3 points",
            "  with 90 % power: 4.8 points",
            "  2.0 points  none suffices  none suffices",
            "  5.0 points  38             55",
            "sequential gate: at most 112 samples per problem, planned past the fixed gate's",
            "  13    112      -3.169 or less  -3.169 or more",
            "  unchanged            13.3                 20.8 %             0.11 %",
            "  fall of 10.0 points  9.2                  14.3 %             99.99 %",
        ):
            assert line in said.out.splitlines()

    def test_json_is_the_same_report(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The JSON of `power` is the printed report, with the default plan capped at 64 samples."""
        content = Said(capsys, "power", "--benchmark", "aime24", "--json").json()
        assert content["mde_80"] == pytest.approx(0.043, abs=5e-4)
        assert content["sequential"]["plan"]["last_look"] == "k"
        assert content["sequential"]["plan"]["ks"][-1] == 64

    def test_options_reach_the_report(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`power` hands its options to the report, with points converted to fractions."""
        options = ("--samples", "32", "--baseline-samples", "256", "--sigmas", "2", "--tau", "0.6", "--drop", "3")
        content = Said(capsys, "power", "--benchmark", "aime24", *options, "--drop", "4.5", "--json").json()
        assumptions = content["assumptions"]
        assert (assumptions["design"]["n_samples"], assumptions["design"]["n_baseline_samples"]) == (32, 256)
        assert (assumptions["tau"]["value"], assumptions["tau"]["source"]) == (0.006, "it was asked for")
        assert content["sigmas"] == 2
        assert [needed["drop"] for needed in content["needed"]] == [0.03, 0.045]

    def test_a_measured_baseline_is_planned_with(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """`power --baseline` takes its numbers from the shipped baseline of the small checkpoint."""
        said = Said(capsys, "power", "--benchmark", "smoke", "--baseline", "r1eval/tiny-arithmetic")
        assert said.code == 0
        assert "  baseline: tiny-arithmetic.json, run " in said.out
        assert ", the stored baseline\n" in said.out
        assert "assumed from" not in said.out
        assert not list(tmp_path.iterdir())

    def test_below_a_project_it_is_the_project_s(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`power` in a folder below a project takes the pool of its pyproject.toml and its baselines, as a run does."""
        project_with_a_pool(tmp_path)
        monkeypatch.chdir(tmp_path / "work")
        said = Said(capsys, "power", "--benchmark", "ours", "--baseline", "local/pooled")
        assert (said.code, said.err) == (0, "")
        assert "  baseline: baselines/local/pooled.json, run " in said.out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("--benchmark aime", f"--benchmark aime: no such benchmark; expected one of {NAMES}"),
            ("--benchmark smoke", "smoke: no planning constants are known, so its variance would be a guess; name a"),
            ("--benchmark aime24 --baseline no/body", "no/body: no such baseline; looked for "),
            (
                "--benchmark smoke --baseline deepseek-ai/DeepSeek-R1",
                "--baseline deepseek-ai/DeepSeek-R1: nothing for smoke in it; name another, or leave --baseline out",
            ),
            (
                "--benchmark smoke --baseline r1eval/tiny-arithmetic --baseline-samples 8",
                "--baseline-samples 8 and --baseline were both given",
            ),
            ("", "r1eval power: error: Missing option '--benchmark'"),
            ("--benchmark aime24 --samples 0", "'0'; expected a whole number, 1 or more"),
            ("--benchmark aime24 --drop 0", "'0'; expected points above 0 and at most 100"),
            ("--benchmark aime24 --drop nan", "'nan'; expected points above 0 and at most 100"),
            ("--benchmark aime24 --claim same", "--claim same without --margin: expected --margin POINTS"),
            ("--benchmark aime24 --tau -1", "'-1'; expected points from 0 to 100"),
            ("--benchmark aime24 --sigmas x", "'x'; expected a number above 0"),
            ("--benchmark aime24 --max-samples 9", "'9' is not one of 'k', 'auto'"),
            ("--benchmark aime24 --tasks no.py", "'no.py'; expected an existing file"),
        ],
    )
    def test_bad_input_is_refused(self, capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
        """`power` refuses bad input with exit code 2, what was found and what was expected."""
        said = Said(capsys, "power", *arguments.split())
        assert said.code == 2
        assert message in said.err
        assert said.out == ""


class TestCompare:
    @pytest.fixture(autouse=True)
    def _runs(self) -> None:
        """Record a base, an unchanged and a fallen run."""
        record_run(Path("base"), seed=1)
        record_run(Path("same"), seed=2)
        record_run(Path("worse"), seed=3, weights="w2", solve_rate=0.1)

    def test_a_pass(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`compare` prints the gate's table and words, and exits with 0 for a PASS."""
        said = Said(capsys, "compare", "same", "base")
        assert said.code == 0
        lines = said.out.splitlines()
        assert lines[0].split() == ["benchmark", "pass@1", "baseline", "difference", "z", "MDE80", "verdict"]
        assert lines[2].startswith("smoke ")
        assert lines[2].endswith(" PASS")
        assert lines[4].startswith("smoke: PASS. pass@1 is ")
        assert "  baseline: run base" in lines
        assert [line for line in lines if line.startswith("smoke: health PASS. ")]

    def test_a_failure(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`compare` exits with 1 for a run that fell, with --json too."""
        assert Said(capsys, "compare", "worse", "base").code == 1
        said = Said(capsys, "compare", "worse", "base", "--json")
        assert said.code == 1
        assert said.json()["passes"] is False

    def test_options_reach_the_rule(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Sigmas, sides, margin and exactness on the command line change what `compare` decides."""
        assert Said(capsys, "compare", "worse", "base", "--sigmas", "7").code == 0
        assert Said(capsys, "compare", "base", "worse").code == 0
        assert Said(capsys, "compare", "base", "worse", "--two-sided").code == 1
        assert Said(capsys, "compare", "base", "worse", "--claim", "same", "--margin", "90").code == 1
        margin = Said(capsys, "compare", "same", "base", "--margin", "1")
        assert margin.code == 1
        assert "INCONCLUSIVE" in margin.out
        gate = Said(capsys, "compare", "same", "base", "--exact", "--json").only("gates")
        assert gate["judgement"]["exact"] is True

    def test_an_incomplete_run_is_invalid(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`compare` exits with 1 for an incomplete run, and its JSON has null for a missing number."""
        record_run(Path("holes"), skip=frozenset({("p003", 5)}))
        said = Said(capsys, "compare", "holes", "base")
        assert said.code == 1
        assert "smoke: INVALID. 1 of 96 planned samples are missing." in said.out
        gate = Said(capsys, "compare", "same", "holes", "--json").only("gates")
        assert gate["judgement"]["z"] is None

    def test_below_a_project_it_is_the_project_s(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`compare` in a folder below a project takes the pool of its pyproject.toml and its baselines, as a run."""
        run = project_with_a_pool(tmp_path)
        monkeypatch.chdir(tmp_path / "work")
        said = Said(capsys, "compare", str(run), "local/pooled")
        assert (said.code, said.err) == (0, "")
        assert "ours: PASS. " in said.out

    def test_one_benchmark_of_several(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`compare` is INVALID for a benchmark that the baseline lacks, unless --benchmark leaves it out."""
        record_run(Path("both"), seed=4, benchmarks=("smoke", "aime24"))
        assert Said(capsys, "compare", "both", "base").code == 1
        assert Said(capsys, "compare", "both", "base", "--benchmark", "smoke").code == 0

    def test_nothing_is_written_to_either_run(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """`compare` stores no verdict and records no baseline."""
        Said(capsys, "compare", "same", "base")
        for folder in ("same", "base"):
            assert StoredRun(folder=Path(folder)).verdict("smoke") is None
        assert not (tmp_path / "baselines").exists()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("nowhere base", "no run at nowhere: expected the file run.sqlite in it"),
            ("base nowhere", "nowhere is neither a run (it holds no run.sqlite) nor a baseline: "),
            ("base broken.json", "broken.json is neither a run (it holds no run.sqlite) nor a baseline: "),
            ("base same --benchmark aime24", "base holds no aime24; expected one of smoke"),
            ("base same --margin 0", "'0'; expected points above 0 and at most 100"),
            ("base", "r1eval compare: error: Missing argument 'RUN|BASELINE'"),
        ],
    )
    def test_bad_input_is_refused(self, capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
        """`compare` refuses bad input with exit code 2 and prints nothing on standard output."""
        Path("broken.json").write_text("{", encoding="utf-8")
        said = Said(capsys, "compare", *arguments.split())
        assert said.code == 2
        assert message in said.err
        assert said.out == ""


class TestAggregate:
    @pytest.fixture(autouse=True)
    def _runs(self) -> None:
        """Record two runs of one checkpoint."""
        record_run(Path("one"), seed=1)
        record_run(Path("two"), seed=2)

    def test_one_fingerprint_is_added(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`aggregate` adds the counts of runs with one fingerprint to one number."""
        item = Said(capsys, "aggregate", "one", "two", "--json").only("aggregates")
        said = Said(capsys, "aggregate", "one", "two")
        assert said.code == 0
        assert said.out.splitlines()[:2] == [
            f"smoke: pass@1 {100 * item['mean']:.1f} ± {100 * item['standard_error']:.1f} points",
            "  from 192 samples of 2 runs, counts added: one fingerprint, distinct seeds",
        ]

    def test_several_are_pooled(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`aggregate` pools runs of several fingerprints and prints Q, tau and the warnings."""
        record_run(Path("other"), seed=3, weights="w2", solve_rate=0.1)
        said = Said(capsys, "aggregate", "one", "two", "other")
        assert said.code == 0
        assert "pooled by inverse variance, because the fingerprints differ in model.weights" in said.out
        assert "  Cochran's Q = " in said.out
        assert "  warning: The runs are of 2 checkpoints" in said.out
        item = Said(capsys, "aggregate", "one", "two", "other", "--json").only("aggregates")
        assert item["method"] == "pooled"
        assert item["pooled"]["tau"] > 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("one", "one to aggregate; expected two runs or more"),
            ("one one", "one and one have one fingerprint and one seed (1), so they are the same samples"),
            ("one longer", "one and longer were asked different questions (question.exam: "),
            ("one holes", "holes, smoke: 1 of 96 planned samples are missing. Resume the run: --r1-resume holes."),
            ("both one", "one, aime24: The run one holds no aime24, only smoke. Choose what both hold with --bench"),
            ("one two --benchmark gpqa", "one holds no gpqa; expected one of smoke"),
            ("one nowhere", "no run at nowhere: expected the file run.sqlite in it"),
        ],
    )
    def test_bad_input_is_refused(self, capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
        """`aggregate` refuses bad input with exit code 2 and prints nothing on standard output."""
        record_run(Path("longer"), seed=3, n_problems=13)
        record_run(Path("holes"), seed=4, skip=frozenset({("p003", 5)}))
        record_run(Path("both"), seed=5, benchmarks=("aime24", "smoke"))
        said = Said(capsys, "aggregate", *arguments.split())
        assert said.code == 2
        assert message in said.err
        assert said.out == ""


def test_the_console_script_is_this_function() -> None:
    """What pyproject.toml installs as r1eval can be loaded."""
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    scripts = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["scripts"]
    assert EntryPoint(name="r1eval", value=scripts["r1eval"], group="console_scripts").load() is main


def test_no_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """`r1eval` without a command is refused in one line, and --help names the commands."""
    said = Said(capsys)
    assert (said.code, said.err) == (2, "r1eval: error: Missing command.\n")
    assert "power" in Said(capsys, "--help").out


def test_ctrl_c_is_no_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in any command prints no traceback."""

    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "is_file", interrupted)
    said = Said(capsys, "compare", "a", "b")
    assert (said.code, said.out, said.err.strip()) == (130, "", "")

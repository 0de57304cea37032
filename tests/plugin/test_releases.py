"""A release policy as a user sees it: selection, terms of each benchmark, one verdict, and the exit code."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_r1eval.commands.cli import main
from pytest_r1eval.config.policy import find_policy
from pytest_r1eval.core.baselines import BASELINE_FILE
from pytest_r1eval.core.codec import from_json
from pytest_r1eval.core.records import FinishReason
from pytest_r1eval.reports.run_report import read_report
from tests.documents import ROOT
from tests.judged_runs import judged
from tests.plugin_runs import judge, judge_only, runs_of, save_baseline, verdict_of
from tests.recordings import record_run

Record = Callable[..., Path]

POLICY = """
max-new-tokens = 64
samples = 8

[benchmarks.aime24]
tier = "critical"
[benchmarks.smoke]
tier = "supporting"
[benchmarks.math500]
tier = "advisory"
"""
BOTH = ("aime24", "math500", "smoke")


@pytest.fixture
def run_of(pytester: pytest.Pytester, recorded: Record) -> Record:
    """Record runs of three benchmarks beside a policy and a baseline."""
    (pytester.path / "policy.toml").write_text(POLICY, encoding="utf-8")
    recorded("base", seed=1, benchmarks=BOTH)
    save_baseline(pytester, "base")

    def record(name: str, **details: object) -> Path:
        return recorded(name, **{"benchmarks": BOTH, "seed": 2, "weights": "w2", **details})

    return record


def release(pytester: pytest.Pytester, run: str, *arguments: str, mark: str = "release") -> pytest.RunResult:
    """Judge a recorded run by the policy."""
    return judge(pytester, run, "--r1-policy", "policy.toml", *arguments, mark=mark)


def answer_of(result: pytest.RunResult) -> str:
    """Return the verdict of the release that was printed."""
    found = [line for line in result.outlines if line.startswith("release: ")]
    assert len({*found}) == 1, result.stdout.str() + result.stderr.str()  # twice where it is a failure
    return found[0].removeprefix("release: ").partition(",")[0]


class TestVerdicts:
    def test_an_unchanged_checkpoint_ships(
        self, pytester: pytest.Pytester, run_of: Record, mode: tuple[str, ...]
    ) -> None:
        """A checkpoint whose critical benchmark passes is SHIP with exit code 0, alone and on workers."""
        run_of("same")
        result = release(pytester, "same", *mode)
        assert (answer_of(result), result.ret) == ("SHIP", 0)
        result.stdout.fnmatch_lines(["release: SHIP, *", "  aime24 (critical): PASS", "  smoke (supporting): PASS"])

    def test_a_critical_fall_holds(self, pytester: pytest.Pytester, run_of: Record, mode: tuple[str, ...]) -> None:
        """A fall of a critical benchmark is HOLD with exit code 1, alone and on workers."""
        run_of("worse", rate_of={"aime24": 0.1})
        result = release(pytester, "worse", *mode)
        assert (answer_of(result), result.ret) == ("HOLD", 1)
        result.stdout.fnmatch_lines(
            [
                "  aime24 (critical): FAIL_REGRESSED -> HOLD. *",
                "FAILED r1eval::aime24::pass@1*",
                "FAILED r1eval::release*",
            ]
        )
        result.stdout.fnmatch_lines(["smoke: PASS. *", "  next: Ship it if the release is SHIP; *"])
        result.stdout.no_fnmatch_line("*Ship it;*")

    def test_a_critical_fall_ends_the_run_on_request(self, pytester: pytest.Pytester, run_of: Record) -> None:
        """Under --r1-fail-fast a critical FAIL ends the run and is HOLD, and a supporting one ends nothing."""
        run_of("worse", rate_of={"aime24": 0.1})
        result = release(pytester, "worse", "--r1-fail-fast")
        assert (answer_of(result), result.ret) == ("HOLD", 1)
        result.stdout.fnmatch_lines(["  smoke (supporting): INVALID -> a warning. Not drawn: aime24 failed*"])
        run_of("warned", weights="w3", rate_of={"smoke": 0.1, "math500": 0.1})
        assert answer_of(release(pytester, "warned", "--r1-fail-fast")) == "SHIP"

    def test_an_undecided_critical_benchmark_does_not_ship(
        self, pytester: pytest.Pytester, recorded: Record, mode: tuple[str, ...]
    ) -> None:
        """A critical benchmark without a baseline is INCONCLUSIVE with exit code 1, alone and on workers."""
        recorded("first", benchmarks=BOTH)
        (pytester.path / "policy.toml").write_text(POLICY, encoding="utf-8")
        result = release(pytester, "first", "--r1-report", "r.json", *mode)
        assert (answer_of(result), result.ret) == ("INCONCLUSIVE", 1)
        result.stdout.fnmatch_lines(["  aime24 (critical): INCONCLUSIVE -> INCONCLUSIVE. There is no baseline yet.*"])
        assert json.loads((pytester.path / "r.json").read_text())["release"]["verdict"] == "inconclusive"

    def test_a_pool_is_a_member(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A pool is a benchmark of a policy by its name, with one verdict on the release and each part shown."""
        pool = {"benchmarks": ("aime_all",), "parts": ("aime24", "aime25", "aime26"), "n_problems": 30}
        recorded("base", seed=1, n_samples=16, **pool)
        save_baseline(pytester, "base")
        recorded("worse", seed=2, weights="w2", n_samples=16, solve_rate=0.3, **pool)
        text = 'max-new-tokens = 64\nsamples = 16\n[benchmarks.aime_all]\ntier = "critical"\n'
        (pytester.path / "policy.toml").write_text(text, encoding="utf-8")
        result = release(pytester, "worse")
        assert (answer_of(result), result.ret) == ("HOLD", 1)
        result.stdout.fnmatch_lines(["  part aime26: * on 10 problems, baseline *"])

    def test_other_falls_only_warn(self, pytester: pytest.Pytester, run_of: Record) -> None:
        """Falls of supporting and advisory benchmarks are shown, and the release ships with exit code 0."""
        run_of("worse", rate_of={"smoke": 0.1, "math500": 0.1})
        result = release(pytester, "worse", "-rx")
        assert (answer_of(result), result.ret) == ("SHIP", 0)
        assert "Do not ship" not in result.stdout.str()
        result.stdout.fnmatch_lines(
            [
                "  smoke (supporting): FAIL_REGRESSED -> a warning. *",
                "  math500 (advisory): FAIL_REGRESSED -> shown only. *",
                "smoke: FAIL_REGRESSED. *",
                "  next: The release tolerates it; *",
                "XFAIL r1eval::smoke::pass@1 - only warns.*",
            ]
        )

    @pytest.mark.parametrize(
        "narrowed",
        [("-k", "smoke"), ("--deselect", "r1eval::aime24[shard 1/1]")],
        ids=["keyword", "deselected"],
    )
    def test_a_critical_benchmark_that_is_left_out_is_invalid(
        self, pytester: pytest.Pytester, run_of: Record, narrowed: tuple[str, str]
    ) -> None:
        """A release without its critical benchmark is INVALID with exit code 2, whatever else passes."""
        run_of("same")
        result = release(pytester, "same", *narrowed)
        assert (answer_of(result), result.ret) == ("INVALID", 2)
        result.stdout.fnmatch_lines(["  aime24 (critical): not judged -> INVALID. It was not judged: *"])

    def test_a_mark_cannot_choose_what_ships(self, pytester: pytest.Pytester, run_of: Record) -> None:
        """Another expression of -m that leaves the critical benchmark out is INVALID too."""
        run_of("same")
        result = release(pytester, "same", mark="smoke")
        assert (answer_of(result), result.ret) == ("INVALID", 2)

    def test_a_skipped_critical_benchmark_is_invalid(self, pytester: pytest.Pytester, run_of: Record) -> None:
        """A conftest that skips the critical benchmark's shard leaves the release INVALID."""
        run_of("same")
        pytester.makeconftest(
            "import pytest\n\n\ndef pytest_collection_modifyitems(items):\n"
            "    for item in items:\n"
            "        if 'aime24' in item.nodeid:\n"
            "            item.add_marker(pytest.mark.skip)\n"
        )
        result = release(pytester, "same")
        assert (answer_of(result), result.ret) == ("INVALID", 2)

    @pytest.mark.parametrize(("required", "answer", "code"), [("false", "SHIP", 0), ("true", "INVALID", 2)])
    def test_an_incomplete_supporting_benchmark(
        self, pytester: pytest.Pytester, run_of: Record, required: str, answer: str, code: int
    ) -> None:
        """A supporting benchmark with missing samples is INVALID: a warning, unless the policy requires it."""
        policy = pytester.path / "policy.toml"
        policy.write_text(POLICY.replace('"supporting"', f'"supporting"\nrequired = {required}'), encoding="utf-8")
        run_of("holes", skip=frozenset({("p003", 5)}), skip_in="smoke")
        result = release(pytester, "holes")
        assert (answer_of(result), result.ret) == (answer, code)
        result.stdout.fnmatch_lines(["  smoke (supporting*): INVALID -> *"])

    def test_the_users_own_red_test_is_red(self, pytester: pytest.Pytester, run_of: Record) -> None:
        """A release that ships beside the user's failing test has the exit code of the test."""
        run_of("same")
        pytester.makepyfile(test_mine="def test_release():\n    assert False\n")
        result = judge(pytester, "same", "--r1-policy", "policy.toml", "test_mine.py", mark="release or not r1eval")
        assert (answer_of(result), result.ret) == ("SHIP", 1)

    @pytest.mark.parametrize("mode", [(), ("-n", "2")], ids=["alone", "n2"])
    def test_another_plugin_does_not_end_it_green(
        self, pytester: pytest.Pytester, run_of: Record, mode: tuple[str, ...]
    ) -> None:
        """A plugin that sets exit code 0 does not make a HOLD green."""
        run_of("worse", rate_of={"aime24": 0.1})
        pytester.makepyfile(lenient="def pytest_sessionfinish(session):\n    session.exitstatus = 0\n")
        result = release(pytester, "worse", "-p", "lenient", *mode)
        assert (answer_of(result), result.ret) == ("HOLD", 1)

    @pytest.mark.parametrize("hook", ["pytest_runtest_teardown", "pytest_collection_modifyitems"])
    def test_what_was_not_judged_is_not_green(self, pytester: pytest.Pytester, run_of: Record, hook: str) -> None:
        """A plugin that ends pytest with exit code 0 before anything is judged leaves exit code 2."""
        run_of("same")
        pytester.makepyfile(ending=f"import pytest\n\n\ndef {hook}():\n    pytest.exit('enough', returncode=0)\n")
        assert release(pytester, "same", "-p", "ending").ret == pytest.ExitCode.INTERRUPTED


class TestTerms:
    def test_each_benchmark_is_judged_by_its_own_terms(self, pytester: pytest.Pytester, run_of: Record) -> None:
        """Samples, looks, sigmas, margin and limits of health are each benchmark's own."""
        (pytester.path / "policy.toml").write_text(
            "max-new-tokens = 64\nsamples = 8\n"
            '[benchmarks.aime24]\ntier = "critical"\nsamples = 4\n'
            '[benchmarks.smoke]\ntier = "supporting"\nsigmas = 9\n'
            '[benchmarks.math500]\ntier = "advisory"\ngate = "sequential"\nrelative-margin = 1\n',
            encoding="utf-8",
        )
        run_of("worse", rate_of={"smoke": 0.2})
        result = release(pytester, "worse")
        (run,) = runs_of(pytester)
        report = read_report(run)
        assert (answer_of(result), report["aime24"].result.samples_per_problem) == ("SHIP", 4)
        assert verdict_of(run, "smoke") == "pass"
        looks, gate = report["math500"].looks, report["math500"].result.sequential_plan
        assert looks
        assert gate is not None
        assert gate.rule.margin == pytest.approx(0.01 * 0.6, abs=0.002)
        result.stdout.fnmatch_lines(["r1eval: smoke *9 *", "*math500: *no PASS can come of it"])

    def test_each_benchmark_has_its_own_baseline_and_anchor(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """A benchmark is judged against its own baseline and anchor, and others against theirs."""
        for name, rates in (("one", {}), ("two", {"aime24": 0.95, "smoke": 0.2})):
            recorded(name, seed=1, benchmarks=BOTH, weights=name, rate_of=rates)
            judged(pytester.path / name, root=pytester.path, save_as=f"org/{name}")
        recorded("same", seed=2, benchmarks=BOTH, weights="w2")
        (pytester.path / "policy.toml").write_text(
            'max-new-tokens = 64\nsamples = 8\nbaseline = "org/one"\n'
            '[benchmarks.math500]\ntier = "critical"\n'
            '[benchmarks.smoke]\ntier = "supporting"\nbaseline = "org/two"\n'
            '[benchmarks.aime24]\ntier = "supporting"\nanchor = "org/two"\n',
            encoding="utf-8",
        )
        result = release(pytester, "same")
        (run,) = runs_of(pytester)
        assert (answer_of(result), result.ret) == ("SHIP", 0)
        found = {name: verdict_of(run, name) for name in BOTH}
        assert found == {"math500": "pass", "smoke": "suspicious_improved", "aime24": "fail_regressed"}
        (gate,) = (line for line in result.outlines if line.startswith("  aime24 (supporting): "))
        assert "FAIL_REGRESSED -> a warning" in gate
        page = (run / "report.html").read_text(encoding="utf-8")
        assert "baselines/org/one.json" in page
        assert "baselines/org/two.json" in page

    def test_a_limit_of_health_holds_beside_a_baseline_that_broke_it(
        self, pytester: pytest.Pytester, recorded: Record
    ) -> None:
        """A policy's limit of truncated responses fails a run that is no worse than its baseline."""
        details = {"finish_reason": FinishReason.LENGTH, "n_tokens": 64}
        recorded("base", seed=1, **details)
        recorded("same", seed=2, weights="w2", **details)
        save = ("baseline", "record", str(pytester.path / "base"), "local/toy", "--reason", "as before")
        assert main(list(save)) == 0
        policy = '[benchmarks.smoke]\ntier = "critical"\nsamples = 8\n'
        (pytester.path / "policy.toml").write_text(policy, encoding="utf-8")
        assert answer_of(release(pytester, "same")) == "SHIP"
        (pytester.path / "policy.toml").write_text(policy + "max-truncated = 20\n", encoding="utf-8")
        result = release(pytester, "same")
        assert (answer_of(result), result.ret) == ("HOLD", 1)
        result.stdout.fnmatch_lines(
            ["  smoke (critical): PASS -> HOLD. 100.0 % of the responses were truncated*At most*"]
        )


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--r1-sigmas", "9"), "--r1-sigmas (or r1_sigmas) beside the release policy*write it into the policy"),
            (("-o", "r1_samples=aime24=4"), "--r1-samples (or r1_samples) beside the release policy*"),
            (("--r1-inconclusive", "pass"), "--r1-inconclusive *judge without the policy"),
            (("--r1-save-baseline", "a/b"), "--r1-save-baseline *judge without the policy"),
        ],
        ids=["sigmas", "ini", "inconclusive", "save"],
    )
    def test_what_a_policy_decides_is_decided_nowhere_else(
        self, pytester: pytest.Pytester, recorded: Record, arguments: tuple[str, ...], message: str
    ) -> None:
        """An option that a policy sets or forbids is refused beside it, from the command line and the ini file."""
        recorded("same")
        (pytester.path / "policy.toml").write_text(POLICY, encoding="utf-8")
        result = release(pytester, "same", *arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {message}"])

    def test_a_policy_needs_a_checkpoint(self, pytester: pytest.Pytester) -> None:
        """A policy without a model is refused, because green tests beside it would look like a release."""
        (pytester.path / "policy.toml").write_text(POLICY, encoding="utf-8")
        pytester.makepyfile(test_mine="import pytest\n\n\n@pytest.mark.release\ndef test_mine():\n    pass\n")
        result = pytester.runpytest_subprocess("--r1-policy", "policy.toml", "-m", "release")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: --r1-policy without --r1-model: nothing would be judged*"])

    def test_release_needs_a_policy(self, pytester: pytest.Pytester, recorded: Record) -> None:
        """`-m release` without a policy is refused, and says where one is looked for."""
        recorded("same")
        result = judge(pytester, "same", mark="release")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            [f"ERROR: -m release: there is no release policy; *{pytester.path}/pyproject.toml*"]
        )

    def test_a_benchmark_beyond_the_policy_is_refused(self, pytester: pytest.Pytester, run_of: Record) -> None:
        """A benchmark that the policy does not list is not judged beside it."""
        run_of("same")
        result = release(pytester, "same", mark="release or gpqa")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: *selects gpqa, which the release policy * does not list; *"])

    def test_a_policy_beside_the_model_is_not_read(self, pytester: pytest.Pytester, run_of: Record) -> None:
        """The policy is that of the user's folder, not one in a configuration beside or above the model."""
        run_of("models/worse", rate_of={"aime24": 0.1})
        for folder in (pytester.path / "models", pytester.path / "models/worse"):
            (folder / "pyproject.toml").write_text(
                '[tool.pytest.ini_options]\n[tool.r1eval.policy.benchmarks.smoke]\ntier = "critical"\n',
                encoding="utf-8",
            )
        lines = POLICY.replace("[benchmarks", "[tool.r1eval.policy.benchmarks")
        (pytester.path / "pyproject.toml").write_text(f"[tool.r1eval.policy]{lines}", encoding="utf-8")
        result = judge(pytester, "models/worse", mark="release")
        assert (answer_of(result), result.ret) == ("HOLD", 1)
        result.stdout.fnmatch_lines([f"r1eval: release policy pyproject.toml * ({pytester.path}/pyproject.toml)"])

    def test_no_checkpoint_brings_its_policy_along(
        self, pytester: pytest.Pytester, run_of: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A policy in the model's own folder is refused where pytest is started there."""
        run_of("worse", rate_of={"aime24": 0.1})
        text = '[tool.r1eval.policy.benchmarks.smoke]\ntier = "critical"\nsamples = 8\nmax-new-tokens = 64\n'
        (pytester.path / "worse" / "pyproject.toml").write_text(text, encoding="utf-8")
        monkeypatch.chdir(pytester.path / "worse")
        result = judge(pytester, ".", mark="release")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: -m release: *pyproject.toml is beside the model that it would judge; *"])
        assert "SHIP" not in result.stdout.str()


class TestStoredRuns:
    def test_a_stored_run_is_released_by_a_policy(self, pytester: pytest.Pytester, run_of: Record) -> None:
        """A stored run is judged by a policy, and is INVALID where it was drawn otherwise than the policy asks."""
        run = run_of("same")
        assert answer_of(judge_only(pytester, run, "--r1-policy", "policy.toml")) == "SHIP"
        assert read_report(run).exit_code == 0
        policy = pytester.path / "policy.toml"
        policy.write_text(POLICY.replace("samples = 8", "samples = 16"), encoding="utf-8")
        result = judge_only(pytester, run, "--r1-policy", "policy.toml")
        assert (answer_of(result), result.ret) == ("INVALID", 2)
        result.stdout.fnmatch_lines(["aime24: INVALID. The policy asks for samples 16, and the run was drawn with 8.*"])
        assert read_report(run).exit_code == 2
        assert judge_only(pytester, run).ret == 0
        assert read_report(run).release is None

    def test_looks_by_another_rule_do_not_ship(self, pytester: pytest.Pytester, run_of: Record) -> None:
        """A fall that looks let through at seven sigmas is INVALID under a policy of three."""
        run_of("worse", rate_of={"aime24": 0.3})
        wide = ("--r1-gate", "sequential", "--r1-sigmas", "7", "--r1-samples", "aime24=8")
        assert judge(pytester, "worse", *wide, mark="aime").ret == 0
        (run,) = runs_of(pytester)
        policy = 'samples = 8\nmax-new-tokens = 64\n[benchmarks.aime24]\ntier = "critical"\ngate = "sequential"\n'
        (pytester.path / "policy.toml").write_text(policy, encoding="utf-8")
        result = judge_only(pytester, run, "--r1-policy", "policy.toml")
        assert (answer_of(result), result.ret) == ("INVALID", 2)
        result.stdout.fnmatch_lines(["*The policy asks for sigmas 3.0, and the run was drawn with 7.0.*"])

    def test_another_policy_does_not_go_on_with_a_run(self, pytester: pytest.Pytester, run_of: Record) -> None:
        """--r1-resume under another policy, or under none, is refused by their digests."""
        run_of("same")
        release(pytester, "same")
        (run,) = runs_of(pytester)
        result = judge(pytester, "same", "--r1-resume", str(run), mark="aime or smoke or math500")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            ["ERROR: *the run was started under the policy *, and this one is * without a policy*"]
        )
        (pytester.path / "policy.toml").write_text(f"sigmas = 2\n{POLICY}", encoding="utf-8")
        refused = release(pytester, "same", "--r1-resume", str(run))
        refused.stderr.fnmatch_lines(["ERROR: *the run was started under the policy *resume with the policy*"])

    def test_a_stored_verdict_is_released_again(self, pytester: pytest.Pytester, run_of: Record) -> None:
        """A run whose verdicts the ledger has gets the same answer, and other terms are another question."""
        run_of("same")
        ledger = ("--r1-engine-arg", "ledger=true")
        assert answer_of(release(pytester, "same", *ledger)) == "SHIP"
        again = release(pytester, "same", *ledger)
        assert (answer_of(again), len(runs_of(pytester))) == ("SHIP", 1)
        again.stdout.fnmatch_lines(["r1eval: judged before, nothing is drawn"])


class TestReports:
    def test_every_report_names_the_answer_and_the_policy(
        self, pytester: pytest.Pytester, run_of: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Terminal, JSON, page, Markdown, GitHub's summary and JUnit's XML show one answer and the policy's digest."""
        run_of("worse", rate_of={"aime24": 0.1, "smoke": 0.1})
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
        reports = [word for name in ("r.json", "r.md", "r.txt") for word in ("--r1-report", name)]
        result = release(pytester, "worse", *reports, "--junitxml", "gate.xml")
        (run,) = runs_of(pytester)
        found = re.search(r"release policy policy.toml (\w{12}) ", result.stdout.str())
        assert found is not None
        stored = json.loads((run / "verdicts.json").read_text(encoding="utf-8"))
        assert stored["release"]["verdict"] == "hold"
        digests = {gate["policy"] for gate in stored["gates"]} | {stored["release"]["policy"]}
        assert len(digests) == 1
        assert digests.pop().startswith(found[1])
        assert {gate["benchmark"]: gate["tier"] for gate in stored["gates"]}["aime24"] == "critical"
        assert json.loads((pytester.path / "r.json").read_text())["release"]["verdict"] == "hold"
        for path in (run / "report.html", *(pytester.path / name for name in ("r.md", "r.txt", "summary.md"))):
            assert f"release: HOLD, a critical benchmark fails (policy policy.toml {found[1]})" in path.read_text()
        junit = (pytester.path / "gate.xml").read_text()
        assert all(text in junit for text in ('name="release"', 'name="r1eval.tier" value="critical"', found[1]))
        result.stdout.fnmatch_lines(["::error title=release%3A HOLD::release: HOLD*", "::warning title=smoke%3A FAIL*"])


class TestExample:
    """examples/release, with recorded checkpoints in place of the shipped ones; tests/e2e judges those."""

    BENCHMARKS = ("smoke", "sums", "cold_sums")

    def record(self, pytester: pytest.Pytester, name: str, **details: object) -> Path:
        """Record a checkpoint on the example's benchmarks, as its policy draws them."""
        usual: dict[str, object] = {"n_problems": 40, "n_samples": 16, "temperature_of": {"cold_sums": 0.2}}
        return record_run(pytester.path / name, benchmarks=self.BENCHMARKS, **{**usual, **details})  # type: ignore[arg-type]

    @pytest.mark.parametrize(("rate", "answer", "code"), [(0.6, "SHIP", 0), (0.3, "HOLD", 1)], ids=["ships", "holds"])
    def test_one_release_ships_and_one_holds(
        self, pytester: pytest.Pytester, rate: float, answer: str, code: int
    ) -> None:
        """By the example's policy an unchanged checkpoint ships, and a fallen one is held by its critical benchmark."""
        shutil.copytree(ROOT / "examples" / "release", pytester.path, dirs_exist_ok=True)
        base = self.record(pytester, "base", n_samples=64)
        judged(base, root=pytester.path, save_as="r1eval/tiny-arithmetic")
        self.record(pytester, "candidate", seed=2, weights="w2", solve_rate=rate)
        result = judge(pytester, "candidate", mark="release")
        assert (answer_of(result), result.ret) == (answer, code)
        tiers = ("smoke (critical)", "sums (supporting, required)", "cold_sums (advisory)")
        result.stdout.fnmatch_lines([f"  {tier}: *" for tier in tiers])

    def test_its_baselines_are_of_its_benchmarks(self) -> None:
        """The example's file holds its own benchmarks, drawn as the policy draws; the package ships that of smoke."""
        folder = ROOT / "examples" / "release"
        policy = find_policy(folder)
        assert policy is not None
        text = (folder / "baselines/r1eval/tiny-arithmetic.json").read_text(encoding="utf-8")
        file = from_json(BASELINE_FILE, text, name="file")
        assert {entry.benchmark for entry in file.measured} == {*policy.names} - {"smoke"}
        for entry in file.measured:
            member = policy.member(entry.benchmark)
            assert member is not None
            assert entry.fingerprint.question.sampling.temperature == member.values.get("temperature", 0.6)
            assert min(problem.n_samples for problem in entry.counts.problems) == 4 * policy.samples[entry.benchmark]


class TestOrder:
    def test_the_cheapest_benchmark_that_can_decide_comes_first(
        self, pytester: pytest.Pytester, run_of: Record
    ) -> None:
        """Under a policy and with -x benchmarks are drawn by cost; one that cannot decide comes last."""
        (pytester.path / "policy.toml").write_text(
            '[benchmarks.aime24]\ntier = "critical"\nsamples = 8\n'
            '[benchmarks.math500]\ntier = "supporting"\nsamples = 4\n'
            '[benchmarks.smoke]\ntier = "advisory"\nsamples = 2\nmargin = 0.1\n',
            encoding="utf-8",
        )
        run_of("same")

        def order(result: pytest.RunResult) -> list[str]:
            return [line.partition("::")[2].partition("[")[0] for line in result.outlines if "::" in line]

        assert order(release(pytester, "same", "--collect-only", "-q")) == ["math500", "aime24", "smoke"]
        plain = judge(pytester, "same", "--collect-only", "-q", "--r1-samples", "aime24=16", mark="aime or math500")
        assert order(plain) == ["aime24", "math500"]
        first = ("--collect-only", "-q", "-x", "--r1-samples", "aime24=16", "--r1-samples", "math500=8")
        assert order(judge(pytester, "same", *first, mark="aime or math500")) == ["math500", "aime24"]

"""`r1eval policy`: what a policy asks for, sees and costs, without an engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_r1eval.commands.cli import main
from pytest_r1eval.config.policy import read_policy
from tests.judged_runs import judged
from tests.recordings import record_run

POLICY = """
[benchmarks.aime24]
tier = "critical"
gate = "sequential"
[benchmarks.smoke]
tier = "supporting"
required = true
samples = 8
baseline = "baselines/local/toy.json"
max-truncated = 10
"""


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a policy and a baseline into the current folder."""
    judged(record_run(tmp_path / "base"), root=tmp_path)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "policy.toml"
    path.write_text(POLICY, encoding="utf-8")
    return path


def test_one_table_shows_what_each_gate_sees_and_costs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`show` prints a row for each benchmark: tier, terms, the fall that is seen, responses and tokens."""
    assert main(["policy", "show", "policy.toml"]) == 0
    first, head, _, aime, smoke, *rest = capsys.readouterr().out.splitlines()
    assert first == f"release policy policy.toml {read_policy(file).digest[:12]}"
    assert head.split() == [
        "benchmark", "tier", "samples", "gate", "sigmas", "margin", "baseline", "sees", "responses", "tokens",
    ]  # fmt: skip
    assert aime.split()[:5] == ["aime24", "critical", "64", "sequential", "3"]
    assert smoke.split()[:4] == ["smoke", "supporting,", "required", "8"]
    assert smoke.split()[-2:] == ["96", "1,920"]
    assert rest[0] == "smoke: max-truncated 10"
    assert rest[2] == "an unchanged model is held with probability 0.0040 at most"


def test_a_policy_that_no_model_can_pass_is_found(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` exits with 1 where a critical benchmark cannot pass, and with 2 for what is no policy."""
    assert main(["policy", "check", "policy.toml"]) == 0
    file.write_text(POLICY.replace('"critical"', '"critical"\nmargin = 0.1'), encoding="utf-8")
    assert main(["policy", "check", "policy.toml"]) == 1
    assert "aime24 (critical): it cannot resolve a margin of 0.1 points" in capsys.readouterr().out
    file.write_text(POLICY.replace("samples", "sample"), encoding="utf-8")
    assert main(["policy", "check", "policy.toml"]) == 2
    assert "did you mean 'samples'?" in capsys.readouterr().err


def test_a_required_baseline_that_cannot_be_read_is_found(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` exits with 1 where a required benchmark will be INVALID; where it is not required, that only warns."""
    Path("baselines/local/toy.json").write_text("{", encoding="utf-8")
    assert main(["policy", "check", "policy.toml"]) == 1
    printed = capsys.readouterr().out
    assert "smoke (supporting): baselines/local/toy.json: line 1 column 2: found no JSON" in printed
    assert printed.endswith(": 2 benchmarks, no release can come of it\n")
    file.write_text(POLICY.replace("required = true", "required = false"), encoding="utf-8")
    assert main(["policy", "check", "policy.toml"]) == 0
    assert "found no JSON" in capsys.readouterr().out


def test_cost_is_printed_in_the_order_of_drawing(capsys: pytest.CaptureFixture[str]) -> None:
    """`cost` prints the cheapest benchmark first, and hours at an engine's rate."""
    assert main(["policy", "cost", "policy.toml", "--tokens-per-second", "100"]) == 0
    *rows, total, hours = capsys.readouterr().out.splitlines()[2:]
    assert [row.split()[0] for row in rows] == ["smoke", "aime24"]
    assert total.endswith("1,920 tokens and those of aime24, which are not known")
    assert hours == "at 100 tokens a second: 0.01 hours, without aime24"


def test_what_is_not_known_is_no_number(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A benchmark without baseline and constants adds no responses, tokens or hours, and its margin is shown."""
    unknown = '[benchmarks.aime26]\ntier = "critical"\nmargin = 4\n'
    file.write_text(unknown, encoding="utf-8")
    assert main(["policy", "cost", "policy.toml", "--tokens-per-second", "100"]) == 0
    assert capsys.readouterr().out.splitlines()[3:] == [
        "what an unchanged model costs is not known of aime26",
        "at 100 tokens a second: hours not known of aime26",
    ]
    file.write_text(POLICY + unknown, encoding="utf-8")
    assert main(["policy", "show", "policy.toml"]) == 0
    *_, aime26, _, costs, _, why = capsys.readouterr().out.splitlines()
    assert why.startswith("aime26: no planning constants are known")
    assert aime26.split()[:6] == ["aime26", "critical", "64", "fixed", "3", "4.0"]
    assert costs.startswith("an unchanged model is expected to cost ")
    assert costs.endswith(
        " responses and those of aime26, which are not known, "
        "1,920 tokens and those of aime24, aime26, which are not known"
    )


def test_pyproject_is_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a file the policy of pyproject.toml in the current folder is shown."""
    text = POLICY.replace("[benchmarks", "[tool.r1eval.policy.benchmarks")
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    assert main(["policy", "show"]) == 0
    assert capsys.readouterr().out.startswith("release policy pyproject.toml ")


@pytest.mark.parametrize("inner", ["", '[project]\nname = "inner"\n'], ids=["none", "without pytest"])
def test_a_folder_below_has_the_policy_that_a_run_has_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], inner: str
) -> None:
    """In a folder below the ini file its policy and baselines count, whatever pyproject.toml the folder has."""
    text = '[tool.r1eval.policy.benchmarks.smoke]\ntier = "critical"\nsamples = 8\n'
    (tmp_path / "pyproject.toml").write_text(f"[tool.pytest.ini_options]\n{text}", encoding="utf-8")
    (below := tmp_path / "below").mkdir()
    if inner:
        (below / "pyproject.toml").write_text(inner + text.replace("8", "16"), encoding="utf-8")
    monkeypatch.chdir(below)
    assert main(["policy", "show", "--model", "local/toy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["policy"] == read_policy(tmp_path / "pyproject.toml").digest
    assert found["gates"]["smoke"]["baseline"] == "baselines/local/toy.json, run base"


def test_a_benchmark_that_is_not_there_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A benchmark of the policy that does not exist ends every command with what may have been meant."""
    file.write_text(POLICY.replace("aime24", "aime2024"), encoding="utf-8")
    assert main(["policy", "show", "policy.toml"]) == 2
    assert "no benchmark 'aime2024'; did you mean 'aime24'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ('claim = "same"', "aime24: --r1-claim same without --r1-margin"),
        ('claim = "same"\nmargin = 3', "aime24: --r1-claim same with --r1-gate sequential"),
        ('anchor = "published"', "aime24: --r1-anchor "),
        (
            '[benchmarks.lcb]\ntier = "advisory"\ngrader = "strict"\n[benchmarks.smoke_code]\ntier = "advisory"',
            "programs",
        ),
    ],
    ids=["no margin", "sequential", "anchor", "programs"],
)
def test_what_a_run_refuses_is_refused_here_too(
    file: Path, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    """Options of a policy that contradict each other are named before a run would refuse them."""
    file.write_text(POLICY.replace('gate = "sequential"', f'gate = "sequential"\n{options}'), encoding="utf-8")
    assert main(["policy", "check", "policy.toml"]) == 2
    assert message in capsys.readouterr().err

"""A release policy as it is read: its keys, its defaults, its digest, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_r1eval.config.baseline_choice import File
from pytest_r1eval.config.options import OPTIONS
from pytest_r1eval.config.policy import KEYS, Policy, find_policy, read_policy
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.choices import GateKind, Tier
from pytest_r1eval.errors import PolicyError
from tests.toys import BUILT_IN_BY_NAME

POLICY = """
sigmas = 2.5
gate = "sequential"
[benchmarks.aime24]
tier = "critical"
samples = 32
margin = 3
baseline = "mine.json"
[benchmarks.math500]
tier = "supporting"
required = true
gate = "fixed"
max_truncated = 5
two-sided = true
[benchmarks.smoke]
tier = "advisory"
"""


def policy(folder: Path, text: str = POLICY, *, name: str = "policy.toml") -> Policy:
    """Write a policy and read it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_policy(path)


class TestReading:
    def test_a_benchmark_has_its_own_options_and_the_policys(self, tmp_path: Path) -> None:
        """A benchmark's options replace the policy's, its paths start at the file, and others are as without it."""
        found = policy(tmp_path)
        settings = Settings(root=tmp_path, output_dir=tmp_path, policy=found, samples=found.samples)
        aime, math = settings.of("aime24"), settings.of("math500")
        assert (aime.sigmas, aime.asked_gate, aime.margin) == (2.5, GateKind.SEQUENTIAL, 0.03)
        assert aime.baseline == File(text="mine.json", path=tmp_path / "mine.json")
        assert (math.asked_gate, math.max_truncated, math.two_sided) == (GateKind.FIXED, 0.05, True)
        assert settings.samples == {"aime24": 32}
        assert (settings.sigmas, settings.of("gpqa").sigmas) == (3.0, 3.0)

    def test_tiers_and_what_is_required(self, tmp_path: Path) -> None:
        """A critical benchmark is required, others where the policy says so."""
        found = {member.benchmark: (member.tier, member.required) for member in policy(tmp_path).members}
        assert found == {
            "aime24": (Tier.CRITICAL, True),
            "math500": (Tier.SUPPORTING, True),
            "smoke": (Tier.ADVISORY, False),
        }

    def test_pyproject_holds_it_below_its_own_table(self, tmp_path: Path) -> None:
        """The policy of pyproject.toml is [tool.r1eval.policy], and a folder without one has none."""
        text = POLICY.replace("[benchmarks", "[tool.r1eval.policy.benchmarks")
        found = policy(tmp_path / "a", f"[tool.r1eval.policy]{text}", name="pyproject.toml")
        assert found.digest == policy(tmp_path).digest
        assert find_policy(tmp_path) is None
        (tmp_path / "pyproject.toml").write_text("[tool.other]\n", encoding="utf-8")
        assert find_policy(tmp_path) is None
        with pytest.raises(PolicyError, match=r"has no \[tool.r1eval.policy\]"):
            read_policy(tmp_path / "pyproject.toml")


class TestDigest:
    def test_it_covers_what_is_asked_and_nothing_else(self, tmp_path: Path) -> None:
        """A written default, another order or folder changes no digest; any key of any benchmark does."""
        digest = policy(tmp_path).digest
        turned = POLICY.replace('[benchmarks.smoke]\ntier = "advisory"\n', "")
        turned = turned.replace("[benchmarks.aime24]", '[benchmarks.smoke]\ntier = "advisory"\n[benchmarks.aime24]')
        assert policy(tmp_path / "other", turned).digest == digest
        assert (
            policy(tmp_path, POLICY.replace("[benchmarks.smoke]", '[benchmarks.smoke]\nfamily = "none"')).digest
            == digest
        )
        for old, new in (
            ("samples = 32", "samples = 31"),
            ('"advisory"', '"supporting"'),
            ("= 2.5", "= 2.4"),
            ("= 5", "= 6"),
        ):
            assert policy(tmp_path, POLICY.replace(old, new)).digest != digest

    def test_every_option_of_a_gate_is_in_it(self) -> None:
        """What is drawn, graded and judged of a benchmark is set by a policy alone, or is none of its matters."""
        beside = {option.name for option in OPTIONS if option.policy == "beside" and option.phase in {"judge", "grade"}}
        assert beside == {"report", "judge-only", "sandbox-limit", "unsafe-code"}
        assert {"samples", "sigmas", "margin", "baseline", "anchor", "grader", "gate", "temperature"} <= {*KEYS}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("margin = 3", "margn = 3", r", aime24: unknown key 'margn'; did you mean 'margin'\?"),
        ("sigmas = 2.5", "sigma = 2.5", r": unknown key 'sigma'; did you mean 'sigmas'\?"),
        ('"advisory"', '"advisry"', r", smoke: it has the tier 'advisry'; expected critical, supporting, advisory"),
        ('tier = "advisory"', "", ", smoke: it has no tier"),
        ('tier = "advisory"', 'teir = "advisory"', r", smoke: unknown key 'teir'; did you mean 'tier'\?"),
        ('"critical"', '"supporting"', ": no benchmark is critical, so nothing could hold a release"),
        ('"critical"', '"critical"\nrequired = false', ", aime24: a critical benchmark is required"),
        ("required = true", "required = 1", ", math500: required is 1; expected true or false"),
        ("margin = 3", "margin = -3", ", aime24: margin is '-3'; expected points above 0"),
        ("samples = 32", "samples = 0", ", aime24: samples is 'aime24=0'; expected BENCH=K"),
        ("samples = 32", "samples = [32]", r", aime24: samples is \[32\]; expected one value"),
        ("samples = 32", "samples = 32\nengine = 'vllm'", ", aime24: unknown key 'engine'"),
        ("max_truncated = 5", "max_truncated = 5\nmax-truncated = 6", ", math500: max-truncated is written twice"),
        ("margin = 3", "margin =", " cannot be read: "),
        ("sigmas = 2.5", 'sigmas = "2.5\\u0007"', "with the character"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    """A fault of a policy is an error that names its place, what was found, and what may have been meant."""
    with pytest.raises(PolicyError, match=message):
        policy(tmp_path, POLICY.replace(old, new))


@pytest.mark.usefixtures("usual_digits")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a = {'[' * 3000}{']' * 3000}", "cannot be read: "),
        (f"samples = 0x{'F' * 4500}", "cannot be read: Exceeds the limit"),
        ("sigmas = 1e308", "sigmas is '1e\\+308'; expected a number above 0 and at most 37"),
    ],
    ids=["nested", "long", "sigmas"],
)
def test_what_no_gate_could_use_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """TOML that is nested without end, a number too long to be printed, and a level of 0 are named in one line."""
    with pytest.raises(PolicyError, match=message):
        policy(tmp_path, f'{text}\n[benchmarks.smoke]\ntier = "critical"\n')


@pytest.mark.parametrize("text", ["", "sigmas = 3", "[benchmarks]", "benchmarks = 1"])
def test_a_policy_without_benchmarks_is_refused(tmp_path: Path, text: str) -> None:
    """A policy that lists no benchmark is refused."""
    with pytest.raises(PolicyError, match="lists no benchmark"):
        policy(tmp_path, text)


def test_an_unknown_benchmark_is_refused(tmp_path: Path) -> None:
    """A benchmark that does not exist is refused, with the nearest that does."""
    others = {name: BUILT_IN_BY_NAME[name] for name in ("math500", "aime25")}
    with pytest.raises(PolicyError, match=r"no benchmark 'aime24'; did you mean 'aime25'\?"):
        policy(tmp_path).check_names(others)


@pytest.mark.parametrize(("mark", "name"), [("aime", "aime24"), ("lcb6", "lcb_v6")])
def test_a_mark_is_no_name(tmp_path: Path, mark: str, name: str) -> None:
    """A mark in place of a name is refused with the benchmark that it selects, not with the nearest name."""
    text = f'[benchmarks.{mark}]\ntier = "critical"\n'
    with pytest.raises(PolicyError, match=rf"no benchmark '{mark}', which is the mark of {name}; write {name}"):
        policy(tmp_path, text).check_names(BUILT_IN_BY_NAME)


def test_a_family_shares_its_error_rate(tmp_path: Path) -> None:
    """Members of a family have one number of sigmas and one kind of gate."""
    text = 'family = "holm"\n[benchmarks.a]\ntier = "critical"\n[benchmarks.b]\ntier = "critical"\nsigmas = 2\n'
    with pytest.raises(PolicyError, match="a and b are in one family with sigmas 3 and 2"):
        policy(tmp_path, text)
    assert policy(tmp_path, text.replace("sigmas = 2", 'sigmas = 2\nfamily = "none"')).names == ("a", "b")

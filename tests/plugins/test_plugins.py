"""
The most installed pytest plugins beside a gate, green and red: each alone, as its users have it, and all at once.

What a plugin writes has to say why the gate is red; what it does to tests has to leave shards and verdict alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.judged_runs import judged
from tests.recordings import record_run

REASON = "smoke: FAIL_REGRESSED. pass@1 is "
"""How the reason of a red gate begins."""
SLOWLY = ("--r1-engine-arg=delay_s=0.1", "--r1-engine-arg=n_concurrent=16")
"""Two seconds for a run of 320 samples, longer than a time limit of tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """
    A plugin as its users have it.

    Attributes:
        package: Its name on PyPI.
        loads: Its entry points.
        flags: What its users write.
        writes: A file that says why a gate is red; None where it writes none.
        prints: What it prints of a red gate.
        environment: What it reads of it.
        hooks_imports: Whether it does something to modules that are imported after it.
    """

    package: str
    loads: tuple[str, ...]
    flags: tuple[str, ...] = ()
    writes: str | None = None
    prints: str = REASON
    environment: tuple[tuple[str, str], ...] = ()
    hooks_imports: bool = False

    @property
    def arguments(self) -> list[str]:
        """Return the words of the command line that load and use it."""
        return [*(word for name in self.loads for word in ("-p", name)), *self.flags]


PLUGINS = (
    Plugin(package="allure-pytest", loads=("allure_pytest",), flags=("--alluredir=allure",)),
    Plugin(package="anyio", loads=("anyio",)),
    Plugin(package="faker", loads=("faker",)),
    Plugin(package="hypothesis", loads=("hypothesispytest",)),
    Plugin(package="pytest-asyncio", loads=("asyncio",), flags=("--asyncio-mode=auto",)),
    Plugin(package="pytest-base-url", loads=("base_url",), flags=("--base-url=http://localhost",)),
    Plugin(package="pytest-benchmark", loads=("benchmark",), flags=("--benchmark-json=benchmarks.json",)),
    Plugin(package="pytest-check", loads=("check",)),
    Plugin(package="pytest-cov", loads=("pytest_cov",), flags=("--cov=.", "--cov-report=xml"), hooks_imports=True),
    Plugin(package="pytest-custom-exit-code", loads=("custom_exit_code",), flags=("--suppress-no-test-exit-code",)),
    Plugin(package="pytest-django", loads=("django",)),
    Plugin(package="pytest-env", loads=("env",)),
    Plugin(package="pytest-forked", loads=("pytest_forked",), flags=("--forked",)),
    Plugin(
        package="pytest-github-actions-annotate-failures",
        loads=("pytest_github_actions_annotate_failures",),
        prints=f"::error file=r1eval::smoke::pass@1%0A%0A{REASON}",
        environment=(("GITHUB_ACTIONS", "true"),),
    ),
    Plugin(
        package="pytest-html",
        loads=("metadata", "html", "html_fixtures"),
        flags=("--html=out.html", "--self-contained-html"),
        writes="out.html",
    ),
    Plugin(package="pytest-httpx", loads=("pytest_httpx",)),
    Plugin(package="pytest-icdiff", loads=("icdiff",)),
    Plugin(package="pytest-instafail", loads=("instafail",), flags=("--instafail",)),
    Plugin(package="pytest-json-ctrf", loads=("ctrf",), flags=("--ctrf=ctrf.json",), writes="ctrf.json"),
    Plugin(
        package="pytest-json-report",
        loads=("metadata", "pytest_jsonreport"),
        flags=("--json-report", "--json-report-file=out.json"),
        writes="out.json",
    ),
    Plugin(package="pytest-metadata", loads=("metadata",), flags=("--metadata", "commit", "abc")),
    Plugin(package="pytest-mock", loads=("pytest_mock",)),
    Plugin(package="pytest-order", loads=("pytest_order",), flags=("--order-dependencies",)),
    Plugin(package="pytest-randomly", loads=("randomly",)),
    Plugin(package="pytest-repeat", loads=("repeat",), flags=("--count=2",)),
    Plugin(
        package="pytest-reportlog", loads=("pytest_reportlog",), flags=("--report-log=log.json",), writes="log.json"
    ),
    Plugin(package="pytest-rerunfailures", loads=("rerunfailures",)),
    Plugin(package="pytest-socket", loads=("socket",), flags=("--disable-socket",)),
    Plugin(package="pytest-split", loads=("pytest-split",), flags=("--splits=1", "--group=1")),
    Plugin(package="pytest-subtests", loads=("subtests",)),
    Plugin(package="pytest-sugar", loads=("sugar",), flags=("--force-sugar",)),
    Plugin(package="pytest-timeout", loads=("timeout",), flags=("--timeout=1", "--timeout-method=thread", *SLOWLY)),
    Plugin(package="pytest-unordered", loads=("unordered",)),
    Plugin(package="pytest-xdist", loads=("xdist",), flags=("-n2",)),
    Plugin(package="requests-mock", loads=("requests_mock",)),
    Plugin(package="respx", loads=("respx",)),
    Plugin(package="syrupy", loads=("syrupy",)),
    Plugin(
        package="typeguard",
        loads=("typeguard",),
        flags=("--typeguard-packages=pytest_r1eval.stats",),
        hooks_imports=True,
    ),
)
TOGETHER = ("--count=2", "--disable-socket", "--instafail", "--html=out.html", "--json-report", "--report-log=log.json")
"""What the plugins are asked for where all are loaded."""


@pytest.fixture(autouse=True)
def _no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load what a test names alone, and ours by its entry point, as users have it."""
    monkeypatch.delenv("PYTEST_PLUGINS")


@pytest.fixture
def _models(pytester: pytest.Pytester) -> None:
    """Record a model with its baseline, the same model again, and one far below."""
    base = record_run(pytester.path / "base", n_problems=20, n_samples=16, seed=1)
    judged(base, root=pytester.path)
    record_run(pytester.path / "good", n_problems=20, n_samples=16, seed=2)
    record_run(pytester.path / "bad", n_problems=20, n_samples=16, seed=3, weights="w2", solve_rate=0.1)
    pytester.makeconftest("def pytest_itemcollected(item): assert item.fixturenames == [] and item.originalname")
    pytester.makeini("[pytest]\nenv =\n    SOMETHING=1\n")


def judge(pytester: pytest.Pytester, model: str, *arguments: str) -> pytest.RunResult:
    """Judge a recorded run."""
    return pytester.runpytest_subprocess(
        *("-p", "r1eval", *arguments, f"--r1-model={model}", "--r1-engine=replay"),
        *("--r1-baseline=local/toy", "-m", "smoke", "-p", "no:cacheprovider"),
    )


def text_of(result: pytest.RunResult) -> str:
    """Return everything that was printed."""
    return f"{result.stdout.str()}\n{result.stderr.str()}"


@pytest.mark.usefixtures("_models")
@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.package)
def test_a_gate_is_green_and_red_beside_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, plugin: Plugin
) -> None:
    """A gate passes and fails beside each other plugin as it does without it."""
    if plugin.hooks_imports:
        request.getfixturevalue("cold_processes")
    for name, value in plugin.environment:
        monkeypatch.setenv(name, value)
    green = judge(pytester, "good", *plugin.arguments)
    assert green.ret == 0, text_of(green)
    red = judge(pytester, "bad", *plugin.arguments)
    assert red.ret == 1, text_of(red)
    assert plugin.prints in text_of(red)
    assert "INTERNALERROR" not in text_of(green) + text_of(red)
    if plugin.writes is not None:
        assert REASON in (pytester.path / plugin.writes).read_text(encoding="utf-8")


@pytest.mark.usefixtures("_models")
@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "n2"])
def test_both_annotations_have_the_reason(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    """On GitHub our annotation of a red gate and that of pytest-github-actions-annotate-failures both say why."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    (theirs,) = (plugin for plugin in PLUGINS if plugin.package == "pytest-github-actions-annotate-failures")
    loads = ("-p", "xdist") if workers else ()
    red = judge(pytester, "bad", *theirs.arguments, *loads, *workers)
    assert red.ret == 1
    lines = [line for line in text_of(red).splitlines() if line.startswith("::error ")]
    ours = [line for line in lines if line.startswith("::error title=smoke%3A FAIL_REGRESSED::pass@1 is ")]
    assert len(ours) == 1
    assert len([line for line in lines if line.startswith(theirs.prints)]) == 1
    assert "FAIL_REGRESSED" in (pytester.path / "summary.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("_models", "cold_processes")
@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "n2"])
def test_all_at_once(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]) -> None:
    """A gate passes and fails beside all other plugins at once."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    for model, code in (("good", 0), ("bad", 1)):
        result = judge(pytester, model, *TOGETHER, *workers)
        assert result.ret == code, text_of(result)
        assert "INTERNALERROR" not in text_of(result)
        assert (pytester.path / "out.html").is_file()


def test_every_plugin_is_here() -> None:
    """Every plugin of the requirements is in this module's list."""
    lines = (Path(__file__).parent / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = {line.partition("==")[0] for line in lines if line.startswith(("pytest-", "syrupy"))}
    assert required <= {plugin.package for plugin in PLUGINS}

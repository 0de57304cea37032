"""The registry of engines: ours, a stranger's, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from pytest_r1eval.config.registered import ENGINES
from pytest_r1eval.engines.engine import EngineFactory, engine_named
from tests.requirements import LIGHTEVAL
from tests.toys import write_shard, write_tokenizer

CALCULATOR = r"""
import re, string
from pytest_r1eval.core.records import FinishReason, Response
from pytest_r1eval.engines.engine import EngineFactory, EngineIdentity, Generation

class Calculator:
    n_concurrent = 8
    async def start(self):
        return EngineIdentity(engine="calculator 1", dtype="int", quantization=None, device="cpu", n_devices=1)
    async def generate(self, request):
        text = "".join(string.printable[token - 2] for token in request.prompt if token > 1)
        found = re.search(r"What is ([-+* 0-9]+)[?]", text)
        answer = eval(found[1]) if found else 0
        return Generation(response=Response(text=rf"\boxed{{{answer}}}", n_tokens=9, finish_reason=FinishReason.STOP))
    async def close(self):
        pass

FACTORY = EngineFactory(build=lambda parts: Calculator())
"""
"""What another package's author writes, and nothing more."""


def install(folder: Path, engines: Mapping[str, str], *, distribution: str = "calculator") -> None:
    """Put a package's metadata where an installer would: entry points beside the modules."""
    metadata = folder / f"{distribution}-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
    lines = [f"{name} = {value}" for name, value in engines.items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{ENGINES.group}]", *lines, ""]))


@pytest.fixture
def checkpoint(pytester: pytest.Pytester) -> Path:
    """Write a checkpoint that any program can be asked about: a config, weights, a tokenizer."""
    folder = pytester.mkdir("model")
    (folder / "config.json").write_text("{}")
    write_shard(folder / "model.safetensors")
    write_tokenizer(folder, chat_template="{{ messages[0].content }}")
    return folder


@pytest.fixture
def site(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of packages that the pytest processes of a test import from."""
    folder = pytester.mkdir("site")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def judge(pytester: pytest.Pytester, engine: str, *arguments: str) -> pytest.RunResult:
    """Judge the checkpoint in a process of its own."""
    asked = ("-m", "smoke", "--r1-subset", "8", "--r1-samples", "smoke=2", "-p", "no:cacheprovider")
    return pytester.runpytest_subprocess("--r1-model", "model", "--r1-engine", engine, *asked, *arguments)


def refusal(result: pytest.RunResult) -> str:
    """Return the one line of a usage error."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.stderr.lines if line.startswith("ERROR: ")]
    return line.removeprefix("ERROR: ")


class TestRegistry:
    """An engine is what an entry point names."""

    def test_ours_are_registered_like_any_other(self) -> None:
        """The three engines of this package are entry points, like those of other packages."""
        ours = {point.name: point.load() for point in entry_points(group=ENGINES.group)}

        assert all(isinstance(factory, EngineFactory) for factory in ours.values())
        assert {name: (one.loads_model, one.plays_recording) for name, one in ours.items()} == {
            "replay": (False, True),
            "server": (False, False),
            "vllm": (True, False),
        }

    @LIGHTEVAL.mark
    @pytest.mark.usefixtures("checkpoint", "all_plugins", "warm_graders")  # which read the entry points
    def test_a_stranger_adds_one_and_gets_a_verdict(self, pytester: pytest.Pytester, site: Path) -> None:
        """A module and an entry point make an engine, whose run gets a baseline and a verdict."""
        (site / "calculator.py").write_text(CALCULATOR)
        install(site, {"calculator": "calculator:FACTORY"})

        recorded = judge(pytester, "calculator", "--r1-save-baseline", "local/base")
        write_shard(pytester.path / "model" / "model.safetensors", n_bytes=8)
        judged = judge(pytester, "calculator", "--r1-baseline", "local/base", "-n", "1")

        assert (recorded.ret, judged.ret) == (pytest.ExitCode.OK, pytest.ExitCode.OK)
        judged.stdout.fnmatch_lines(["smoke *PASS*"])
        (baseline,) = (pytester.path / "baselines" / "local").glob("base.json")
        assert '"calculator 1"' in baseline.read_text()


class TestArguments:
    """What --r1-engine-arg means to the ledger."""

    @pytest.mark.parametrize(
        ("answering", "argument", "value", "expected"),
        [
            (None, "style", "lazy", True),
            (None, "style", "auto", False),
            (frozenset({"style"}), "style", "lazy", True),
            (frozenset({"style"}), "n_threads", 4, False),
            (frozenset(), "style", "lazy", False),
        ],
    )
    def test_every_argument_is_part_of_the_question_unless_the_factory_knows_better(
        self, *, answering: frozenset[str] | None, argument: str, value: object, expected: bool
    ) -> None:
        """Each argument of an engine is part of the question, unless its factory lists those that are."""
        factory = EngineFactory(build=engine_named("replay").build, answering_arguments=answering)

        assert factory.decides(argument, value) is expected


class TestRefusals:
    """Exit code 4 and one line."""

    @pytest.mark.usefixtures("checkpoint")
    def test_an_unknown_one_lists_the_known(self, pytester: pytest.Pytester, site: Path) -> None:
        """An unknown engine is refused with a list that holds those of other packages."""
        install(site, {"calculator": "calculator:FACTORY"})

        expected = "--r1-engine is 'sglang'; expected one of calculator, replay, server, vllm"
        assert refusal(judge(pytester, "sglang")) == expected

    @pytest.mark.usefixtures("checkpoint")
    @pytest.mark.parametrize(
        ("module", "value", "expected"),
        [
            (None, "calculator:FACTORY", "calculator:FACTORY cannot be imported (No module named 'calculator')"),
            ("", "calculator:FACTORY", "cannot be imported (module 'calculator' has no attribute 'FACTORY')"),
            ("FACTORY = 1", "calculator:FACTORY", "calculator:FACTORY is int; expected an EngineFactory"),
        ],
    )
    def test_what_is_no_factory_is_named(
        self, pytester: pytest.Pytester, site: Path, module: str | None, value: str, expected: str
    ) -> None:
        """An entry point that is not a factory is refused, and the message names what to repair."""
        if module is not None:
            (site / "calculator.py").write_text(module)
        install(site, {"calculator": value})

        line = refusal(judge(pytester, "calculator"))

        assert expected in line
        assert line.endswith("Repair the package that registers it in pytest_r1eval.engines")

    @pytest.mark.usefixtures("checkpoint")
    def test_a_name_belongs_to_one_package(self, pytester: pytest.Pytester, site: Path) -> None:
        """An engine's name that two packages register is refused, as one would sign its verdicts as the other's."""
        install(site, {"vllm": "calculator:FACTORY"})

        line = refusal(judge(pytester, "vllm"))

        assert line == "--r1-engine vllm is registered by calculator, pytest-r1eval; expected one of them"

"""One engine serves run after run where it can, and is ended where it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.inspect import inspect_checkpoint
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.records import FinishReason, Response
from pytest_r1eval.engines.devices import WorkerDevices
from pytest_r1eval.engines.engine import Engine, EngineFactory, EngineIdentity, EngineParts, Generation, Request
from pytest_r1eval.engines.kept import EngineKeeper
from pytest_r1eval.engines.vllm_options import VllmOptions, options_of
from pytest_r1eval.errors import EngineDiedError, EngineError
from tests.adapters import write_adapter

IDENTITY = EngineIdentity(engine="one 1", dtype="int", quantization=None, device="cpu", n_devices=1)


def request() -> Request:
    """Ask for anything."""
    return Request(benchmark="b", problem_id="p", index=0, prompt=(1,), seed=0, sampling=Sampling(), max_new_tokens=4)


@dataclass(kw_only=True, eq=False)
class OneEngine:
    """An engine that tells what happened to it, answers with its adapter's name, and dies when it is told to."""

    parts: EngineParts
    events: list[str]
    loop: object = None
    n_concurrent: int = 8
    dies: list[bool] = field(default_factory=list)
    stays: list[bool] = field(default_factory=list)

    async def start(self) -> EngineIdentity:
        """Load the base model."""
        self.loop = asyncio.get_running_loop()
        self.events.append(f"start {self._name}")
        return IDENTITY

    def can_serve(self, parts: EngineParts) -> bool:
        """Compare what is loaded at the start."""
        return self.loop is not None and not self.dies and parts.checkpoint.source == self.parts.checkpoint.source

    async def turn_to(self, parts: EngineParts) -> EngineIdentity:
        """Change the adapter, unless it is told not to."""
        self.parts = parts
        if self.stays:
            raise EngineError("it holds what it held")
        self.events.append(f"turn to {self._name}")
        return IDENTITY

    async def generate(self, _: Request) -> Generation:
        """Answer, in the loop of the start."""
        assert self.loop is asyncio.get_running_loop()
        if self.dies:
            raise EngineDiedError("it died")
        return Generation(response=Response(text=self._name, n_tokens=1, finish_reason=FinishReason.STOP))

    async def close(self) -> None:
        """End."""
        if self.loop is not None:
            self.events.append("end")
        self.loop = None

    @property
    def _name(self) -> str:
        return self.parts.checkpoint.name.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A keeper, what happened to its engines, and adapters to judge."""

    keeper: EngineKeeper
    folder: Path
    events: list[str]
    dies: list[bool]
    stays: list[bool]

    def factory(self) -> EngineFactory:
        """Make engines that write into `events`."""
        return EngineFactory(
            build=lambda parts: OneEngine(parts=parts, events=self.events, dies=self.dies, stays=self.stays)
        )

    def parts(self, name: str, *, rank: int = 8) -> EngineParts:
        """Write an adapter of the shipped checkpoint, and inspect it."""
        folder = write_adapter(self.folder / name, rank=rank)
        return parts_of(folder, log=self.folder / name)

    def run(self, engine: Engine) -> str:
        """Do what a run does with an engine, in a loop of its own; return the answer."""

        async def drawn() -> str:
            await engine.start()
            try:
                return (await engine.generate(request())).response.text
            finally:
                await engine.close()
                await engine.close()

        return asyncio.run(drawn())


def parts_of(folder: Path, *, log: Path) -> EngineParts:
    """Return what an engine is made of."""
    return EngineParts(
        settings=Settings(model=str(folder), root=log, output_dir=log),
        checkpoint=inspect_checkpoint(str(folder), revision=None),
        max_model_length=4096,
        devices=WorkerDevices(gpus=(), cpus=(0,), n_sharing=1),
        placement=None,
        log=log,
    )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Keep engines for a test."""
    keeper = EngineKeeper()
    yield Bench(keeper=keeper, folder=tmp_path, events=[], dies=[], stays=[])
    keeper.close()


class TestEngineKeeper:
    def test_adapters_of_one_base_share_an_engine(self, bench: Bench) -> None:
        """Runs on adapters of one base model start one engine, and each answer is its own adapter's."""
        lent = [bench.keeper.lend(bench.factory(), bench.parts(name)) for name in ("a", "b", "c")]
        assert [bench.run(engine) for engine in lent] == ["a", "b", "c"]
        assert bench.events == ["start a", "turn to b", "turn to c"]
        bench.keeper.close()
        assert bench.events[-1] == "end"

    def test_another_base_model_has_an_engine_of_its_own(self, bench: Bench) -> None:
        """The kept engine ends before the engine of another base model starts."""
        other = parts_of(Path("examples/r1eval/tiny-arithmetic-regressed").resolve(), log=bench.folder)
        for parts in (bench.parts("a"), other, bench.parts("b")):
            bench.run(bench.keeper.lend(bench.factory(), parts))
        assert bench.events == ["start a", "end", "start tiny-arithmetic-regressed", "end", "start b"]

    def test_a_dead_engine_is_not_kept(self, bench: Bench) -> None:
        """An engine that died under a run is ended, and the next run starts another."""
        engine = bench.keeper.lend(bench.factory(), bench.parts("a"))
        bench.dies.append(True)
        with pytest.raises(EngineDiedError):
            bench.run(engine)
        assert bench.events == ["start a", "end"]
        bench.dies.clear()
        assert bench.run(bench.keeper.lend(bench.factory(), bench.parts("b"))) == "b"
        assert bench.events == ["start a", "end", "start b"]

    def test_an_engine_that_fails_to_turn_is_not_kept(self, bench: Bench) -> None:
        """An engine that may hold anything after a failed turn ends, and the same run starts another for its answer."""
        bench.run(bench.keeper.lend(bench.factory(), bench.parts("a")))
        bench.stays.append(True)
        assert bench.run(bench.keeper.lend(bench.factory(), bench.parts("b"))) == "b"
        assert bench.events == ["start a", "end", "start b"]

    def test_an_engine_whose_files_changed_while_it_loaded_is_not_kept(self, bench: Bench) -> None:
        """An engine is ended with its run where a file changed between inspection and start, even if it is put back."""
        parts = bench.parts("a")
        config = bench.folder / "a" / "adapter_config.json"
        before = config.read_text()
        config.write_text(before + " ")
        bench.run(bench.keeper.lend(bench.factory(), parts))
        assert bench.events == ["start a", "end"]

    def test_an_engine_that_cannot_turn_ends_with_its_run(self, bench: Bench) -> None:
        """An engine without `can_serve` is ended by its run, and nothing is kept of it."""

        class Plain:
            n_concurrent = 8

            def __init__(self, events: list[str]) -> None:
                self.events = events

            async def start(self) -> EngineIdentity:
                self.events.append("start")
                return IDENTITY

            async def generate(self, _: Request) -> Generation:
                return Generation(response=Response(text="plain", n_tokens=1, finish_reason=FinishReason.STOP))

            async def close(self) -> None:
                self.events.append("end")

        factory = EngineFactory(build=lambda _: Plain(bench.events))
        assert bench.run(bench.keeper.lend(factory, bench.parts("a"))) == "plain"
        assert bench.events[:2] == ["start", "end"]

    def test_nothing_is_lent_before_it_is_started(self, bench: Bench) -> None:
        """A lent engine refuses a request before its start, and closing it then does nothing."""
        engine = bench.keeper.lend(bench.factory(), bench.parts("a"))
        with pytest.raises(EngineError, match="not started"):
            asyncio.run(engine.generate(request()))
        asyncio.run(engine.close())
        assert bench.events == []


class TestSameEngine:
    """What vLLM's engine compares to tell whether it can serve a run."""

    def options(self, folder: Path, **changes: object) -> VllmOptions:
        """Return the options of a run on an adapter, with other settings."""
        parts = parts_of(folder, log=folder)
        return options_of(replace(parts, settings=replace(parts.settings, **changes)))  # type: ignore[arg-type]

    def test_adapters_differ_in_nothing_else(self, tmp_path: Path) -> None:
        """Two adapters of one base model ask for the same engine."""
        one, other = (self.options(write_adapter(tmp_path / name)) for name in ("a", "b"))
        assert one != other
        assert one.at_start == other.at_start

    @pytest.mark.parametrize("changes", [{"dtype": "float32"}, {"engine_args": {"seed": 1}}])
    def test_other_settings_need_another_engine(self, tmp_path: Path, changes: dict[str, object]) -> None:
        """Another number format or engine argument asks for another engine."""
        folder = write_adapter(tmp_path / "a")
        assert self.options(folder).at_start != self.options(folder, **changes).at_start

    def test_an_adapters_own_tokenizer_counts_by_its_content(self, tmp_path: Path) -> None:
        """Copies of one tokenizer ask for the same engine, and another tokenizer for another one."""
        folders = [write_adapter(tmp_path / name) for name in ("a", "b", "c")]
        for folder in folders:
            for name in ("tokenizer.json", "tokenizer_config.json"):
                source = Path("examples/r1eval/tiny-arithmetic") / name
                (folder / name).write_bytes(source.read_bytes())
        changed = folders[2] / "tokenizer_config.json"
        changed.write_text(changed.read_text().replace("{", '{"made_up": 1,', 1))
        one, same, other = map(self.options, folders)
        assert one.tokenizer != same.tokenizer
        assert one.at_start == same.at_start
        assert one.at_start != other.at_start

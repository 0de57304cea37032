"""Before anything loads: -n auto counts engines, and a plan that cannot fit is one clear line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf
from pytest_r1eval.engines.devices import usable_cpus
from pytest_r1eval.plugin.startup import auto_workers
from pytest_r1eval.runs.finished import StoredRun
from tests.adapters import SHIPPED, write_adapter
from tests.model_configs import LLAMA_70B, QWEN_1_5B
from tests.nvidia_smi import install_nvidia_smi
from tests.toys import write_shard

MODEL = "org/m"


def write_index(folder: Path, *, n_bytes: int) -> None:
    """Write an index that says how large the weights are."""
    weight_map = {"w": "model-00001-of-00001.safetensors"}
    index = {"metadata": {"total_size": n_bytes}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.fixture
def checkpoint(pytester: pytest.Pytester) -> Path:
    """Describe a checkpoint of 1.5B parameters whose weights were not downloaded."""
    folder = pytester.path / MODEL
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(QWEN_1_5B))
    write_index(folder, n_bytes=3087428608)
    write_shard(folder / "model-00001-of-00001.safetensors")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    return folder


@pytest.fixture
def eight_gpus(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this machine one of eight GPUs of 80 GB."""
    table = "".join(f"{number}, GPU-{number}, 81559\\n" for number in range(8))
    install_nvidia_smi(pytester.path / "bin", monkeypatch, f'if [ "$1" != -L ]; then printf "{table}"; fi')
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7")


def auto(pytester: pytest.Pytester, *arguments: str) -> object:
    """Return what -n auto means."""
    config = pytester.parseconfig(*arguments)
    return config.hook.pytest_xdist_auto_num_workers(config=config)


class TestAutoWorkers:
    """-n auto means engines, not CPUs."""

    @pytest.mark.usefixtures("checkpoint", "eight_gpus")
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ((), 8),
            (("--r1-engines-per-gpu", "2"), 16),
            (("--r1-engines-per-gpu", "auto", "--r1-tp", "auto"), 8),
            (("--r1-tp", "4"), 2),
            (("--r1-engine", "server", "--r1-server-url", "http://localhost:8000"), 1),
        ],
    )
    def test_engines_that_fit(self, pytester: pytest.Pytester, arguments: tuple[str, ...], expected: int) -> None:
        """`-n auto` starts a worker for each GPU, unless options ask otherwise; a server needs one."""
        assert expected == auto(pytester, "--r1-model", MODEL, *arguments)

    @pytest.mark.usefixtures("checkpoint", "eight_gpus")
    def test_the_callers_gpus(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        """`-n auto` fills the GPUs that CUDA_VISIBLE_DEVICES gives the job."""
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")

        assert auto(pytester, "--r1-model", MODEL) == 2

    @pytest.mark.usefixtures("checkpoint")
    def test_cpu(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        """`-n auto` on a CPU starts a worker for every two cores, up to four."""
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

        found = auto(pytester, "--r1-model", MODEL, "--r1-max-model-len", "1024", "--r1-gpu-memory-utilization", "1")
        assert isinstance(found, int)
        assert 1 <= found <= max(1, min(4, len(usable_cpus()) // 2))

    @pytest.mark.usefixtures("checkpoint", "eight_gpus")
    def test_left_to_xdist(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pytest-xdist decides about `-n auto` without a model, and where its own variable gives a number."""
        assert auto(pytester, "--r1-engines-per-gpu", "50") != 400
        monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "3")

        assert auto(pytester, "--r1-model", MODEL) == 3

    def test_replay_needs_one(self, pytester: pytest.Pytester, recorded: Callable[..., Path]) -> None:
        """`-n auto` starts one worker for a replay."""
        config = pytester.parseconfig("--r1-engine", "replay", "--r1-model", str(recorded("run")))

        assert auto_workers(config) == 1


class TestRefusals:
    """Exit code 4 and one line, with the arithmetic."""

    @pytest.mark.usefixtures("eight_gpus")
    @pytest.mark.parametrize("mode", [(), ("-n", "1"), ("-n", "auto")])
    def test_model_too_large(
        self, pytester: pytest.Pytester, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, mode: tuple[str, ...]
    ) -> None:
        """A model that does not fit on the visible GPU is refused in one line, with and without xdist."""
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
        (checkpoint / "config.json").write_text(json.dumps(LLAMA_70B))
        write_index(checkpoint, n_bytes=141107412992)

        result = pytester.runpytest("--r1-model", MODEL, "-m", "aime", *mode)

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        expected = (
            "ERROR: org/m cannot fit: weights 131.4 GiB (70,553,706,496 parameters x 2 bytes) + KV cache of one "
            "sequence 10.0 GiB (32,768 tokens) = 141.4 GiB, and one engine has 63.7 GiB (GPU 3 79.6 GiB x 0.8 / "
            "1 engine); spread it over 4 GPUs (--r1-tp 4), 1 visible"
        )
        assert expected in result.stderr.lines
        assert not (pytester.path / "data").exists()

    @pytest.mark.usefixtures("checkpoint", "eight_gpus")
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (("--r1-tp", "8"), "*--r1-tp 8 does not divide the model's 12 attention heads (12 = 1 x 8 + 4)*"),
            (("--r1-tp", "12"), "*tensor parallel 12 needs as many GPUs, and 8 are visible*"),
            (("--r1-tp", "many"), "*--r1-tp is 'many'; expected auto or a whole number, 1 or more*"),
            (("--r1-tp", "0"), "*--r1-tp is '0'; expected auto or a whole number, 1 or more*"),
            (("--r1-engines-per-gpu", "x"), "*--r1-engines-per-gpu is 'x'; expected auto or a whole number*"),
            (("-n", "9", "--r1-engines-per-gpu", "1"), "*-n 9 puts 2 engines on a GPU*"),
        ],
    )
    def test_bad_numbers(self, pytester: pytest.Pytester, arguments: tuple[str, ...], expected: str) -> None:
        """A wrong number of engines or GPUs is refused with its option and what is possible."""
        result = pytester.runpytest("--r1-model", MODEL, "-m", "aime", *arguments)

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([expected])

    @pytest.mark.usefixtures("checkpoint")
    @pytest.mark.parametrize(
        ("expression", "message"),
        [
            ("smoke or amie", "'amie' is neither a benchmark's mark nor a registered one; did you mean 'aime'?"),
            ("not (smoke or qqq)", "'qqq' is neither a benchmark's mark nor a registered one; choose benchmarks by"),
        ],
    )
    def test_a_word_that_is_no_mark(self, pytester: pytest.Pytester, expression: str, message: str) -> None:
        """A mistyped mark beside a right one is refused: the run would be green with a benchmark missing."""
        result = pytester.runpytest("--r1-model", MODEL, "-m", expression, "--collect-only")

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        (line,) = [line for line in result.errlines if line]
        assert line.startswith(f"ERROR: -m {expression!r}: {message}")

    @pytest.mark.usefixtures("checkpoint")
    @pytest.mark.parametrize(
        "expression",
        ["smoke or unit", "smoke and not unit", 'smoke or device(serial="a(b)", n=1)', "r1eval and aime24"],
    )
    def test_marks_of_the_users_tests(self, pytester: pytest.Pytester, expression: str) -> None:
        """A registered mark works, with arguments as well."""
        pytester.makeini("[pytest]\nmarkers =\n    unit: mine\n    device(serial, n): mine")
        result = pytester.runpytest("--r1-model", MODEL, "-m", expression, "--collect-only", "-q")

        assert result.ret == pytest.ExitCode.OK

    @pytest.mark.parametrize(
        ("arguments", "option"),
        [
            (("--r1-baseline=org/other", "--r1-anchor=org/held"), "--r1-baseline org/other"),
            (("--r1-baseline=published", "--r1-anchor=org/held"), "--r1-baseline published"),
            (("--r1-baseline=org/held", "--r1-anchor=org/other"), "--r1-anchor org/other"),
            (("--r1-baseline=org/held", "--r1-anchor=published"), "--r1-anchor published"),
        ],
    )
    def test_a_reference_without_the_benchmark(
        self, pytester: pytest.Pytester, recorded: Callable[..., Path], arguments: tuple[str, ...], option: str
    ) -> None:
        """A named baseline or anchor without the benchmark is refused in one line before anything is drawn."""
        run, shelf = recorded("run"), BaselineShelf(root=pytester.path, choice=None, model_name="local/toy")
        measured = StoredRun(folder=recorded("base", seed=5)).measured("smoke").as_baseline()
        shelf.record(measured, name="org/held")
        shelf.record(replace(measured, benchmark="aime24"), name="org/other")

        result = pytester.runpytest("--r1-model", str(run), "--r1-engine=replay", "-m", "smoke", *arguments)

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {option}: nothing for smoke in it; name one that holds it, or leave *"])
        assert not (pytester.path / "data" / "evals" / "local").exists()

    @pytest.mark.usefixtures("checkpoint")
    def test_collecting_asks_for_no_memory(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        """A laptop lists the shards of a plan for eight GPUs."""
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        result = pytester.runpytest("--r1-model", MODEL, "-m", "aime", "--r1-tp", "4", "--collect-only", "-q")

        assert result.ret == pytest.ExitCode.OK


class TestAdapters:
    """An adapter is a checkpoint, as --r1-model or beside it."""

    @pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside"])
    def test_the_header_names_both(self, pytester: pytest.Pytester, *, beside: bool) -> None:
        """The header names the adapter's name, place, rank and base model."""
        adapter = write_adapter(pytester.path / "tuned" / "step-3")
        arguments = ("--r1-model", SHIPPED, "--r1-adapter", "tuned/step-3") if beside else ("--r1-model", adapter)

        result = pytester.runpytest(*arguments, "-m", "smoke", "--collect-only")

        assert result.ret == pytest.ExitCode.OK
        assert f"r1eval: tuned/step-3 ({adapter})" in result.outlines
        assert f"r1eval: an adapter of rank 8 on {SHIPPED}" in result.outlines

    def test_a_path_in_the_ini_file_starts_there(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An adapter's path in the ini file starts at that file, as every other path does."""
        write_adapter(pytester.path / "a")
        pytester.makeini("[pytest]\nr1_adapter = a\n")
        monkeypatch.chdir(pytester.mkdir("below"))

        result = pytester.runpytest("--r1-model", SHIPPED, "-m", "smoke", "--collect-only")

        assert f"r1eval: an adapter of rank 8 on {SHIPPED}" in result.outlines

    def test_what_vllm_does_not_serve_is_one_line(self, pytester: pytest.Pytester) -> None:
        """An adapter that vLLM does not serve is refused in one line, and accepted with --r1-adapter-merge."""
        adapter = write_adapter(pytester.path / "a", use_dora=True)

        refused = pytester.runpytest("--r1-model", adapter, "-m", "smoke")
        taken = pytester.runpytest("--r1-model", adapter, "--r1-adapter-merge", "-m", "smoke", "--collect-only")

        assert refused.ret == pytest.ExitCode.USAGE_ERROR
        assert len(refused.stderr.str().splitlines()) == 1
        refused.stderr.fnmatch_lines([f"ERROR: {adapter} is an adapter that vLLM does not serve: use_dora=true; *"])
        assert taken.ret == pytest.ExitCode.OK
        assert f"r1eval: an adapter merged into a copy of {SHIPPED}" in taken.outlines

    def test_an_engine_that_does_not_serve_them(self, pytester: pytest.Pytester) -> None:
        """The server engine refuses an adapter, because the base model alone would answer."""
        adapter = write_adapter(pytester.path / "a")

        result = pytester.runpytest(
            "--r1-model", adapter, "--r1-engine", "server", "--r1-server-url", "http://127.0.0.1:9", "-m", "smoke"
        )

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert result.stderr.str().rstrip() == (
            f"ERROR: --r1-engine server with the adapter {adapter}: this engine does not serve adapters; expected a "
            f"whole model, or --r1-engine vllm. Merge it: python -m pytest_r1eval.checkpoints.merging {adapter} "
            f"{SHIPPED} MERGED"
        )

    def test_a_recorded_run(self, pytester: pytest.Pytester, recorded: Callable[..., Path]) -> None:
        """A replay refuses --r1-adapter, because the recorded run already decides what is judged."""
        adapter = write_adapter(pytester.path / "a")
        run = recorded(pytester.path / "run")

        result = pytester.runpytest("--r1-model", run, "--r1-engine", "replay", "--r1-adapter", adapter, "-m", "smoke")

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: --r1-engine replay answers from a recorded run; expected no adapter: *"])

"""
The documents' commands do what they are shown for: each page is followed in a folder of recorded checkpoints.

`tests/test_docs.py` parses every command; here each is run, in the order of its page, on recorded runs. What needs a
GPU, a network, a cluster, vLLM or LightEval is in `ELSEWHERE`, with what shows it instead.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from pytest_r1eval.exams.catalog import build_catalog
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.trackers.tracked import tracked
from pytest_r1eval.trackers.tracker import Tracker
from tests.documented_runs import REPO, prepare
from tests.documents import OWNER, REPOSITORY, ROOT, Block, Command, blocks, commands, has_test
from tests.hub_client import Client, client
from tests.hub_server import StandInHub
from tests.recordings import record_run
from tests.requirements import TRANSFORMERS


class Need(StrEnum):
    """Why a command is not run in its page's order here."""

    NETWORK = "it fetches from a network"
    GPU = "it needs GPUs"
    CLUSTER = "it needs a cluster"
    VLLM = "it starts vLLM, which takes a minute of processor time"
    LIGHTEVAL = "it needs LightEval, which takes ten seconds of processor time"
    LANE = "it is a lane of .ci/run"
    TRAINER = "it watches the folder of another framework's training"
    CONTAINER = "it needs a builder of containers, or a machine that is rented"
    TRACKER = "it needs a tracker, which has an environment of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """
    A command that is not run here.

    Attributes:
        need: Why.
        shown_by: What runs the same; a test by its node id, or a file.
    """

    need: Need
    shown_by: str


_CLONE = f"git clone {REPOSITORY}"
_SERVER = "python -m vllm.entrypoints.openai.api_server"
_TRAINING = "tests/e2e/test_training.py::test_each_save_is_judged_and_the_fallen_one_stops_the_training"
_SLURM = "tests/slurm/test_jobs.py::TestArray::test_failing_gate_ends_as_the_exit_code_of_wait"
_RAY = "tests/ray/test_cluster.py::TestJob::test_a_job_of_ray_ends_as_its_gate_does"
_CLONED = "tests/test_documented_commands.py::test_the_repository_is_cloned"
_EXTRAS = "tests/wheel.py::check_extras"
_LACKING = "tests/scoring/test_instructions.py::test_what_lacks_is_named_with_its_command"
_SERVED = "tests/e2e/test_adapters.py::test_each_has_its_own_verdict"
_MERGED = "tests/e2e/test_adapters.py::test_a_merged_adapter_that_improves_is_far_above_its_base_model"
_OF_ADAPTERS = {
    "pytest --r1-model output/checkpoint-200 -m aime --r1-baseline Qwen/Qwen2.5-1.5B-Instruct": _SERVED,
    "pytest --r1-model output/checkpoint-200 --r1-base-model /models/qwen -m aime": (
        "tests/checkpoints/test_adapter.py::TestFound::test_another_place_of_the_base_model"
    ),
    "pytest --r1-model Qwen/Qwen2.5-1.5B-Instruct --r1-adapter output/checkpoint-200 -m aime": (
        "tests/e2e/test_adapters.py::test_an_adapter_that_ruins_fails"
    ),
    "pytest --r1-model output/checkpoint-200 --r1-adapter-merge -m aime": _MERGED,
    "python -m pytest_r1eval.checkpoints.merging output/checkpoint-200 Qwen/Qwen2.5-1.5B-Instruct merged": (
        "tests/checkpoints/test_merging.py::test_the_program_merges"
    ),
}
"""A recorded run has no adapter to serve."""
_MLFLOW = "tests/trackers/test_mlflow.py"
_OF_TRACKERS = {
    "pytest --r1-model ./checkpoints/step-2000 -m aime --r1-log mlflow": (
        f"{_MLFLOW}::test_a_gate_logs_to_all_of_them"
    ),
    "r1eval log data/evals/org/model/RUN --to mlflow": f"{_MLFLOW}::TestRun::test_the_command_logs_it",
    "pytest --r1-model ./checkpoints/step-2000 -m aime --r1-log mlflow:my-model/7": (
        f"{_MLFLOW}::TestVersion::test_a_pass_that_is_no_more"
    ),
}
_SAME = "tests/e2e/test_real.py::test_the_same_function_is_told_from_another"
_OF_SAMENESS = (
    "r1eval same org/model export/model-awq",
    "r1eval same org/model --save before.json",
    "r1eval same before.json org/model",
    "r1eval same before.json org/model --engine-arg kv_cache_dtype=fp8",
)
_GATES = "tests/commands/test_gates.py::"
_WATCHED = "r1eval gates checkpoints/grpo --framework verl --benchmarks aime24"
_OF_WATCHING = {
    f"{_WATCHED} --first-baseline org/model": f"{_GATES}test_a_watcher_that_is_killed_loses_and_repeats_nothing",
    f"{_WATCHED} --convert python -m verl.model_merger merge --backend fsdp --local_dir {{checkpoint}} "
    "--target_dir {out}": f"{_GATES}test_a_converter_runs_before_the_gate",
    f"{_WATCHED} --once --json": f"{_GATES}test_each_is_compared_with_the_last_that_held_and_with_the_anchor",
    f"{_WATCHED} --runner ray --slices 4": "tests/ray/test_cluster.py::TestWatcher"
    "::test_a_killed_watcher_finds_its_gate_again",
    f"{_WATCHED} --runner slurm --nodes 4": "tests/slurm/test_jobs.py::TestTraining::test_checkpoint_is_judged_as_jobs",
}
_IMAGE = "tests/test_docs.py::TestCommands::test_a_container_takes_it"
_OF_CONTAINERS = {
    "docker run --rm --gpus all --shm-size 16g --volume $PWD/data:/data/data "
    f"ghcr.io/{OWNER}/pytest-r1eval:0.1.0 pytest --r1-model org/model -m aime -n auto": _IMAGE,
    "docker build --tag registry.example/r1eval:1.0 --build-arg EXTRAS=mlflow,ray .": _IMAGE,
    "make image STACK=cpu": ".github/workflows/image.yml",
    "python examples/hf_jobs/gate.py org/model aime or math500 --bucket me/evals --flavor h200x8": (
        "tests/cloud/test_examples.py::TestHfJobs::test_it_ends_as_the_gate"
    ),
    "sky launch examples/skypilot/gate.yaml --down --env R1_MODEL=org/model --env BENCHMARKS=aime or math500": (
        "tests/cloud/test_skypilot.py::test_skypilot_takes_it"
    ),
}
ELSEWHERE: Mapping[str, Elsewhere] = {
    _CLONE: Elsewhere(need=Need.NETWORK, shown_by=_CLONED),
    "cd pytest-r1eval": Elsewhere(need=Need.NETWORK, shown_by=_CLONED),
    "pip install pytest-r1eval[vllm]": Elsewhere(need=Need.NETWORK, shown_by=_EXTRAS),
    "pip install pytest-r1eval[cpu]": Elsewhere(need=Need.NETWORK, shown_by=_EXTRAS),
    "pip install pytest-r1eval[server]": Elsewhere(need=Need.NETWORK, shown_by=_EXTRAS),
    "pip install pytest-r1eval[ray]": Elsewhere(need=Need.NETWORK, shown_by=_EXTRAS),
    "r1eval ray submit --model org/model --benchmarks aime24,math_500 --slices 8": Elsewhere(
        need=Need.CLUSTER, shown_by="tests/ray/test_cluster.py::TestCancelled::test_it_has_no_verdict_and_goes_on_later"
    ),
    "r1eval ray wait data/evals/ray/SUBMISSION": Elsewhere(
        need=Need.CLUSTER, shown_by="tests/ray/test_cluster.py::TestCancelled::test_it_has_no_verdict_and_goes_on_later"
    ),
    "make ray MODEL=org/model TASK=aime24,math_500 SLICES=8": Elsewhere(need=Need.CLUSTER, shown_by=_RAY),
    "ray job submit --working-dir . -- r1eval ray submit --wait --model org/model --benchmarks aime24 --slices 8"
    " --output-dir /data/evals": Elsewhere(need=Need.CLUSTER, shown_by=_RAY),
    "pip install pytest-r1eval[hub]": Elsewhere(need=Need.NETWORK, shown_by=_EXTRAS),
    "pip install pytest-r1eval[mlflow]": Elsewhere(need=Need.NETWORK, shown_by=_EXTRAS),
    "pip install pytest-r1eval[adapters]": Elsewhere(need=Need.NETWORK, shown_by=_EXTRAS),
    "pip install pytest-r1eval[instructions]": Elsewhere(need=Need.NETWORK, shown_by=_EXTRAS),
    "python -m nltk.downloader punkt_tab stopwords averaged_perceptron_tagger_eng": Elsewhere(
        need=Need.NETWORK, shown_by=_LACKING
    ),
    "python -m spacy download en_core_web_sm": Elsewhere(need=Need.NETWORK, shown_by=_LACKING),
    "pip uninstall -y torchvision torchaudio torchcodec": Elsewhere(
        need=Need.NETWORK, shown_by="tests/wheel.py::check_uninstall"
    ),
    "make demo": Elsewhere(need=Need.LANE, shown_by=".ci/run"),
    "make demo-real MODEL=HuggingFaceTB/SmolLM2-135M-Instruct": Elsewhere(
        need=Need.VLLM,
        shown_by="tests/test_documented_commands.py::TestTable::test_the_demo_of_a_real_model_draws_twice",
    ),
    "make check": Elsewhere(need=Need.LANE, shown_by=".ci/run"),
    "vllm serve deepseek-ai/DeepSeek-R1 --tensor-parallel-size 8 --pipeline-parallel-size 2": Elsewhere(
        need=Need.GPU, shown_by="tests/test_docs.py::TestServers::test_vllm_takes_it"
    ),
    f"{_SERVER} --model examples/r1eval/tiny-arithmetic --dtype bfloat16 --max-model-len 4096"
    " --max-num-batched-tokens 4096 --no-enable-chunked-prefill": Elsewhere(
        need=Need.VLLM, shown_by="tests/e2e/test_server.py::test_the_run_ends_with_its_verdict"
    ),
    "pytest --r1-model deepseek-ai/DeepSeek-R1 -m aime --r1-engine server --r1-server-url http://head:8000": Elsewhere(
        need=Need.VLLM, shown_by="tests/e2e/test_server.py::test_the_run_ends_with_its_verdict"
    ),
    "pytest --r1-model org/model -m aime --r1-thinking-budget 4096": Elsewhere(
        need=Need.VLLM, shown_by="tests/e2e/test_real.py::test_ten_seeds_of_ten_give_the_right_verdict"
    ),
    "python examples/evaluate_checkpoint.py": Elsewhere(
        need=Need.VLLM, shown_by="tests/e2e/test_server.py::test_the_example_of_python_gives_the_verdict"
    ),
    "python examples/gate_training.py --out /tmp/fine-tuned": Elsewhere(need=Need.VLLM, shown_by=_TRAINING),
    "python examples/gate_training.py --out /tmp/fine-tuned --regress": Elsewhere(need=Need.VLLM, shown_by=_TRAINING),
    "r1eval slurm submit --model org/model --benchmarks aime24,math_500 --nodes 4 --time 8:00:00": Elsewhere(
        need=Need.CLUSTER, shown_by=_SLURM
    ),
    "r1eval slurm wait data/evals/slurm/SUBMISSION": Elsewhere(need=Need.CLUSTER, shown_by=_SLURM),
    "make slurm MODEL=org/model TASK=aime24,math_500 NODES=4": Elsewhere(need=Need.CLUSTER, shown_by=_SLURM),
    "python -m pytest_r1eval.commands.run_benchmarks --model-id org/model --benchmarks aime24 math_500": Elsewhere(
        need=Need.CLUSTER, shown_by="tests/slurm/test_scripts.py::TestOpenR1::test_options_are_translated"
    ),
    "pytest --r1-model org/model --r1-tasks my_tasks.py -m my_task": Elsewhere(
        need=Need.LIGHTEVAL, shown_by="tests/e2e/test_real.py::TestMainJob::test_own_benchmark_runs_beside_them"
    ),
    "pytest --r1-model org/model -m smoke --r1-engine my-engine": Elsewhere(
        need=Need.LIGHTEVAL,
        shown_by="tests/engines/test_engine.py::TestRegistry::test_a_stranger_adds_one_and_gets_a_verdict",
    ),
    "pytest --r1-model data/evals/org/model/RUN -m aime --r1-engine replay --r1-engine-arg regrade=true": Elsewhere(
        need=Need.LIGHTEVAL,
        shown_by="tests/exams/test_smoke_code.py::TestVerdict::test_right_programs_pass_and_a_slow_one_turns_it_red",
    ),
    "r1eval k8s render --model org/model --benchmarks aime24 --slices 8 --image registry.example/r1eval:1.0"
    " --claim evals --queue gpu-queue --name aime-1": Elsewhere(
        need=Need.CLUSTER, shown_by="tests/k8s/test_manifests.py::TestCommands::test_slices_and_judge_give_the_verdict"
    ),
    "r1eval k8s render --ray --model org/model --benchmarks aime24 --slices 8 --image registry.example/r1eval:1.0"
    " --claim evals --queue gpu-queue --name aime-1": Elsewhere(need=Need.CLUSTER, shown_by=_RAY),
    **{name: Elsewhere(need=Need.TRAINER, shown_by=shown_by) for name, shown_by in _OF_WATCHING.items()},
    **{name: Elsewhere(need=Need.CONTAINER, shown_by=shown_by) for name, shown_by in _OF_CONTAINERS.items()},
    **{name: Elsewhere(need=Need.VLLM, shown_by=shown_by) for name, shown_by in _OF_ADAPTERS.items()},
    **{name: Elsewhere(need=Need.TRACKER, shown_by=shown_by) for name, shown_by in _OF_TRACKERS.items()},
    **dict.fromkeys(_OF_SAMENESS, Elsewhere(need=Need.VLLM, shown_by=_SAME)),
}
"""Each command of the documents that is not run here. A new command is run, or needs a row."""
RED = {
    "pytest --r1-model export/model-awq -m aime --r1-baseline org/model --r1-claim same --r1-margin 3": (
        "a fall and a rise of 3.0 points are not excluded"
    ),
    "pytest --r1-model ./checkpoints/step-2000 -m aime -n 8": "There is no baseline yet.",
    "pytest --r1-model org/good-model -m aime": "There is no baseline yet.",
    "pytest --r1-judge-only data/evals/org/model/RUN --r1-grader strict": "graders differ on 58 of 96 responses",
}
"""Commands that are shown with exit code 1, and what they print then; every other one ends with 0."""
QUOTED = {
    "pytest --r1-judge-only data/evals/org/model/RUN --r1-grader strict": (
        ROOT / "docs" / "explanation" / "graders.md",
        (
            "harness.grader: lighteval 0.13.0 in the baseline, strict-mathematics 2 here",
            "graders differ on 37 of 2,000 responses: 31 are right by this one alone, 6 by lighteval 0.13.0 alone",
        ),
    ),
}
"""Commands whose output a page quotes in a sentence; numbers and versions are its own."""
FIRST = {
    "r1eval baseline record RUN org/model",
    "r1eval baseline record RUN org/model --other RUN2",
    "r1eval baseline record RUN org/model --reason 8k context by design",
}
"""Commands that record a model's first baseline: only they find none of `org/model`."""


def words_of(command: Command) -> str:
    """Return a command as a shell has it, without quotes: its name in the tables."""
    return " ".join(command.words)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record once what the documents name."""
    folder = tmp_path_factory.mktemp("documents")
    prepare(folder)
    return folder


@pytest.fixture
def here(prepared: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a copy of it, where the replay engine answers."""
    shutil.copytree(prepared, pytester.path, dirs_exist_ok=True)
    (pytester.path / "data-sets").mkdir()
    monkeypatch.setenv("R1_ENGINE", "replay")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:cacheprovider")
    return pytester.path


@pytest.fixture(scope="module")
def r1eval(served: StandInHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Start one process for all commands of `r1eval`, whose Hub is one of this machine."""
    served.make_repo(REPO).is_private = True
    with client(served.environment(tmp_path_factory.mktemp("home"))) as found:
        yield found


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """What a reader types into."""

    pytester: pytest.Pytester
    r1eval: Client

    def run(self, command: Command) -> tuple[int, str]:
        """Run a command of a page; return its exit code and what it printed."""
        match command.words:
            case ["pytest", *arguments]:
                return self._pytest(*arguments)
            case ["r1eval", *arguments]:
                return self.r1eval.r1eval(self.pytester.path, *arguments)
            case ["make", *arguments]:
                return self._pytest(*recipe(*arguments))
            case ["python", script, *arguments]:
                result = self.pytester.runpython_c(SCRIPT.format(path=str(ROOT / script), arguments=arguments))
                return int(result.ret), result.stdout.str() + result.stderr.str()
        raise AssertionError(f"{words_of(command)}: no way to run it, and no row in ELSEWHERE")

    def _pytest(self, *arguments: str) -> tuple[int, str]:
        result = self.pytester.runpytest_subprocess(*arguments)
        return int(result.ret), result.stdout.str() + result.stderr.str()


SCRIPT = "import runpy, sys; sys.argv[1:] = {arguments!r}; runpy.run_path({path!r}, run_name='__main__')"


def recipe(*arguments: str) -> list[str]:
    """Return the arguments of the pytest line that a target of the Makefile consists of."""
    (line,) = (line for line in printed_by_make(*arguments) if line.startswith(".venv/bin/pytest "))
    return shlex.split(line)[1:]


def printed_by_make(*arguments: str) -> list[str]:
    """Return the lines that make would run."""
    command = ["make", "-n", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def to_run() -> dict[Path, list[Command]]:
    """Return the commands that run here, by page, in their order; one that two pages show runs on the first."""
    first: dict[str, Command] = {}
    for command in commands():
        first.setdefault(words_of(command), command)
    found: dict[Path, list[Command]] = {}
    for name, command in first.items():
        if name not in ELSEWHERE:
            found.setdefault(command.path, []).append(command)
    return found


@pytest.mark.parametrize("page", to_run(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_can_be_followed(page: Path, here: Path, pytester: pytest.Pytester, r1eval: Client) -> None:
    """The commands of a page, run in order in one folder, end with exit code 0, or 1 where the page shows it."""
    shell = Shell(pytester=pytester, r1eval=r1eval)
    for command in to_run()[page]:
        name = words_of(command)
        baseline = here / "baselines" / "org" / "model.json"
        usual = baseline.read_bytes()
        if name in FIRST:
            baseline.unlink()
        code, printed = shell.run(command)
        baseline.write_bytes(usual)
        expected = {0, 1} if name == "r1eval doctor" else {1} if name in RED else {0}  # it judges this machine
        assert code in expected, f"{name} ended with {code}, expected {expected}:\n{printed}"
        assert RED.get(name, "") in printed
        quoting, quotes = QUOTED.get(name, (page, ()))
        for quote in quotes:
            assert f'"{quote}"' in " ".join(quoting.read_text(encoding="utf-8").split())
            assert without_numbers(quote) in without_numbers(printed)


def without_numbers(text: str) -> str:
    """Replace numbers and versions."""
    return re.sub(r"\d+(?:[.,]\d+)*(?:\.test)?", "#", text)


def test_the_repository_is_cloned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented line clones the repository and enters it; its address leads to a bare copy of this one."""
    bare = tmp_path / "bare.git"
    safe = {"GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    instead = {"GIT_CONFIG_KEY_1": f"url.{bare.as_uri()}.insteadOf", "GIT_CONFIG_VALUE_1": REPOSITORY}
    for name, value in {"GIT_CONFIG_COUNT": "2", **safe, **instead}.items():
        monkeypatch.setenv(name, value)
    bash = ["bash", "-ec"]
    subprocess.run([*bash, f"git clone -q --bare --depth=1 {ROOT.as_uri()} {bare}"], check=True)
    (line,) = {line for block in blocks("bash") for line in block.text.splitlines() if line.startswith(_CLONE)}
    script = f"{line}\nbasename $PWD\nmake --dry-run {' '.join(sorted(lanes()))} > /dev/null"
    done = subprocess.run([*bash, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "pytest-r1eval\n"), done.stderr


def lanes() -> set[str]:
    """Return the targets of make that the documents show after the clone."""
    return {name.removeprefix("make ") for name, row in ELSEWHERE.items() if row.need is Need.LANE}


class TestTable:
    """What is not run here is known by name."""

    def test_each_row_is_a_command(self) -> None:
        """Each row of this module's tables is a command that a document shows."""
        shown = {words_of(command) for command in commands()}
        assert ELSEWHERE.keys() | RED.keys() | FIRST <= shown

    @pytest.mark.parametrize("row", sorted({row.shown_by for row in ELSEWHERE.values()}))
    def test_what_shows_it_is_there(self, row: str) -> None:
        """Each test that a row of the table names by its node id is there."""
        assert has_test(row)

    @pytest.mark.parametrize("name", [name for name, row in ELSEWHERE.items() if row.need is Need.LANE])
    def test_a_lane_is_one(self, name: str) -> None:
        """Each documented lane's command is in `.ci/run`."""
        assert re.search(rf"\b{name}\b", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))

    def test_jobs_are_submitted_by_make_as_by_hand(self) -> None:
        """`make slurm` hands the model, the benchmarks and the nodes to `r1eval slurm submit`, and waits."""
        (command,) = (command for command in commands("make") if "slurm" in command.words)
        printed = "\n".join(printed_by_make(*command.words[1:]))
        assert 'slurm submit --model "org/model" --benchmarks "aime24,math_500" --nodes 4 ' in printed
        assert "r1eval slurm wait" in printed

    def test_the_demo_of_a_real_model_draws_twice(self, here: Path, pytester: pytest.Pytester, r1eval: Client) -> None:
        """`make demo-real` goes on from the red run of a model without a baseline; a second seed passes against it."""
        shell = Shell(pytester=pytester, r1eval=r1eval)
        model = here / "org" / "good-model"  # a model without a baseline
        printed = printed_by_make("demo-real", "MODEL=org/good-model", "TASK=aime24", "ARGS=--r1-report=gate.md")
        lines = [line for line in printed if line.startswith(".venv/bin/pytest ")]
        assert lines[0].endswith("|| test $? -eq 1 # without a baseline a gate is red")
        assert "--r1-seed 2" in lines[1]
        for seed, line in enumerate(lines, start=11):
            shutil.rmtree(model)  # a recording has one seed: the second draw is another recording
            record_run(model, benchmarks=("aime24",), seed=seed, weights="w", model_name="org/good-model")
            folder = re.search(r"--r1-output-dir (\S+)", line)
            assert folder is not None
            found = [str(path.parent) for path in pytester.path.glob(f"{folder[1]}/*/*/*/run.sqlite")]
            words = shlex.split(re.sub(r'"\$\(dirname .*?\)"', " ".join(found), line.partition(" || ")[0]))
            code, said = shell.run(Command(path=ROOT / "Makefile", words=("pytest", *words[1:])))
            assert code == (0 if found else 1), said
        assert len(lines) == 2
        assert "INCONCLUSIVE" not in said
        assert f"baseline: run {found[0]}" in said


class TestPython:
    """The blocks of Python run."""

    @pytest.mark.parametrize(
        "block", [block for block in blocks("python") if "pytest_r1eval.evaluate(" in block.text], ids=lambda b: b.name
    )
    def test_evaluate_gives_a_report(self, block: Block, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The documented call of `evaluate()` judges a run and returns its report."""
        monkeypatch.chdir(prepared)
        monkeypatch.setenv("R1_ENGINE", "replay")
        held = executed(block)
        assert held["report"].passes

    @pytest.mark.parametrize(
        "block", [block for block in blocks("python") if "trainer.add_callback(" in block.text], ids=lambda b: b.name
    )
    @TRANSFORMERS.mark
    @pytest.mark.filterwarnings("default")  # torch's and transformers' own are not ours to repair
    def test_a_trainer_takes_the_callback(
        self, block: Block, tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A trainer accepts the documented callback with its arguments."""
        monkeypatch.chdir(prepared)
        from tests.training.trainers import trainer_in  # noqa: PLC0415 - imports torch

        trainer = trainer_in(tmp_path, max_steps=1)
        held = executed(block, trainer=trainer)
        assert any(isinstance(one, held["R1EvalCallback"]) for one in trainer.callback_handler.callbacks)

    def test_the_hook_gives_a_benchmark(self, tmp_path: Path) -> None:
        """The catalog takes what the hook of the benchmarks' page returns."""
        (block,) = (block for block in blocks("python") if "def pytest_r1eval_benchmarks" in block.text)
        found = executed(block)["pytest_r1eval_benchmarks"](None)
        assert "gsm_plus" in build_catalog(tasks=None, pyproject=tmp_path / "pyproject.toml", contributed=found)

    def test_the_tracker_follows_the_protocol(self, prepared: Path) -> None:
        """The documented tracker is one, and says where a judged run is."""
        (block,) = (block for block in blocks("python") if "class MyTracker" in block.text)
        tracker = executed(block)["TRACKER"]
        assert isinstance(tracker, Tracker)
        told = tracked(read_report(prepared / "data/evals/org/model/RUN"))
        assert tracker.log(told) == f"noted {told.verdict} of org/model"

    def test_each_block_is_run(self) -> None:
        """Each Python block of the documents is run, except one that reads the real Hub."""
        run = (
            "pytest_r1eval.evaluate(",
            "trainer.add_callback(",
            "def pytest_r1eval_benchmarks",
            "EngineFactory(",
            "class MyTracker",
        )
        left = [block.text for block in blocks("python") if not any(words in block.text for words in run)]
        assert [text.splitlines()[0] for text in left] == ["from datasets import load_dataset"]


def executed(block: Block, **given: object) -> dict[str, Any]:
    """Run a block of Python; return its names."""
    held: dict[str, Any] = dict(given)
    exec(compile(ast.parse(block.text), block.name, "exec"), held)  # noqa: S102 - our own document
    return held

"""
A gate on every checkpoint, with the real Trainer; checkpoints are recorded runs, for the replay engine.

With a model that learns and vLLM in between: tests/e2e/test_training.py.
"""
# ruff: noqa: E402 - need() skips this module where its packages are not here

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.requirements import PEFT, TRANSFORMERS, need

need(TRANSFORMERS)

from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from pytest_r1eval.core.lineage import Lineage
from pytest_r1eval.errors import PlanError, R1EvalError
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.training.callback import GatedCheckpoint, R1EvalCallback
from tests.adapters import SHIPPED
from tests.processes import wait_for_none_with
from tests.recordings import record_run
from tests.training.trainers import TIMEOUT_S, Patient, gated_steps, logged, trainer_in

pytestmark = pytest.mark.filterwarnings("default")  # torch's and transformers' own are not ours to repair


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in the test's folder."""
    monkeypatch.chdir(tmp_path)


class TestLog:
    def test_every_checkpoint_is_judged_at_its_own_step(self, tmp_path: Path) -> None:
        """Every checkpoint is judged at its own step while the training runs on, and no log entry is lost."""
        trainer = trainer_in(tmp_path, max_steps=5)
        trainer.add_callback(R1EvalCallback(trainer, benchmarks=["smoke"], engine="replay", gpus=()))
        trainer.train()
        entries = logged(trainer)
        assert [*entries] == [2, 4, 5]
        assert [entry["r1eval/smoke/verdict"] for entry in entries.values()] == ["INCONCLUSIVE", "PASS", "PASS"]
        assert entries[4].keys() == {
            "step", "epoch", "r1eval/smoke/pass_at_1", "r1eval/smoke/standard_error", "r1eval/smoke/z",
            "r1eval/smoke/verdict", "r1eval/smoke/passes",
        }  # fmt: skip
        assert entries[4]["epoch"] == 1.0
        losses = [entry["step"] for entry in trainer.state.log_history if "loss" in entry]
        assert losses == [1, 2, 3, 4, 5]
        assert trainer.state.global_step == 5

    def test_lineage_and_runs_lie_with_the_training(self, tmp_path: Path) -> None:
        """Runs are stored by checkpoint below the training's output folder, and judged copies are removed."""
        trainer = trainer_in(tmp_path, max_steps=4, save_total_limit=1)
        trainer.add_callback(R1EvalCallback(trainer, benchmarks=["smoke"], engine="replay", gpus=()))
        trainer.train()
        (first,) = (tmp_path / "out" / "r1eval" / "out" / "checkpoint-2").glob(f"*/{FILE_NAME}")
        (second,) = (tmp_path / "out" / "r1eval" / "out" / "checkpoint-4").glob(f"*/{FILE_NAME}")
        assert read_report(first.parent).header.lineage == Lineage(step=2)
        assert read_report(second.parent).header.lineage == Lineage(step=4, parent="out/checkpoint-2")
        assert not [*(tmp_path / "out" / "r1eval" / "checkpoints" / "out").iterdir()]
        assert not (tmp_path / "out" / "checkpoint-2").exists()

    def test_tensorboard_has_them_at_their_steps(self, tmp_path: Path) -> None:
        """TensorBoard has the scores of all checkpoints at their steps, the last one included."""
        trainer = trainer_in(tmp_path, max_steps=4, report_to=["tensorboard"])
        trainer.add_callback(R1EvalCallback(trainer, benchmarks=["smoke"], engine="replay", gpus=()))
        trainer.train()
        (events,) = tmp_path.glob("out/runs/*/events*")
        scores = {step: value for step, tag, value in scalars(events) if tag == "train/r1eval/smoke/pass_at_1"}
        entries = logged(trainer)
        assert scores == pytest.approx({step: entries[step]["r1eval/smoke/pass_at_1"] for step in (2, 4)})


def scalars(path: Path) -> Iterator[tuple[int, str, float]]:
    """Read the numbers of a TensorBoard log: records of length, checksum, event, checksum."""
    from tensorboardX.proto import event_pb2  # type: ignore[import-untyped]  # noqa: PLC0415 - protobuf's, where it is read

    content = path.read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = event_pb2.Event.FromString(content[12 : 12 + length])
        yield from ((event.step, value.tag, value.simple_value) for value in event.summary.value)
        content = content[16 + length :]


class TestRegression:
    def test_it_stops_the_training(self, tmp_path: Path) -> None:
        """A regression stops the training at the first step after its verdict."""
        trainer = trainer_in(tmp_path, max_steps=50, save_steps=2)
        trainer.falls_at = 4
        trainer.add_callback(
            R1EvalCallback(trainer, benchmarks=["smoke"], engine="replay", gpus=(), on_regression="stop")
        )
        trainer.add_callback(Patient(trainer, {5: 2}))
        trainer.train()
        assert trainer.state.global_step == 6
        entries = logged(trainer)
        assert entries[4]["r1eval/smoke/verdict"] == "FAIL_REGRESSED"
        assert entries[4]["r1eval/smoke/z"] < -3

    @pytest.mark.parametrize(("answer", "last_step"), [(True, 5), (None, 8)])
    def test_a_function_decides(self, tmp_path: Path, answer: bool | None, last_step: int) -> None:  # noqa: FBT001
        """A function receives the regressed checkpoint with its report and can stop the training by returning True."""
        told: list[GatedCheckpoint] = []

        def decide(gated: GatedCheckpoint) -> bool | None:
            told.append(gated)
            return answer

        trainer = trainer_in(tmp_path, max_steps=8, save_steps=2)
        trainer.falls_at = 4
        baseline = record_run(tmp_path / "baseline", n_samples=16)
        gate = R1EvalCallback(
            trainer, benchmarks=["smoke"], engine="replay", gpus=(), on_regression=decide, baseline=baseline,
            when_busy="latest",
        )  # fmt: skip
        trainer.add_callback(gate)
        trainer.add_callback(Patient(trainer, {4: 2}))
        trainer.train()
        assert trainer.state.global_step == last_step
        assert told[0].saved.step == 4
        assert told[0].report is not None
        assert not told[0].report.passes

    def test_what_is_skipped_is_no_error(self, tmp_path: Path) -> None:
        """Checkpoints that "latest" skips are not errors, and the newest one is judged."""
        trainer = trainer_in(tmp_path, max_steps=20)
        gate = R1EvalCallback(trainer, benchmarks=["smoke"], engine="replay", gpus=(), when_busy="latest")
        trainer.add_callback(gate)
        trainer.train()
        assert gated_steps(trainer)[-1] == 20
        assert len(logged(trainer)) < 10
        assert not [entry for entry in logged(trainer).values() if "r1eval/error" in entry]

    def test_logging_only_is_the_default(self, tmp_path: Path) -> None:
        """The default logs a regression and trains on to the end."""
        trainer = trainer_in(tmp_path, max_steps=4, save_steps=4)
        trainer.falls_at = 0
        baseline = record_run(tmp_path / "baseline", n_samples=16)
        gate = R1EvalCallback(trainer, benchmarks=["smoke"], engine="replay", gpus=(), baseline=baseline)
        trainer.add_callback(gate)
        trainer.train()
        assert logged(trainer)[4]["r1eval/smoke/verdict"] == "FAIL_REGRESSED"


class TestTroubles:
    def test_an_evaluation_that_dies_does_not_touch_training(self, tmp_path: Path) -> None:
        """Training ends as usual though both evaluations are killed, and the log reports each."""
        (tmp_path / "conftest.py").write_text(
            "import os, signal, threading\n"
            "def pytest_sessionstart():\n"
            "    threading.Timer(2, os.kill, (os.getpid(), signal.SIGKILL)).start()\n"
        )
        slow = {"delay_s": 1.0, "n_concurrent": 1}
        trainer = trainer_in(tmp_path, max_steps=4)
        trainer.add_callback(
            R1EvalCallback(trainer, benchmarks=["smoke"], engine="replay", gpus=(), engine_arg=slow, retry_after_s=())
        )
        trainer.train()
        assert trainer.state.global_step == 4
        errors = {step: entry["r1eval/error"] for step, entry in logged(trainer).items()}
        assert [*errors] == [2, 4]
        assert all("the evaluation ended without a verdict (exit code -9)" in error for error in errors.values())

    def test_the_end_waits_no_longer_than_it_was_told(self, tmp_path: Path) -> None:
        """At the end of its wait the training stops the current evaluation, drops the waiting one, and logs both."""
        slow = {"delay_s": 5.0, "n_concurrent": 1}
        trainer = trainer_in(tmp_path, max_steps=4)
        gate = R1EvalCallback(trainer, benchmarks=["smoke"], engine="replay", gpus=(), engine_arg=slow, wait_at_end_s=3)
        trainer.add_callback(gate)
        started = time.monotonic()
        trainer.train()
        assert time.monotonic() - started < 60
        errors = {step: entry["r1eval/error"] for step, entry in logged(trainer).items()}
        assert "without a verdict" in errors[2]
        assert errors[4] == "the training ended before its turn"

    def test_a_training_that_fails_leaves_no_evaluation_behind(self, tmp_path: Path) -> None:
        """A training that fails leaves no evaluation running."""
        script = tmp_path / "train.py"
        end = 'raise RuntimeError("out of data")'
        script.write_text(ENDING.format(root=Path(__file__).parents[2], folder=tmp_path, end=end))
        done = subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
        assert "RuntimeError: out of data" in done.stderr
        assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if _mentions(path, f"{tmp_path}/out")]

    def test_a_training_that_is_killed_takes_its_evaluation_along(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A killed training ends its evaluation, and the resumed one judges only what was left."""
        script = tmp_path / "train.py"
        end = "os.kill(os.getpid(), signal.SIGTERM)"
        script.write_text(ENDING.format(root=Path(__file__).parents[2], folder=tmp_path, end=end))
        monkeypatch.setenv("STARTED_IN", str(tmp_path))
        done = subprocess.run([sys.executable, str(script)], check=False, timeout=TIMEOUT_S)
        monkeypatch.delenv("STARTED_IN")
        assert done.returncode == -signal.SIGTERM
        wait_for_none_with("STARTED_IN", str(tmp_path))
        left = tmp_path / "out" / "r1eval" / "checkpoints" / "out"
        assert sorted(path.name for path in left.iterdir()) == ["checkpoint-2", "checkpoint-2.digests.json"]

        trainer = trainer_in(tmp_path, max_steps=4)
        trainer.add_callback(R1EvalCallback(trainer, benchmarks=["smoke"], engine="replay", gpus=()))
        trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
        assert gated_steps(trainer) == [2, 4]
        assert [*left.iterdir()] == []

    def test_a_function_that_fails_does_not_touch_training(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A function that fails is logged, and the training goes on."""

        def decide(_: GatedCheckpoint) -> bool:
            raise LookupError("nobody to tell")

        trainer = trainer_in(tmp_path, max_steps=2)
        trainer.falls_at = 0
        baseline = record_run(tmp_path / "baseline", n_samples=16)
        gate = R1EvalCallback(
            trainer, benchmarks=["smoke"], engine="replay", gpus=(), on_regression=decide, baseline=baseline
        )
        trainer.add_callback(gate)
        trainer.train()
        assert logged(trainer)[2]["r1eval/smoke/verdict"] == "FAIL_REGRESSED"
        assert "on_regression failed on step 2; the training goes on" in caplog.text
        assert "nobody to tell" in caplog.text

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"benchmarks": ["aime2024"]}, "no such benchmark"),
            ({"benchmarks": ["smoke"], "on_regression": "halt"}, "on_regression is 'halt'; expected 'log', 'stop' or"),
            ({"benchmarks": ["smoke"], "gate": "sequential"}, "a run that stops early gives none for the next"),
            (
                {"benchmarks": ["smoke"], "gate": "sequential", "baseline": "a/b", "anchor": "c/d"},
                "gate='sequential' with an anchor: looks are planned around one baseline",
            ),
        ],
    )
    def test_mistakes_are_found_before_the_training(self, tmp_path: Path, options: dict[str, Any], words: str) -> None:
        """The callback refuses wrong options before the training begins."""
        with pytest.raises(PlanError, match=words):
            R1EvalCallback(trainer_in(tmp_path, max_steps=1), **options)


def _mentions(path: Path, text: str) -> bool:
    try:
        return text in path.read_text()
    except OSError:
        return False


ENDING = """
import os, signal, sys, time
sys.path.insert(0, '{root}')
from pathlib import Path
from transformers import TrainerCallback
from pytest_r1eval.training.callback import R1EvalCallback
from tests.training.trainers import trainer_in
class Ending(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            while not list(Path('{folder}').glob("out/r1eval/out/*/*/run.sqlite")):
                time.sleep(0.1)
            {end}
trainer = trainer_in(Path('{folder}'), max_steps=9)
slow = {{"delay_s": 5.0, "n_concurrent": 1}}
trainer.add_callback(R1EvalCallback(trainer, benchmarks=["smoke"], engine="replay", gpus=(), engine_arg=slow))
trainer.add_callback(Ending())
trainer.train()
"""

RANKS = """
import json, sys
sys.path.insert(0, '{root}')
from pathlib import Path
from pytest_r1eval.training.callback import R1EvalCallback
from tests.recordings import record_run
from tests.training.trainers import Patient, logged, trainer_in
folder = Path('{folder}')
trainer = trainer_in(folder, max_steps=40, save_steps=9)
trainer.falls_at = 9
gate = R1EvalCallback(trainer, benchmarks=["smoke"], engine="replay", gpus=(), on_regression="stop",
                      baseline=folder / "baseline", when_busy="latest")
trainer.add_callback(gate)
if trainer.is_world_process_zero():
    trainer.add_callback(Patient(trainer, {{11: 1}}))
trainer.train()
is_judged = bool(list(folder.glob(f"out/r1eval/out/checkpoint-18/*/verdicts.json")))
rank = trainer.args.process_index
left = [trainer.state.global_step, len(logged(trainer)), is_judged]
(folder / f"rank-{{rank}}.json").write_text(json.dumps(left))
"""


@pytest.mark.usefixtures("warm_graders")
def test_all_processes_of_a_training_stop_together(tmp_path: Path) -> None:
    """
    Both ranks under torchrun leave the loop at the same step, and only the first one judges.

    At the end the second waits too: a collective operation that follows would time out before a gate is through.
    """
    record_run(tmp_path / "baseline", n_samples=16)
    script = tmp_path / "train.py"
    script.write_text(RANKS.format(root=Path(__file__).parents[2], folder=tmp_path))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    assert first[0] == second[0] == 20
    assert first[1] >= 1
    assert second[1] == 0
    assert first[2]
    assert second[2]


@PEFT.mark
class TestAdapters:
    """Real PEFT around the shipped checkpoint; what cannot be gated ends the training at its begin."""

    def begun(self, tmp_path: Path, *, name: str = "default", gate: dict[str, Any], **settings: Any) -> Trainer:  # noqa: ANN401
        """Begin a training of an adapter without a step, with a gate."""
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - where it is

        model = AutoModelForCausalLM.from_pretrained(SHIPPED)
        config = LoraConfig(**{"target_modules": ["q_proj"], "task_type": "CAUSAL_LM", **settings})
        arguments = TrainingArguments(output_dir=str(tmp_path / "out"), use_cpu=True, report_to=[])
        trainer = Trainer(get_peft_model(model, config, adapter_name=name), arguments)
        callback = R1EvalCallback(trainer, benchmarks=["smoke"], gpus=(), **gate)
        trainer.add_callback(callback)
        callback.on_train_begin(trainer.args, trainer.state, trainer.control)
        callback.close()
        return trainer

    @pytest.mark.parametrize(
        ("gate", "settings"), [({}, {}), ({"adapter_merge": True}, {"use_dora": True}), ({}, {"use_rslora": True})]
    )
    def test_what_can_be_gated_begins(self, tmp_path: Path, gate: dict[str, Any], settings: dict[str, Any]) -> None:
        """A training of plain LoRA or rsLoRA begins, and one of DoRA does where checkpoints are merged."""
        assert self.begun(tmp_path, gate=gate, **settings).state.global_step == 0

    @pytest.mark.parametrize(
        ("gate", "settings", "expected"),
        [
            (
                {},
                {"use_dora": True},
                (
                    "the adapter that is trained is one that vLLM does not serve: use_dora=true; expected plain LoRA: "
                    "give the callback adapter_merge=True, or train plain LoRA"
                ),
            ),
            ({}, {"target_modules": ["q_proj", "lm_head"]}, "target_modules with lm_head; expected plain LoRA"),
            ({}, {"name": "second"}, "the training has the adapters second, and PEFT saves each but 'default' in a"),
            ({"engine": "replay"}, {}, "engine='replay' does not serve the adapter that is trained; expected 'vllm'"),
            ({"base_model": "/none"}, {}, "its base model /none: no such folder, and a Hub id would read org/name"),
            ({"adapter": "org/a"}, {}, "adapter='org/a' in a training of an adapter, where it has no place: drop it"),
        ],
    )
    def test_what_cannot_be_gated_is_refused(
        self, tmp_path: Path, gate: dict[str, Any], settings: dict[str, Any], expected: str
    ) -> None:
        """A training that cannot be gated is refused in one line before its first step."""
        with pytest.raises(R1EvalError) as caught:
            self.begun(tmp_path, gate=gate, **settings)
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_whole_model_needs_no_option_of_adapters(self, tmp_path: Path) -> None:
        """An adapter's option in a training of a whole model is refused before the first step."""
        trainer = trainer_in(tmp_path, max_steps=1)
        trainer.add_callback(R1EvalCallback(trainer, benchmarks=["smoke"], gpus=(), adapter_merge=True))
        with pytest.raises(PlanError, match="adapter_merge=True in a training of a whole model"):
            trainer.train()

"""
A gate on every checkpoint of a training, for trainers of transformers and TRL.

    trainer.add_callback(R1EvalCallback(trainer, benchmarks=["aime24"], gpus=[7], on_regression="stop"))

Decisions:

- Training never waits for a gate before its end, and never falls with one: what goes wrong with an
  evaluation is logged as `r1eval/error`.
- Results arrive steps after their checkpoint was saved. They are logged under the checkpoint's own step,
  so that W&B, TensorBoard and trackio, which all go by the trainer's state, put them where they belong.
- Some of these close their logs when training ends, so this callback comes before them in the trainer's list.
- With several processes the first one judges; whether to stop, and when the end has been waited for, is agreed
  on by all: one that went its own way would leave the others waiting in a collective operation until that times out.
- A training that is killed takes its evaluation with it. The one that goes on from a checkpoint judges what was
  left without a verdict.
"""

from __future__ import annotations

import atexit
import logging
import math
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pytest_r1eval.checkpoints.inspect import check_trained
from pytest_r1eval.engines.engine import engine_named
from pytest_r1eval.errors import PlanError, R1EvalError
from pytest_r1eval.evaluation.process import OptionValue, Workers, arguments_of
from pytest_r1eval.reports.run_report import RunReport
from pytest_r1eval.stats.verdicts import Verdict
from pytest_r1eval.training.cluster_runner import ClusterRunner, RayPlace, SlurmPlace
from pytest_r1eval.training.queue import (
    WAITS_S,
    CheckpointQueue,
    GatedCheckpoint,
    SavedCheckpoint,
    WhenBusy,
    kept_copy,
    left_over,
)
from pytest_r1eval.training.runners import (
    GateOrder,
    LocalRunner,
    Runner,
    refuse_contradictions,
)

__all__ = ["GatedCheckpoint", "R1EvalCallback", "RayPlace", "SlurmPlace"]

OnRegression: TypeAlias = Literal["log", "stop"] | Callable[[GatedCheckpoint], bool | None]
"""What a fallen checkpoint does: nothing more, stop the training, or call something that says whether to stop."""

AGREEMENT_STEPS = 10
"""How often several processes agree on whether to stop; each time they wait for each other."""
LOOK_S = 10.0
"""How often they agree on whether to wait on at the end, much less than a collective operation may take."""
_PEFT_NAME = "default"
"""What PEFT calls an adapter that is given no name, and saves in the checkpoint's own folder."""
_LOGGER = logging.getLogger(__name__)


class R1EvalCallback(TrainerCallback):  # type: ignore[misc]  # transformers says nothing of its types
    """
    Judges every checkpoint that a trainer saves, beside the training.

    Args:
        trainer: The trainer that it is added to.
        benchmarks: Names, as in `["aime24", "math500"]`.
        workers: Engines, as of `pytest_r1eval.evaluate`.
        gpus: GPUs for it, which the training leaves alone; None for those that the training sees, () for none.
        slurm: Where Slurm judges; None for a process on this machine.
        ray: Where Ray judges, in place of `slurm`.
        on_regression: What a checkpoint that regressed does: "log", "stop", or a function that is given the
            `GatedCheckpoint` and stops the training by returning True.
        when_busy: "queue" judges every checkpoint in turn, "latest" skips those that a newer one overtakes.
        first_baseline: What the first checkpoint is compared with; later ones with the last that held.
        push_to: A model repository; each checkpoint is pushed to a branch of it, `step-000000200`, before it is judged.
        wait_at_end_s: Seconds that the end of the training waits for gates; None for as long as they take.
        retry_after_s: Seconds before each further try of a gate that the machinery failed (an engine without memory).
        options: Any option of the command line, as of `pytest_r1eval.evaluate`. `baseline` other than "previous"
            compares every checkpoint with that; `output_dir` is `r1eval` in the trainer's output folder.
            `anchor` is a fixed baseline beside the previous checkpoint, best what the training started from, recorded
            with four times the samples: it catches a decline too slow to be seen from one checkpoint to the next.

    Raises:
        PlanError: If a benchmark does not exist, or options contradict each other.
        TypeError: If there is no such option.
    """

    def __init__(  # noqa: PLR0913 - what, where, and what then
        self,
        trainer: Trainer,
        *,
        benchmarks: Sequence[str],
        workers: Workers = None,
        gpus: Sequence[int | str] | None = None,
        slurm: SlurmPlace | None = None,
        ray: RayPlace | None = None,
        on_regression: OnRegression = "log",
        when_busy: Literal["queue", "latest"] = "queue",
        first_baseline: str | None = None,
        push_to: str | None = None,
        wait_at_end_s: float | None = None,
        retry_after_s: Sequence[float] = WAITS_S,
        **options: OptionValue,
    ) -> None:
        arguments_of(options)
        if slurm and ray:
            raise PlanError("slurm and ray are both given; expected one cluster that judges")
        place = slurm or ray
        self._trainer = trainer
        self._options = dict(options)
        self._on_regression = on_regression
        self._wait_at_end_s = wait_at_end_s
        self._retry_after_s = tuple(retry_after_s)
        output_dir = options.get("output_dir") or Path(_output_dir(trainer)) / "r1eval"
        self._output_dir = Path(str(output_dir)).resolve()
        order = GateOrder(
            benchmarks=tuple(benchmarks),
            output_dir=self._output_dir,
            folder=Path.cwd(),
            options=dict(options),
            first_baseline=first_baseline,
            commit=_commit(),
        )
        _check(order, on_regression)
        self._push = None if push_to is None else partial(_push, repo=push_to)
        self._when_busy = WhenBusy(when_busy)
        self._new_runner: Callable[[], Runner] = (
            partial(ClusterRunner, order, place) if place else partial(LocalRunner, order, workers=workers, gpus=gpus)
        )
        self._begin()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """
        Move before those who close their logs, and leave nothing behind if training ends by an error.

        Raises:
            R1EvalError: If the training saves adapters that cannot be judged.
        """
        _check_adapter(self._trainer.model, self._options)
        self._begin()
        callbacks = self._trainer.callback_handler.callbacks
        callbacks.insert(0, callbacks.pop(callbacks.index(self)))
        atexit.register(self.close)
        if state.is_world_process_zero:
            for saved in left_over(self._kept, last_step=state.global_step):
                self._queue.add(saved)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Let the checkpoint be judged; returns as soon as a copy of it is kept."""
        if not state.is_world_process_zero:
            return
        checkpoint = Path(_output_dir(self._trainer)) / f"checkpoint-{state.global_step}"
        saved = SavedCheckpoint(step=state.global_step, epoch=state.epoch, folder=self._kept / checkpoint.name)
        try:
            kept_copy(checkpoint, to=saved.folder)
        except R1EvalError as error:
            self._take(GatedCheckpoint(saved=saved, reason=str(error)), control)
        else:
            self._queue.add(saved)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Log what has been judged since the last step, and stop if that is what it asks for."""
        self._collect(control)
        if args.world_size > 1 and (self._on_regression == "log" or state.global_step % AGREEMENT_STEPS):
            return
        if _is_said_by_any(args, said=self._is_to_stop):
            control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Wait for the gates that are still open, all processes together, and log them."""
        end = math.inf if self._wait_at_end_s is None else time.monotonic() + self._wait_at_end_s
        is_over = self._queue.wait(0)
        if not is_over:
            _LOGGER.warning("r1eval: training is over, checkpoints are still being judged in %s", self._output_dir)
        while not _is_said_by_any(args, said=state.is_world_process_zero and is_over):
            is_over = self._queue.wait(max(0.0, min(LOOK_S, end - time.monotonic()))) or time.monotonic() >= end
        self.close()
        self._collect(control)

    def close(self) -> None:
        """End what is under way; what is drawn stays stored, and a later gate of that checkpoint can go on with it."""
        atexit.unregister(self.close)
        self._queue.close()
        self._gate.stop()
        self._queue.wait(None)
        self._gate.close()

    @property
    def _kept(self) -> Path:
        """Where copies of checkpoints are kept until they are judged."""
        return self._output_dir / "checkpoints" / Path(_output_dir(self._trainer)).name

    def _begin(self) -> None:
        """Forget what an earlier training with this callback left."""
        self._gate = self._new_runner()
        self._queue = CheckpointQueue(
            self._gate.judge,
            when_busy=self._when_busy,
            before=self._push,
            rest=self._gate.rest,
            waits_s=self._retry_after_s,
        )
        self._is_to_stop = False

    def _collect(self, control: TrainerControl) -> None:
        for gated in self._queue.collect():
            self._take(gated, control)

    def _take(self, gated: GatedCheckpoint, control: TrainerControl) -> None:
        if gated.is_skipped:
            _LOGGER.info("r1eval: step %s is not judged: %s", gated.saved.step, gated.reason)
            return
        with _as_of(self._trainer.state, gated.saved, control):
            # Trainers of TRL add what they have gathered since their last log, which is not part of that step.
            Trainer.log(self._trainer, log_values(gated))
        if gated.remark is not None:
            _LOGGER.warning("r1eval: step %s: %s", gated.saved.step, gated.remark)
        if gated.reason is not None:
            _LOGGER.warning("r1eval: no verdict on step %s: %s", gated.saved.step, gated.reason)
        if gated.report is None or not has_regressed(gated.report):
            return
        _LOGGER.warning("r1eval: step %s regressed, see %s", gated.saved.step, gated.report.run)
        self._is_to_stop |= self._stops(gated)

    def _stops(self, gated: GatedCheckpoint) -> bool:
        if not callable(self._on_regression):
            return self._on_regression == "stop"
        try:
            return bool(self._on_regression(gated))
        except Exception:
            _LOGGER.exception("r1eval: on_regression failed on step %s; the training goes on", gated.saved.step)
            return False


def _is_said_by_any(args: TrainingArguments, *, said: bool) -> bool:
    """Whether any process of the training says so, each its own; all have to ask."""
    if args.world_size == 1:
        return said
    n_saying = torch.tensor(int(said), device=args.device)
    torch.distributed.all_reduce(n_saying, op=torch.distributed.ReduceOp.MAX)
    return bool(n_saying.item())


def log_values(gated: GatedCheckpoint) -> dict[str, float | str]:
    """
    Return what is logged about a checkpoint: per benchmark pass@1, its standard error, z and the verdict.

    What has no number is left out. A sequential run that stopped early has no score, so its pass@1 has
    another name.
    """
    errors = [text for text in (gated.remark, gated.reason) if text is not None]
    values: dict[str, float | str] = {"r1eval/error": " ".join(errors)} if errors else {}
    for gate in () if gated.report is None else gated.report.gates:
        judgement, name = gate.result.judgement, f"r1eval/{gate.result.benchmark}"
        values[f"{name}/verdict"] = judgement.verdict.name
        values[f"{name}/passes"] = float(gate.result.passes)
        if judgement.estimate is not None:
            score = "pass_at_1_at_stop" if gate.result.is_at_stop else "pass_at_1"
            values[f"{name}/{score}"] = judgement.estimate.mean
            values[f"{name}/standard_error"] = judgement.estimate.standard_error
        if judgement.z is not None:
            values[f"{name}/z"] = judgement.z
    return values


def has_regressed(report: RunReport) -> bool:
    """Whether any benchmark fell; one that could not be judged is not a regression, and is in the log."""
    return any(gate.verdict is Verdict.FAIL_REGRESSED for gate in report.gates)


@contextmanager
def _as_of(state: TrainerState, saved: SavedCheckpoint, control: TrainerControl) -> Iterator[None]:
    """Let a log entry be of the checkpoint's step, and leave the log that is due at this step due."""
    step, epoch, is_due = state.global_step, state.epoch, control.should_log
    state.global_step, state.epoch = saved.step, saved.epoch
    try:
        yield
    finally:
        state.global_step, state.epoch, control.should_log = step, epoch, is_due


def _output_dir(trainer: Trainer) -> str:
    """Return the trainer's output folder, which its arguments always name."""
    return str(trainer.args.output_dir)


def _push(saved: SavedCheckpoint, *, repo: str) -> None:
    """Push a checkpoint to a branch of its own, named as open-r1 names them."""
    from pytest_r1eval.upload import publish  # noqa: PLC0415 - only where something is pushed

    publish.publish_checkpoint(saved.folder, repo, branch=f"step-{saved.step:09d}")


def _check(order: GateOrder, on_regression: OnRegression) -> None:
    """
    Refuse before the training what would fail at every checkpoint.

    Raises:
        PlanError: With the reason.
    """
    refuse_contradictions(order)
    if on_regression not in ("log", "stop") and not callable(on_regression):
        raise PlanError(f"on_regression is {on_regression!r}; expected 'log', 'stop' or a function")


def _check_adapter(model: object, options: Mapping[str, OptionValue]) -> None:
    """
    Refuse a training of an adapter whose checkpoints could not be judged; a whole model is never refused.

    Args:
        model: What is trained; PEFT keeps the adapters' configurations on it.
        options: The gates' options.

    Raises:
        PlanError: If there are several adapters, the engine serves none, or an option has no place.
        ModelError: If vLLM does not serve this one, or its base model is not there.
    """
    adapters: Mapping[str, Any] = getattr(model, "peft_config", None) or {}
    wrong = {"adapter"} if adapters else {"base_model", "adapter_merge"}
    if given := sorted(name for name in wrong if options.get(name)):
        trained = "an adapter" if adapters else "a whole model"
        raise PlanError(f"{given[0]}={options[given[0]]!r} in a training of {trained}, where it has no place: drop it")
    if not adapters:
        return
    if [*adapters] != [_PEFT_NAME]:
        raise PlanError(
            f"the training has the adapters {', '.join(adapters)}, and PEFT saves each but {_PEFT_NAME!r} in a folder "
            f"of its own; expected {_PEFT_NAME!r} alone: train one adapter"
        )
    if not engine_named(engine := str(options.get("engine", "vllm"))).serves_adapters:
        raise PlanError(
            f"engine={engine!r} does not serve the adapter that is trained; expected 'vllm': leave engine out, or "
            "train the whole model"
        )
    check_trained(
        adapters[_PEFT_NAME].to_dict(),
        base_model=None if (base := options.get("base_model")) is None else str(base),
        merges=bool(options.get("adapter_merge")),
    )


def _commit() -> str | None:
    """Return the commit of the code in the current folder; None where there is none, or no git."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        return done.stdout.strip() or None
    return None

"""The actor of a submission: it starts slices, again where a node is lost, keeps what they ship, and judges."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from pytest_r1eval.atomic_files import replacing, write_text
from pytest_r1eval.cluster.attempts import SLICES, hand_over
from pytest_r1eval.cluster.commands import judge_words, merge_words
from pytest_r1eval.cluster.status import CANCELLED
from pytest_r1eval.cluster.submission import MAX_RESTARTS
from pytest_r1eval.errors import in_one_line
from pytest_r1eval.evaluation.die_with_parent import tied
from pytest_r1eval.ray.cluster import ray_package
from pytest_r1eval.ray.order import Cargo, Order, alive_file, end_file, packed
from pytest_r1eval.ray.slices import Start, draw, end

POLL_S = 0.5
_NOT_WHOLE = 2
"""The exit code of a gate whose slices cannot be merged, as on Slurm."""
ALIVE_S = 5.0
"""From one sign of life to the next."""
_KILLED = {-9, 137}
"""How pytest ends that something killed, as a node without memory does; it goes on in a new start, as on Slurm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A slice's, or the judge's: Ray's word, or ours for what Ray does not know."""

    state: str
    restarts: int = 0
    where: str = ""


class Coordinator:
    """One submission's slices and judge; Ray makes it an actor whose methods run at the same time."""

    def __init__(self, folder: str, order: Order) -> None:
        self._folder = Path(folder)
        self._order = order
        self._lock = threading.Lock()
        self._states = {number: State(state="PENDING") for number in range(1, order.n_slices + 1)}
        self._judge = State(state="PENDING")
        self._pending: dict[Any, Start] = {}
        self._groups: dict[int, Any] = {}
        self._environment: dict[str, str] = {}
        self._is_cancelled = threading.Event()

    def run(self, environment: Mapping[str, str], myself: Any) -> None:  # noqa: ANN401 - Ray's handle
        """
        Draw all slices, judge, and end.

        Args:
            environment: The submitter's: the judge's in full, with its secrets, and the slices' settings.
            myself: This actor, for slices to ship to.
        """
        threading.Thread(target=self._show_life, daemon=True).start()
        try:
            self._drawn_and_judged(environment, myself)
        except Exception as error:  # its reason is the only trace that is left of it
            self._leave_end(f"FAILED ({in_one_line(error)})")
            raise
        finally:
            ray_package().kill(myself)

    def _drawn_and_judged(self, environment: Mapping[str, str], myself: Any) -> None:  # noqa: ANN401 - Ray's handle
        self._environment = {name: value for name, value in environment.items() if name.startswith("R1_")}
        for number in self._states:
            self._begin(number, restart=0, myself=myself)
        while self._pending:
            done, _ = ray_package().wait(list(self._pending), num_returns=1, timeout=POLL_S)
            for one in done:
                self._ended(one, myself)
        self._give_groups_back()
        if self._is_cancelled.is_set():
            self._leave_end(CANCELLED)
            return
        self._judge = State(state="RUNNING", where=os.uname().nodename)
        self._leave_end(self._judged(environment))

    def _show_life(self) -> None:
        """Touch a file as long as this process runs."""
        while True:
            with suppress(OSError):
                alive_file(self._folder, self._order).touch()
            time.sleep(ALIVE_S)

    def _leave_end(self, state: str) -> None:
        """Say how it ended, to whom asks now, and in the folder to whom asks later."""
        self._judge = State(state=state)
        write_text(end_file(self._folder, self._order), f"{state}\n")

    def ship(self, start_name: str, number: int, cargo: Cargo) -> None:
        """Keep a copy of what a start has stored, whole or not at all."""
        if cargo.files:
            run = self._folder / SLICES / str(number) / start_name / cargo.place
            for name, content in cargo.files.items():
                with replacing(run / name) as part:
                    part.write_bytes(content)
        if cargo.log:
            with (self._folder / "logs" / f"slice-{number}.log").open("ab") as log:
                log.write(cargo.log)

    def began(self, number: int, where: str) -> None:
        """Note where a slice runs."""
        with self._lock:
            before = self._states[number]
            self._states[number] = State(state="RUNNING", restarts=before.restarts, where=where)

    def states(self) -> tuple[dict[int, State], State]:
        """Return the state of every slice, and the judge's."""
        with self._lock:
            return dict(self._states), self._judge

    def cancel(self) -> None:
        """End every slice, which stores and ships what is drawn, or the judge."""
        self._is_cancelled.set()
        for one in list(self._pending):
            ray_package().cancel(one)

    def is_cancelled(self) -> bool:
        """Whether slices are to end."""
        return self._is_cancelled.is_set()

    def _begin(self, number: int, *, restart: int, myself: Any) -> None:  # noqa: ANN401 - Ray's handle
        folder = self._folder / SLICES / str(number) / f"attempt-{self._order.job}-{restart}"
        taken = hand_over(folder)
        before = None if taken is None else packed(taken, attempt=folder)
        start = Start(order=self._order, number=number, restart=restart, environment=self._environment, before=before)
        with self._lock:
            self._states[number] = State(state="PENDING", restarts=restart)
        task = self._task(number).remote(start, myself)
        self._pending[task] = start
        if self._is_cancelled.is_set():  # since it was asked above; `cancel` may not have seen it
            ray_package().cancel(task)

    def _task(self, number: int) -> Any:  # noqa: ANN401 - Ray's
        order = self._order
        return (
            ray_package()
            .remote(_slice)
            .options(
                name=f"r1eval slice {number}/{order.n_slices}",
                num_cpus=order.cpus,
                num_gpus=order.gpus,
                max_retries=0,
                scheduling_strategy=self._place(number) if order.gpus > 1 else "SPREAD",
            )
        )

    def _place(self, number: int) -> Any:  # noqa: ANN401 - Ray's
        """Reserve the GPUs of a slice on one node, until it is whole."""
        from ray.util import placement_group  # noqa: PLC0415 - an extra
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy  # noqa: PLC0415 - the same

        if number not in self._groups:
            bundle = {"CPU": float(self._order.cpus), "GPU": float(self._order.gpus)}
            self._groups[number] = placement_group([bundle], strategy="STRICT_PACK")
        return PlacementGroupSchedulingStrategy(placement_group=self._groups[number])

    def _give_groups_back(self, *numbers: int) -> None:
        for number in numbers or tuple(self._groups):
            if (group := self._groups.pop(number, None)) is not None:
                ray_package().util.remove_placement_group(group)

    def _ended(self, one: Any, myself: Any) -> None:  # noqa: ANN401 - Ray's
        """Note how a start ended; one that was lost with its node, or killed, goes on in a new one."""
        start = self._pending.pop(one)
        errors = ray_package().exceptions
        try:
            code = ray_package().get(one)
        except errors.TaskCancelledError:
            state, is_lost = CANCELLED, False
        except errors.RayTaskError as error:
            state, is_lost = f"FAILED ({in_one_line(error.cause)})", False
        except errors.RayError as error:  # the node, its worker or its memory
            state, is_lost = f"LOST ({type(error).__name__})", True
        else:
            state, is_lost = "FINISHED" if code == 0 else f"FAILED ({code})", code in _KILLED
        if self._is_cancelled.is_set():
            state, is_lost = CANCELLED if state != "FINISHED" else state, False
        if is_lost and start.restart < MAX_RESTARTS:
            self._log(start.number, f"{state}: what was shipped is kept, the slice goes on in a new start")
            self._begin(start.number, restart=start.restart + 1, myself=myself)
            return
        if state != "FINISHED":
            self._log(start.number, state)
        self._give_groups_back(start.number)
        with self._lock:
            before = self._states[start.number]
            self._states[start.number] = State(state=state, restarts=start.restart, where=before.where)

    def _log(self, number: int, text: str) -> None:
        with (self._folder / "logs" / f"slice-{number}.log").open("a") as log:
            log.write(f"== {text}\n")

    def _judged(self, environment: Mapping[str, str]) -> str:
        """Merge, judge and write down the exit code; return how that ended. A signal leaves no result."""
        start = f"{self._order.job}-0"
        job = self._order.submission(self._folder, python=sys.executable)
        with (self._folder / "logs" / "judge.log").open("ab") as log, TemporaryFile() as merged:
            run, merge = "", [*merge_words(job), "--start", start, "--backend", "ray"]
            code = self._ended_command(merge, environment, output=merged, errors=log)
            if code == 0:
                merged.seek(0)
                run = merged.read().decode().strip()
                code = self._ended_command([*judge_words(job), run], environment, output=log, errors=log)
            elif code > 0:
                code = _NOT_WHOLE
        if code < 0:
            return CANCELLED if self._is_cancelled.is_set() else f"KILLED (signal {-code})"
        write_text(self._folder / "results" / f"{start}.txt", f"{code}\n{run}\n")
        return "FINISHED"

    def _ended_command(
        self, command: Sequence[str], environment: Mapping[str, str], *, output: IO[bytes], errors: IO[bytes]
    ) -> int:
        """Run a command and return its exit code; that of a signal, if the gate was cancelled meanwhile."""
        process = subprocess.Popen(  # noqa: S603 - this interpreter
            tied(command), cwd=self._order.root, env=environment, stdout=output, stderr=errors
        )
        while process.poll() is None:
            if self._is_cancelled.wait(POLL_S):
                end(process)
                return -signal.SIGTERM
        return process.returncode


def _slice(start: Start, actor: Any) -> int:  # noqa: ANN401 - Ray's handle
    """Draw a slice as a task, which ends where its actor does."""
    ray = ray_package()
    ray.get(actor.began.remote(start.number, os.uname().nodename))
    return draw(
        start,
        lambda cargo: ray.get(actor.ship.remote(start.name, start.number, cargo)),
        is_cancelled=lambda: bool(ray.get(actor.is_cancelled.remote())),
    )

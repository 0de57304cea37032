"""
An engine that answers from a recorded run.

It serves the question "what would this gate have said", and tests of the plugin
that need a thousand runs and no model. Problem and sample index choose the
response, so a replayed run is the recorded run in every mode.
"""

from __future__ import annotations

from pathlib import Path

from pytest_r1eval.core.records import Sample
from pytest_r1eval.engines.engine import EngineIdentity, Generation, Request
from pytest_r1eval.errors import EngineError
from pytest_r1eval.store import Store


class ReplayEngine:
    """Answers every request with the sample that the recorded run holds for it, grade included."""

    n_concurrent = 256

    def __init__(self, run: Path) -> None:
        self._run = run
        self._samples: dict[tuple[str, str, int], Sample] = {}

    async def start(self) -> EngineIdentity:
        """
        Read the recorded run.

        Raises:
            EngineError: If the runs' workers disagreed about what answered, or nothing was recorded.
        """
        store = Store.open(self._run)
        try:
            for name in store.selected:
                for sample in store.samples(name):
                    self._samples[name, sample.problem_id, sample.index] = sample
            harnesses = store.harnesses
        finally:
            store.close()
        if len(harnesses) != 1:
            raise EngineError(
                f"the recorded run {self._run} names {len(harnesses)} harnesses; a replay needs exactly one, "
                "because its results are compared under that name"
            )
        (harness,) = harnesses
        return EngineIdentity(
            engine=harness.engine,
            dtype=harness.dtype,
            quantization=harness.quantization,
            device=harness.device,
            n_devices=harness.n_devices,
            grader=harness.grader,
        )

    async def generate(self, request: Request) -> Generation:
        """
        Look the sample up.

        Raises:
            EngineError: If the recorded run does not hold it.
        """
        sample = self._samples.get((request.benchmark, request.problem_id, request.index))
        if sample is None:
            raise EngineError(
                f"the recorded run {self._run} holds no sample {request.index} of problem {request.problem_id} "
                f"of {request.benchmark}; ask for no more samples than were recorded (--r1-samples)"
            )
        return Generation(response=sample.response, grade=sample.grade)

    async def close(self) -> None:
        """Forget the samples."""
        self._samples.clear()

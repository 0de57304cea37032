# ruff: noqa: INP001 - a file that users name by its path, as theirs is
"""LightEval custom tasks over made-up data; some metrics misbehave, some tell what a scoring process looks like."""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from lighteval.metrics.metrics import Metrics
from lighteval.metrics.metrics_sample import SampleLevelComputation
from lighteval.metrics.utils.metric_utils import SampleLevelMetric
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc, SamplingMethod


def problem(line: dict[str, Any], task_name: str) -> Doc | None:
    """Put a question as it stands; rows without an answer are left out."""
    if line["answer"] is None:
        return None
    return Doc(task_name=task_name, query=line["question"], choices=[line["answer"]], gold_index=0)


def circumstances(line: dict[str, Any], task_name: str) -> Doc:
    """Ask for what the process that builds the exam knows and has imported."""
    access = f"{os.environ.get('HF_TOKEN')} {os.environ.get('HTTPS_PROXY')} {os.environ.get('DB_PASSWORD')}"
    query = f"{line['question']} {access} {'lighteval.tasks.registry' in sys.modules}"
    return Doc(task_name=task_name, query=query, choices=["0"], gold_index=0)


def drawn(line: dict[str, Any], task_name: str) -> Doc:
    """Draw from the global random, as GPQA does."""
    return Doc(task_name=task_name, query=f"{line['question']} {random.random()}", choices=["0"], gold_index=0)  # noqa: S311


def several_golds(line: dict[str, Any], task_name: str) -> Doc:
    """Give two right answers."""
    return Doc(task_name=task_name, query=line["question"], choices=["1", "2"], gold_index=[0, 1])


def specific(line: dict[str, Any], task_name: str) -> Doc:
    """Give the metric what JSON cannot hold."""
    return Doc(
        task_name=task_name, query=line["question"], choices=["1"], gold_index=0, specific={"rule": frozenset("ab")}
    )


class Probe(SampleLevelComputation):  # type: ignore[misc] # LightEval is untyped
    """Does what the response says, and hands back what it saw as the extracted answer."""

    def compute(self, doc: Doc, model_response: ModelResponse) -> float:
        """Obey; a text without a command of ours, as a control answer is, is right."""
        command, _, argument = model_response.final_text[0].partition(" ")
        doc.specific = {"extracted_predictions": [str(getattr(self, command, self.value)(argument))]}
        return float(argument) if command == "value" else 1.0

    def value(self, argument: str) -> str:
        """Score what is asked for."""
        return argument

    def environ(self, _: str) -> str:
        """List the environment of this process."""
        return " ".join(sorted(os.environ))

    def modules(self, _: str) -> str:
        """List the imported modules."""
        return " ".join(sorted(sys.modules))

    def pid(self, _: str) -> int:
        """Tell which process this is."""
        return os.getpid()

    def noise(self, text: str) -> str:
        """Write to everything that could be a terminal."""
        logging.getLogger("lighteval").critical(text)
        print(text)  # noqa: T201
        print(text, file=sys.stderr)  # noqa: T201
        os.write(2, text.encode())
        return text

    def sleep(self, seconds: str) -> str:
        """Hang."""
        time.sleep(float(seconds))
        return seconds

    def hang(self, seconds: str) -> str:
        """Hang outside the interpreter and its signal handlers, with the interpreter's lock held."""
        ctypes.PyDLL(None).sleep(int(seconds))
        return seconds

    def eat(self, n_bytes: str) -> int:
        """Use memory."""
        return len(bytearray(int(n_bytes)))

    def read(self, path: str) -> str:
        """Read a file."""
        return Path(path).read_text(encoding="utf-8")

    def write(self, path: str) -> int:
        """Write a file."""
        return Path(path).write_text("written", encoding="utf-8")

    def connect(self, port: str) -> str:
        """Reach a port of this machine."""
        with socket.create_connection(("127.0.0.1", int(port)), timeout=2):
            return port

    def fork(self, _: str) -> int:
        """Start another process."""
        return os.fork() or os._exit(0)

    def late(self, module: str) -> str:
        """Import a module."""
        return importlib.import_module(module).__name__

    def nest(self, depth: str) -> int:
        """Recurse."""
        return int(depth) and self.nest(str(int(depth) - 1))

    def die(self, number: str) -> str:
        """End this process as the kernel would."""
        os.kill(os.getpid(), signal.Signals[number])
        return number

    def fail(self, text: str) -> str:
        """Raise."""
        raise ArithmeticError(text)


class Broken(SampleLevelComputation):  # type: ignore[misc] # LightEval is untyped
    """Fails on every answer."""

    def compute(self, doc: Doc, model_response: ModelResponse) -> float:
        """Raise, or end this process where the response says so."""
        del doc
        if model_response.final_text[0] == "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        raise ArithmeticError("out of order")


def metric(function: SampleLevelComputation) -> SampleLevelMetric:
    """Wrap a metric of one generated answer."""
    return SampleLevelMetric(
        metric_name="toy",
        sample_level_fn=function,
        category=SamplingMethod.GENERATIVE,
        corpus_level_fn=np.mean,
        higher_is_better=True,
    )


def task(name: str, *, metrics: list[Any], function: Any = problem, **options: Any) -> LightevalTaskConfig:  # noqa: ANN401
    """Configure a task over the folder beside this file."""
    settings = {"hf_repo": "toy", "hf_subset": "default", "evaluation_splits": ["test"], **options}
    return LightevalTaskConfig(name=name, prompt_function=function, metrics=metrics, **settings)


PASS_AT_1 = Metrics.pass_at_k_math(sample_params={"k": 1})

TASKS_TABLE = [
    task("toy:pass", metrics=[Metrics.avg_at_n_math(sample_params={"n": 64}), PASS_AT_1]),
    task("toy:pass64", metrics=[Metrics.pass_at_k_math(sample_params={"k": 1, "n": 64})]),
    task("toy:avg", metrics=[Metrics.avg_at_n_math(sample_params={"n": 64})]),
    task("toy:exact", metrics=[Metrics.exact_match]),
    task("toy:logprob", metrics=[Metrics.loglikelihood_acc]),
    task("toy:probe", metrics=[metric(Probe())]),
    task("toy:broken", metrics=[metric(Broken())]),
    task("toy:circumstances", metrics=[PASS_AT_1], function=circumstances),
    task("toy:drawn", metrics=[PASS_AT_1], function=drawn),
    task("toy:specific", metrics=[PASS_AT_1], function=specific),
    task("toy:golds", metrics=[PASS_AT_1], function=several_golds),
    task("toy:even", metrics=[PASS_AT_1], hf_filter=lambda row: row["answer"] in {"16", "6"}),
    task("toy:empty", metrics=[PASS_AT_1], hf_filter=lambda _: False),
    task("toy:split", metrics=[PASS_AT_1], evaluation_splits=["validation"]),
    task("toy:examples", metrics=[PASS_AT_1], num_fewshots=3),
    task("toy:gated", metrics=[PASS_AT_1], hf_repo="made-up/gated"),
    task("toy:missing", metrics=[PASS_AT_1], hf_repo="made-up/missing"),
    task("toy:unreachable", metrics=[PASS_AT_1], hf_repo="made-up/unreachable"),
    task("toy:hub", metrics=[PASS_AT_1], hf_repo="made-up/hub"),
]

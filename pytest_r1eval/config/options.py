"""
The table of options.

An option is one row here and one field of `Settings`: pytest's parser, what its text means, which part of a run it
is about, a cluster's jobs and `evaluate`'s keywords are read off the row. A test walks the table.

Every pytest run where the plugin is installed imports this module, and no other of the package's but `plugin`,
`hookspecs`, `reading`, `values`, `choices` and `errors`. A dataclass takes half a millisecond to make, so there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest

from pytest_r1eval.config import values
from pytest_r1eval.core.choices import (
    CodeGrader,
    Family,
    GateKind,
    InconclusivePolicy,
    LastLook,
    SamplingSource,
    UploadLayout,
    UploadWhen,
    report_suffixes,
)

Phase: TypeAlias = Literal["draw", "grade", "judge", "upload", "both"]
"""What an option decides: samples, the grades of programs, the verdict, the upload, or something in every part."""

Subject: TypeAlias = Literal["gate", "checkpoint", "place", "part"]
"""What an option is about: the gate itself, what is judged, where its run is kept, or one part of a run alone."""

MARKS = ("r1eval", "smoke", "smoke_code", "aime", "aime25", "math500", "gpqa", "lcb")
"""Of all shards, of the two small benchmarks, and of the built-in ones."""

NEWEST = "newest"
"""What a bare --r1-resume means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """
    One option, by its dashed name without the ``--r1-`` in front.

    Attributes:
        name: The name.
        phase: The part of a run that it is about; a stored run is judged without what decided its drawing.
        help: What it does, in a line.
        subject: What it is about; a cluster's jobs set all but the gate's themselves.
        parse: Makes a value of its text.
        locate: Makes a value of a text that may be a path, and the folder that this starts from; in place of `parse`.
        collect: Makes one value of those of an option that is given several times.
        field: The field of `Settings`; None for its name.
        may_have_lines: Whether its text is put to a model and printed nowhere, so that it may have line ends.
        is_json: Whether values of `KEY=VALUE` are JSON.
        alias: An earlier name, understood on the command line and shown nowhere.
    """

    name: str
    phase: Phase
    help: str
    subject: Subject = "gate"
    parse: Callable[[str], object] = values.text
    locate: Callable[[str, Path], object] | None = None
    collect: Callable[[list[Any]], object] | None = None
    choices: type[StrEnum] | None = None
    field: str | None = None
    metavar: str | None = None
    default: str | None = None
    is_flag: bool = False
    is_bare_allowed: bool = False
    may_have_lines: bool = False
    is_json: bool = False
    alias: str | None = None

    @property
    def dest(self) -> str:
        """The name in pytest's namespace, and of the ini key."""
        return f"r1_{self.keyword}"

    @property
    def keyword(self) -> str:
        """The name in Python."""
        return self.name.replace("-", "_")

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return f"--r1-{self.name}"

    @property
    def flags(self) -> tuple[str, ...]:
        """The name on the command line, and the earlier one."""
        return (self.flag,) if self.alias is None else (self.flag, f"--r1-{self.alias}")

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be given several times."""
        return self.collect is not None

    def value(self, texts: list[str], folder: Path) -> object:
        """
        Return what was written as a value.

        Args:
            texts: What was written, each by itself.
            folder: Where relative paths start.

        Raises:
            pytest.UsageError: If it is not what it must be; the message names the option.
        """
        found = [self._value(text, folder) for text in texts]
        if self.collect is None:
            return found[-1]
        try:
            return self.collect(found)
        except ValueError as error:
            raise pytest.UsageError(f"{self.flag}: {error}") from error

    def _value(self, text: str, folder: Path) -> object:
        try:
            if self.choices is not None:
                return _chosen(self.choices, text)
            if self.locate is not None:
                return self.locate(text, folder)
            return values.switch(text) if self.is_flag else self.parse(text)
        except values.PrivateTextError as error:
            raise pytest.UsageError(f"{self.flag} {error}") from error
        except ValueError as error:
            raise pytest.UsageError(f"{self.flag} is {text!r}; expected {error}") from error


def _chosen(choices: type[StrEnum], text: str) -> StrEnum:
    if text not in list(choices):
        raise ValueError(f"one of {', '.join(choices)}")
    return choices(text)


OPTIONS: tuple[Option, ...] = (
    Option(
        name="model",
        phase="draw",
        subject="checkpoint",
        metavar="MODEL",
        help="the checkpoint to judge, a folder or a Hub id; without it the plugin does nothing",
    ),
    Option(name="revision", phase="draw", metavar="REV", help="Hub revision of the model"),
    Option(
        name="base-model",
        phase="draw",
        locate=values.folder_or_id,
        metavar="MODEL",
        help="the base model of an adapter that is --r1-model, in place of the one that its adapter_config.json names",
    ),
    Option(
        name="adapter",
        phase="draw",
        locate=values.folder_or_id,
        metavar="ADAPTER",
        help="a LoRA adapter on --r1-model, a folder or a Hub id; or give the adapter alone as --r1-model",
    ),
    Option(
        name="adapter-merge",
        phase="draw",
        is_flag=True,
        help="merge the adapter into a temporary copy of its base model (needs PEFT), where vLLM does not serve it",
    ),
    Option(
        name="engine",
        phase="draw",
        parse=values.engine,
        metavar="vllm|server|replay|NAME",
        default="vllm",
        help="what answers, or another package's engine; replay takes a recorded run's folder as --r1-model",
    ),
    Option(
        name="server-url",
        phase="draw",
        parse=values.server_url,
        metavar="URL",
        help="the OpenAI-compatible server that --r1-engine server asks; its key is read from R1_SERVER_API_KEY",
    ),
    Option(
        name="tp",
        phase="draw",
        parse=values.positive_int_or_auto,
        metavar="auto|N",
        default="auto",
        help="tensor-parallel size: GPUs one engine spans; auto spreads a model over several from 30B parameters up",
    ),
    Option(
        name="engines-per-gpu",
        phase="draw",
        parse=values.positive_int_or_auto,
        metavar="auto|N",
        default="auto",
        help="engines that share a GPU under -n auto; auto is one",
    ),
    Option(
        name="grader",
        phase="grade",
        choices=CodeGrader,
        default="lighteval",
        help="the rule by which programs and answers are right: LightEval's own, or ours (docs: Graders)",
    ),
    Option(
        name="sandbox-limit",
        phase="grade",
        field="sandbox_limits",
        parse=values.sandbox_limit,
        collect=values.sandbox_limits,
        metavar="KEY=VALUE",
        help="a limit of the programs that are run: cpu_s (6), wall_s (18), memory_mib (4096), n_threads (64), "
        "output_mib (16)",
    ),
    Option(name="unsafe-code", phase="grade", is_flag=True, help="run programs even where no sandbox holds"),
    Option(name="dtype", phase="draw", metavar="DTYPE", default="bfloat16", help="number format of the computation"),
    Option(
        name="gpu-memory-utilization",
        phase="draw",
        parse=values.fraction,
        metavar="FRACTION",
        default="0.8",
        help="fraction of a GPU's memory one engine may take",
    ),
    Option(
        name="engine-arg",
        phase="draw",
        field="engine_args",
        parse=values.engine_argument,
        collect=dict,
        is_json=True,
        metavar="KEY=VALUE",
        help="an argument passed through to the engine",
    ),
    Option(
        name="samples",
        phase="draw",
        parse=values.samples,
        collect=dict,
        metavar="BENCH=K",
        help="samples per problem of one benchmark",
    ),
    Option(
        name="subset",
        phase="draw",
        parse=values.positive_int,
        metavar="N",
        help="only N problems of each benchmark, drawn by hash; never gates against a full exam",
    ),
    Option(
        name="sampling",
        phase="draw",
        choices=SamplingSource,
        default="deepseek",
        help="whose sampling counts where the next six options say nothing: temperature 0.6 and top-p 0.95, or the "
        "model's generation_config.json",
    ),
    Option(
        name="temperature",
        phase="draw",
        parse=values.non_negative_float,
        metavar="T",
        help="sampling temperature",
    ),
    Option(name="top-p", phase="draw", parse=values.fraction, metavar="P", help="nucleus mass"),
    Option(
        name="top-k",
        phase="draw",
        parse=values.count,
        metavar="N",
        help="only the N likeliest tokens may follow; 0 for all",
    ),
    Option(
        name="min-p",
        phase="draw",
        parse=values.fraction_or_zero,
        metavar="P",
        help="the least probability of a token, as a fraction of the likeliest one's",
    ),
    Option(
        name="repetition-penalty",
        phase="draw",
        parse=values.positive_float,
        metavar="R",
        help="divides the logits of tokens that prompt or response hold already; 1 for none",
    ),
    Option(
        name="presence-penalty",
        phase="draw",
        parse=values.penalty,
        metavar="A",
        help="is taken off the logits of tokens that the response holds already; 0 for none",
    ),
    Option(
        name="max-new-tokens",
        phase="draw",
        parse=values.positive_int,
        metavar="N",
        help="tokens asked for per response (32768, or what the benchmark says)",
    ),
    Option(
        name="max-model-len",
        phase="draw",
        parse=values.positive_int,
        metavar="N",
        help="tokens of prompt and response together (32768, or what the model can)",
    ),
    Option(
        name="system-prompt",
        phase="draw",
        may_have_lines=True,
        metavar="TEXT",
        help="a system message before every problem",
    ),
    Option(
        name="chat-template-kwargs",
        phase="draw",
        parse=values.template_argument,
        collect=dict,
        is_json=True,
        metavar="KEY=VALUE",
        help="an argument of the chat template, its value JSON or text: enable_thinking=false, reasoning_effort=high",
    ),
    Option(
        name="think-tags",
        phase="draw",
        parse=values.think_tags,
        metavar="OPEN,CLOSE",
        help="what encloses a thought (found in the chat template or the tokenizer, if they know such tags)",
    ),
    Option(
        name="thinking-budget",
        phase="draw",
        parse=values.positive_int,
        metavar="N",
        help="tokens after which vLLM ends a thought, so that the answer follows (as many as the thought takes)",
    ),
    Option(
        name="template-date",
        phase="draw",
        parse=values.date,
        metavar="DATE",
        default="2025-01-01",
        help="the date that the chat template sees, so that one which prints it asks the same every day",
    ),
    Option(
        name="seed",
        phase="draw",
        parse=values.seed,
        metavar="N",
        help="the run's seed (from the checkpoint's digest, and the attempt's number)",
    ),
    Option(
        name="tasks",
        phase="both",
        locate=values.existing_file,
        metavar="FILE",
        help="a LightEval custom-task module with TASKS_TABLE; each task becomes a benchmark",
    ),
    Option(
        name="data",
        phase="draw",
        locate=values.existing_folder,
        metavar="DIR",
        help="local copies of data sets, by folder name; nothing is downloaded for these",
    ),
    Option(
        name="baseline",
        phase="judge",
        locate=values.baseline,
        metavar="WHICH",
        help="published, previous, org/name, a file, or hf://datasets/ORG/REPO/PATH.json (the model's own: measured, "
        "else published)",
    ),
    Option(
        name="anchor",
        phase="judge",
        locate=values.baseline,
        metavar="WHICH",
        help="a second, fixed baseline, named as --r1-baseline's is: each decides with half of alpha, and the worse "
        "verdict counts",
    ),
    Option(
        name="save-baseline",
        phase="judge",
        parse=values.baseline_name,
        metavar="NAME",
        help="record this run as baselines/NAME.json",
    ),
    Option(
        name="lineage",
        phase="draw",
        parse=values.lineage_part,
        collect=values.lineage,
        metavar="KEY=VALUE",
        help="the checkpoint's place in its training: step=N, parent=ORG/NAME, commit=SHA; stored with the run",
    ),
    Option(
        name="gate",
        phase="draw",
        field="asked_gate",
        choices=GateKind,
        default="fixed",
        help="when the verdict is reached",
    ),
    Option(
        name="max-samples",
        phase="draw",
        choices=LastLook,
        default="k",
        help="where a sequential run ends at the latest: at k samples, or where it keeps the fixed gate's power",
    ),
    Option(
        name="family",
        phase="judge",
        choices=Family,
        default="none",
        help="whether all gates of the run share one error rate",
    ),
    Option(
        name="sigmas",
        phase="judge",
        parse=values.positive_float,
        metavar="S",
        default="3",
        help="how many standard deviations a drop must exceed",
    ),
    Option(
        name="margin",
        phase="judge",
        parse=values.points,
        metavar="POINTS",
        help="non-inferiority margin: a run that cannot resolve it is INCONCLUSIVE",
    ),
    Option(name="two-sided", phase="judge", is_flag=True, help="a score that is too good fails as well"),
    Option(
        name="exact",
        phase="judge",
        is_flag=True,
        help="decide by the exact stratified test, not the normal approximation",
    ),
    Option(
        name="inconclusive",
        phase="judge",
        choices=InconclusivePolicy,
        default="fail",
        help="what INCONCLUSIVE does to the exit code",
    ),
    Option(
        name="report",
        phase="judge",
        field="reports",
        locate=values.report_file,
        collect=tuple,
        metavar="FILE",
        help=f"write a report there too: {report_suffixes()}; every run's folder has a page",
    ),
    Option(
        name="output-dir",
        phase="both",
        subject="place",
        locate=values.path,
        metavar="DIR",
        default="data/evals",
        help="where runs and their ledger are kept: relative to the current folder; in an ini file, and by default, "
        "to the ini file's",
    ),
    Option(
        name="resume",
        phase="draw",
        subject="place",
        metavar="RUN",
        is_bare_allowed=True,
        help="go on with a stored run (the newest of this model if RUN is left out)",
    ),
    Option(
        name="fresh",
        phase="draw",
        is_flag=True,
        help="draw a question again that has its verdict: another attempt, judged on all attempts' samples together",
    ),
    Option(
        name="slice",
        alias="shard",
        phase="draw",
        subject="part",
        parse=values.machine_slice,
        metavar="I/N",
        help="this machine draws slice I of N of every benchmark; r1eval merge brings them together",
    ),
    Option(
        name="timeout",
        phase="draw",
        field="timeout_s",
        parse=values.positive_float,
        metavar="S",
        help="seconds after which drawing ends; what is missing then is INVALID, and --r1-resume draws it",
    ),
    Option(
        name="judge-only",
        phase="judge",
        subject="part",
        locate=values.existing_folder,
        metavar="RUN",
        help="judge a stored run: no model, no engine, nothing is drawn; --r1-grader grades it again",
    ),
    Option(
        name="upload",
        phase="upload",
        parse=values.repository,
        metavar="REPO",
        help="upload the judged run to this data set on the Hub, privately; an organisation alone has it named for you",
    ),
    Option(
        name="upload-when",
        phase="upload",
        choices=UploadWhen,
        default="pass",
        help="which runs are uploaded: those whose gates are all green, or all",
    ),
    Option(
        name="upload-required",
        phase="upload",
        is_flag=True,
        help="a failed upload is an error of the run, not a remark beside it",
    ),
    Option(name="upload-public", phase="upload", is_flag=True, help="make the upload public"),
    Option(
        name="upload-layout",
        phase="upload",
        choices=UploadLayout,
        default="lighteval",
        help="whose names for repositories, folders and configs an upload uses",
    ),
    Option(
        name="upload-model-page",
        phase="upload",
        parse=values.model_page,
        metavar="REPO",
        help="put the scores into this model's .eval_results as well, for its page on the Hub",
    ),
)

"""`r1eval same`: whether two models are the same function, by log-probabilities of fixed prompts."""
# ruff: noqa: PLC0415 - see the package

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_r1eval.commands.arguments import EXIT_FAILED, EXIT_PASSED, Json, parsed_by, show
from pytest_r1eval.config import values
from pytest_r1eval.errors import R1EvalError, RunError

if TYPE_CHECKING:
    from pytest_r1eval.commands.prompt_scoring import Scored
    from pytest_r1eval.config.settings import Settings
    from pytest_r1eval.judging.sameness import IdentityReport

_OPTIONS_OF_A_RUN = re.compile(r"--r1-(?=(?:dtype|engine|engine-arg|server-url|tp)\b)")
"""Those that this command takes too, by the same name without the plugin's prefix."""


def same(  # noqa: PLR0913 - a command's options
    model_a: Annotated[str, typer.Argument(metavar="MODEL_A", help="a folder, a Hub id, or a file of saved scores")],
    model_b: Annotated[str | None, typer.Argument(metavar="[MODEL_B]", help="the same; left out with --save")] = None,
    *,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="keep the only model's scores, for another engine or GPU")
    ] = None,
    engine: Annotated[str, typer.Option(metavar="vllm|server|NAME", help="what scores")] = "vllm",
    server_url: Annotated[str | None, typer.Option(metavar="URL", help="the server that --engine server asks")] = None,
    dtype: Annotated[str, typer.Option(metavar="DTYPE", help="number format of the computation")] = "bfloat16",
    tp: Annotated[str, typer.Option(metavar="auto|N", help="GPUs one engine spans")] = "auto",
    engine_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="an argument passed through to the engine"),
    ] = None,
    json: Json = False,
) -> int:
    """Say whether two models are the same function: bitwise, within rounding, or not, and where."""
    from pytest_r1eval.config.settings import Settings

    settings = Settings(
        root=Path.cwd(),
        output_dir=Path.cwd() / "data" / "evals",
        engine=parsed_by(values.engine, engine),
        server_url=None if server_url is None else parsed_by(values.server_url, server_url),
        dtype=dtype,
        tp=parsed_by(values.positive_int_or_auto, tp),
        engine_args=dict(parsed_by(values.engine_argument, each) for each in engine_arg or ()),
    )
    if (model_b is None) == (save is None):
        raise RunError(
            "r1eval same takes two models, or one model and --save FILE; expected one of the two: "
            "r1eval same MODEL_A MODEL_B"
        )
    try:
        if model_b is not None:
            return _compared(model_a, model_b, settings, json=json)
        return EXIT_PASSED if save is None else _saved(model_a, save, settings)
    except R1EvalError as error:
        raise type(error)(_in_own_words(str(error))) from error


def _in_own_words(message: str) -> str:
    """Name this command's arguments where a message names the options of a run that they are."""
    return _OPTIONS_OF_A_RUN.sub("--", message.replace("--r1-model ", ""))


def _saved(model: str, path: Path, settings: Settings) -> int:
    from pytest_r1eval.atomic_files import write_text
    from pytest_r1eval.commands.prompt_scoring import scored_by
    from pytest_r1eval.core.codec import to_json
    from pytest_r1eval.core.prompt_scores import PROMPT_SCORES

    scores = scored_by(model, settings).scores()
    try:
        write_text(path, to_json(PROMPT_SCORES, scores) + "\n")
    except OSError as error:
        raise RunError(f"--save {path}: {error.strerror}; expected a place that can be written") from error
    show(f"{path}: log-probabilities of {sum(map(len, scores.logprobs)):,} tokens by {scores.model}")
    return EXIT_PASSED


def _compared(model_a: str, model_b: str, settings: Settings, *, json: bool) -> int:
    from pytest_r1eval.commands.prompt_scoring import scored_by
    from pytest_r1eval.core.codec import to_json
    from pytest_r1eval.judging.sameness import IDENTITY_REPORT
    from pytest_r1eval.reports.same import same_text

    report = _report(scored_by(model_a, settings), scored_by(model_b, settings))
    show(to_json(IDENTITY_REPORT, report) if json else "\n".join(same_text(report)))
    return EXIT_PASSED if report.is_same else EXIT_FAILED


def _report(a: Scored, b: Scored) -> IdentityReport:
    from pytest_r1eval.judging.sameness import Side, asked_otherwise, identity_report

    differences = a.asked.differences(b.asked)
    if differences:
        sides = [Side(model=each.model, weights=each.identity.weights) for each in (a, b)]
        return asked_otherwise(*sides, differences=differences)
    report = identity_report(a.scores(), b.scores())
    gap = None if report.scores is None else report.scores.largest
    if gap is None:
        return report
    return replace(report, token=b.text_of(gap.prompt, gap.position) or a.text_of(gap.prompt, gap.position))

"""From a command line to a registered run: every check that needs no engine happens here."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.config.installation import ENGINES, Needs
from pytest_r1eval.config.installation import check as check_installation
from pytest_r1eval.config.options import MARKS
from pytest_r1eval.config.policy import PYPROJECT
from pytest_r1eval.config.reading import given, named_marks
from pytest_r1eval.config.settings import Settings, settings_from
from pytest_r1eval.core.benchmarks import Benchmark, Grader
from pytest_r1eval.core.choices import RELEASE_MARK, CodeGrader, GateKind
from pytest_r1eval.core.texts import printable
from pytest_r1eval.engines.devices import this_machine
from pytest_r1eval.engines.engine import engine_named
from pytest_r1eval.engines.gpu_state import check_driver
from pytest_r1eval.engines.placement import Machine
from pytest_r1eval.errors import PlanError, R1EvalError
from pytest_r1eval.exams.catalog import build_catalog, names_of
from pytest_r1eval.plugin import items, rootdir
from pytest_r1eval.plugin.session import RunSession, marks_hint
from pytest_r1eval.plugin.wiring import (
    check_graders,
    check_references,
    check_thinking,
    checkpoint_of,
    placement_of,
    run_folder,
    terms_of,
)
from pytest_r1eval.runs.reading import RunReader

if TYPE_CHECKING:
    from pytest_r1eval.judging.outlook import Foreseen
    from pytest_r1eval.plugin.answering import Inquiry

_CHECKPOINT = pytest.StashKey[Checkpoint]()
"""What ``-n auto`` inspected before the run was registered; weights are hashed once."""
_MACHINE = pytest.StashKey[Machine]()
"""What ``-n auto`` found on this machine; nvidia-smi takes a second for each question."""


def auto_workers(config: pytest.Config) -> int:
    """
    Return the number behind ``-n auto``: the engines that this machine keeps busy, not its CPUs.

    A server, a replay and a stored run load nothing here, and one worker keeps them busy.

    Raises:
        pytest.UsageError: If there is no such checkpoint, or not one engine fits.
    """
    settings = settings_from(config)
    try:
        checkpoint = checkpoint_of(settings)
        config.stash[_MACHINE] = machine = this_machine(os.environ)
        placement = placement_of(settings, checkpoint, machine=machine, n_workers=None)
    except R1EvalError as error:
        raise pytest.UsageError(printable(str(error))) from error
    config.stash[_CHECKPOINT] = checkpoint
    return 1 if placement is None else placement.n_engines


def rehearse(config: pytest.Config) -> int:
    """
    Check all that a run checks before its first token: options, checkpoint, baseline, exam and prompts.

    Returns:
        The samples that the run plans, over all benchmarks.

    Raises:
        pytest.UsageError: If the run cannot be carried out, with the reason in one line.
    """
    from pytest_r1eval.plugin.wiring import rehearse_plans  # noqa: PLC0415 - beside the only call

    rootdir.check(config)
    settings = settings_from(config)
    try:
        catalog = _catalog(config, settings)
        _check_marks(config, catalog)
        _check_choice(config, settings, catalog)
        checkpoint = checkpoint_of(settings)
        check_thinking(settings, checkpoint)
        named = named_marks(config)
        chosen = [
            spec for spec in catalog.values() if spec.marks[-1] in named or (spec.in_release and RELEASE_MARK in named)
        ]
        run = run_folder(config, settings, checkpoint)
        check_references(settings, checkpoint, run=run, benchmarks=[spec.name for spec in chosen])
        return rehearse_plans(chosen, settings=settings, checkpoint=checkpoint, run=run)
    except R1EvalError as error:
        raise pytest.UsageError(str(error)) from error


def register(config: pytest.Config) -> None:
    """
    Check what was asked for and register the run's hooks.

    Raises:
        pytest.UsageError: If it cannot be done, with the reason in one line.
    """
    rootdir.check(config)
    items.show_ids(config)
    settings = settings_from(config)
    try:
        catalog = _catalog(config, settings)
        _check_marks(config, catalog)
        if settings.judge_only is not None:
            catalog = _held(settings.judge_only, catalog)
        _check_choice(config, settings, catalog)
        checkpoint = config.stash.get(_CHECKPOINT, None) or checkpoint_of(settings)
        is_worker = hasattr(config, "workerinput")
        expected: dict[str, Inquiry] = {}
        if is_worker:
            _check_policy(config, settings)
            settings = replace(settings, in_full=frozenset(config.workerinput["r1eval_in_full"]))  # type: ignore[attr-defined]  # xdist is untyped
        elif not config.option.collectonly:
            _check_trackers(settings)
            check_thinking(settings, checkpoint)
            settings, expected = _after_inquiry(config, settings, catalog=catalog, checkpoint=checkpoint)
        run = run_folder(config, settings, checkpoint)
        seen = _foreseen(config, settings, catalog=catalog, checkpoint=checkpoint, run=run)
        catalog = items.in_order(catalog, _order(config, seen))
        is_answered = bool(expected) and all(one.answer is not None for one in expected.values())
        placement = None
        if not (config.option.collectonly or is_worker or is_answered):
            machine = config.stash.get(_MACHINE, None) or this_machine(os.environ)
            placement = placement_of(settings, checkpoint, machine=machine, n_workers=settings.n_workers)
            check_installation(_needs(settings))
            if placement is not None:
                check_driver(machine)
    except R1EvalError as error:
        raise pytest.UsageError(printable(str(error))) from error
    for benchmark in catalog.values():
        for mark in benchmark.marks:
            config.addinivalue_line("markers", f"{mark}: the benchmark {benchmark.name} of pytest-r1eval")
    config.pluginmanager.register(
        RunSession(
            config,
            settings=settings,
            catalog=catalog,
            checkpoint=checkpoint,
            run=run,
            placement=placement,
            is_answered=is_answered,
            seen=seen,
        ),
        "r1eval-run",
    )
    _forgive_dead_engines(config)
    if config.args_source is not config.ArgsSource.ARGS:
        # No path was named: judge, and leave the user's own tests and their marks alone.
        config.args.clear()
    config.args.append(str(items.ANCHOR))


def _check_trackers(settings: Settings) -> None:
    """Refuse a tracker that is not installed now, and not after hours; nothing is imported where none is asked for."""
    if settings.trackers:
        from pytest_r1eval.trackers.delivery import check_trackers  # noqa: PLC0415 - see above

        check_trackers(settings.trackers)


def _foreseen(
    config: pytest.Config, settings: Settings, *, catalog: dict[str, Benchmark], checkpoint: Checkpoint, run: Path
) -> dict[str, Foreseen]:
    """Work out what gates see and cost where one of them may end the run: under a policy, with -x or a fail-fast."""
    may_end = settings.fail_fast or config.getoption("maxfail") == 1
    names = settings.policy.names if settings.policy is not None else _marked(config, catalog) if may_end else ()
    names = [name for name in names if name in catalog]
    if not names or settings.judge_only is not None or hasattr(config, "workerinput"):
        return {}
    from pytest_r1eval.judging.outlook import foreseen  # noqa: PLC0415 - imports the statistics

    terms = terms_of(settings, checkpoint, run=run, names=names)
    return {name: foreseen(catalog[name], terms[name], settings) for name in names}


def _order(config: pytest.Config, seen: Mapping[str, Foreseen]) -> Sequence[str]:
    """Return the benchmarks by cost; a worker collects in the controller's order."""
    if hasattr(config, "workerinput"):
        return list(config.workerinput["r1eval_order"])
    if not seen:
        return ()
    from pytest_r1eval.judging.outlook import by_cost  # noqa: PLC0415 - imports the statistics

    return by_cost(seen)


def _check_policy(config: pytest.Config, settings: Settings) -> None:
    """Refuse to draw by another policy than the controller read; the file may have changed since."""
    drawn_by = config.workerinput["r1eval_policy"]  # type: ignore[attr-defined]  # xdist is untyped
    if drawn_by != (None if settings.policy is None else settings.policy.digest):
        raise PlanError("the release policy changed while the run was started; expected one policy. Start it again")


def _marked(config: pytest.Config, catalog: Mapping[str, Benchmark]) -> list[str]:
    """Return the benchmarks that a word of -m names by a mark, before what it selects is known."""
    named = named_marks(config)
    return [name for name, spec in catalog.items() if not {*spec.marks}.isdisjoint(named)]


def _after_inquiry(
    config: pytest.Config, settings: Settings, *, catalog: dict[str, Benchmark], checkpoint: Checkpoint
) -> tuple[Settings, dict[str, Inquiry]]:
    """
    Ask the ledger before anything is drawn; an interrupted or INVALID run is continued in its folder.

    What -m selects is guessed from the marks that it names, because xdist's workers are told the folder before they
    collect. The session asks again once it knows; a guess that was wrong draws nothing that has its verdict.
    """
    from pytest_r1eval.plugin.answering import Desk  # noqa: PLC0415 - imports the statistics

    if settings.judge_only is not None or config.option.keyword or "not" in named_marks(config):
        return settings, {}
    names = _marked(config, catalog)
    desk = Desk(settings=settings, checkpoint=checkpoint, catalog=catalog)
    expected = desk.inquire(names, run=settings.output_dir / checkpoint.name / NEXT_RUN) if names else {}
    in_full = frozenset(name for name, one in expected.items() if one.in_full)
    settings = replace(settings, in_full=in_full)
    unfinished = {str(desk.ledger.run_of(one.goes_on)) for one in expected.values() if one.goes_on is not None}
    if not unfinished:
        return settings, expected
    return replace(settings, resume=max(unfinished), goes_on=True), expected


NEXT_RUN = "99999999-999999"
"""The name of a run that is not there yet, after every other: what `--r1-baseline previous` looks before."""


def _forgive_dead_engines(config: pytest.Config) -> None:
    """
    Keep a user's ``filterwarnings = error`` from turning a run red for what a dead engine left open.

    The garbage collector finds it at any time: in an item, where pytest applies the
    ini file's filters, or at the end, where those of the session's start hold.
    """
    config.addinivalue_line("filterwarnings", "ignore:Unclosed context <zmq:ResourceWarning")
    warnings.filterwarnings("ignore", message="Unclosed context <zmq", category=ResourceWarning)


def _catalog(config: pytest.Config, settings: Settings) -> dict[str, Benchmark]:
    contributed = [benchmark for found in config.hook.pytest_r1eval_benchmarks(config=config) for benchmark in found]
    catalog = build_catalog(tasks=settings.tasks, pyproject=settings.root / PYPROJECT, contributed=contributed)
    if settings.policy is None:
        return catalog
    settings.policy.check_names(catalog)
    check_graders(settings, catalog)
    return catalog | {name: replace(catalog[name], in_release=True) for name in settings.policy.names}


def _check_choice(config: pytest.Config, settings: Settings, catalog: dict[str, Benchmark]) -> None:
    unknown = sorted(set(settings.samples) - set(catalog))
    if unknown:
        raise pytest.UsageError(
            f"--r1-samples {unknown[0]}=...: no such benchmark; expected one of {names_of(catalog)}"
        )
    if config.pluginmanager.has_plugin("rerunfailures") and config.getoption("reruns", default=None):
        raise pytest.UsageError(
            "--reruns with --r1-model: a gate that is rerun until it passes has no error rate; "
            "leave --reruns out, and add samples (--r1-samples) where a verdict is too close"
        )
    if RELEASE_MARK in named_marks(config) and settings.policy is None:
        raise pytest.UsageError(
            f"-m {RELEASE_MARK}: there is no release policy; expected [tool.r1eval.policy] in "
            f"{settings.root / PYPROJECT}, or --r1-policy FILE"
        )
    _check_slice(settings)
    if settings.judge_only is not None:
        _check_judging(config, settings, settings.judge_only, catalog)
        return
    engine_named(settings.engine).check(settings)
    if not (config.option.markexpr or config.option.keyword or config.option.collectonly):
        raise pytest.UsageError(f"--r1-model without -m would run everything; {marks_hint(catalog)}")


def _check_marks(config: pytest.Config, catalog: dict[str, Benchmark]) -> None:
    """Refuse a word of -m that is not a mark: ``smoke or amie`` would be green without AIME."""
    ours = dict.fromkeys((*MARKS, *(mark for benchmark in catalog.values() for mark in benchmark.marks)))
    known = {*ours, *items.registered_marks(config), "and", "or", "not", "True", "False", "None"}
    for mark in named_marks(config):
        if mark not in known:
            close = difflib.get_close_matches(mark, ours, n=1)
            guess = f"did you mean {close[0]!r}? " if close else ""
            raise pytest.UsageError(
                f"-m {config.option.markexpr!r}: {mark!r} is neither a benchmark's mark nor a registered one; "
                f"{guess}{marks_hint(catalog)}"
            )


def _needs(settings: Settings) -> Needs:
    """Return what a run needs on this machine: of a stored run only LightEval's own grades need LightEval."""
    if settings.judge_only is not None:
        return Needs(engine=False, grader=settings.regrades and settings.grader is CodeGrader.LIGHTEVAL)
    engine = engine_named(settings.engine)
    return Needs(
        engine=not set(ENGINES).isdisjoint(engine.packages),
        grader=engine.grades_here(settings),
        merging=settings.adapter_merge,
    )


def _held(run: Path, catalog: dict[str, Benchmark]) -> dict[str, Benchmark]:
    """Return the benchmarks of a stored run."""
    with closing(RunReader.open(run)) as store:
        names = store.selected
    unknown = [name for name in names if name not in catalog]
    if unknown or not names:
        raise pytest.UsageError(
            f"--r1-judge-only {run}: the run holds {unknown[0] if unknown else 'no benchmark'}; expected some of "
            f"{names_of(catalog)}. Name the module that defines it with --r1-tasks, or choose another run"
        )
    return {name: catalog[name] for name in names}


def _check_slice(settings: Settings) -> None:
    if settings.slice is None:
        return
    if any(one.gate is GateKind.SEQUENTIAL for one in settings.each):
        raise pytest.UsageError(
            f"--r1-slice {settings.slice} with --r1-gate sequential: looks need the samples of all machines while the "
            "run goes on; leave --r1-gate sequential out, or run it on one machine"
        )
    if settings.fresh:
        raise pytest.UsageError(
            f"--r1-slice {settings.slice} with --r1-fresh: machines would not agree on the attempt's seed; draw all "
            "slices with one new --r1-seed, and the merged run is judged with the earlier one"
        )
    if settings.save_baseline is not None:
        raise pytest.UsageError(
            f"--r1-slice {settings.slice} with --r1-save-baseline: a slice has no score; "
            "record it where the merged run is judged, with --r1-judge-only"
        )


def _check_judging(config: pytest.Config, settings: Settings, run: Path, catalog: dict[str, Benchmark]) -> None:
    """Refuse options that a stored run has decided; only on the command line, because an ini file is for all runs."""
    if refused := given(config, "draw") if settings.regrades else given(config, "draw", "grade"):
        flag, phase = refused[0].flag, refused[0].phase
        again = "grade it again by --r1-grader" if phase == "grade" else "go on by --r1-resume"
        raise pytest.UsageError(
            f"{flag} with --r1-judge-only {run}: nothing is drawn, the stored run decided that when it was "
            f"started; leave {flag} out, or {again}"
        )
    about_programs = [option.flag for option in given(config, "grade") if option.name != "grader"]
    if settings.regrades and about_programs and not any(one.grader is Grader.CODE for one in catalog.values()):
        raise pytest.UsageError(
            f"{about_programs[0]} with --r1-judge-only {run}: the run holds {names_of(catalog)}, and no programs; "
            "drop the option"
        )
    if settings.regrades and not any(benchmark.has_rules for benchmark in catalog.values()):
        raise pytest.UsageError(
            f"--r1-grader {settings.grader} with --r1-judge-only {run}: the run holds {names_of(catalog)}, which "
            "their tasks' own metrics grade; leave it out, or say what their answers are (answers = in pyproject.toml)"
        )

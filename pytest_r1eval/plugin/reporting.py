"""
From what was drawn to what pytest shows: verdicts, reports of gates, the closing table, files, uploads.

The session knows when a run is over; what its end consists of is decided here.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.codec import to_json
from pytest_r1eval.core.plans import Slice
from pytest_r1eval.core.texts import printable
from pytest_r1eval.errors import R1EvalError, StoreError
from pytest_r1eval.plugin import items
from pytest_r1eval.plugin.wiring import (
    N_SCORING_PROCESSES_PER_WORKER,
    code_grading_of,
    terms_of,
)
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import Store

if TYPE_CHECKING:
    from pytest_r1eval.judging.judge import Judge
    from pytest_r1eval.judging.release import Release
    from pytest_r1eval.judging.result import GateResult
    from pytest_r1eval.ledger.book import Entry
    from pytest_r1eval.plugin.answering import Desk, Inquiry, Standing
    from pytest_r1eval.runs.slices import SliceResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """
    The benchmarks that are asked for.

    Attributes:
        names: All of them, in the catalog's order.
        inquiries: What the ledger knows about each; empty where no ledger is kept.
        answers: Those that have their verdict already.
    """

    names: tuple[str, ...] = ()
    inquiries: Mapping[str, Inquiry] = field(default_factory=dict)
    answers: Mapping[str, Entry] = field(default_factory=dict)

    @property
    def drawn(self) -> tuple[str, ...]:
        """The benchmarks that the run is about."""
        return tuple(name for name in self.names if name not in self.answers)


class Reporting:
    """
    Judges a run, and shows its gates as pytest shows tests.

    Args:
        config: pytest's configuration.
        settings: What the user decided.
        catalog: Every benchmark, by name.
        checkpoint: What is judged.
        run: The run's folder.
    """

    def __init__(
        self,
        config: pytest.Config,
        *,
        settings: Settings,
        catalog: Mapping[str, Benchmark],
        checkpoint: Checkpoint,
        run: Path,
    ) -> None:
        self._config = config
        self._settings = settings
        self._catalog = catalog
        self._checkpoint = checkpoint
        self._run = run
        self._runs: tuple[Path, ...] = ()
        self._results: tuple[GateResult, ...] = ()
        self._release: Release | None = None
        self._slice_results: tuple[SliceResult, ...] = ()
        self._regraded: tuple[str, ...] = ()
        self._closing_lines: tuple[str, ...] = ()
        self._workflow_commands: tuple[str, ...] = ()

    def judge(self, selection: Selection, desk: Desk, *, left_out: Collection[str] = ()) -> None:
        """
        Judge what was drawn, report every gate, and write and upload what is kept.

        Args:
            selection: The benchmarks that are asked for.
            desk: The ledger.
            left_out: Those of which pytest ran no shard.

        Raises:
            pytest.UsageError: If the run cannot be judged, with the reason in one line.
        """
        self._check_checkpoint()
        if self._settings.slice is not None:
            self._report_slice(self._settings.slice, selection)
            return
        stored = dict.fromkeys(desk.ledger.run_of(entry) for entry in selection.answers.values())
        self._runs = (self._run,) if selection.drawn else tuple(stored)
        try:
            found = {name: desk.stored(selection.inquiries[name], entry) for name, entry in selection.answers.items()}
            if selection.drawn:
                found |= {result.benchmark: result for result in self._judged(selection, desk)}
            self._results = tuple(found[name] for name in selection.names)
            self._release = self._released(selection, left_out)
        except R1EvalError as error:
            raise pytest.UsageError(printable(f"the run cannot be judged: {error}")) from error
        for result in self._results:
            self._report(result)
        self._report_release()
        self._finish(selection, not_recorded=self._not_recorded(stored))
        self._tell_github()

    def show(self, terminal: pytest.TerminalReporter) -> None:
        """Write the slices or the gates below pytest's own summary."""
        for line in [line for result in self._slice_results for line in ("", *result.lines)]:
            terminal.write_line(line)
        if not self._results:
            return
        from pytest_r1eval.reports.appearance import colour_of  # noqa: PLC0415
        from pytest_r1eval.reports.release import unshown_lines  # noqa: PLC0415
        from pytest_r1eval.reports.terminal import family_lines, gate_table  # noqa: PLC0415

        terminal.section("r1eval: may this checkpoint ship?")
        colours = [{}, {}, *map(colour_of, self._results)]
        for line, colour in zip(gate_table(self._results), colours, strict=True):
            terminal.write_line(line, **colour)
        for line in (*family_lines(self._results), *self._regraded):
            terminal.write_line(line)
        self._show_release(terminal)
        lines = [line for result in self._results for line in unshown_lines(result)]
        lines += ["", *(f"run: {run}" for run in dict.fromkeys(self._runs))]
        for line in (*lines, *self._closing_lines, *self._workflow_commands):
            terminal.write_line(line)

    def has_failed(self, name: str, selection: Selection, desk: Desk) -> bool:
        """Judge one benchmark that is complete, before the others are drawn: whether it turns the run red."""
        with closing(Store.open(self._run)) as store:
            return ends_run(self._judge(store, selection, desk)[0].alone(self._catalog[name]))

    def _show_release(self, terminal: pytest.TerminalReporter) -> None:
        """Write the verdict of the release."""
        if self._release is None:
            return
        from pytest_r1eval.reports.release import release_colour, release_lines  # noqa: PLC0415 - as above

        first, *lines = release_lines(self._release)
        terminal.write_line("")
        terminal.write_line(first, **release_colour(self._release))
        for line in lines:
            terminal.write_line(line)

    def _released(self, selection: Selection, left_out: Collection[str]) -> Release | None:
        """Weigh the verdicts by the policy, and keep the answer with the run; None without a policy."""
        if self._settings.policy is None:
            return None
        from pytest_r1eval.judging.release import RELEASE, release_of  # noqa: PLC0415 - imports the statistics

        release = release_of(self._settings.policy, self._results, left_out=left_out)
        if selection.drawn:
            with closing(Store.open(self._run)) as store:
                store.write_release(to_json(RELEASE, release))
        return release

    def _report_release(self) -> None:
        """Emit the verdict of the release, as pytest does for a test."""
        if self._release is None:
            return
        from pytest_r1eval.judging.release import ReleaseVerdict  # noqa: PLC0415 - imports the statistics
        from pytest_r1eval.reports.release import release_lines  # noqa: PLC0415 - the same

        endings = {ReleaseVerdict.SHIP: items.Ending.PASSED, ReleaseVerdict.INVALID: items.Ending.ERROR}
        ending = endings.get(self._release.verdict, items.Ending.FAILED)
        self._log(items.reports("release", ending, message="\n".join(release_lines(self._release))))

    @property
    def is_done(self) -> bool:
        """Whether there are verdicts, or what there is of a slice."""
        return bool(self._results or self._slice_results)

    @property
    def exit_code(self) -> int | None:
        """Pytest's exit code of the release; None without one."""
        return None if self._release is None else self._release.verdict.exit_code

    def _judged(self, selection: Selection, desk: Desk) -> tuple[GateResult, ...]:
        """Judge what was drawn, and write the verdicts into the ledger."""
        with closing(Store.open(self._run)) as store:
            store.write_release(None)
            if self._settings.regrades:
                self._regrade(store, selection)
            judge, standings = self._judge(store, selection, desk)
            results = judge.judge([self._catalog[name] for name in selection.drawn])
            desk.tell(RunReader(store), results, standings)
        return results

    def _judge(self, store: Store, selection: Selection, desk: Desk) -> tuple[Judge, dict[str, Standing]]:
        """Make the judge of the run, and what the ledger knows of each benchmark."""
        from pytest_r1eval.judging.judge import Judge  # noqa: PLC0415 - imports the statistics

        settings = self._settings
        if settings.lineage is None:  # a run that is judged again
            settings = replace(settings, lineage=store.header.lineage)
        terms = terms_of(settings, self._checkpoint, run=self._run, names=selection.names)
        asked = {name: inquiry.keyed.asked for name, inquiry in selection.inquiries.items()}
        standings: dict[str, Standing] = {}
        if not self._settings.regrades:
            standings = desk.standings(RunReader(store), selection.drawn, asked=asked, family=selection.names)
        judge = Judge(
            store=store,
            terms=terms,
            save_as=self._settings.save_baseline,
            earlier={name: standing.added for name, standing in standings.items()},
            attempts={name: standing.attempts for name, standing in standings.items()},
            repeated={name: standing.repeated for name, standing in standings.items() if standing.repeated is not None},
        )
        return judge, standings

    def _regrade(self, store: Store, selection: Selection) -> None:
        """Grade a stored run's programs again by `--r1-grader`, and report that."""
        from pytest_r1eval.judging.regrade import regrade  # noqa: PLC0415 - only where it is asked for

        regraded = regrade(
            store,
            [self._catalog[name] for name in selection.names],
            code=code_grading_of(self._settings, [self._catalog[name] for name in selection.names]),
            n_processes=N_SCORING_PROCESSES_PER_WORKER,
        )
        self._regraded = tuple(one.line for one in regraded)

    def _check_checkpoint(self) -> None:
        """Read the checkpoint once more before it is judged; a run that is only judged has none."""
        changes = self._checkpoint.changes(reread=True)
        if changes:
            with suppress(StoreError), closing(Store.open(self._run)) as store:  # the judge reads the same file
                store.note_changed_checkpoint(changes)

    def _finish(self, selection: Selection, *, not_recorded: tuple[str, ...]) -> None:
        """Write and upload what is kept of the run; a failure is a line beside the verdicts."""
        from pytest_r1eval.upload.after_verdict import finish, finish_again  # noqa: PLC0415 - imports the statistics

        settings = self._settings
        if selection.drawn:
            finished = finish(
                self._run,
                [result for result in self._results if result.benchmark not in selection.answers],
                tasks={name: self._catalog[name].task for name in selection.drawn},
                wishes=settings.upload_wishes,
                when=settings.upload_when,
                reports=settings.reports,
                index=settings.output_dir if self._run.is_relative_to(settings.output_dir) else None,
                release=self._release,
            )
        else:
            finished = finish_again(
                self._runs,
                self._results,
                wishes=settings.upload_wishes,
                when=settings.upload_when,
                reports=settings.reports,
                release=self._release,
            )
        self._closing_lines = (*not_recorded, *finished.reports, *finished.lines, *self._logged())
        if self._settings.upload_required:
            ending = {True: items.Ending.PASSED, False: items.Ending.ERROR, None: items.Ending.SKIPPED}
            message = "\n".join(finished.lines)
            self._log(items.reports("upload", ending[finished.is_uploaded], message=message))

    def _logged(self) -> tuple[str, ...]:
        """Log what was judged to the trackers that are asked for; a line for each."""
        if not self._settings.trackers:
            return ()
        from pytest_r1eval.runs.finished import StoredRun  # noqa: PLC0415 - imports the statistics
        from pytest_r1eval.trackers.delivery import lines_of  # noqa: PLC0415 - only where one is asked for
        from pytest_r1eval.trackers.tracked import says_pass  # noqa: PLC0415

        all_pass = all(map(says_pass, self._results))
        there = [run for run in dict.fromkeys(self._runs) if StoredRun(folder=run).exists]
        lines = (lines_of(run, self._settings.trackers, all_pass=all_pass, release=self._release) for run in there)
        return tuple(line for found in lines for line in found)

    def _not_recorded(self, runs: Iterable[Path]) -> tuple[str, ...]:
        """Return how a stored run becomes a baseline, where --r1-save-baseline finds nothing that was drawn."""
        name = self._settings.save_baseline
        if name is None:
            return ()
        return tuple(
            f"not recorded, as nothing was drawn; record the stored run: r1eval baseline record {run} {name}"
            for run in runs
        )

    def _tell_github(self) -> None:
        """On GitHub, put the table on the job's summary page and annotate what is not green."""
        from pytest_r1eval.reports.github import workflow_commands, write_summary  # noqa: PLC0415 - the same
        from pytest_r1eval.upload.after_verdict import noted  # noqa: PLC0415 - imports the statistics

        failures: list[str] = []
        is_job = True
        with noted("GitHub summary", failures):
            is_job = write_summary(
                os.environ, self._results, title=f"{self._checkpoint.name}: may it ship?", release=self._release
            )
        with noted("GitHub annotations", failures):
            self._workflow_commands = tuple(workflow_commands(self._results, release=self._release)) if is_job else ()
        self._closing_lines = (*self._closing_lines, *failures)

    def _report_slice(self, part: Slice, selection: Selection) -> None:
        """Report whether a machine's slice is whole; the verdict is the merged run's."""
        from pytest_r1eval.runs.slices import slice_results  # noqa: PLC0415 - imports the statistics

        try:
            with closing(RunReader.open(self._run)) as run:
                self._slice_results = slice_results(run, part, selection.names)
        except R1EvalError as error:
            raise pytest.UsageError(printable(f"the slice cannot be read: {error}")) from error
        for result in self._slice_results:
            ending = items.Ending.SKIPPED if result.refusal is None else items.Ending.ERROR
            self._emit(result.benchmark, "pass@1", ending, result.lines)
            lines = [f"{result.benchmark}: health is judged with the merged run."]
            self._emit(result.benchmark, "health", items.Ending.SKIPPED, lines)

    def _report(self, result: GateResult) -> None:
        """Emit the two reports of a benchmark, as pytest does for two tests."""
        from pytest_r1eval.reports.appearance import JUnit, appearance_of  # noqa: PLC0415 - imports the statistics
        from pytest_r1eval.reports.properties import properties_of  # noqa: PLC0415
        from pytest_r1eval.reports.terminal import gate_lines, health_lines  # noqa: PLC0415

        judgement, health = result.judgement, result.health
        pass_at_1 = items.Ending.of(passes=judgement.passes)
        if appearance_of(judgement.verdict).junit is JUnit.ERROR:
            pass_at_1 = items.Ending.ERROR
        healthy = items.Ending.SKIPPED if health is None else items.Ending.of(passes=health.passes)
        if result.is_tolerated:
            red = {items.Ending.FAILED, items.Ending.ERROR}
            pass_at_1, healthy = (items.Ending.TOLERATED if one in red else one for one in (pass_at_1, healthy))
        properties = properties_of(result, run=str(self._run))
        self._emit(result.benchmark, "pass@1", pass_at_1, gate_lines(result), properties)
        self._emit(result.benchmark, "health", healthy, health_lines(result))

    def _emit(
        self,
        benchmark: str,
        gate: str,
        ending: items.Ending,
        lines: list[str],
        properties: tuple[tuple[str, str], ...] = (),
    ) -> None:
        message = "\n".join(lines)
        self._log(items.gate_reports(self._catalog[benchmark], gate, ending, message=message, properties=properties))

    def _log(self, reports: Iterable[pytest.TestReport]) -> None:
        """Report one gate the way pytest reports a test."""
        hook = self._config.hook
        for report in reports:
            if report.when == "setup":
                hook.pytest_runtest_logstart(nodeid=report.nodeid, location=report.location)
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)


def ends_run(result: GateResult) -> bool:
    """Whether a failed gate ends a run that is to end so: under a policy that of a critical benchmark alone."""
    return result.has_failed and not result.is_tolerated

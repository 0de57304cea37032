"""A judged run as trackers are told of it: one value, which crosses to the tracker's process as JSON."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_r1eval.core.codec import digest
from pytest_r1eval.core.texts import printable
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.reports.appearance import appearance_of, word_of
from pytest_r1eval.reports.files import PAGE_NAME
from pytest_r1eval.reports.properties import numbers_of, texts_of
from pytest_r1eval.reports.run_report import RunReport
from pytest_r1eval.stats.verdicts import Verdict

_ID_CHARACTERS = 32
"""Of a SHA-256: what W&B takes as a run's id, and more than enough to tell runs apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """
    What a tracker is told.

    Attributes:
        id: Of the checkpoint and of what it was asked: a run that is judged again has the same.
        model_name: ``org/name`` of the checkpoint.
        checkpoint: Its digest.
        step: Its training step; None where that is not known.
        is_pass: Whether every gate says PASS, health included, whatever a rule lets through; under a release policy
            whether it says SHIP.
        verdict: PASS, or the worst of the gates; under a release policy its answer.
        numbers: By ``benchmark/name``.
        texts: By name, those of a gate by ``benchmark/name``.
        report: The page, an HTML file; None where it could not be written.
        version: The model version of the tracker's registry that a PASS is written on; None for its own choice.
    """

    id: str
    model_name: str
    checkpoint: str
    step: int | None
    is_pass: bool
    verdict: str
    numbers: Mapping[str, float]
    texts: Mapping[str, str]
    report: str | None
    version: str | None = None

    @property
    def title(self) -> str:
        """A name for people that no other run has."""
        return f"{self.model_name.replace('/', '-')}-{self.id[:8]}"


def tracked(report: RunReport, *, all_pass: bool = True) -> TrackedRun:
    """
    Say what a tracker is told of a judged run.

    Args:
        report: The run.
        all_pass: Whether the gates that were asked for beside this run's, and had their verdict before, all say PASS. A
            release has weighed them.
    """
    gates = {gate.result.benchmark: gate.result for gate in report.gates}
    page = report.run / PAGE_NAME
    header = report.header
    is_pass = report.passes and (report.release is not None or (all_pass and all(map(says_pass, gates.values()))))
    return TrackedRun(
        id=_id(report),
        model_name=header.model_name,
        checkpoint=header.identity.checkpoint,
        step=header.step,
        is_pass=is_pass,
        verdict=_verdict(report),
        numbers={
            f"{name}/{key}": float(value) for name, one in gates.items() for key, value in numbers_of(one).items()
        },
        texts={
            "run": printable(str(report.run)),
            "seed": str(header.seed),
            **{f"{name}/{key}": text for name, one in gates.items() for key, text in texts_of(one).items()},
        },
        report=str(page.resolve()) if page.is_file() else None,
    )


def says_pass(result: GateResult) -> bool:
    """Whether a gate says PASS, health included; a rule may let other verdicts through."""
    return result.judgement.verdict is Verdict.PASS and result.passes


def _verdict(report: RunReport) -> str:
    if report.release is not None:
        return report.release.verdict.name
    if report.unjudged:
        return appearance_of(Verdict.INVALID).word
    return word_of(
        max((gate.result for gate in report.gates), key=lambda one: (not one.passes, one.judgement.severity))
    )


def _id(report: RunReport) -> str:
    """Hash checkpoint and questions; the ledger's idea of a question is known before an engine starts."""
    asked, plans = report.header.asked or {}, {gate.result.benchmark: gate.plan for gate in report.gates}
    questions = []
    for name in sorted({*plans, *report.unjudged}):
        plan, known = plans.get(name), asked.get(name)
        if known is not None:
            questions.append((name, known.question, str(known.subset)))
        else:
            questions.append((name, "" if plan is None else digest(plan.question), ""))
    text = repr((report.header.identity.checkpoint, questions))
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_CHARACTERS]


def page_of(run: TrackedRun) -> Path | None:
    """Return the page where it still is."""
    page = None if run.report is None else Path(run.report)
    return page if page is not None and page.is_file() else None

"""
What a run asks the ledger before it draws, and what it writes into it afterwards.

Before: the ledger answers a question that has its verdict; an interrupted or INVALID run is continued, and only
what is missing is drawn. Afterwards: which attempt a verdict belongs to, and whose samples it rests on.

A machine's slice and a replay of a recorded run ask nothing: a slice is judged with the merged run, and a recording
gives the same verdict each time. (``--r1-engine-arg ledger=true`` lets a replay ask, as a rehearsal.) A stored run
that ``--r1-judge-only`` judges is recorded and never refused.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_r1eval.baselines.shelf import FoundBaseline
from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.config.settings import Settings
from pytest_r1eval.core.attempts import Asked, Attempt, Attempts
from pytest_r1eval.core.baselines import MeasuredBaseline
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.choices import InconclusivePolicy
from pytest_r1eval.core.evidence import Evidence
from pytest_r1eval.core.measurements import Measurement
from pytest_r1eval.core.plans import Plan, Slice
from pytest_r1eval.engines.engine import engine_named, recording_of
from pytest_r1eval.errors import BaselineError, PlanError, StoreError
from pytest_r1eval.judging.result import GateResult
from pytest_r1eval.ledger.book import Entry, Event, Known, Ledger, judged_entry, key_of, known, stored_result
from pytest_r1eval.ledger.question import asked_of
from pytest_r1eval.plugin.wiring import family_of, terms_of
from pytest_r1eval.runs.finished import changed_checkpoint, drawn
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.sampling.open_run import seed_of
from pytest_r1eval.stats.verdicts import Verdict


def keeps_ledger(settings: Settings) -> bool:
    """Whether what is drawn enters the ledger; a replay only on request."""
    return engine_named(settings.engine).keeps_ledger(settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """
    What the ledger knows about one benchmark, before anything is drawn.

    Attributes:
        keyed: What is asked of which weights, by which rule and baseline.
        known: What the ledger knows.
        is_fresh: Whether another attempt is asked for.
    """

    keyed: _Keyed
    known: Known
    is_fresh: bool

    @property
    def answer(self) -> Entry | None:
        """The stored verdict; None where samples are to be drawn."""
        return None if self.is_fresh or not self.known.verdicts else self.known.verdicts[-1]

    @property
    def goes_on(self) -> Entry | None:
        """The run to continue: an interrupted one, or an INVALID one unless another attempt is asked for."""
        if self.answer is not None or (self.is_fresh and self.known.is_invalid):
            return None
        return self.known.unfinished

    @property
    def in_full(self) -> bool:
        """Whether every planned sample is needed: the verdict rests on those of earlier attempts too."""
        return any(entry.subset == self.keyed.asked.subset for entry in self.known.attempts)

    @property
    def attempt(self) -> int:
        """The number of the attempt that is going to be drawn."""
        return len(self.known.attempts) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """
    The ledger as one run sees it.

    Attributes:
        settings: What the user decided.
        checkpoint: What is judged.
        catalog: Every benchmark, by name.
    """

    settings: Settings
    checkpoint: Checkpoint
    catalog: Mapping[str, Benchmark]

    @property
    def ledger(self) -> Ledger:
        """The output folder's."""
        return Ledger(folder=self.settings.output_dir)

    def asked(self, names: Sequence[str]) -> dict[str, Asked]:
        """Say what is asked of each benchmark; nothing where no ledger is kept."""
        if self.settings.judge_only is not None or not keeps_ledger(self.settings):
            return {}
        return {name: asked_of(self.catalog[name], self.settings, self.checkpoint) for name in names}

    def inquire(self, names: Sequence[str], *, run: Path) -> dict[str, Inquiry]:
        """
        Look each benchmark up; nothing for a slice, where the user named a run to continue, or without a ledger.

        Raises:
            PlanError: If a slice would draw again what has its verdict.
        """
        if self.settings.resume is not None and not self.settings.goes_on:
            return {}
        asked = self.asked(names)
        if self.settings.slice is not None:
            self._refuse_judged_seed(asked, part=self.settings.slice)
            return {}
        return {
            name: Inquiry(keyed=keyed, known=self._known(name, keyed), is_fresh=self.settings.fresh)
            for name, keyed in self._keys(asked, run=run, family=names).items()
        }

    def _refuse_judged_seed(self, asked: Mapping[str, Asked], *, part: Slice) -> None:
        """Refuse to draw slices under a seed that has its verdict: equal seeds are one attempt."""
        seed = seed_of(self.settings, self.checkpoint)
        for name, each in asked.items():
            for entry in known(self.ledger, each.question, key="").attempts:
                if entry.seed == seed:
                    raise PlanError(
                        f"--r1-slice {part}: {name} was drawn with the seed {seed} and judged in run "
                        f"{self.ledger.run_of(entry)} ({entry.verdict}); for another attempt draw all slices with one "
                        "new --r1-seed, and the merged run is judged on the samples of both"
                    )

    def _known(self, name: str, keyed: _Keyed) -> Known:
        """Read what is known; a run that is damaged, or of a checkpoint that changed, is not gone on with."""
        found = known(self.ledger, keyed.asked.question, key=keyed.key)
        if found.unfinished is None:
            return found
        with suppress(StoreError), closing(RunReader.open(self.ledger.run_of(found.unfinished))) as store:
            if changed_checkpoint(store) is None:
                return replace(found, is_invalid=found.is_invalid and not _lacks_samples(store, name))
        return replace(found, unfinished=None, is_invalid=False)

    def _keys(self, asked: Mapping[str, Asked], *, run: Path, family: Sequence[str]) -> dict[str, _Keyed]:
        keys = dict[str, _Keyed]()
        terms = terms_of(self.settings, self.checkpoint, run=run, names=list(dict.fromkeys([*family, *asked])))
        members = f"holm {' '.join(sorted(family_of(self.settings, family)))}"
        for name, each in asked.items():
            own = terms[name]
            try:
                found = own.shelf.find(name)
                anchor = None if own.anchor is None else own.anchor.find(name)
            except BaselineError:  # planning refuses it by name
                continue
            key = key_of(
                each,
                rule=own.rule_against(found),
                family=members if own.is_holm else "none",
                found=found,
                anchor=anchor,
                limits=own.limits,
            )
            keys[name] = _Keyed(benchmark=name, asked=each, key=key, found=found)
        return keys

    def seed(self, inquiries: Sequence[Inquiry]) -> int:
        """
        Return the seed of a new run; each attempt has its own, so that attempts are independent.

        Raises:
            PlanError: If the seed that was asked for, or recorded, was drawn with before.
        """
        first = seed_of(self.settings, self.checkpoint)
        used = {seed for inquiry in inquiries for seed in inquiry.known.seeds} | self._seeds_beside(inquiries)
        is_recorded = recording_of(self.settings) is not None
        if first not in used or (is_recorded and not self.settings.fresh):
            return first
        if is_recorded or self.settings.seed is not None:
            option = "--r1-fresh" if self.settings.fresh else f"--r1-seed {first}"
            raise PlanError(
                f"{option}: the seed {first} was drawn with before, so these would be the same samples; expected a "
                "seed of its own: leave --r1-seed out, or give another"
            )
        attempt = max(inquiry.attempt for inquiry in inquiries)
        while (seed := attempt_seed(first, attempt)) in used:
            attempt += 1
        return seed

    def _seeds_beside(self, inquiries: Sequence[Inquiry]) -> set[int]:
        """Return the seeds of baselines of the same weights beside other files: equal draws would check nothing."""
        own = self.checkpoint.identity
        every = [theirs for one in inquiries if (theirs := _evidence_of(one.keyed.found)) is not None]
        beside = [one for one in every if one.model.weights == own.weights and one.model != own]
        return {seed for one in beside for seed in one.seeds}

    def begin(self, inquiries: Sequence[Inquiry], *, run: Path, seed: int) -> None:
        """Write into the ledger what will be drawn; a continued run is there already."""
        own = self.ledger.name_of(run)
        begun = [inquiry for inquiry in inquiries if inquiry.goes_on is None or inquiry.goes_on.run != own]
        self.ledger.append([one.keyed.begun(run=own, attempt=one.attempt, seed=seed) for one in begun])

    def standings(
        self, store: RunReader, names: Sequence[str], *, asked: Mapping[str, Asked], family: Sequence[str]
    ) -> dict[str, Standing]:
        """
        Return which attempt each benchmark is of a run that is about to be judged.

        Args:
            store: The run.
            names: Its benchmarks.
            asked: What was asked, of this session; the run holds the others.
            family: All benchmarks that are asked for, those with a verdict included.
        """
        header, run = store.header, store.path.parent
        digests = {**(header.asked or {}), **asked}
        keys = self._keys({name: digests[name] for name in names if name in digests}, run=run, family=family)
        return {name: self._standing(store, name, keyed) for name, keyed in keys.items()}

    def _standing(self, store: RunReader, name: str, keyed: _Keyed) -> Standing:
        own, seed, question = self.ledger.name_of(store.path.parent), store.header.seed, keyed.asked.question
        others = [entry for entry in known(self.ledger, question, key=keyed.key).attempts if entry.run != own]
        mine = [entry for entry in self.ledger.entries(question) if entry.run == own]
        number = mine[-1].attempt if mine else len(others) + 1
        before = {entry: entry.measurement() for entry in others if entry.attempt < number}
        plan = store.plan(name)
        if plan is not None:  # a subset is another exam
            before = {entry: one for entry, one in before.items() if one.fingerprint.question.exam == plan.exam}
        return Standing(
            entry=keyed.begun(run=own, attempt=number, seed=seed),
            attempts=Attempts(
                number=len(before) + 1,
                ledger=self._ledger_name,
                earlier=tuple(self.ledger.attempt_of(entry) for entry in before),
            ),
            added=_countable(before, seed=seed, found=keyed.found),
            repeated=None if plan is None else self._repeated(store, plan, before),
        )

    def _repeated(self, store: RunReader, plan: Plan, before: Mapping[Entry, Measurement]) -> Attempt | None:
        """Return the red attempt that other samples were drawn for under this run's seed; a copy holds the same."""
        for entry, measurement in before.items():
            if measurement.seed == plan.seed and not entry.passes:
                own = drawn(store, plan, k=min(plan.samples))
                if own is None or own.counts != measurement.counts:
                    return self.ledger.attempt_of(entry)
        return None

    def tell(self, store: RunReader, results: Sequence[GateResult], standings: Mapping[str, Standing]) -> None:
        """Write verdicts into the ledger, with what was measured."""
        lines = []
        for result in results:
            standing, plan = standings.get(result.benchmark), store.plan(result.benchmark)
            if standing is None:
                continue
            k, measured = result.samples_per_problem, None
            if plan is not None and k is not None and result.judgement.estimate is not None:
                measured = drawn(store, plan, k=k)
            lines.append(judged_entry(standing.entry, result, measured=measured, when=_now()))
        if lines:
            with self.ledger.locked():
                self.ledger.append(lines)

    def stored(self, inquiry: Inquiry, answer: Entry) -> GateResult:
        """
        Return the stored verdict, marked as such.

        Raises:
            StoreError: If it cannot be read.
        """
        result = replace(stored_result(answer), **self._policy_of(inquiry.keyed.benchmark))
        if result.judgement.verdict is Verdict.INCONCLUSIVE and not self._lets_through(result):
            result = replace(result, judgement=replace(result.judgement, passes=False))
        attempt = self.ledger.attempt_of(answer)
        said = result.attempts or Attempts(number=answer.attempt, ledger=self._ledger_name)
        return replace(result, benchmark=inquiry.keyed.benchmark, attempts=replace(said, stored=attempt))

    def _policy_of(self, benchmark: str) -> dict[str, Any]:
        """Name the policy that the verdict counts for now; what it asks of the benchmark is in the key."""
        policy = self.settings.policy
        member = None if policy is None else policy.member(benchmark)
        digest, tier = (None, None) if policy is None or member is None else (policy.digest, member.tier)
        return {"policy": digest, "tier": tier}

    def _lets_through(self, result: GateResult) -> bool:
        """Whether this command, too, would let an INCONCLUSIVE through that passed when it was stored."""
        is_recorded = result.recorded is not None and self.settings.save_baseline is not None
        return is_recorded or self.settings.inconclusive is InconclusivePolicy.PASS

    @property
    def _ledger_name(self) -> str:
        """Name the ledger's folder below the rootdir: a report that is passed on names no folder of the machine."""
        folder, root = self.ledger.folder, self.settings.root
        return str(folder.relative_to(root)) if folder.is_relative_to(root) else folder.name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from drawing the same question at the same time."""
        if self.settings.judge_only is not None or not keeps_ledger(self.settings):
            yield
            return
        with self.ledger.locked():
            yield


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keyed:
    """
    What is asked of one benchmark, and by which rule and baseline.

    Attributes:
        benchmark: Its name.
        asked: What is asked of which weights.
        key: The same with rule and baseline.
        found: The baseline.
    """

    benchmark: str
    asked: Asked
    key: str
    found: FoundBaseline | None

    def begun(self, *, run: str, attempt: int, seed: int) -> Entry:
        """Return the ledger's line of a run that is going to be drawn."""
        return Entry(
            event=Event.BEGUN,
            key=self.key,
            question=self.asked.question,
            subset=self.asked.subset,
            benchmark=self.benchmark,
            run=run,
            attempt=attempt,
            seed=seed,
            when=_now(),
        )


def _evidence_of(found: FoundBaseline | None) -> Evidence | None:
    baseline = None if found is None else found.baseline
    return baseline.evidence if isinstance(baseline, MeasuredBaseline) else None


def _countable(
    earlier: Mapping[Entry, Measurement], *, seed: int, found: FoundBaseline | None
) -> tuple[Measurement, ...]:
    """Return what may be added to a run: of each other seed the first draw, and nothing that the baseline holds."""
    theirs, first = _evidence_of(found), dict[int, Measurement]()
    for entry, one in earlier.items():
        is_theirs = theirs is not None and (
            one.evidence.overlaps(theirs)
            or (one.evidence.shares_draws(theirs) and entry.verdict == Verdict.INCONCLUSIVE.name)  # a red one counts
        )
        if one.seed != seed and not is_theirs:
            first.setdefault(one.seed, one)
    return tuple(first.values())


def _lacks_samples(store: RunReader, name: str) -> bool:
    """Whether planned samples of a benchmark are missing beside others that are there."""
    plan = store.plan(name)
    return plan is not None and 0 < store.progress(name).n_stored < plan.n_samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    Which attempt a run is.

    Attributes:
        entry: Its line in the ledger, before the verdict.
        attempts: Which attempt it is, for reports.
        added: What earlier attempts measured, whose samples count too; none of one that shares its seed.
        repeated: An earlier attempt that does not pass and has other samples under the same seed; None for no such.
    """

    entry: Entry
    attempts: Attempts
    added: tuple[Measurement, ...]
    repeated: Attempt | None = None


def attempt_seed(first: int, attempt: int) -> int:
    """Return the seed of a further attempt, from that of the first."""
    return int.from_bytes(hashlib.sha256(f"{first} attempt {attempt}".encode()).digest()[:6], "big")


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")

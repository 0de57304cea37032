"""How often some weights were judged on one question, and what the verdicts were: shown beside every later verdict."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    What is asked of a checkpoint, as far as it is known before an engine starts.

    Attributes:
        question: Digest of what decides which answers can come: weights, prompts, sampling, harness.
        subset: How many problems are asked for; None for all. A subset is another exam, unless it holds all problems.
        design: Digest of how many answers are drawn and when they are judged.
    """

    question: str
    subset: int | None
    design: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """
    One judged run of some weights.

    Attributes:
        number: The attempt, from 1.
        run: The run's folder.
        verdict: The name of its verdict, of this and all earlier attempts together.
        passes: Whether that let the checkpoint through, health included.
        judged: When, ISO date and time.
    """

    number: int
    run: str
    verdict: str
    passes: bool
    judged: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """
    What the ledger says beside a verdict.

    Attributes:
        number: Which attempt the verdict is of, from 1.
        ledger: Where earlier runs are looked for.
        earlier: The attempts before it, oldest first.
        n_added: How many of those count; samples that share a seed with the run or the baseline do not.
        n_samples: Samples that the verdict rests on, those of earlier attempts included; None where none count.
        stored: The run that the verdict was stored by, where nothing was drawn for it now; None for a new one.
    """

    number: int
    ledger: str
    earlier: tuple[Attempt, ...] = ()
    n_added: int = 0
    n_samples: int | None = None
    stored: Attempt | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """What a person should know, a line each."""
        stored = () if self.stored is None else (stored_line(self.stored),)
        if not self.earlier:
            return stored or (
                f"attempt 1; no earlier verdict on this checkpoint and question is visible in {self.ledger}",
            )
        first = self.earlier[0]
        counted = "judged on its own samples alone, as earlier ones share a seed with them or with the baseline's"
        if self.n_samples is not None:
            attempts = f"all {self.number}" if self.n_added == len(self.earlier) else f"{self.n_added + 1}"
            counted = f"judged on the {self.n_samples} samples of {attempts} attempts"
        told = f"the first verdict was {first.verdict} (run {first.run})"
        return (*stored, f"attempt {self.number} on these weights, {counted}; {told}")


def stored_line(attempt: Attempt) -> str:
    """Say that a verdict was there already."""
    return (
        f"stored: judged before, in run {attempt.run} ({attempt.judged}); nothing is drawn for the same question. "
        "--r1-fresh draws again, and judges all samples together"
    )

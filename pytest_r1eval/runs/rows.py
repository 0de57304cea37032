"""How a sample is written as rows of the store, and read back."""

from dataclasses import dataclass
from typing import Any

from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response, Sample
from pytest_r1eval.core.texts import whole
from pytest_r1eval.runs.schema import digest, packed, unpacked
from pytest_r1eval.runs.store import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """A response as stored, with a digest that finds duplicates."""

    text: str | bytes
    digest: bytes


def stored(response: Response) -> StoredResponse:
    """Return what is stored of a response; compressing it takes longer than a transaction should."""
    return StoredResponse(text=packed(response.text), digest=digest(response.text))


def whole_or_none(note: str | None) -> str | None:
    """Return a grader's note without halves of a pair, which SQLite would refuse."""
    return None if note is None else whole(note)


_INSERT_SAMPLE = "INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def insert(db: Connection, benchmark: str, sample: Sample, stored: StoredResponse) -> None:
    """Write one sample; the caller holds the transaction."""
    response = db.execute("INSERT INTO response (text) VALUES (?)", (stored.text,)).lastrowid
    row = (
        benchmark,
        sample.problem_id,
        sample.index,
        sample.seed,
        sample.grade.outcome,
        whole_or_none(sample.grade.answer),
        whole_or_none(sample.grade.detail),
        sample.response.finish_reason,
        sample.response.n_tokens,
        sample.response.n_thought_tokens,
        stored.digest,
        response,
    )
    db.execute(_INSERT_SAMPLE, row)


def sample_of(row: tuple[Any, ...]) -> Sample:
    """
    Return the sample of a row that `SELECT_SAMPLE` reads.

    Raises:
        ValueError: If a value is not what `insert` writes.
    """
    problem_id, index, seed, outcome, answer, detail, *drawn = row
    return Sample(
        problem_id=problem_id,
        index=index,
        seed=seed,
        response=response_of(*drawn),
        grade=Grade(outcome=Outcome(outcome), answer=answer, detail=detail),
    )


SELECT_SAMPLE = (
    "SELECT sample.problem_id, idx, seed, outcome, answer, detail, text, n_tokens, n_thought_tokens, finish_reason"
    " FROM sample JOIN response ON response.id = sample.response"
)


def response_of(text: str | bytes, n_tokens: int, n_thought_tokens: int | None, finish_reason: str) -> Response:
    """
    Return a response as it was drawn.

    Raises:
        ValueError: If a value is not what is stored of one.
    """
    return Response(
        text=whole(unpacked(text)),
        n_tokens=n_tokens,
        finish_reason=FinishReason(finish_reason),
        n_thought_tokens=n_thought_tokens,
    )

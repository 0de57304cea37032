"""Made-up lines of a ledger."""

from __future__ import annotations

from pytest_r1eval.ledger.book import Entry, Event

BEGUN = Entry(
    event=Event.BEGUN,
    key="k",
    question="q",
    subset=None,
    benchmark="smoke",
    run="a",
    attempt=1,
    seed=7,
    when="2026-01-01T00:00:00+00:00",
)

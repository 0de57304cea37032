"""Made-up baselines: one that was measured, one that was published, and one of any counts."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from pytest_r1eval.baselines.shelf import FoundBaseline
from pytest_r1eval.core.baselines import HealthCounts, MeasuredBaseline, PublishedBaseline, PublishedHarness
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.fingerprints import Fingerprint, Harness, ModelIdentity, Question
from pytest_r1eval.core.records import Counts
from tests.recordings import HARNESS

FINGERPRINT = Fingerprint(
    model=ModelIdentity(weights="w", tokenizer="t", chat_template="c", checkpoint="all"),
    question=Question(exam="e", sampling=Sampling(), system_prompt=None, template_date="2025-01-01", prompts="p"),
    harness=Harness(
        engine="vllm 1", dtype="bfloat16", quantization=None, device="H100", n_devices=1, grader="lighteval 1"
    ),
)
MEASURED = MeasuredBaseline(
    benchmark="smoke",
    recorded=dt.datetime(2025, 1, 20, 9, 30, tzinfo=dt.UTC),
    run="first",
    seed=7,
    fingerprint=FINGERPRINT,
    counts=Counts.from_mapping({"b": (3, 8), "a": (8, 8)}),
    health=HealthCounts(n_samples=16, n_truncated=1, n_no_answer=2, n_tokens=512),
)
PUBLISHED = PublishedBaseline(
    benchmark="aime24",
    pass_at_1=0.555,
    rounding_unit=0.001,
    harness=PublishedHarness.OTHER,
    source="a table",
    date=None,
    sampling=None,
    samples_per_problem=64,
    note=None,
)


def measured(*counts: tuple[int, int]) -> FoundBaseline:
    """Make a measured baseline of (correct, samples) per problem."""
    n_samples = sum(samples for _, samples in counts)
    baseline = MeasuredBaseline(
        benchmark="aime24",
        recorded=dt.datetime(2025, 1, 20, tzinfo=dt.UTC),
        run="base",
        seed=1,
        fingerprint=replace(FINGERPRINT, harness=HARNESS),
        counts=Counts.from_rows((f"p{number}", *count) for number, count in enumerate(counts)),
        health=HealthCounts(n_samples=n_samples, n_truncated=0, n_no_answer=0, n_tokens=n_samples),
    )
    return FoundBaseline(baseline=baseline, source="baselines/a/b.json, run base")

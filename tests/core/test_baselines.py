"""Baseline files: what ships is right, what is read is written again, and every mistake is named."""

from __future__ import annotations

import copy
import datetime as dt
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_r1eval.core.baselines import (
    BASELINE_FILE,
    BaselineFile,
    HealthCounts,
    MeasuredBaseline,
    PublishedBaseline,
    PublishedHarness,
    PublishedSampling,
    with_measured,
)
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.built_in import BUILT_IN
from pytest_r1eval.core.codec import from_json, to_json
from pytest_r1eval.core.fingerprints import Fingerprint, Harness, ModelIdentity, Question
from pytest_r1eval.core.records import Counts, ProblemCounts
from pytest_r1eval.core.thinking import ThoughtCounts
from pytest_r1eval.errors import BaselineError
from tests.made_up_baselines import MEASURED

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "baselines").glob("*/*.json"))
FACTS = ROOT / "tests" / "data" / "published_baselines.json"
README = (ROOT / "baselines" / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)```", README, flags=re.DOTALL)

TASKS = {benchmark.task: benchmark.name for benchmark in BUILT_IN}
SOURCES = {
    "deepseek": "deepseek-ai/DeepSeek-R1, commit 0cf7856",
    "open-r1": "section 'Reproducing Deepseek's evaluation results' (repository huggingface/open-r1, commit 1416fa0)",
    "open-r1-distill": "table of OpenR1-Distill-7B (repository huggingface/open-r1, commit 1416fa0)",
}

PUBLISHED = PublishedBaseline(
    benchmark="aime24",
    pass_at_1=0.555,
    rounding_unit=0.001,
    harness=PublishedHarness.OTHER,
    source="the lab",
    date=dt.date(2025, 1, 20),
    sampling=PublishedSampling(temperature=0.6, top_p=0.95, max_new_tokens=32768),
    samples_per_problem=64,
    note=None,
)
FILE = BaselineFile(model="org/name", published=(PUBLISHED,), measured=(MEASURED,))


def facts() -> dict[str, Any]:
    """Return the numbers as they were read in the sources."""
    loaded: dict[str, Any] = json.loads(FACTS.read_text(encoding="utf-8"))
    return loaded


def shipped(model: str) -> BaselineFile:
    """Return the shipped file of a model."""
    path = ROOT / "baselines" / f"{model}.json"
    return from_json(BASELINE_FILE, path.read_text(encoding="utf-8"), name=path.name)


# What ships


def test_something_ships() -> None:
    """At least eight files of baselines ship with the package."""
    assert len(SHIPPED) >= 8


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_file_is_written_as_it_was_read(path: Path) -> None:
    """Recording a baseline changes only the lines it is about."""
    text = path.read_text(encoding="utf-8")

    file = from_json(BASELINE_FILE, text, name=path.name)

    assert text == to_json(BASELINE_FILE, file)
    assert file.model == f"{path.parent.name}/{path.stem}"


def test_shipped_numbers_are_the_published_ones() -> None:
    """The shipped baselines hold each number of each source, and no others."""
    for model, by_source in facts()["values"].items():
        expected = sorted(
            (TASKS[task], SOURCES[source], round(percent / 100, 3))
            for source, values in by_source.items()
            for task, percent in values.items()
        )

        actual = sorted(
            (entry.benchmark, next(text for text in SOURCES.values() if text in entry.source), entry.pass_at_1)
            for entry in shipped(model).published
        )

        assert expected == actual


def stated_sampling(source: dict[str, Any], task: str) -> tuple[PublishedSampling | None, int | None]:
    """Return what a source states of its sampling on a task: a number of samples for all, or one for each."""
    if "sampling" not in source:
        return None, None
    stated = dict(source["sampling"])
    n_samples = stated.pop("samples_per_problem")
    return PublishedSampling(**stated), n_samples[task] if isinstance(n_samples, dict) else n_samples


def test_shipped_sampling_is_the_published_one() -> None:
    """Shipped sampling and samples per problem are the source's, or null where it states none."""
    known = facts()
    for model in known["values"]:
        for entry in shipped(model).published:
            source = next(name for name, text in SOURCES.items() if text in entry.source)
            task = next(task for task, benchmark in TASKS.items() if benchmark == entry.benchmark)

            expected = stated_sampling(known["sources"][source], task)

            assert expected == (entry.sampling, entry.samples_per_problem)


def test_only_lighteval_numbers_are_called_so() -> None:
    """Only numbers from open-r1's README are marked as LightEval's, which decides the gate's width."""
    for path in SHIPPED:
        for entry in from_json(BASELINE_FILE, path.read_text(encoding="utf-8"), name=path.name).published:
            assert ("open-r1 README" in entry.source) == (entry.harness is PublishedHarness.LIGHTEVAL)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("deepseek-ai/DeepSeek-R1", 0.798),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 0.307),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", 0.513),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", 0.439),
        ("open-r1/OpenR1-Distill-7B", 0.527),
    ],
)
def test_the_gate_gets_the_latest_lighteval_number(model: str, expected: float) -> None:
    """The gate takes the latest LightEval number of a model before the lab's own."""
    baseline = shipped(model).published_for("aime24")

    assert baseline is not None
    assert expected == baseline.pass_at_1


def test_readme_shows_a_real_file() -> None:
    """The first documented example is the shipped file of DeepSeek-R1, to the letter."""
    assert (ROOT / "baselines" / "deepseek-ai" / "DeepSeek-R1.json").read_text(encoding="utf-8") == EXAMPLES[0]


@pytest.mark.parametrize("example", EXAMPLES, ids=["published", "measured"])
def test_readme_examples_are_files(example: str) -> None:
    """Each documented example is read and written back to the letter."""
    assert example == to_json(BASELINE_FILE, from_json(BASELINE_FILE, example, name="README.md"))


@pytest.mark.parametrize("key", sorted(set(re.findall(r'"(\w+)":', to_json(BASELINE_FILE, FILE))) - {"a", "b"}))
def test_readme_documents_every_key(key: str) -> None:
    """The documentation explains every key of the baseline's format."""
    assert re.search(rf"`(?:[\w.]+\.)?{key}(?:\.\w+)?`", README)


# Looking up


def lighteval(source: str, date: dt.date | None) -> PublishedBaseline:
    """Return a LightEval-made entry."""
    return replace(PUBLISHED, harness=PublishedHarness.LIGHTEVAL, source=source, date=date)


OLD, NEW = dt.date(2025, 2, 1), dt.date(2025, 6, 1)


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ((), None),
        ((replace(PUBLISHED, benchmark="gpqa"),), None),
        ((PUBLISHED,), "the lab"),
        ((lighteval("a", None), PUBLISHED), "a"),
        ((PUBLISHED, lighteval("a", OLD)), "a"),
        ((lighteval("a", NEW), lighteval("b", OLD)), "a"),
        ((lighteval("a", OLD), lighteval("b", None)), "a"),
        ((lighteval("a", None), lighteval("b", None)), "b"),
        ((lighteval("a", OLD), lighteval("b", OLD)), "b"),
    ],
)
def test_preference(published: tuple[PublishedBaseline, ...], expected: str | None) -> None:
    """LightEval's number goes before the lab's, then the later date, then the later entry."""
    found = BaselineFile(model="org/name", published=published).published_for("aime24")

    assert expected == (None if found is None else found.source)


def test_measured_is_found_by_benchmark() -> None:
    """A benchmark without a measured baseline has none."""
    assert FILE.measured_for("smoke") == MEASURED
    assert FILE.measured_for("aime24") is None


def test_recording_adds_a_benchmark() -> None:
    """Recording a new benchmark appends it and leaves the other entries alone."""
    added = replace(MEASURED, benchmark="gpqa")

    assert replace(FILE, measured=(MEASURED, added)) == with_measured(FILE, added)


def test_recording_replaces_in_place() -> None:
    """A new baseline takes the place of the old one in the file's order."""
    other, newer = replace(MEASURED, benchmark="gpqa"), replace(MEASURED, run="second")
    file = replace(FILE, measured=(MEASURED, other))

    assert replace(FILE, measured=(newer, other)) == with_measured(file, newer)


# Reading and writing

FRACTIONS = st.floats(min_value=0, max_value=1)
POSITIVE_FRACTIONS = st.floats(min_value=0, max_value=1, exclude_min=True)
TEMPERATURES = st.floats(min_value=0, allow_infinity=False)
LABELS = st.text(min_size=1).filter(lambda text: bool(text.strip()))
POSITIVE = st.integers(min_value=1, max_value=10**9)
OFFSETS = st.integers(min_value=-24 * 60 + 1, max_value=24 * 60 - 1).map(
    lambda minutes: dt.timezone(dt.timedelta(minutes=minutes))
)
FINGERPRINTS = st.builds(
    Fingerprint,
    model=st.builds(
        ModelIdentity,
        weights=st.text(),
        tokenizer=st.text(),
        chat_template=st.text(),
        checkpoint=st.text(),
        files=st.just(()),
    ),
    question=st.builds(
        Question,
        exam=st.text(),
        sampling=st.builds(
            Sampling,
            temperature=TEMPERATURES,
            top_p=POSITIVE_FRACTIONS,
            top_k=st.integers(min_value=0),
            min_p=FRACTIONS,
            repetition_penalty=POSITIVE_FRACTIONS,
            presence_penalty=st.floats(-2, 2),
            thinking_budget=st.none() | POSITIVE,
            max_new_tokens=POSITIVE,
            max_model_length=POSITIVE,
        ),
        system_prompt=st.none() | st.text(),
        chat_template_kwargs=st.none() | st.text(),
        think_tags=st.none() | st.text(),
        template_date=st.text(),
        prompts=st.text(),
    ),
    harness=st.builds(
        Harness,
        engine=st.text(),
        dtype=st.text(),
        quantization=st.none() | st.text(),
        device=st.text(),
        n_devices=POSITIVE,
        grader=st.text(),
    ),
)
PROBLEMS = st.tuples(st.text(), POSITIVE, st.integers(min_value=0)).map(
    lambda row: ProblemCounts(problem_id=row[0], n_correct=row[2] % (row[1] + 1), n_samples=row[1])
)
COUNTS = st.lists(PROBLEMS, min_size=1, max_size=5, unique_by=lambda problem: problem.problem_id).map(
    lambda problems: Counts(problems=tuple(problems))
)


@st.composite
def measured_baselines(draw: st.DrawFn) -> MeasuredBaseline:
    """Draw a measured baseline with health counts that fit its counts."""
    counts = draw(COUNTS)
    of_samples = st.integers(min_value=0, max_value=counts.n_samples)
    return MeasuredBaseline(
        benchmark=draw(LABELS),
        recorded=draw(st.datetimes(timezones=OFFSETS)),
        run=draw(LABELS),
        seed=draw(st.integers()),
        fingerprint=draw(FINGERPRINTS),
        counts=counts,
        health=HealthCounts(
            n_samples=counts.n_samples,
            n_truncated=draw(of_samples),
            n_no_answer=draw(of_samples),
            n_tokens=draw(st.integers(min_value=0)),
            thoughts=draw(st.none() | st.builds(ThoughtCounts, n_tokens=st.integers(0), n_unfinished=st.integers(0))),
        ),
    )


PUBLISHED_BASELINES = st.builds(
    PublishedBaseline,
    benchmark=LABELS,
    pass_at_1=FRACTIONS,
    rounding_unit=POSITIVE_FRACTIONS,
    harness=st.sampled_from(PublishedHarness),
    source=LABELS,
    date=st.none() | st.dates(),
    sampling=st.none()
    | st.builds(PublishedSampling, temperature=TEMPERATURES, top_p=POSITIVE_FRACTIONS, max_new_tokens=POSITIVE),
    samples_per_problem=st.none() | POSITIVE,
    note=st.none() | st.text(),
)


@given(measured=measured_baselines(), published=PUBLISHED_BASELINES)
def test_what_is_written_is_read_again(measured: MeasuredBaseline, published: PublishedBaseline) -> None:
    """A baseline file is read back exactly as written, and its text is ASCII."""
    file = BaselineFile(model="org/name", published=(published,), measured=(measured,))

    text = to_json(BASELINE_FILE, file)

    assert file == from_json(BASELINE_FILE, text, name="file.json")
    assert text == to_json(BASELINE_FILE, from_json(BASELINE_FILE, text, name="file.json"))
    assert text.isascii()


def test_order_of_problems_is_kept() -> None:
    """Reading a file keeps the exam's order of problems."""
    (measured,) = from_json(BASELINE_FILE, to_json(BASELINE_FILE, FILE), name="file.json").measured

    assert measured.counts.ids == ("b", "a")


def test_one_line_per_problem() -> None:
    """The file has one line per problem, so that a review shows whose counts changed."""
    assert '      "counts": {\n        "b": [3, 8],\n        "a": [8, 8]\n      },\n' in to_json(BASELINE_FILE, FILE)


def test_whole_number_stands_for_a_fraction() -> None:
    """A whole number in a file is read as a float where a fraction is expected."""
    text = to_json(BASELINE_FILE, FILE).replace('"pass_at_1": 0.555', '"pass_at_1": 1')

    (entry,) = from_json(BASELINE_FILE, text, name="file.json").published

    assert str(entry.pass_at_1) == "1.0"


def test_a_number_that_is_none_cannot_be_written() -> None:
    """Writing a NaN into a baseline file raises an error."""
    entry = replace(FILE.published[0])
    object.__setattr__(entry, "pass_at_1", float("nan"))  # no constructor lets one through

    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(BASELINE_FILE, replace(FILE, published=(entry,)))


# Mistakes

Document = dict[str, Any]
Edit = Callable[[Document], object]


def put(path: str, value: object) -> Edit:
    """Return an edit that sets the value at a path of keys and indices, e.g. ``published.0.note``."""

    def edit(document: Document) -> None:
        *parents, last = path.split(".")
        target: Any = document
        for step in parents:
            target = target[int(step) if isinstance(target, list) else step]
        target[int(last) if isinstance(target, list) else last] = value

    return edit


def repeat(key: str) -> Edit:
    """Return an edit that has the last entry of a list there twice."""
    return lambda document: document[key].append(copy.deepcopy(document[key][-1]))


FINGERPRINT_PATH = "measured.0.fingerprint"
MALFORMED: list[tuple[Edit, str]] = [
    # the file
    (put("model", "name"), 'model: found "name"; expected org/name, as on the Hub'),
    (put("model", "../name"), 'model: found "../name"; expected org/name, as on the Hub'),
    (put("model", None), "model: found null; expected a string"),
    (put("published", {}), "published: found an object of 0; expected a list"),
    (put("published", None), "published: found null; expected a list"),
    (put("measured", "none"), 'measured: found "none"; expected a list'),
    (put("published.0", 0.798), "published[0]: found 0.798; expected an object"),
    (put("measured.0", [1, 2]), "measured[0]: found a list of 2; expected an object"),
    # versions
    (
        put("schema_version", 3),
        "schema_version: found 3; expected 1; update pytest-r1eval to read this file",
    ),
    (put("schema_version", 0), "schema_version: found 0; expected a whole number of 1 or more"),
    (put("schema_version", True), "schema_version: found true; expected a whole number of 1 or more"),
    (put("schema_version", "1"), 'schema_version: found "1"; expected a whole number of 1 or more'),
    # keys
    (
        put("comment", "hello"),
        "comment: found an unknown key; expected one of schema_version, model, published, measured",
    ),
    (
        put("published.0.pass@1", 0.5),
        (
            'published[0]["pass@1"]: found an unknown key; expected one of benchmark, pass_at_1, rounding_unit, '
            "harness, source, date, sampling, samples_per_problem, note"
        ),
    ),
    (
        put("measured.0.health.n_errors", 0),
        (
            "measured[0].health.n_errors: found an unknown key; expected one of n_samples, n_truncated, "
            "n_no_answer, n_tokens, thoughts"
        ),
    ),
    (
        lambda document: document.pop("schema_version"),
        "schema_version: found no such key; expected it to be there",
    ),
    (
        lambda document: document["published"][0].pop("note"),
        "published[0].note: found no such key; expected it to be there",
    ),
    (
        lambda document: document["measured"][0]["fingerprint"]["harness"].pop("device"),
        "measured[0].fingerprint.harness.device: found no such key; expected it to be there",
    ),
    # entries
    (
        repeat("published"),
        'published[1]: found "aime24" from the source of published[0]; expected one entry per benchmark and source',
    ),
    (
        repeat("measured"),
        'measured[1]: found "smoke", the benchmark of measured[0]; expected one entry per benchmark',
    ),
    # published
    (put("published.0.benchmark", " "), 'published[0].benchmark: found " "; expected some text'),
    (put("published.0.source", ""), 'published[0].source: found ""; expected some text'),
    (put("published.0.source", 1), "published[0].source: found 1; expected a string"),
    (put("published.0.pass_at_1", 79.8), "published[0].pass_at_1: found 79.8; expected a number from 0 to 1"),
    (put("published.0.pass_at_1", -0.1), "published[0].pass_at_1: found -0.1; expected a number from 0 to 1"),
    (put("published.0.pass_at_1", True), "published[0].pass_at_1: found true; expected a number from 0 to 1"),
    (put("published.0.pass_at_1", "0.5"), 'published[0].pass_at_1: found "0.5"; expected a number from 0 to 1'),
    (put("published.0.pass_at_1", None), "published[0].pass_at_1: found null; expected a number from 0 to 1"),
    (put("published.0.pass_at_1", float("nan")), "published[0].pass_at_1: found NaN; expected a number from 0 to 1"),
    (
        put("published.0.rounding_unit", 0),
        "published[0].rounding_unit: found 0; expected a number above 0 and at most 1",
    ),
    (put("published.0.harness", "helm"), 'published[0].harness: found "helm"; expected "lighteval" or "other"'),
    (put("published.0.harness", 1), "published[0].harness: found 1; expected a string"),
    (put("published.0.date", "today"), 'published[0].date: found "today"; expected a date such as 2025-01-20, or null'),
    (
        put("published.0.date", "20250120"),
        'published[0].date: found "20250120"; expected a date such as 2025-01-20, or null',
    ),
    (put("published.0.date", 2025), "published[0].date: found 2025; expected a string"),
    (put("published.0.sampling", []), "published[0].sampling: found a list of 0; expected an object"),
    (
        put("published.0.sampling.temperature", -1),
        "published[0].sampling.temperature: found -1; expected a number of 0 or more",
    ),
    (
        put("published.0.sampling.temperature", float("inf")),
        "published[0].sampling.temperature: found Infinity; expected a number of 0 or more",
    ),
    (
        put("published.0.sampling.temperature", 10**400),
        f"published[0].sampling.temperature: found 1{'0' * 59}...; expected a number of 0 or more",
    ),
    (
        put("published.0.sampling.top_p", 1.5),
        "published[0].sampling.top_p: found 1.5; expected a number above 0 and at most 1",
    ),
    (
        put("published.0.sampling.max_new_tokens", 0),
        "published[0].sampling.max_new_tokens: found 0; expected a whole number of 1 or more",
    ),
    (
        put("published.0.samples_per_problem", 0),
        "published[0].samples_per_problem: found 0; expected a whole number of 1 or more",
    ),
    (
        put("published.0.samples_per_problem", 64.0),
        "published[0].samples_per_problem: found 64.0; expected a whole number of 1 or more",
    ),
    (put("published.0.note", float("nan")), "published[0].note: found NaN; expected a string"),
    # measured
    (put("measured.0.benchmark", ""), 'measured[0].benchmark: found ""; expected some text'),
    (put("measured.0.run", "\n"), 'measured[0].run: found "\\n"; expected some text'),
    (put("measured.0.seed", True), "measured[0].seed: found true; expected a whole number"),
    (put("measured.0.seed", 1.5), "measured[0].seed: found 1.5; expected a whole number"),
    *(
        (
            put("measured.0.recorded", moment),
            (
                f"measured[0].recorded: found {json.dumps(moment)}; "
                "expected a date-time with its offset, such as 2025-01-20T09:30:00+00:00"
            ),
        )
        for moment in ("now", "2025-01-20", "2025-01-20T09:30:00", "2025-01-20T09:30:00Z", "2025-01-20 09:30:00+00:00")
    ),
    (put("measured.0.recorded", None), "measured[0].recorded: found null; expected a string"),
    (put("measured.0.counts", {}), "measured[0].counts: found an object of 0; expected at least one problem"),
    (put("measured.0.counts", []), "measured[0].counts: found a list of 0; expected an object"),
    (put("measured.0.counts.a", 3), "measured[0].counts.a: found 3; expected a list"),
    (put("measured.0.counts.a", [1]), "measured[0].counts.a: found a list of 1; expected [correct, samples]"),
    (put("measured.0.counts.a", [9, 8]), "measured[0].counts.a[0]: found 9; expected a whole number from 0 to 8"),
    (put("measured.0.counts.a", [0, 0]), "measured[0].counts.a[1]: found 0; expected a whole number of 1 or more"),
    (
        put("measured.0.counts.a", [False, 1]),
        "measured[0].counts.a[0]: found false; expected a whole number from 0 to 1",
    ),
    (
        put("measured.0.health.n_samples", 17),
        "measured[0].health.n_samples: found 17; expected 16, the samples in counts",
    ),
    (
        put("measured.0.health.n_truncated", 17),
        "measured[0].health.n_truncated: found 17; expected a whole number from 0 to 16",
    ),
    (
        put("measured.0.health.n_no_answer", -1),
        "measured[0].health.n_no_answer: found -1; expected a whole number from 0 to 16",
    ),
    (
        put("measured.0.health.n_tokens", -1),
        "measured[0].health.n_tokens: found -1; expected a whole number of 0 or more",
    ),
    # fingerprint
    (put(FINGERPRINT_PATH, None), "measured[0].fingerprint: found null; expected an object"),
    (put(f"{FINGERPRINT_PATH}.model.weights", 1), "measured[0].fingerprint.model.weights: found 1; expected a string"),
    (
        put(f"{FINGERPRINT_PATH}.question.system_prompt", 1),
        "measured[0].fingerprint.question.system_prompt: found 1; expected a string",
    ),
    (
        put(f"{FINGERPRINT_PATH}.question.sampling.temperature", -0.5),
        "measured[0].fingerprint.question.sampling.temperature: found -0.5; expected a number of 0 or more",
    ),
    (
        put(f"{FINGERPRINT_PATH}.question.sampling.max_model_length", 0),
        "measured[0].fingerprint.question.sampling.max_model_length: found 0; expected a whole number of 1 or more",
    ),
    (
        put(f"{FINGERPRINT_PATH}.harness.n_devices", 0),
        "measured[0].fingerprint.harness.n_devices: found 0; expected a whole number of 1 or more",
    ),
    (
        put(f"{FINGERPRINT_PATH}.harness.engine", 5),
        "measured[0].fingerprint.harness.engine: found 5; expected a string",
    ),
]


@pytest.mark.parametrize(("edit", "expected"), MALFORMED, ids=[message for _, message in MALFORMED])
def test_mistake_is_named(edit: Edit, expected: str) -> None:
    """A mistake in a baseline file is refused with the file, the key's path, what was found and what was expected."""
    document: Document = json.loads(to_json(BASELINE_FILE, FILE))
    edit(document)

    with pytest.raises(BaselineError) as caught:
        from_json(BASELINE_FILE, json.dumps(document), name="org/name.json")

    assert f"org/name.json: {expected} (format: baselines/README.md)" == str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ": line 1 column 1: found no JSON (Expecting value); expected a JSON document"),
        (
            '{"model": "a/b",\n1}',
            (
                ": line 2 column 1: found no JSON (Expecting property name enclosed in double quotes); "
                "expected a JSON document"
            ),
        ),
        ("[]", ": found a list of 0; expected an object"),
        ("null", ": found null; expected an object"),
        ('{"model": "a/b", "model": "a/b"}', ": model: found the key twice; expected it once"),
        ('"' + "x" * 70 + '"', f': found "{"x" * 59}...; expected an object'),
    ],
)
def test_text_that_is_no_baseline_file_is_named(text: str, expected: str) -> None:
    """A file that is not JSON is refused with the line, and JSON of another kind with what it is."""
    with pytest.raises(BaselineError) as caught:
        from_json(BASELINE_FILE, text, name="org/name.json")

    assert f"org/name.json{expected} (format: baselines/README.md)" == str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"b": [3, 8]', '"b": [3, 8], "b": [3, 8]', "measured[0].counts.b: found the key twice; expected it once"),
        ('"note": null', '"note": null, "note": "x"', "published[0].note: found the key twice; expected it once"),
        (
            '"temperature": 0.6',
            '"temperature": 1e999',
            "published[0].sampling.temperature: found Infinity; expected a number of 0 or more",
        ),
    ],
)
def test_what_a_json_parser_lets_through_is_named(old: str, new: str, expected: str) -> None:
    """A key that is there twice and a number beyond a float's range are seen and placed."""
    with pytest.raises(BaselineError) as caught:
        from_json(BASELINE_FILE, to_json(BASELINE_FILE, FILE).replace(old, new, 1), name="org/name.json")

    assert f"org/name.json: {expected} (format: baselines/README.md)" == str(caught.value)


@pytest.mark.usefixtures("usual_digits")
@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000], ids=["brackets", "digits"])
def test_hostile_text_is_an_error_like_any_other(text: str) -> None:
    """Nesting and digits beyond Python's limits do not end in a traceback of its own."""
    with pytest.raises(BaselineError, match=r"^org/name\.json: found JSON beyond what can be read"):
        from_json(BASELINE_FILE, text, name="org/name.json")


def test_newer_file_is_refused_before_its_keys_are_looked_at() -> None:
    """A newer schema version is refused before its unknown keys are."""
    with pytest.raises(BaselineError, match="update pytest-r1eval"):
        from_json(BASELINE_FILE, '{"schema_version": 2, "novelty": 1}', name="org/name.json")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: replace(PUBLISHED, pass_at_1=79.8), "pass_at_1 is 79.8; expected a number from 0 to 1"),
        (lambda: replace(PUBLISHED, pass_at_1=float("nan")), "pass_at_1 is nan; expected a number from 0 to 1"),
        (
            lambda: replace(PUBLISHED, rounding_unit=0.0),
            "rounding_unit is 0.0; expected a number above 0 and at most 1",
        ),
        (
            lambda: replace(PUBLISHED, samples_per_problem=0),
            "samples_per_problem is 0; expected a whole number of 1 or more",
        ),
        (lambda: replace(PUBLISHED, source=""), "source is ''; expected some text"),
        (
            lambda: replace(MEASURED, recorded=dt.datetime(2025, 1, 20)),  # noqa: DTZ001 (the mistake under test)
            "recorded is 2025-01-20 00:00:00; expected a date-time with its offset from UTC",
        ),
        (
            lambda: replace(MEASURED, counts=Counts.from_mapping({"a": (1, 2)})),
            "health.n_samples is 16; expected 2, the samples in counts",
        ),
        (
            lambda: HealthCounts(n_samples=2, n_truncated=3, n_no_answer=0, n_tokens=9),
            "n_truncated is 3; expected a whole number from 0 to 2",
        ),
        (lambda: BaselineFile(model="name"), "model is 'name'; expected org/name, as on the Hub"),
        (
            lambda: BaselineFile(model="org/name", published=(PUBLISHED, PUBLISHED)),
            'published[1]: found "aime24" from the source of published[0]; expected one entry per benchmark and source',
        ),
        (
            lambda: BaselineFile(model="org/name", measured=(MEASURED, MEASURED)),
            'measured[1]: found "smoke", the benchmark of measured[0]; expected one entry per benchmark',
        ),
    ],
)
def test_values_guard_themselves(make: Callable[[], object], expected: str) -> None:
    """Impossible values of a baseline are refused by its constructor too."""
    with pytest.raises(ValueError, match="expected") as caught:
        make()

    assert expected == str(caught.value)

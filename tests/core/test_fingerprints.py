"""Fingerprints name each difference, and know which of them no comparison survives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import pytest

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.codec import from_json, to_json
from pytest_r1eval.core.fingerprints import (
    MAX_NAMED_FILES,
    Difference,
    FileDigest,
    Fingerprint,
    Harness,
    ModelIdentity,
    Question,
    checkpoint_digest,
    prompts_digest,
)

FINGERPRINT = Fingerprint(
    model=ModelIdentity(weights="w", tokenizer="t", chat_template="c", checkpoint="all"),
    question=Question(exam="e", sampling=Sampling(), system_prompt=None, template_date="2025-01-01", prompts="p"),
    harness=Harness(
        engine="vllm 1", dtype="bfloat16", quantization=None, device="H100", n_devices=1, grader="lighteval 1"
    ),
)
QUESTION_CHANGES: dict[str, object] = {
    "exam": "other",
    "sampling": replace(Sampling(), temperature=0.7),
    "system_prompt": "",
    "think_tags": "<think>,</think>",
    "prompts": "other",
}
HARNESS_CHANGES: dict[str, object] = {
    "engine": "vllm 2",
    "dtype": "float32",
    "quantization": "fp8",
    "device": "H200",
    "n_devices": 2,
    "grader": "lighteval 2",
    "kv_cache": "fp8",
    "speculative": "ngram 4",
    "attention": "FLASHINFER",
    "is_batch_invariant": True,
}
JUDGED = {"weights": "new", "checkpoint": "new", "files": (FileDigest(name="config.json", digest="new"),)}
MODEL_CHANGES: dict[str, object] = {"tokenizer": "other", "chat_template": "other"}


def with_changed(part: str, name: str, value: object) -> Fingerprint:
    """Change one field of one part."""
    return replace(FINGERPRINT, **{part: replace(getattr(FINGERPRINT, part), **{name: value})})


def test_changes_below_cover_every_field() -> None:
    """The changes that this module tests cover every field of a fingerprint."""
    assert {field.name for field in fields(Question)} == {*QUESTION_CHANGES, "chat_template_kwargs", "template_date"}
    assert {field.name for field in fields(Harness)} == set(HARNESS_CHANGES)
    assert {field.name for field in fields(ModelIdentity)} == {*MODEL_CHANGES, *JUDGED}


def test_equal_fingerprints_do_not_differ() -> None:
    """Fingerprints with equal values in different objects do not differ."""
    copy = replace(FINGERPRINT, question=replace(FINGERPRINT.question, sampling=Sampling()))
    assert FINGERPRINT.differences(copy) == ()


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        *(("model", *change) for change in MODEL_CHANGES.items()),
        *(("question", *change) for change in QUESTION_CHANGES.items()),
        *(("harness", *change) for change in HARNESS_CHANGES.items()),
    ],
)
def test_one_changed_field_is_one_difference(part: str, name: str, value: object) -> None:
    """A changed field is one difference under its part's name, and only the question's fields forbid a comparison."""
    (difference,) = FINGERPRINT.differences(with_changed(part, name, value))

    whole = f"{part}.{name}"
    assert {"question.sampling": "question.sampling.temperature"}.get(whole, whole) == difference.field
    assert (part == "question") == difference.is_question


def test_what_people_read_of_a_harness() -> None:
    """A harness is read fact by fact: what is not the default is named, and what is does not appear."""
    plain = FINGERPRINT.harness
    changed = replace(
        plain, quantization="awq 4-bit", kv_cache="fp8", speculative="ngram 4", attention="X", is_batch_invariant=True,
        n_devices=2,
    )  # fmt: skip

    assert plain.facts == ("vllm 1", "bfloat16", "H100", "lighteval 1")
    assert "; ".join(changed.facts) == (
        "vllm 1; bfloat16; awq 4-bit; KV cache fp8; speculative ngram 4; attention X; batch-invariant; 2 x H100; "
        "lighteval 1"
    )


@pytest.mark.parametrize(("name", "value"), JUDGED.items())
def test_the_checkpoint_is_what_is_judged(name: str, value: object) -> None:
    """Another checkpoint is not a difference of fingerprints, because it is what is judged."""
    assert FINGERPRINT.differences(with_changed("model", name, value)) == ()


def identity(**digests: str) -> ModelIdentity:
    """Make the identity of a folder of these files; an underscore in a keyword is the dot of the file's name."""
    files = tuple(FileDigest(name=name.replace("_", "."), digest=digest) for name, digest in digests.items())
    return ModelIdentity(
        weights="w", tokenizer="t", chat_template="c", checkpoint=checkpoint_digest(files), files=files
    )


def test_changed_files_are_named() -> None:
    """Each file that changed, came or went is named, in the files' order."""
    before = identity(a_json="1", b_json="1", d_json="1")

    assert identity(a_json="1", b_json="1", d_json="1").changes_since(before) == ""
    assert identity(a_json="1", b_json="2", c_json="1").changes_since(before) == (
        "b.json changed, c.json is new, d.json is gone"
    )


def test_many_changed_files_are_counted() -> None:
    """A training step changes every shard; three are named and the rest is counted."""
    before, after = (identity(**{f"shard{number}": value for number in range(9)}) for value in ("1", "2"))

    expected = f"shard0 changed, shard1 changed, shard2 changed, and {9 - MAX_NAMED_FILES} more files"
    assert expected == after.changes_since(before)


def test_order_of_files_does_not_matter() -> None:
    """The digest of a checkpoint is that of its files in any order, and a renamed file changes it."""
    one, other = FileDigest(name="a", digest="1"), FileDigest(name="b", digest="2")

    assert checkpoint_digest([one, other]) == checkpoint_digest([other, one])
    assert checkpoint_digest([one, other]) != checkpoint_digest([one, replace(other, name="c")])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"weights": "v", "checkpoint": "other"}, "the digest of the weights was w and is v"),
        ({"checkpoint": "hub:b"}, "the digest of the whole checkpoint was hub:a and is hub:b"),
    ],
)
def test_a_model_on_the_hub_has_no_files_to_name(changed: dict[str, str], expected: str) -> None:
    """A change of a Hub model names the part whose digest differs, as there are no files to name."""
    before = ModelIdentity(weights="w", tokenizer="t", chat_template="c", checkpoint="hub:a")

    assert expected == replace(before, **changed).changes_since(before)  # type: ignore[arg-type]  # digests alone


def test_differences_come_in_the_fingerprints_order() -> None:
    """Differences come in the order model, question, harness."""
    other = Fingerprint(
        model=ModelIdentity(weights="w2", tokenizer="t2", chat_template="c", checkpoint="all2"),
        question=replace(FINGERPRINT.question, exam="e2"),
        harness=replace(FINGERPRINT.harness, engine="vllm 2", device="H200"),
    )

    expected = ["model.tokenizer", "question.exam", "harness.engine", "harness.device"]
    assert expected == [difference.field for difference in FINGERPRINT.differences(other)]


def test_question_alone_can_be_compared() -> None:
    """Two questions can be compared without the rest of their fingerprints."""
    ours = FINGERPRINT.question
    theirs = replace(ours, system_prompt="Be brief.")

    expected = (Difference(field="question.system_prompt", ours="None", theirs="Be brief."),)
    assert expected == ours.differences(theirs)
    assert ours.differences(ours) == ()


def test_samplings_differ_by_their_values() -> None:
    """Two samplings differ by the value that changed, not as a whole."""
    ours = replace(FINGERPRINT.question, sampling=Sampling(top_k=20))

    expected = (Difference(field="question.sampling.top_k", ours="20", theirs="0"),)
    assert expected == ours.differences(FINGERPRINT.question)
    assert expected[0].is_question


def test_a_date_matters_where_a_prompt_shows_it() -> None:
    """Another date that no template prints is the same question; one that changes the prompts is named with them."""
    ours = FINGERPRINT.question
    later = replace(ours, template_date="2026-01-01")

    assert ours == later
    assert ours.differences(later) == ()
    found = ours.differences(replace(later, prompts="other"))
    assert [difference.field for difference in found] == ["question.template_date", "question.prompts"]


def test_template_arguments_matter_as_the_date_does() -> None:
    """A baseline of equal prompts is of the same question, however its template was made to write them."""
    ours = FINGERPRINT.question
    given = replace(ours, chat_template_kwargs='{"enable_thinking": false}')

    assert ours.differences(given) == ()
    found = ours.differences(replace(given, prompts="other"))
    assert [difference.field for difference in found] == ["question.chat_template_kwargs", "question.prompts"]
    assert found[0].changes_prompts


def test_prompts_digest_covers_every_token_of_every_problem() -> None:
    """The order of the problems does not matter; a token, a problem or its name does."""
    prompts = {"a": (1, 23), "b": (4,)}

    assert prompts_digest(prompts) == prompts_digest({"b": [4], "a": [1, 23]})
    others: tuple[Mapping[str, Sequence[int]], ...] = (
        {"a": (12, 3), "b": (4,)},
        {"a": (1, 23)},
        {"a": (1, 23), "c": (4,)},
        {"a": (1, 23, 4), "b": ()},
    )
    assert len({prompts_digest(prompts), *map(prompts_digest, others)}) == 5


def test_difference_says_which_side_is_which() -> None:
    """A difference shows the baseline's value first and this run's second."""
    (difference,) = FINGERPRINT.differences(with_changed("harness", "device", "H200"))

    expected = "harness.device: H200 in the baseline, H100 here"
    assert expected == str(difference)


def test_a_harness_is_stored_as_it_is() -> None:
    """What is unusual about a harness survives its file, and what is usual is not in it."""
    usual = FINGERPRINT.harness
    unusual = replace(usual, kv_cache="fp8", speculative="ngram 4", attention="X", is_batch_invariant=True)

    assert from_json(Harness, to_json(Harness, unusual)) == unusual
    assert from_json(Harness, to_json(Harness, usual)) == usual
    assert {"kv_cache", "speculative", "attention", "is_batch_invariant"}.isdisjoint(
        json.loads(to_json(Harness, usual))
    )

"""Tests of programs as values: what makes two sets of them the same."""

from __future__ import annotations

import pytest

from pytest_r1eval.core.code_tests import CodeTests, from_lighteval_json, lighteval_json

TESTS = CodeTests(inputs=("1\n", "2\n"), outputs=("ä\n", "\u2028"), function="double")


def test_what_is_written_is_read_back() -> None:
    """Tests are read back as written, whatever their text holds."""
    assert from_lighteval_json(lighteval_json(TESTS)) == TESTS


@pytest.mark.parametrize(
    "other",
    [
        CodeTests(inputs=("2\n", "1\n"), outputs=TESTS.outputs, function="double"),
        CodeTests(inputs=TESTS.inputs, outputs=("a\n", "\u2028"), function="double"),
        CodeTests(inputs=TESTS.inputs, outputs=TESTS.outputs),
    ],
    ids=["order", "output", "function"],
)
def test_the_digest_tells_tests_apart(other: CodeTests) -> None:
    """Tests in another order, with another output or without their function, have another digest."""
    assert TESTS.digest != other.digest


@pytest.mark.parametrize(("inputs", "outputs"), [((), ()), (("1",), ()), (("1",), ("1", "2"))])
def test_each_input_has_one_output(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    """Tests without one output for each of at least one input are refused."""
    with pytest.raises(ValueError, match="expected one output for each of at least one input"):
        CodeTests(inputs=inputs, outputs=outputs)

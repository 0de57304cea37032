"""The longest context is the one that the engine takes."""

from __future__ import annotations

import pytest

from pytest_r1eval.checkpoints.context import longest_context

LENGTH = 1024


@pytest.mark.parametrize("name", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"rope_type": "linear", "factor": 4.0}, 4096),
        ({"type": "linear", "factor": 4}, 4096),
        ({"rope_type": "dynamic", "factor": 2.5}, 2560),
        ({"rope_type": "default"}, LENGTH),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}, LENGTH),
        ({"rope_type": "llama3", "factor": 8.0}, LENGTH),
        ({"type": "su", "factor": 8.0}, LENGTH),
        ({"rope_type": "longrope", "factor": 8.0}, LENGTH),
        ({"rope_type": "linear", "factor": None}, LENGTH),
        ({"rope_type": "linear", "factor": 0}, LENGTH),
        ({"rope_type": "linear", "factor": "4"}, LENGTH),
        ({"full_attention": {"rope_type": "linear", "factor": 4.0}, "sliding": {"rope_type": "default"}}, 4096),
        ([], LENGTH),
        (None, LENGTH),
    ],
)
def test_positions_that_rope_stretches(name: str, parameters: object, expected: int) -> None:
    """Linear and dynamic scaling multiply the stored length; YaRN, Llama 3 and LongRoPE have stored it multiplied."""
    assert expected == longest_context({"max_position_embeddings": LENGTH, name: parameters})


def test_scaling_belongs_to_the_part_that_has_the_length() -> None:
    """Scaling is read from the text model where there are several parts; Gemma 3 stores its length scaled."""
    text = {"max_position_embeddings": LENGTH, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}

    assert longest_context({"text_config": text}) == 8 * LENGTH
    assert longest_context({"text_config": {**text, "model_type": "gemma3_text"}}) == LENGTH
    assert longest_context({"rope_scaling": text["rope_scaling"], "text_config": {}}) is None

"""What is written as YAML is read again as it was."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_r1eval.k8s.manifests import Manifest
from pytest_r1eval.k8s.yaml import documents

TEXTS = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=12) | st.sampled_from(
    ["yes", "null", "1", "a: b", "# no", "- x", "", " leading", "two\nlines\n", "  indented\nlines\n", "open\nend"]
)
VALUES: st.SearchStrategy[Manifest] = st.recursive(
    TEXTS | st.integers(-5, 5) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=3), max_size=3))
def test_it_is_read_again_as_it_was(manifests: list[Manifest]) -> None:
    """Mappings, lists, numbers and texts of any printable characters survive YAML."""
    assert [*yaml.safe_load_all(documents(manifests))] == manifests


@pytest.mark.parametrize("script", ["a\nb\n", "if x; then\n  y\nfi\n", "a\n\n\tb\n"])
def test_a_script_is_a_literal_block(script: str) -> None:
    """A script of several lines is shown line by line."""
    text = documents([{"command": ["bash", script]}])
    assert "- |\n" in text
    assert yaml.safe_load(text) == {"command": ["bash", script]}

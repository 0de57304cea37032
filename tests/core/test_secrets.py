"""What of an environment is a secret, and what a line is without it."""

from __future__ import annotations

import sys

import pytest

from pytest_r1eval.cluster.slice_environment import slice_environment
from pytest_r1eval.core.secrets import redacted, without_secrets
from pytest_r1eval.scoring.pool import scoring_environment

TRACKERS = {
    "MLFLOW_TRACKING_URI": "http://mlflow.test",
    "MLFLOW_TRACKING_USERNAME": "ann",
    "MLFLOW_TRACKING_PASSWORD": "hidden-word",
    "WANDB_API_KEY": "0123456789abcdef",
    "WANDB_ENTITY": "acme",
    "TRACKIO_WRITE_TOKEN": "write-me-42",
    "TRACKIO_SPACE_ID": "acme/space",
    "DATABRICKS_HOST": "https://acme.test",
}
"""What trackers are configured by; some of it is secret by itself, all of it opens one together."""


@pytest.mark.parametrize("name", TRACKERS)
def test_no_model_sees_a_trackers_variable(name: str) -> None:
    """A tracker's variable reaches neither graders, which run a model's text, nor the jobs that sample."""
    environ = {"PATH": "/usr/bin", name: TRACKERS[name]}
    assert without_secrets(environ) == {"PATH": "/usr/bin"}
    assert name not in scoring_environment(environ, search_path=sys.path)
    assert name not in slice_environment(environ)


def test_a_line_is_printed_without_secrets() -> None:
    """A secret's value, a login in an address and a token of a known form are left out of a line; the rest stays."""
    token = f"hf_{'a' * 34}"
    line = f"401 for ann:hidden-word at http://ann:pw@mlflow.test/api with {token}, key 0123456789abcdef"
    assert redacted(line, TRACKERS) == "401 for ann:*** at http://***@mlflow.test/api with ***, key ***"


def test_a_short_value_is_no_reason_to_cut_words() -> None:
    """A value of a few characters, as a number of tokens is, stays where a line happens to hold it."""
    assert redacted("exit 32 of 640", {"MAX_TOKENS": "64"}) == "exit 32 of 640"

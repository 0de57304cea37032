"""`r1eval k8s render` as a user types it: YAML, JSON, and refusals in one line."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
import yaml

from pytest_r1eval.commands.cli import main

RENDER = ("k8s", "render", "--model", "org/model", "--benchmarks", "aime24,gpqa", "--image", "r:1", "--claim", "evals")


def test_yaml_and_json_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """The YAML and the JSON of the command are the same manifests, and options of pytest reach their Job."""
    options = ("--name", "gate", "--slices", "8", "--r1-samples", "aime24=16", "--r1-sigmas", "2")
    assert main([*RENDER, *options]) == 0
    rendered = [*yaml.safe_load_all(capsys.readouterr().out)]
    assert main([*RENDER, *options, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content == {"schema_version": 1, "name": "gate", "manifests": rendered}
    slices, judge = (manifest["spec"]["template"]["spec"]["containers"][0]["command"][2] for manifest in rendered)
    assert "-m 'aime24 or gpqa' --r1-samples aime24=16 " in slices
    assert "--r1-sigmas 2" in judge
    assert rendered[0]["spec"]["completions"] == 8


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--benchmarks", "aime2024"), "--benchmarks aime2024: no such benchmark"),
        (("--name", "A"), "--name 'A'; expected at most 51 small letters"),
        (("--workers", "many"), "--workers many; expected auto or a whole number"),
        (("--r1-gate", "sequential"), "--r1-gate sequential: looks need the samples of all nodes"),
        (("--r1-slice", "1/2"), "--r1-slice: the batch scripts decide that"),
    ],
)
def test_a_mistake_is_one_line(more: Sequence[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong benchmark, name or option is refused in one line, and nothing is printed."""
    code = main([*RENDER, *more])
    out, err = capsys.readouterr()
    assert (code, out, len(err.splitlines())) == (4, "", 1)
    assert words in err

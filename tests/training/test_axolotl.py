"""
The plugin for axolotl: loaded by its dotted name, with keys of its own and a callback on the trainer.

axolotl is not installed here. A module stands in for `axolotl.integrations.base`, with the methods of its `BasePlugin`
that the plugin overrides; `load_plugin` there is an import by name and a call without arguments.
"""
# ruff: noqa: E402 - need() skips this module where its packages are not here

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.requirements import TRANSFORMERS, need

need(TRANSFORMERS)

from pytest_r1eval.errors import PlanError
from pytest_r1eval.training.callback import R1EvalCallback
from tests.documents import blocks
from tests.training.trainers import gated_steps, trainer_in

pytestmark = pytest.mark.filterwarnings("default")  # torch's and transformers' own are not ours to repair

NAME = "pytest_r1eval.training.axolotl.R1EvalPlugin"


class BasePlugin:
    """axolotl's interface, by its public source."""

    def __init__(self) -> None:
        """Take nothing."""

    def get_input_args(self) -> str | None:
        """Name a pydantic model."""

    def add_callbacks_post_trainer(self, cfg: object, trainer: object) -> list[Any]:  # noqa: ARG002 - axolotl's
        """Return callbacks."""
        return []


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Load the plugin as axolotl's manager does, by its name."""
    for name in ("axolotl", "axolotl.integrations", "axolotl.integrations.base"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules["axolotl.integrations.base"], "BasePlugin", BasePlugin, raising=False)
    module, _, cls = NAME.rpartition(".")
    monkeypatch.delitem(sys.modules, module, raising=False)
    yield getattr(importlib.import_module(module), cls)()
    sys.modules.pop(module, None)


def test_its_keys_are_part_of_the_configuration(plugin: Any) -> None:  # noqa: ANN401 - what axolotl makes of a name
    """The plugin names a pydantic model whose only key is `r1eval`, and which axolotl's configuration inherits."""
    module, _, cls = plugin.get_input_args().rpartition(".")
    model = getattr(importlib.import_module(module), cls)
    assert [*model.model_fields] == ["r1eval"]
    assert model(r1eval={"benchmarks": ["smoke"]}).r1eval == {"benchmarks": ["smoke"]}
    assert model().r1eval is None


def test_each_checkpoint_is_judged(
    plugin: Any,  # noqa: ANN401 - the same
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A trainer with the plugin's callback judges every checkpoint by the configuration's keys."""
    monkeypatch.chdir(tmp_path)
    trainer = trainer_in(tmp_path, max_steps=4)
    cfg = {"r1eval": {"benchmarks": ["smoke"], "engine": "replay", "gpus": [], "when_busy": "queue"}}
    (callback,) = plugin.add_callbacks_post_trainer(cfg, trainer)
    assert isinstance(callback, R1EvalCallback)
    trainer.add_callback(callback)
    trainer.train()
    assert gated_steps(trainer) == [2, 4]


def test_the_documented_configuration_is_taken(plugin: Any, tmp_path: Path) -> None:  # noqa: ANN401 - the same
    """The configuration of the documents loads the plugin by its name, and gives a callback."""
    (block,) = (block for block in blocks("yaml") if "plugins:" in block.text)
    cfg = yaml.safe_load(block.text)
    assert cfg["plugins"] == [NAME]
    (callback,) = plugin.add_callbacks_post_trainer(cfg, trainer_in(tmp_path, max_steps=1))
    assert isinstance(callback, R1EvalCallback)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (None, r"no benchmarks; expected r1eval: \{benchmarks: \[aime24\]\}"),
        ({"benchmarks": ["smoke"], "sigma": 3}, "r1eval in axolotl's configuration: .* no option 'sigma'"),
        ({"benchmarks": ["aime2024"]}, "no such benchmark"),
        ({"benchmarks": ["smoke"], "ray": {"nodes": 2}}, "r1eval in axolotl's configuration: .* argument 'nodes'"),
        ({"benchmarks": ["smoke"], "ray": {"slices": 2}, "slurm": {}}, "slurm and ray are both given"),
    ],
)
def test_a_mistake_is_found_before_the_training(
    plugin: Any,  # noqa: ANN401 - the same
    tmp_path: Path,
    asked: dict[str, Any] | None,
    words: str,
) -> None:
    """A configuration without benchmarks, or with an unknown key, is refused before the training."""
    with pytest.raises(PlanError, match=words):
        plugin.add_callbacks_post_trainer({"r1eval": asked}, trainer_in(tmp_path, max_steps=1))

"""Weights that are loaded in place are compared with their files, by real modules of torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_r1eval.engines.in_place import WeightsInPlace
from tests.requirements import TORCH, need

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

pytestmark = TORCH.mark


def model_of(*, n_rows: int = 6) -> Module:
    """Make a model with embeddings, which are padded, a norm, and a matrix that no file has under its name."""
    need(TORCH)
    import torch  # noqa: PLC0415 - where it is installed

    model = torch.nn.Module()
    model.embed = torch.nn.Embedding(n_rows, 3)
    model.norm = torch.nn.LayerNorm(3, bias=False)
    model.fused = torch.nn.Linear(3, 6, bias=False)
    return model.requires_grad_(requires_grad=False)


class Packing:
    """A method of a layer that keeps a packed copy of its weight, as vLLM's does on a CPU."""

    def process_weights_after_loading(self, module: Module) -> None:
        """Copy the weight."""
        module.cpu_linear = module.get_parameter("weight").clone()


class Loading(WeightsInPlace):
    """A worker that loads what it is given, but for what it misses."""

    def __init__(self, model: Module, *, misses: str | None = None) -> None:
        self.model = model
        self.misses = misses
        self.model_runner = self

    def get_model(self) -> Module:
        """Return the model."""
        return self.model

    def reload_weights(self, *, weights_iterator: Iterator[tuple[str, Tensor]]) -> None:
        """Copy tensors into parameters of their names."""
        parameters = dict(self.model.named_parameters())
        for name, tensor in weights_iterator:
            if name in parameters and name != self.misses:
                parameters[name][: len(tensor)].copy_(tensor)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Write weights: five rows of embeddings and a norm, and parts of what a model fuses."""
    need(TORCH)
    import torch  # noqa: PLC0415 - where it is installed
    from safetensors.torch import save_file  # noqa: PLC0415 - with torch

    chance = torch.Generator().manual_seed(3)
    shapes = {"embed.weight": (5, 3), "norm.weight": (3,), "query": (3, 3), "key": (3, 3)}
    path = tmp_path / "model.safetensors"
    save_file({name: torch.randn(shape, generator=chance) for name, shape in shapes.items()}, path)
    return str(path)


def test_what_is_loaded_is_compared(file: str) -> None:
    """Parameters that are stored under their own names are compared, but for padding rows and fused ones."""
    assert Loading(model_of()).r1eval_load_in_place([file]) == (2, [])


def test_a_parameter_that_keeps_its_old_values_is_named(file: str) -> None:
    """A parameter that the engine passes over without an error is named."""
    assert Loading(model_of(), misses="norm.weight").r1eval_load_in_place([file]) == (2, ["norm.weight"])


def test_a_model_of_other_names_is_not_compared(file: str) -> None:
    """Where no parameter is stored under its own name or shape, nothing is compared, and the count says so."""
    assert Loading(model_of(n_rows=4).embed).r1eval_load_in_place([file]) == (0, [])


def test_a_head_that_shares_its_weights_is_packed_again(file: str) -> None:
    """A head with the weights of the embeddings packs the new ones, where the engine renews the embeddings alone."""
    model: Any = model_of()
    model.head = type(model.fused)(3, 6, bias=False)
    model.head.weight = model.embed.weight
    model.head.quant_method = Packing()
    model.head.quant_method.process_weights_after_loading(model.head)
    before = model.head.cpu_linear
    Loading(model).r1eval_load_in_place([file])
    assert not before.equal(model.embed.weight)
    assert model.head.cpu_linear.equal(model.embed.weight)

"""
Weights that vLLM's worker loads in place of those it has, and compares with their files.

vLLM mixes `WeightsInPlace` into its worker, where `collective_rpc` calls it. It does three things that vLLM 0.32 leaves
out. vLLM logs a parameter that it did not load, and answers with the old one; this compares what the model holds with
the files. On a CPU, vLLM keeps the packed copy of a head that shares its weights with the embeddings; this packs it
again. And vLLM looks for files by patterns; this reads those that were inspected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, Parameter

METHOD = "r1eval_load_in_place"
"""What `collective_rpc` calls."""
EXTENSION = f"{__name__}.WeightsInPlace"


class WeightsInPlace:
    """A base class of vLLM's worker: it has the worker's own methods."""

    model_runner: Any
    reload_weights: Any

    def r1eval_load_in_place(self, files: Sequence[str]) -> tuple[int, list[str]]:
        """
        Load other weights of the same layout.

        Args:
            files: The safetensors files that hold them.

        Returns:
            How many parameters were compared with their files, and the names of those that differ.
        """
        self.reload_weights(weights_iterator=_tensors(files))
        model = self.model_runner.get_model()
        _pack_shared_weights(model)
        return _compared(model, files)


def _tensors(files: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Read tensors by name, one after the other."""
    from safetensors import safe_open  # noqa: PLC0415 - only vLLM's worker has torch

    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                yield name, file.get_tensor(name)


def _pack_shared_weights(model: Module) -> None:
    """Make what a CPU packs of a parameter again where two modules share it: vLLM did so for the first one alone."""
    owners: dict[int, list[Module]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(module)
    for modules in owners.values():
        for module in modules if len(modules) > 1 else ():
            method: Any = getattr(module, "quant_method", None)
            if hasattr(module, "cpu_linear") and method is not None:
                method.process_weights_after_loading(module)


def _compared(model: Module, files: Sequence[str]) -> tuple[int, list[str]]:
    """Compare what is stored under a parameter's own name: not parameters that vLLM fuses, nor those that it packs."""
    parameters = dict(model.named_parameters())
    n_compared, differing = 0, []
    for name, tensor in _tensors(files):
        held = _rows_like(parameters.get(name), tensor)
        if held is None:
            continue
        n_compared += 1
        if not bool((held == tensor.to(device=held.device, dtype=held.dtype)).all()):
            differing.append(name)
    return n_compared, differing


def _rows_like(parameter: Parameter | None, tensor: Tensor) -> Tensor | None:
    """Return a parameter without the rows by which vLLM pads a vocabulary; None where it has another shape."""
    if parameter is None or parameter.ndim != tensor.ndim or parameter.shape[1:] != tensor.shape[1:]:
        return None
    return None if parameter.shape[0] < tensor.shape[0] else parameter[: tensor.shape[0]]

"""
The callback for axolotl, as a plugin of its configuration.

    plugins:
      - pytest_r1eval.training.axolotl.R1EvalPlugin
    r1eval:
      benchmarks: [aime24]
      gpus: [7]
      on_regression: stop

What is below `r1eval` are keywords of `R1EvalCallback`, with each option of the command line by its name.

Only axolotl loads this module, and the package does not require axolotl. The interface is that
of `BasePlugin` in axolotl 0.19.0, src/axolotl/integrations/base.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from axolotl.integrations.base import BasePlugin  # it is there when this is loaded
from pydantic import BaseModel
from transformers import Trainer, TrainerCallback

from pytest_r1eval.errors import PlanError
from pytest_r1eval.training.callback import R1EvalCallback, RayPlace, SlurmPlace


class R1EvalArgs(BaseModel):  # type: ignore[misc]  # skipped: not every environment has it
    """What the plugin adds to axolotl's configuration."""

    r1eval: dict[str, Any] | None = None


class R1EvalPlugin(BasePlugin):  # type: ignore[misc]  # axolotl says nothing of its types
    """Adds a gate for every checkpoint."""

    def get_input_args(self) -> str:
        """Name the class of the configuration's own keys."""
        return f"{R1EvalArgs.__module__}.{R1EvalArgs.__qualname__}"

    def add_callbacks_post_trainer(self, cfg: Mapping[str, Any], trainer: Trainer) -> list[TrainerCallback]:
        """
        Return the callback that the configuration describes.

        Raises:
            PlanError: If it names no benchmarks, or has an unknown key.
        """
        asked = dict(cfg.get("r1eval") or {})
        if not asked.get("benchmarks"):
            raise PlanError(
                "axolotl's configuration has the plugin of pytest-r1eval and no benchmarks; expected r1eval: "
                "{benchmarks: [aime24]}"
            )
        try:
            for name, place in (("slurm", SlurmPlace), ("ray", RayPlace)):
                if name in asked:
                    asked[name] = place(**asked[name] or {})
            return [R1EvalCallback(trainer, **asked)]
        except TypeError as error:
            raise PlanError(f"r1eval in axolotl's configuration: {error}") from error

"""
Whether a run and its baseline are two pieces of evidence, or one counted twice.

A checkpoint that is compared with its own samples always passes, and such a PASS says
nothing. The same weights under another seed are new samples: they say that the harness
still gives the same answers, and nothing about a change of the model.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_r1eval.core.fingerprints import ModelIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """
    What decides the samples that a number rests on.

    Attributes:
        model: Digests of the checkpoint.
        seeds: Seeds of the runs whose samples are counted.
    """

    model: ModelIdentity
    seeds: tuple[int, ...]

    def overlaps(self, other: Evidence) -> bool:
        """Whether some of the samples are drawn twice: the same checkpoint under a common seed."""
        return self.model == other.model and self.shares_draws(other)

    def shares_draws(self, other: Evidence) -> bool:
        """Whether some samples are of the same weights under a common seed, beside whatever files."""
        return self.shares_weights(other) and not set(self.seeds).isdisjoint(other.seeds)

    def shares_weights(self, other: Evidence) -> bool:
        """Whether both are draws of the same weights."""
        return self.model.weights == other.model.weights

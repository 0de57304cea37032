"""
How long a context a model takes, by its config.json, as vLLM reads it.

A shorter length than the engine's own refuses runs that would go, and a longer one
ends in the engine's words. References:
    .. [1] ``_get_and_verify_max_len`` of vllm/config/model.py, vLLM 0.32.0.
"""

from collections.abc import Iterator, Mapping

from pytest_r1eval.checkpoints.files import levels_of

_UNSCALED = frozenset({"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"})
"""RoPE types whose ``max_position_embeddings`` is the length after scaling; all others multiply it by their factor."""


def longest_context(config: Mapping[str, object]) -> int | None:
    """
    Return the tokens that prompt and response may have together; None where the config does not say.

    Args:
        config: The content of config.json; models of several parts have the text model's in ``text_config``.
    """
    for level in levels_of(config):
        length = level.get("max_position_embeddings")
        if isinstance(length, int) and not isinstance(length, bool):
            return int(length * _factor(level))
    return None


def _factor(config: Mapping[str, object]) -> float:
    """Return by what RoPE stretches the positions; one number for all layers, and 1 where it is stored stretched."""
    if "gemma3" in str(config.get("model_type")):
        return 1.0
    factor = 1.0
    for parameters in _rope_parameters(config):
        given = parameters.get("factor")
        is_scaled = parameters.get("rope_type", parameters.get("type")) not in _UNSCALED
        if is_scaled and isinstance(given, int | float) and not isinstance(given, bool) and given > 0:
            factor = float(given)
    return factor


def _rope_parameters(config: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Return the RoPE settings, under the newer or the older name, once for all layers or for each kind of them."""
    found = config.get("rope_scaling") or config.get("rope_parameters")
    if not isinstance(found, Mapping):
        return
    nested = [each for each in found.values() if isinstance(each, Mapping)]
    yield from nested or [found]

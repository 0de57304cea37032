"""
How a checkpoint wants to be sampled: its generation_config.json, read as vLLM's server reads it.

What the file does not name changes nothing: no top-k of 50, which transformers would add. ``"do_sample": false`` is
temperature 0, whatever temperature is beside it. Lengths in it are examples of its author and do not count.
"""

import json
from pathlib import Path
from typing import Any

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.errors import ModelError

FILE = "generation_config.json"
_NEUTRAL = {"temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0}
_NAMES = ("temperature", "top_p", "top_k", *list(_NEUTRAL)[2:])
_ALL_TOKENS = -1
"""Another spelling of 0 for top-k."""
_ADVICE = "Give the values as options (--r1-temperature, --r1-top-p, --r1-top-k), or drop --r1-sampling model"


def recommended_sampling(folder: Path, *, model: str) -> Sampling:
    """
    Return the sampling that a checkpoint recommends.

    Args:
        folder: Where its small files are.
        model: Its name, for messages.

    Raises:
        ModelError: If there is no such file, it recommends nothing, or a value cannot be.
    """
    content = _content(folder / FILE, model=model)
    named = {name: value for name in _NAMES if (value := content.get(name)) is not None}
    if content.get("do_sample") is False:
        named["temperature"] = 0.0
    if not named:
        raise ModelError(
            f"--r1-sampling model: {FILE} of {model} recommends no sampling; expected some of {', '.join(_NAMES)}. "
            f"{_ADVICE}"
        )
    numbers = {name: _number(name, value, model=model) for name, value in named.items()}
    top_k = int(numbers.pop("top_k", 0))
    values: dict[str, Any] = _NEUTRAL | numbers
    try:
        return Sampling(**values, top_k=0 if top_k == _ALL_TOKENS else top_k)
    except ValueError as error:
        raise _refused(model, str(error)) from error


def _number(name: str, value: object, *, model: str) -> float:
    """Take a number; as a float, because 1 and 1.0 are one question."""
    kind, expected = (int, "a whole number") if name == "top_k" else (int | float, "a number")
    if isinstance(value, bool) or not isinstance(value, kind):
        raise _refused(model, f"{name} is {json.dumps(value)}; expected {expected}")
    return float(value)


def _content(path: Path, *, model: str) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"--r1-sampling model: {model} has no {FILE}; expected the file that recommends a sampling. {_ADVICE}"
        ) from error
    except (OSError, ValueError) as error:
        raise _refused(model, f"it cannot be read ({type(error).__name__}); expected a JSON object") from error
    if not isinstance(content, dict):
        raise _refused(model, f"it holds a JSON {type(content).__name__}; expected an object")
    return content


def _refused(model: str, what: str) -> ModelError:
    return ModelError(f"--r1-sampling model: {FILE} of {model}: {what}. {_ADVICE}")

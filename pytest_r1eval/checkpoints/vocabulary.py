"""What was added to a tokenizer's vocabulary, and what of it is special, read from its files without loading it."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pytest_r1eval.checkpoints.files import json_member


def added_tokens(folder: Path) -> Mapping[str, bool]:
    """
    Return each added token of a checkpoint, and whether decoders leave it out by default.

    A file that is missing, or is not a tokenizer's, adds nothing: what loads the tokenizer says what is wrong with it.
    """
    found: dict[str, bool] = {}
    for token in _listed(folder):
        content = token.get("content", token.get("token_str"))
        if isinstance(content, str):
            found[content] = bool(token.get("special", token.get("is_control", False)))
    return found


def _listed(folder: Path) -> Iterator[Mapping[str, object]]:
    """List the entries of tokenizer_config.json, tokenizer.json and tekken.json; a later file goes before."""
    configured = json_member(folder / "tokenizer_config.json", "added_tokens_decoder")
    yield from _objects(configured.values() if isinstance(configured, dict) else ())
    for name, key in (("tokenizer.json", "added_tokens"), ("tekken.json", "special_tokens")):
        listed = json_member(folder / name, key)
        yield from _objects(listed if isinstance(listed, list) else ())


def _objects(entries: Iterable[object]) -> Iterator[Mapping[str, object]]:
    yield from (entry for entry in entries if isinstance(entry, dict))

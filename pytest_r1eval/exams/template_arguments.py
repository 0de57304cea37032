"""
Whether the arguments that a user gives to a chat template do anything, asked before an engine starts.

A template ignores what it does not read: a misspelt ``enable_thinkin=false`` would judge a model that thinks, under the
name of one that does not. So a prompt is rendered with each argument and without it. transformers imports torch, which
reads environment variables that a worker sets later; so a process of its own asks.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_r1eval.core.secrets import without_secrets
from pytest_r1eval.errors import ModelError, in_one_line, last_words
from pytest_r1eval.exams import prompts

_PROGRAM = "from pytest_r1eval.exams.template_arguments import main; main()"
_QUESTION = "What is 1 + 1?"
_ALWAYS_THERE = frozenset({"messages", "add_generation_prompt", "bos_token", "eos_token", "raise_exception"})
"""What templates read that no user gives."""


def check_template_arguments(
    folder: Path, *, model: str, arguments: Mapping[str, Any], system_prompt: str | None
) -> None:
    """
    Refuse an argument without which the prompts are the same.

    Args:
        folder: Where the tokenizer is.
        model: The checkpoint's name, for messages.
        arguments: What the user gives.
        system_prompt: Put before the problem where given.

    Raises:
        ModelError: If there is one, or the template cannot be rendered with them.
    """
    asked = json.dumps({"folder": str(folder), "arguments": arguments, "system_prompt": system_prompt})
    environment = without_secrets(os.environ) | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-P", "-c", _PROGRAM],
        input=asked,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        why = last_words(done.stderr, exit_code=done.returncode)
        raise ModelError(f"{model}: --r1-chat-template-kwargs could not be tried ({why}); expected a rendered prompt")
    found = json.loads(done.stdout)
    if found["error"]:
        raise ModelError(found["error"])
    if found["idle"]:
        key = found["idle"][0]
        read = f" ({', '.join(found['read'])})" if found["read"] else ""
        raise ModelError(
            f"--r1-chat-template-kwargs {key}={json.dumps(arguments[key])} does nothing: the prompts of {model} are "
            f"the same with and without it; expected one that its chat template reads{read}. Check its spelling, or "
            "drop it"
        )


def main() -> None:
    """Read a question from standard input, and write which arguments do nothing to standard output."""
    asked = json.load(sys.stdin)
    answer: dict[str, object] = {"error": None}
    try:
        answer |= _tried(asked["folder"], asked["arguments"], system_prompt=asked["system_prompt"])
    except ModelError as error:
        answer["error"] = str(error)
    json.dump(answer, sys.stdout)


def _tried(folder: str, arguments: dict[str, Any], *, system_prompt: str | None) -> dict[str, list[str]]:
    tokenizer = prompts.tokenizer_of(folder, revision=None)
    system = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
    messages = [*system, {"role": "user", "content": _QUESTION}]

    def rendered(given: Mapping[str, Any]) -> object:
        try:
            return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **given)
        except Exception as error:  # a template is a program of the model's author and may raise anything
            raise ModelError(
                f"{folder}: its chat template cannot be rendered with {json.dumps(given)} ({in_one_line(error)}); "
                "expected arguments that it takes. Check --r1-chat-template-kwargs"
            ) from error

    whole = rendered(arguments)
    idle = [key for key in arguments if rendered({name: arguments[name] for name in arguments if name != key}) == whole]
    return {"idle": idle, "read": _variables(tokenizer.get_chat_template()) if idle else []}


def _variables(template: str) -> list[str]:
    """Name what a template reads; nothing where it is written in more than Jinja's own words."""
    from jinja2 import TemplateError, meta  # noqa: PLC0415 - transformers brings it, and only it needs it
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - the same

    try:
        parsed = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
    except TemplateError:
        return []
    return sorted(meta.find_undeclared_variables(parsed) - _ALWAYS_THERE)

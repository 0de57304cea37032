"""
The parts of the reference that the package itself knows: a hook of MkDocs writes them when the site is built.

Nothing here is pasted: options come from the table in `config.options`, commands from `r1eval --help`, exams from
`core.built_in`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import typer.main

from pytest_r1eval.commands.cli import application
from pytest_r1eval.config.option import Option
from pytest_r1eval.config.options import OPTIONS
from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.built_in import BUILT_IN
from pytest_r1eval.stats.tests import Design, minimum_detectable_effect


def on_page_markdown(markdown: str, **_: Any) -> str:  # noqa: ANN401 - what MkDocs hands to a hook
    """Put each generated part in its marker's place."""
    for marker, made in PARTS.items():
        if (found := f"<!-- {marker} -->") in markdown:
            markdown = markdown.replace(found, made())
    return markdown


def options() -> str:
    """Return the table of options."""
    rows = (_row(_usage(option), _code(option.default), _phase(option), _escaped(option.help)) for option in OPTIONS)
    return "\n".join([_row("option", "default", "phase", "what it does"), "|---|---|---|---|", *rows])


def _phase(option: Option) -> str:
    return f"{option.phase}, policy" if option.policy == "set" else option.phase


def exams() -> str:
    """Return the table of the benchmarks that ship."""
    head = ("mark", "data set", "problems", "samples", "sees", "what grades it", "what it shows")
    return "\n".join([_row(*head), "|---|---|---|---|---|---|---|", *filter(None, map(_exam, BUILT_IN))])


def _exam(benchmark: Benchmark) -> str:
    card = benchmark.card
    if card is None:
        return ""
    where = f"https://huggingface.co/datasets/{card.dataset}/tree/{benchmark.revision}"
    source = f"[{card.dataset}]({where}) at `{(benchmark.revision or '')[:8]}`"
    numbers = (str(card.n_problems), str(benchmark.samples_per_problem), _fall(benchmark))
    return _row(_code(benchmark.mark), source, *numbers, card.grading, card.shows)


def _fall(benchmark: Benchmark) -> str:
    """Return the fall that standard samples on both sides show; nothing is guessed where the spread is not known."""
    if benchmark.planning is None:
        return "from your first baseline"
    k = benchmark.samples_per_problem
    design = Design.from_planning(benchmark.planning, n_samples=k, n_baseline_samples=k)
    return f"{100 * minimum_detectable_effect(design):.1f} points"


def commands() -> str:
    """Return a section for each command of `r1eval`, with its help."""
    app = application()
    app.rich_markup_mode = None  # plain text: the site draws its own boxes
    command = typer.main.get_command(app)
    return "\n".join(
        f"## r1eval {' '.join(words)}\n\n```text\n{_help(command, words)}\n```\n" for words in _leaves(command)
    )


def _leaves(command: Any, *, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:  # noqa: ANN401 - typer exports no type
    children: Mapping[str, Any] = getattr(command, "commands", {})
    if not children:
        yield words
    for word, child in children.items():
        yield from _leaves(child, words=(*words, word))


def _help(command: Any, words: Sequence[str]) -> str:  # noqa: ANN401 - see _leaves
    with redirect_stdout(io.StringIO()) as printed:
        command(args=[*words, "--help"], prog_name="r1eval", standalone_mode=False)
    return printed.getvalue().strip()


def _usage(option: Option) -> str:
    """Write an option and its value, each in code of its own: a narrow column breaks the line between them."""
    values = "|".join(option.choices or ()) or option.metavar
    value = f"[{values}]" if option.is_bare_allowed else "" if option.is_flag else values
    repeated = " ..." if option.is_repeatable else ""
    return f"{_code(option.flag)} {_code(f'{value}{repeated}'.strip())}".strip()


def _row(*cells: str) -> str:
    return f"| {' | '.join(' '.join(cell.split()) for cell in cells)} |"


def _escaped(text: str) -> str:
    """Keep a text in its cell; in code a bar needs no escape."""
    return text.replace("|", "\\|")


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


PARTS: Mapping[str, Callable[[], str]] = {"options": options, "commands": commands, "exams": exams}

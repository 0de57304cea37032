"""
One self-contained HTML page for a run: verdict first, pictures as SVG, and the samples to read.

Decisions:

- Nothing is loaded from anywhere, and the content security policy says so; the one style sheet and the one script are
  allowed by their hashes, so that whatever a model wrote can neither run nor fetch.
- What a model wrote is escaped, or set as text by the script. It is shown as it is, control characters as pictures.
- A page holds a bounded number of samples: first those that say why a gate is red, then some of every problem.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pytest_r1eval.core.records import FinishReason, Outcome, Sample
from pytest_r1eval.reports import charts
from pytest_r1eval.reports.terminal import TABLE_HEAD, family_words, gate_row, gate_words, health_words
from pytest_r1eval.run_reports import GateReport, RunReport, outcomes_of, samples_at

_HERE = Path(__file__).parent
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters and those that turn the direction of text around."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """
    How many samples a page carries, and how much of each.

    Attributes:
        n_samples: Samples for each benchmark; 0 for none.
        n_characters: Characters of a response; the middle of a longer one is left out, and the page says so.
    """

    n_samples: int = 300
    n_characters: int = 6000


def page(report: RunReport, *, embedding: Embedding | None = None) -> str:
    """
    Write a run's page.

    Args:
        report: The run.
        embedding: Which samples it carries; None for the usual ones.

    Raises:
        StoreError: If the samples cannot be read.
    """
    chosen = Embedding() if embedding is None else embedding
    harness = "; ".join(f"{one.engine}, {one.dtype}, {one.device}, {one.grader}" for one in report.harnesses)
    origin = f"run {report.run.name}, {report.header.created}, seed {report.header.seed}; {harness}"
    body = [
        "<header>",
        f'<p class="soft">May this checkpoint ship?</p><h1>{_text(report.header.model_name)}</h1>',
        f'<p class="answer">{_answer(report)}</p>',
        f'<p class="soft">{_text(origin)}</p></header><main>',
        _summary(report),
        *(_section(report, gate, embedding=chosen) for gate in report.gates),
        "</main>",
    ]
    return document(f"{report.header.model_name}: {_plain_answer(report)}", body)


def document(title: str, body: Iterable[str]) -> str:
    """Wrap a body into a page that loads nothing and runs nothing but our one script."""
    style, script = (_HERE / "page.css").read_text("utf-8"), (_HERE / "page.js").read_text("utf-8")
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{style}</style></head><body>{''.join(body)}"
        f"<script>{script}</script></body></html>\n"
    )


def _answer(report: RunReport) -> str:
    kind = "pass" if report.passes else "fail_regressed"
    return f'<span class="verdict {kind}">{_plain_answer(report)}</span>'


def _plain_answer(report: RunReport) -> str:
    if report.passes:
        return "Yes: every gate is green."
    red = [gate.result.benchmark for gate in report.gates if not gate.result.passes]
    return f"No: {', '.join(red)} {'is' if len(red) == 1 else 'are'} not green."


def _summary(report: RunReport) -> str:
    head = "".join(f'<th scope="col"{_number_class(name)}>{_text(name)}</th>' for name in TABLE_HEAD)
    rows = []
    for gate in report.gates:
        cells = gate_row(gate.result)
        shown = [f"<td{_number_class(name)}>{_text(cell)}</td>" for name, cell in zip(TABLE_HEAD, cells, strict=True)]
        shown[0] = f'<th scope="row"><a href="#{_text(gate.result.benchmark)}">{_text(cells[0])}</a></th>'
        shown[-1] = f'<td><span class="verdict {gate.verdict.value}">{_text(cells[-1])}</span></td>'
        rows.append(f"<tr>{''.join(shown)}</tr>")
    family = " ".join(family_words([gate.result for gate in report.gates]))
    caption = f"pass@1 in points, with the standard error on these problems. {family}"
    table = f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return _scrolling(table, label="Verdicts")


def _scrolling(table: str, *, label: str) -> str:
    """Let a table scroll in a box of its own where the screen is narrow; the keyboard reaches it."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(label)}"><table>{table}</table></div>'


def _number_class(name: str) -> str:
    return "" if name in {"benchmark", "verdict"} else ' class="number"'


def _section(report: RunReport, gate: GateReport, *, embedding: Embedding) -> str:
    result = gate.result
    first, *words, next_step = gate_words(result)
    health = health_words(result)
    name = _text(result.benchmark)
    verdict = f'<span class="verdict {gate.verdict.value}">{gate.verdict.name}</span>'
    parts = [
        f'<section aria-labelledby="{name}"><h2 id="{name}">{name} {verdict}</h2>',
        f"<p>{_text(first.partition('. ')[2])}</p>",
        f'<p class="next">{_text(_sentence(next_step))}</p>',
        *(f'<p class="soft">{_text(word.strip())}</p>' for word in (*words, *health)),
        *_pictures(gate),
        _problem_table(gate),
        _viewer(report, gate, embedding=embedding),
        "</section>",
    ]
    return "".join(parts)


def _sentence(words: str) -> str:
    """Begin with a capital letter; what follows may be a path and stays as it is."""
    stripped = words.strip()
    return stripped[:1].upper() + stripped[1:]


def _pictures(gate: GateReport) -> Iterator[str]:
    rows = charts.gate_estimates(gate)
    if rows:
        yield "<h3>pass@1</h3>"
        caption = "Thick: the error on these problems, which the gate uses. Thin: the error over exams like this one."
        yield _figure(charts.estimates(rows), caption)
    plan = gate.result.sequential_plan
    if plan is not None and any(look.z is not None for look in gate.looks):
        yield "<h3>The looks of the sequential gate</h3>"
        drawn = charts.looks(gate.looks, plan.ks, plan.fail_bounds, plan.pass_bounds)
        yield _figure(drawn, "In the upper area a look passes, in the lower one it fails; between them more is drawn.")
    if gate.problems:
        yield "<h3>Problems</h3>"
        has_baseline = any(problem.baseline is not None for problem in gate.problems)
        halves = " Lower left this run, upper right the baseline; framed: fell." if has_baseline else ""
        yield _figure(charts.heat_map(gate.problems), f"A square for each problem, green where it is solved.{halves}")
    if gate.lengths.stopped or gate.lengths.cut_off:
        yield "<h3>Length of the responses</h3>"
        yield _figure(
            charts.lengths(gate.lengths), "Tokens, on a logarithmic axis. Orange: cut off at the token limit."
        )


def _figure(picture: str, caption: str) -> str:
    return f"<figure>{picture}<figcaption>{_text(caption)}</figcaption></figure>"


def _problem_table(gate: GateReport) -> str:
    if not gate.problems:
        return ""
    shown = sorted(gate.problems, key=lambda problem: not problem.has_fallen)[:_MAX_TABLE_ROWS]
    rows = []
    for problem in shown:
        base = problem.baseline
        before = "-" if base is None else f"{base.n_correct} of {base.n_samples}"
        fell = "fell" if problem.has_fallen else ""
        rows.append(
            f'<tr><th scope="row">{_text(problem.id)}</th><td class="number">{problem.n_correct} of '
            f'{problem.n_samples}</td><td class="number">{before}</td><td>{fell}</td></tr>'
        )
    hidden = len(gate.problems) - len(shown)
    more = f" ({hidden} more are in the run)" if hidden else ""
    table = (
        f'<caption>Correct samples{more}</caption><thead><tr><th scope="col">problem</th>'
        '<th scope="col" class="number">this run</th><th scope="col" class="number">baseline</th>'
        f'<th scope="col">change</th></tr></thead><tbody>{"".join(rows)}</tbody>'
    )
    return (
        f"<details><summary>The numbers, problem by problem</summary>"
        f"{_scrolling(table, label=f'Problems of {gate.result.benchmark}')}</details>"
    )


_MAX_TABLE_ROWS = 200
_FILTERS = {"all": "all", "wrong": "not correct", "fell": "fell", "truncated": "truncated", "no_answer": "no answer"}
_PARTS = {"problem": "problem", "answer": "extracted answer", "gold": "right answer", "response": "response"}


def _viewer(report: RunReport, gate: GateReport, *, embedding: Embedding) -> str:
    k = gate.result.samples_per_problem
    if k is None or not embedding.n_samples or not gate.result.n_samples:
        return ""
    name = _text(gate.result.benchmark)
    chosen, n_all = _chosen(report, gate, k=k, n_samples=embedding.n_samples)
    rows = [_embedded(sample, gate, n_characters=embedding.n_characters) for sample in chosen]
    data = json.dumps(rows, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    buttons = "".join(
        f'<button type="button" data-filter="{key}" aria-pressed="{str(key == "all").lower()}">{label}</button>'
        for key, label in _FILTERS.items()
    )
    left_out = "" if len(chosen) == n_all else f" The page carries {len(chosen)} of {n_all}; the run holds them all."
    parts = "".join(
        f'<h4 class="soft">{label}</h4><pre tabindex="0" data-part="{part}" aria-label="{label}"></pre>'
        for part, label in _PARTS.items()
    )
    return (
        f'<h3 id="samples-{name}">Samples</h3><div class="viewer" data-samples="data-{name}" role="region" '
        f'aria-labelledby="samples-{name}"><div class="filters" role="group" aria-label="Filter">{buttons}</div>'
        f'<p class="soft"><span data-shown aria-live="polite"></span>.{left_out}</p>'
        f'<p><label class="soft" for="choose-{name}">Sample </label><select id="choose-{name}"></select> '
        f'<span data-part="outcome" aria-live="polite"></span></p>{parts}</div>'
        f'<script type="application/json" id="data-{name}">{data}</script>'
    )


def _chosen(report: RunReport, gate: GateReport, *, k: int, n_samples: int) -> tuple[list[Sample], int]:
    """Choose the samples that a page carries, in the exam's order: what went wrong first, then the lowest indices."""
    fallen = {problem.id for problem in gate.problems if problem.has_fallen}
    order = {problem.id: place for place, problem in enumerate(gate.problems)}
    name = gate.result.benchmark
    ranked = (
        (_rank(outcome, is_of_fallen=problem_id in fallen), index, order[problem_id], problem_id)
        for problem_id, index, outcome in outcomes_of(report.run, name, k=k)
    )
    first = heapq.nsmallest(n_samples, ranked)  # the others, a million perhaps, are not kept
    kept = sorted((place, index, problem_id) for _, index, place, problem_id in first)
    chosen = samples_at(report.run, name, ((problem_id, index) for _, index, problem_id in kept))
    return [*chosen], gate.result.n_samples


def _rank(outcome: Outcome, *, is_of_fallen: bool) -> int:
    if outcome is Outcome.CORRECT:
        return 2
    return 0 if is_of_fallen or outcome is not Outcome.WRONG else 1


def _embedded(sample: Sample, gate: GateReport, *, n_characters: int) -> dict[str, object]:
    problem = next(problem for problem in gate.problems if problem.id == sample.problem_id)
    answer = sample.grade.answer
    return {
        "id": problem.id,
        "index": sample.index,
        "seed": sample.seed,
        "outcome": sample.grade.outcome.value,
        "cut": sample.response.finish_reason is FinishReason.LENGTH,
        "fell": problem.has_fallen,
        "tokens": sample.response.n_tokens,
        "answer": None if answer is None else visible(_shortened(answer, n_characters)),
        "gold": visible(problem.answer) or "every test passes",
        "problem": visible(_shortened(problem.query, n_characters)),
        "text": visible(_shortened(sample.response.text, n_characters)),
    }


def _shortened(text: str, n_characters: int) -> str:
    if len(text) <= n_characters:
        return text
    half = n_characters // 2
    return f"{text[:half]}\n\n[... {len(text) - 2 * half} characters left out ...]\n\n{text[-half:]}"


def visible(text: str) -> str:
    """Replace what is not seen, or changes how other text is seen, by its code point."""
    return _HIDDEN.sub(lambda found: f"<U+{ord(found[0]):04X}>", text)


def _text(text: str) -> str:
    return escape(visible(text))


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def history_page(folder: Path, sections: Sequence[tuple[str, str]]) -> str:
    """
    Write the page of several checkpoints of one training.

    Args:
        folder: Where the runs are.
        sections: For each benchmark its name and its picture.
    """
    body = [f'<header><p class="soft">{_text(str(folder))}</p><h1>pass@1 over training steps</h1></header><main>']
    body += [f"<section><h2>{_text(name)}</h2>{_figure(picture, _HISTORY)}</section>" for name, picture in sections]
    return document("pass@1 over training steps", [*body, "</main>"])


_HISTORY = "Bars: the standard error on these problems. Dashed: baselines."

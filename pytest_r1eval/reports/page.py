"""
One self-contained HTML page for a run: verdict first, pictures as SVG, and the samples to read.

Decisions:

- The page loads nothing, and its content security policy forbids it. The one style sheet and the one script are
  allowed by their hashes, so that text of a model can neither run nor fetch.
- Text of a model is escaped, or set as text by the script. It is shown unchanged, control characters as pictures.
- A page holds a bounded number of samples: mostly those that explain a red gate, and some of all.
"""

import base64
import datetime as dt
import hashlib
import heapq
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from pytest_r1eval.core.plans import Depth
from pytest_r1eval.core.records import FinishReason, Outcome, Sample
from pytest_r1eval.core.texts import counted
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.reports import charts
from pytest_r1eval.reports.appearance import appearance_of, style_of
from pytest_r1eval.reports.release import headline, release_lines, release_style
from pytest_r1eval.reports.run_report import (
    USUAL,
    Embedding,
    GateReport,
    ProblemRow,
    RunReport,
    baseline_run_of,
    outcomes_of,
    samples_at,
)
from pytest_r1eval.reports.terminal import (
    DOCS,
    NEXT,
    TABLE_HEAD,
    family_lines,
    gate_lines,
    gate_row,
    health_lines,
    plan_lines,
)
from pytest_r1eval.scoring.final_answer import after_thought, final_answer
from pytest_r1eval.stats.verdicts import Verdict

_HERE = Path(__file__).parent
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
"""Control characters, invisible ones and those that turn text around, and halves of a pair, which no file can hold."""


def page(report: RunReport, *, embedding: Embedding = USUAL) -> str:
    """
    Write a run's page.

    Args:
        report: The run.
        embedding: Which samples it carries.

    Raises:
        StoreError: If the samples cannot be read.
    """
    body = [
        "<header>",
        f'<p class="soft">May this checkpoint ship?</p><h1>{html_text(report.header.model_name)}</h1>',
        f'<p class="answer {_kind(report)}">{html_text(_plain_answer(report))}</p>',
        _release(report) or _reasons(report),
        f'<p class="soft">{html_text(_origin(report))}</p></header><main>',
        _summary(report),
        *(_section(report, gate, embedding=embedding) for gate in report.gates),
        "</main>",
    ]
    return document(f"{report.header.model_name}: {_plain_answer(report)}", body)


def document(title: str, body: Iterable[str], *, is_wide: bool = False) -> str:
    """Wrap a body into a page that loads nothing and runs only our script; a wide one has room for a table."""
    style, script = (_HERE / "page.css").read_text("utf-8"), (_HERE / "page.js").read_text("utf-8")
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html_text(title)}</title><style>{style}</style></head>"
        f"<body{' class=wide' if is_wide else ''}>{''.join(body)}"
        f"<script>{script}</script></body></html>\n"
    )


def _kind(report: RunReport) -> str:
    """Colour the answer: red only where the checkpoint was judged and failed."""
    if report.release is not None:
        return release_style(report.release)
    if report.passes:
        verdict = Verdict.PASS if all(gate.verdict is Verdict.PASS for gate in report.gates) else Verdict.INCONCLUSIVE
    else:
        verdict = Verdict.INCONCLUSIVE if _is_undecided(report) else Verdict.FAIL_REGRESSED
    return appearance_of(verdict).style


def _is_undecided(report: RunReport) -> bool:
    red = [gate for gate in report.gates if not gate.result.passes]
    return all(not appearance_of(gate.verdict).is_answer and gate.result.is_healthy for gate in red)


def _release(report: RunReport) -> str:
    """List what each benchmark of a release policy means for the answer; nothing without a policy."""
    if report.release is None:
        return ""
    items = "".join(f"<li>{html_text(line.strip())}</li>" for line in release_lines(report.release)[1:])
    return f'<ul class="reasons">{items}</ul>'


def _plain_answer(report: RunReport) -> str:
    if report.release is not None:
        return headline(report.release)
    found = [_finding(gate) for gate in report.gates if gate.verdict is not Verdict.PASS or not gate.result.passes]
    found += [f"{name} was not judged" for name in report.unjudged]
    if not found:
        return "Yes: every gate is green."
    start = "Yes, but look" if report.passes else "Not decided" if _is_undecided(report) else "No"
    return f"{start}: {'; '.join(found)}."


def _finding(gate: GateReport) -> str:
    findings = (appearance_of(gate.verdict).finding, None if gate.result.is_healthy else "is unhealthy")
    return f"{gate.result.title} {' and '.join(filter(None, findings))}"


def _reasons(report: RunReport) -> str:
    """Print above the table why gates are not green; a single gate's section does so a few lines below."""
    if len(report.gates) < 2:
        return ""
    reasons = [(gate.result.title, reason) for gate in report.gates for reason in _red_reasons(gate)]
    items = "".join(f"<li>{html_text(name)}: {html_text(reason)}</li>" for name, reason in reasons)
    return f'<ul class="reasons">{items}</ul>' if items else ""


def _red_reasons(gate: GateReport) -> Iterator[str]:
    if gate.verdict is not Verdict.PASS:
        yield gate.result.judgement.reason
    if gate.result.health is not None:
        yield from (rate.reason for rate in gate.result.health.failing)


def _origin(report: RunReport) -> str:
    header = report.header
    facts = [
        f"run {report.run.name}",
        begun(header.created),
        f"weights {header.identity.weights[:12]}",
        f"checkpoint {header.identity.checkpoint[:12]}",
        f"seed {header.seed}",
    ]
    if header.lineage is not None:
        known = {"step": header.lineage.step, "trained from": header.lineage.parent, "commit": header.lineage.commit}
        facts += [f"{name} {value}" for name, value in known.items() if value is not None]
    facts += ["; ".join(one.facts) for one in report.harnesses]
    return ", ".join(facts)


def begun(created: str) -> str:
    """Write the ISO date and time at which a run began for people."""
    return f"{dt.datetime.fromisoformat(created).astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"


def _summary(report: RunReport) -> str:
    head = "".join(
        f'<th scope="col"{number_class(name)}>{html_text(name)}</th>' for name in _verdict_second(TABLE_HEAD)
    )
    rows = []
    for gate in report.gates:
        cells = dict(zip(TABLE_HEAD, map(html_text, gate_row(gate.result)), strict=True))
        benchmark, verdict = cells.pop("benchmark"), cells.pop("verdict")
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells.values())
        rows.append(
            f'<tr><th scope="row"><a href="#{_anchor(gate)}">{benchmark}</a></th>'
            f'<td><span class="verdict {style_of(gate.result)}">{verdict}</span></td>{numbers}</tr>'
        )
    family = " ".join(family_lines([gate.result for gate in report.gates]))
    table = f"<caption>Verdicts, in points</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'{scrolling(table, label="Verdicts")}<p class="soft">{_SUMMARY} {html_text(family)}</p>'


_SUMMARY = (
    "pass@1 with its error on these problems; z: the difference in standard errors; "
    "MDE80: the fall that is caught with 80 % power."
)


def _verdict_second(names: Sequence[str]) -> list[str]:
    """Put the verdict where a narrow screen shows it."""
    first, *numbers, verdict = names
    return [first, verdict, *numbers]


def _anchor(gate: GateReport) -> str:
    return re.sub(r"[^\w.-]", "_", gate.result.benchmark)


def scrolling(table: str, *, label: str, attributes: str = "") -> str:
    """Let a table scroll in a box of its own where the screen is narrow; the keyboard reaches it."""
    box = f'class="scroll" tabindex="0" role="region" aria-label="{html_text(label)}"'
    return f"<div {box}><table{attributes}>{table}</table></div>"


_TEXTS = frozenset({"checkpoint", "benchmark", "verdict", "begun"})
"""The columns of tables that hold no numbers."""


def number_class(name: str) -> str:
    """Return the attribute of a table's cell by its column: numbers are set flush right."""
    return "" if name in _TEXTS else ' class="number"'


def _section(report: RunReport, gate: GateReport, *, embedding: Embedding) -> str:
    result = gate.result
    first, *lines = gate_lines(result)
    apart = (*plan_lines(result), *_steps(lines))
    name, verdict = _anchor(gate), html_text(gate_row(result)[-1])
    heading = f'{html_text(result.title)} <span class="verdict {style_of(gate.result)}">{verdict}</span>'
    parts = [
        f'<section aria-labelledby="{name}"><h2 id="{name}">{heading}</h2>',
        f"<p>{html_text(first.partition('. ')[2])}</p>",
        _next(lines),
        _facts([*_asked(gate), *(line for line in lines if line not in apart)]),
        _plan(plan_lines(result)),
        *_pictures(gate),
        _problems(gate),
        *_health(gate),
        _viewer(report, gate, embedding=embedding),
        "</section>",
    ]
    return "".join(parts)


def _steps(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line.startswith((NEXT, DOCS))]


def _next(lines: Sequence[str]) -> str:
    """Show what to do, and link to the page that tells more."""
    shown = []
    for line in _steps(lines):
        if line.startswith(DOCS):
            page = html_text(line.removeprefix(DOCS))
            shown.append(f'<p class="soft"><a href="{page}">What this verdict means, and what to do</a></p>')
        else:
            shown.append(f'<p class="next">{html_text(_sentence(line))}</p>')
    return "".join(shown)


def _sentence(text: str) -> str:
    """Begin with a capital letter; the rest may be a path and stays unchanged."""
    stripped = text.strip()
    return stripped[:1].upper() + stripped[1:]


def _asked(gate: GateReport) -> Iterator[str]:
    """Print what was asked, and how answers were drawn."""
    if gate.plan is not None:
        sampling = gate.plan.sampling
        at_most = "" if gate.result.sequential_plan is None else " at most"
        yield f"exam: {counted(len(gate.plan.problem_ids), 'problem')} of {gate.dataset}"
        if gate.plan.think_tags is not None:
            yield f"thoughts: in {gate.plan.think_tags}"
        if gate.plan.chat_template_kwargs is not None:
            yield f"chat template: given {gate.plan.chat_template_kwargs}"
        yield f"drawn: {gate.plan.samples_text}{at_most}, {sampling.summary}, up to {sampling.max_new_tokens:,} tokens"


def _facts(lines: Iterable[str]) -> str:
    """Set lines of the form "what: text" as a list of terms; one without a term goes on with the last."""
    rows: list[tuple[str, list[str]]] = []
    for line in lines:
        term, colon, text = line.strip().partition(": ")
        if not colon and rows:
            rows[-1][1].append(term)
        elif rows and rows[-1][0] == term:
            rows[-1][1].append(text)
        else:
            rows.append((term, [text]) if colon else ("note", [term]))
    shown: list[str] = []
    for term, texts in rows:
        kind = ' class="warning"' if term == "warning" else ""
        shown += [f"<dt>{html_text(term)}</dt>", *(f"<dd{kind}>{html_text(text)}</dd>" for text in texts)]
    return f"<dl>{''.join(shown)}</dl>" if shown else ""


def _plan(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    first, *rest = lines
    paragraphs = "".join(f"<p>{html_text(line.strip())}</p>" for line in rest)
    return f'<details class="soft"><summary>{html_text(_sentence(first).rstrip(":"))}</summary>{paragraphs}</details>'


def _health(gate: GateReport) -> Iterator[str]:
    """Show the health of the responses, and their lengths."""
    health = gate.result.health
    first, *lines = health_lines(gate.result)
    if health is None:
        yield f'<h3>Health</h3><p class="soft">{html_text(_sentence(first.partition(": ")[2]))}</p>'
    else:
        verdict, word = (Verdict.PASS, "PASS") if health.passes else (Verdict.FAIL_REGRESSED, "FAIL")
        yield f'<h3>Health <span class="verdict {appearance_of(verdict).style}">{word}</span></h3>'
        yield f"<p>{html_text(health.truncation.reason)} {html_text(health.no_answer.reason)}</p>"
        yield _next(lines)
        yield _facts([line for line in lines if line not in _steps(lines)])
    if gate.lengths.stopped or gate.lengths.truncated:
        means = [] if health is None else [("mean", health.mean_tokens)]
        if health is not None and health.baseline_mean_tokens is not None:
            means.append(("baseline's mean", health.baseline_mean_tokens))
        yield "<h4>Length of the responses</h4>"
        yield figure(
            charts.lengths(gate.lengths, means=means),
            "Responses by their tokens, on a logarithmic axis. Orange: truncated at the token limit.",
        )


def _pictures(gate: GateReport) -> Iterator[str]:
    rows = charts.gate_estimates(gate)
    if rows:
        yield "<h3>pass@1</h3>"
        limit = charts.fails_below(gate)
        caption = "In points. Thick: the error on these problems, which the gate uses. Thin: over exams like this one."
        area = "" if limit is None else " Red area: where the gate fails."
        yield figure(charts.estimates(rows, fails_below=limit), caption + area)
    plan = gate.result.sequential_plan
    if plan is not None and any(look.z is not None for look in gate.looks):
        yield "<h3>The looks of the sequential gate</h3>"
        drawn = charts.looks(gate.looks, plan)
        yield figure(drawn, "In the upper area a look passes, in the lower one it fails; between them more is drawn.")


def figure(picture: str, caption: str) -> str:
    """Set a picture above its caption."""
    return f"<figure>{picture}<figcaption>{html_text(caption)}</figcaption></figure>"


def _problems(gate: GateReport) -> str:
    """Draw every problem, and list them in the same order, which the script uses for its lookup."""
    if not gate.problems:
        return ""
    has_baseline = any(problem.baseline is not None for problem in gate.problems)
    halves = " Left half the baseline, right half this run; framed: fell." if has_baseline else ""
    caption = f"A square for each problem, by how often it is solved.{halves}"
    rows = []
    for problem in gate.problems:
        base = problem.baseline
        before = "-" if base is None else f"{base.n_correct}/{base.n_samples}"
        fell = "fell" if problem.has_fallen else ""
        counts = f"{problem.n_correct}/{problem.n_samples}"
        rows.append(f"<tr><th scope=row>{html_text(problem.title)}<td>{before}<td>{counts}<td>{fell}")
    table = (
        '<caption>Correct samples</caption><thead><tr><th scope="col">problem</th><th scope="col">baseline</th>'
        f'<th scope="col">this run</th><th scope="col">change</th></tr></thead><tbody>{"".join(rows)}</tbody>'
    )
    boxed = scrolling(table, label=f"Problems of {gate.result.title}", attributes=' class="counts"')
    return (
        f'<h3>Problems</h3><div class="problems">{figure(charts.heat_map(gate.problems), caption)}'
        f'<p class="soft" data-pointed hidden>Point at a square to see its numbers.</p>'
        f"<details><summary>The numbers, problem by problem</summary>{boxed}</details></div>"
    )


_FILTERS = {
    "all": "all",
    "correct": "correct",
    "wrong": "not correct",
    "fell": "fell",
    "truncated": "truncated",
    "no_answer": "no answer",
}
_PARTS = {"problem": "problem", "answer": "extracted answer", "gold": "right answer"}
_SIDE_BY_SIDE = {"response": "response", "base": "the baseline's response"}


def _viewer(report: RunReport, gate: GateReport, *, embedding: Embedding) -> str:
    k = gate.result.depth
    if k is None or not embedding.n_samples or not gate.result.n_samples:
        return ""
    name = _anchor(gate)
    chosen, n_all = _chosen(report, gate, k=k, n_samples=embedding.n_samples)
    base = _baseline_samples(report, gate, chosen)
    rows = [_embedded(sample, gate, base, n_characters=embedding.n_characters) for sample in chosen]
    data = json.dumps(rows, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    first = _first_filter(gate)
    buttons = "".join(
        f'<button type="button" data-filter="{key}" aria-pressed="{str(key == first).lower()}">{label}</button>'
        for key, label in _FILTERS.items()
    )
    left_out = "" if len(chosen) == n_all else f" The page carries {len(chosen)} of {n_all}; the run holds them all."
    parts = "".join(_part(part, label, name) for part, label in _PARTS.items())
    pair = "".join(f"<div>{_part(part, label, name)}</div>" for part, label in _SIDE_BY_SIDE.items())
    return (
        f'<h3 id="samples-{name}">Samples</h3><div class="viewer" data-samples="data-{name}" role="region" '
        f'aria-labelledby="samples-{name}"><div class="filters" role="group" aria-label="Filter">{buttons}</div>'
        f'<p class="soft"><span data-shown aria-live="polite"></span>.{left_out}</p>'
        f'<p><label class="soft" for="choose-{name}">Sample </label><select id="choose-{name}"></select> '
        f'<span data-part="outcome" aria-live="polite"></span></p>{parts}<div class="pair">{pair}</div></div>'
        f'<script type="application/json" id="data-{name}">{data}</script>'
    )


def _first_filter(gate: GateReport) -> str:
    """Choose what the viewer opens with: what the verdict tells its reader to look at."""
    if gate.verdict is Verdict.SUSPICIOUS_IMPROVED:
        return "correct"
    return "fell" if any(problem.has_fallen for problem in gate.problems) else "all"


def _part(part: str, label: str, name: str) -> str:
    return (
        f'<h4 class="soft" id="{part}-{name}">{label}</h4>'
        f'<pre tabindex="0" role="group" data-part="{part}" aria-labelledby="{part}-{name}"></pre>'
    )


def _baseline_samples(report: RunReport, gate: GateReport, chosen: Iterable[Sample]) -> dict[tuple[str, int], Sample]:
    """Return the baseline's samples of the same index, of problems that fell and where its run is stored here."""
    fallen = {problem.id for problem in gate.problems if problem.has_fallen}
    places = [(sample.problem_id, sample.index) for sample in chosen if sample.problem_id in fallen]
    run = baseline_run_of(report, gate) if places else None
    if run is None:
        return {}
    found = samples_at(run, gate.result.benchmark, places)
    return {(sample.problem_id, sample.index): sample for sample in found}


def _chosen(report: RunReport, gate: GateReport, *, k: Depth, n_samples: int) -> tuple[list[Sample], int]:
    """
    Choose the samples that a page carries, in the exam's order.

    Two thirds are those that went wrong, if so many did, or the correct ones of a suspicious improvement. The others
    have the lowest indices, right or wrong, so that the page is not taken for the run.
    """
    fallen = {problem.id for problem in gate.problems if problem.has_fallen}
    order = {problem.id: place for place, problem in enumerate(gate.problems)}
    name, is_rise = gate.result.benchmark, gate.verdict is Verdict.SUSPICIOUS_IMPROVED

    def ranked() -> Iterator[tuple[int, int, int, str]]:
        for problem_id, index, outcome in outcomes_of(report.run, name, k=k):
            rank = _rank(outcome, is_of_fallen=problem_id in fallen, is_rise=is_rise)
            yield rank, index, order[problem_id], problem_id

    # Twice through the run, and never all of it at once: it may hold a million samples.
    worst = heapq.nsmallest(2 * n_samples // 3, ranked())
    lowest = heapq.nsmallest(n_samples, ranked(), key=lambda row: row[1:])
    chosen_already = set(worst)
    kept = worst + [row for row in lowest if row not in chosen_already][: n_samples - len(worst)]
    places = sorted((place, index, problem_id) for _, index, place, problem_id in kept)
    chosen = samples_at(report.run, name, ((problem_id, index) for _, index, problem_id in places))
    return [*chosen], gate.result.n_samples


def _rank(outcome: Outcome, *, is_of_fallen: bool, is_rise: bool) -> int:
    if outcome is Outcome.CORRECT:
        return 0 if is_rise else 2
    return 0 if is_of_fallen or outcome is not Outcome.WRONG else 1


def _embedded(
    sample: Sample, gate: GateReport, base: Mapping[tuple[str, int], Sample], *, n_characters: int
) -> dict[str, object]:
    problem = next(problem for problem in gate.problems if problem.id == sample.problem_id)
    tags = None if gate.plan is None else gate.plan.think_tags
    answer, before = _answer(sample, problem, tags), base.get((sample.problem_id, sample.index))
    return {
        "title": problem.title.removesuffix(f" ({problem.id})"),
        "index": sample.index,
        "seed": sample.seed,
        "outcome": sample.grade.outcome.value,
        "cut": sample.response.finish_reason is FinishReason.LENGTH,
        "fell": problem.has_fallen,
        "tokens": sample.response.n_tokens,
        "answer": None if answer is None else visible(_shortened(answer, n_characters)),
        "gold": visible(problem.answer) or "every test passes",
        "problem": visible(_shortened(problem.query, n_characters)),
        "text": _text(sample, tags, n_characters),
        "base": None if before is None else _text(before, tags, n_characters),
        "base_outcome": None if before is None else before.grade.outcome.value,
    }


def _text(sample: Sample, tags: ThinkTags | None, n_characters: int) -> str:
    text = sample.response.text
    return visible(_shortened(text if tags is None else tags.readable(text), n_characters))


def _answer(sample: Sample, problem: ProblemRow, tags: ThinkTags | None) -> str | None:
    """Return the answer as the grader read it, and beside it as the model wrote it, where the two differ."""
    answer = sample.grade.answer
    if answer is None or not problem.answer:  # a program is shown as it is
        return answer
    ending = after_thought(sample.response, tags)
    found = None if ending is None else final_answer(ending)
    written = None if found is None else (found.box or found.text).strip()
    return answer if written in {None, answer} else f"{answer} (written {written})"


def _shortened(text: str, n_characters: int) -> str:
    if len(text) <= n_characters:
        return text
    half = n_characters // 2
    return f"{text[:half]}\n\n[... {len(text) - 2 * half} characters left out ...]\n\n{text[-half:]}"


def visible(text: str) -> str:
    """Replace invisible characters, and those that change how other text looks, by their code point."""
    return _HIDDEN.sub(lambda found: f"<U+{ord(found[0]):04X}>", text)


def html_text(text: str) -> str:
    """Write text into a page: escaped, with invisible characters shown as their code point."""
    return escape(visible(text))


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()

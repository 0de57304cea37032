"""The page in a real browser: it loads nothing, runs nothing of a model's, and can be used without a mouse."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response, Sample
from pytest_r1eval.core.texts import whole
from pytest_r1eval.reports.charts import Estimated, fails_below, history
from pytest_r1eval.reports.history_page import HistorySection, history_page
from pytest_r1eval.reports.page import page, visible
from pytest_r1eval.reports.run_report import Embedding, GateReport, RunReport, read_report
from pytest_r1eval.runs.store import Store
from pytest_r1eval.runs.work_queue import WorkQueue
from pytest_r1eval.stats.verdicts import Verdict
from tests.judged_runs import judged, judged_against
from tests.recordings import record_run
from tests.reports.pages import CLASHES, CONTRASTS, overflowing, showing

ATTACK = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u202egnp.exe"
    "<!--<script>\x00\x1b[2J\u2028\ud800\U000e0041 &lt;b&gt; ${document.title='owned'}"
)
"""Tags, comments that change how a script ends, controls, half a pair, letters that are not seen."""
HUGE = "A" + "<&\"'" * 500_000 + "Z"
MAX_BYTES = 150_000


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """Judge a fallen run of AIME's shape, with an attack, a truncation and a missing answer among its samples."""
    folder = tmp_path_factory.mktemp("runs")
    judged(record_run(folder / "base", n_problems=30, n_samples=64, seed=1, solve_rate=0.8))
    strange = {("p000", 0): ATTACK, ("p000", 1): "cut", ("p000", 2): HUGE}
    fallen = record_run(
        folder / "fallen", n_problems=30, n_samples=64, seed=2, weights="w2", solve_rate=0.3, skip=frozenset(strange)
    )
    with closing(Store.open(fallen)) as store:
        WorkQueue(store).add_samples("smoke", [_strange(index, text) for (_, index), text in strange.items()])
    (result,) = judged_against(fallen, folder / "root")
    assert not result.passes
    return read_report(fallen)


def _strange(index: int, text: str) -> Sample:
    is_cut = text == "cut"
    reason = FinishReason.LENGTH if is_cut else FinishReason.STOP
    outcome = {"cut": Outcome.TRUNCATED, HUGE: Outcome.WRONG}.get(text, Outcome.NO_ANSWER)
    response = Response(text=text, n_tokens=5000 if is_cut else 9, finish_reason=reason)
    return Sample(problem_id="p000", index=index, seed=index, response=response, grade=Grade(outcome=outcome))


@pytest.fixture(scope="module")
def fallen_page(report: RunReport) -> str:
    """Write the fallen run's page once."""
    return page(report)


@pytest.fixture
def opened(browser: Browser, fallen_page: str, tmp_path: Path) -> Iterator[Page]:
    """Open the fallen run's page."""
    with showing(browser, fallen_page, tmp_path / "report.html") as shown:
        yield shown


def test_the_verdict_comes_first(opened: Page) -> None:
    """The page's title, header and table each show the verdict."""
    assert opened.title() == "local/toy: No: smoke regressed."
    assert "No: smoke regressed." in opened.inner_text("header")
    assert opened.inner_text("tbody .verdict") == "FAIL_REGRESSED"


def said(report: RunReport) -> str:
    """Return the title's words behind the model's name."""
    return page(report, embedding=Embedding(n_samples=0)).partition("<title>")[2].partition("</title>")[0][11:]


def test_the_answer_is_a_persons(examples: Mapping[str, Path]) -> None:
    """The page's headline answers No for a fall, Not decided for INVALID or unjudged gates, and Yes for green."""
    reports = {name: read_report(run) for name, run in examples.items()}
    unhealthy = replace(reports["green"], gates=(with_health(reports["green"].gates[0], of=reports["red"].gates[0]),))
    mixed = replace(reports["red"], gates=(*reports["red"].gates, *reports["holes"].gates))
    assert {name: said(report) for name, report in reports.items() if name != "base"} == {
        "green": "Yes: every gate is green.",
        "red": "No: smoke regressed and is unhealthy.",
        "holes": "Not decided: smoke cannot be judged.",
        "stopped": "No: smoke regressed.",
    }
    assert said(unhealthy) == "No: smoke is unhealthy."
    assert 'class="verdict fail_regressed">PASS, health FAIL<' in page(unhealthy)
    assert said(mixed) == "No: smoke regressed and is unhealthy; smoke cannot be judged."
    assert "<li>smoke: 1 of 320 planned samples are missing.</li>" in page(mixed)
    assert said(replace(reports["green"], unjudged=("gpqa",))) == "Not decided: gpqa was not judged."


def with_health(gate: GateReport, *, of: GateReport) -> GateReport:
    """Return a gate with another's health."""
    return replace(gate, result=replace(gate.result, health=of.result.health))


@pytest.mark.parametrize("verdict", [Verdict.SUSPICIOUS_IMPROVED, Verdict.INCONCLUSIVE])
def test_what_was_let_through_wants_a_look(examples: Mapping[str, Path], verdict: Verdict) -> None:
    """The headline of a gate that was let through is "Yes, but look"."""
    through = with_verdict(read_report(examples["green"]), verdict)
    assert said(through).startswith("Yes, but look: smoke is ")
    assert '<p class="answer inconclusive">' in page(through)


@pytest.mark.parametrize("name", ["green", "red"])
def test_the_area_where_the_gate_fails_holds_the_run_that_failed(examples: Mapping[str, Path], name: str) -> None:
    """The picture's failing area holds the run's score exactly where the gate failed."""
    (gate,) = read_report(examples[name]).gates
    limit, estimate = fails_below(gate), gate.result.judgement.estimate
    assert limit is not None
    assert estimate is not None
    assert (estimate.mean <= limit) == (gate.verdict is Verdict.FAIL_REGRESSED)


def test_the_path_of_looks_ends_where_the_run_did(examples: Mapping[str, Path]) -> None:
    """The picture of looks has a point for each look that the run took and the bounds of all that were planned."""
    report = read_report(examples["stopped"])
    (gate,) = report.gates
    text = page(report)
    picture = text[text.index("The looks between FAIL") :].partition("</svg>")[0]
    assert picture.count("<circle") == len(gate.looks) == picture.count("<title>look ")
    assert f"look {len(gate.looks)}: z = {gate.looks[-1].z:.2f}" in picture
    assert picture.count('class="area') == 2
    assert "FAIL_REGRESSED (at stop)" in text
    assert fails_below(gate) is None


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("name", ["green", "red", "holes", "stopped", "history"])
def test_no_words_in_pictures_clash(
    browser: Browser, examples: Mapping[str, Path], tmp_path: Path, name: str, width: int
) -> None:
    """Words in pictures neither overlap nor leave the picture, on a telephone either."""
    if name == "history":
        steps = [(step, estimated(0.2 + step / 6000)) for step in range(100, 2600, 100)]
        picture = history([*steps], [estimated(0.30), estimated(0.305)])
        text = history_page(tmp_path, [HistorySection(benchmark="aime24", picture=picture, table=[("step",), ("1",)])])
    else:
        text = page(read_report(examples[name]))
    with showing(browser, text, tmp_path / "report.html") as shown:
        shown.set_viewport_size({"width": width, "height": 800})
        assert shown.evaluate(CLASHES) == []


def estimated(mean: float) -> Estimated:
    """Make a number with an error bar."""
    return Estimated(label="baseline", mean=mean, standard_error=0.01, exam_standard_error=None)


def test_what_a_model_wrote_is_text(opened: Page) -> None:
    """The page shows a model's hostile tags and control characters as text."""
    opened.click("button[data-filter=no_answer]")
    assert opened.text_content("[data-part=response]") == visible(whole(ATTACK))
    for hidden in ("202E", "0000", "001B", "2028", "E0041"):
        assert f"<U+{hidden}>" in opened.inner_text("[data-part=response]")
    assert opened.title() != "owned"
    assert opened.query_selector("img") is None


def test_a_huge_response_is_shortened(opened: Page) -> None:
    """The viewer shortens a huge response to its two ends."""
    opened.click("button[data-filter=all]")
    opened.select_option("select", label='"0+0?", sample 2: wrong')
    shown = opened.text_content("[data-part=response]")
    assert shown is not None
    assert (shown[0], shown[-1]) == ("A", "Z")
    assert len(shown) < 6100


def test_a_square_that_is_pointed_at_says_its_numbers(opened: Page, report: RunReport) -> None:
    """A square under the pointer shows the counts of its problem in run and baseline."""
    problem = report["smoke"].problems[3]
    assert problem.baseline is not None
    opened.locator(".problems svg").scroll_into_view_if_needed()
    box = opened.locator(".problems svg").bounding_box()
    assert box is not None
    scale = box["width"] / 720
    opened.mouse.move(box["x"] + scale * (3 + 3 * 29 + 13), box["y"] + scale * 16)
    words = f"{problem.title}: this run {problem.n_correct}/64, baseline {problem.baseline.n_correct}/64"
    assert opened.inner_text("[data-pointed]") == words + (", fell" if problem.has_fallen else "")


@pytest.mark.parametrize(("name", "outcome"), [("truncated", "truncated"), ("no_answer", "no_answer")])
def test_filters_filter_from_the_keyboard(opened: Page, name: str, outcome: str) -> None:
    """A filter can be reached and pressed by keyboard, and the viewer then shows the one matching sample."""
    for _ in range(12):
        opened.keyboard.press("Tab")
        if opened.evaluate("document.activeElement.dataset.filter") == name:
            break
    opened.keyboard.press("Enter")
    assert opened.get_attribute(f"button[data-filter={name}]", "aria-pressed") == "true"
    assert opened.inner_text("[data-shown]") == "1 of 300 samples"
    assert opened.inner_text("[data-part=outcome]").startswith(outcome)


def test_fell_shows_the_problems_that_fell(opened: Page, report: RunReport) -> None:
    """The filter shows samples of problems that fell, and no others."""
    fallen = {f'"{problem.query}"' for problem in report["smoke"].problems if problem.has_fallen}
    opened.click("button[data-filter=fell]")
    shown = {option.split(",")[0] for option in opened.locator("select option").all_inner_texts()}
    assert fallen
    assert shown <= fallen


@pytest.mark.parametrize("first", ["fell", "all", "correct"])
def test_the_viewer_opens_with_what_its_verdict_is_about(
    browser: Browser, report: RunReport, examples: Mapping[str, Path], tmp_path: Path, first: str
) -> None:
    """The viewer opens with what fell and is wrong, with all of a PASS, or with what a suspicious run got right."""
    green = read_report(examples["green"])
    judged_so = {"fell": report, "all": green, "correct": with_verdict(green, Verdict.SUSPICIOUS_IMPROVED)}
    with showing(browser, page(judged_so[first]), tmp_path / "report.html") as shown:
        assert shown.get_attribute("button[aria-pressed=true]", "data-filter") == first
        assert first != "fell" or not shown.inner_text("[data-part=outcome]").startswith("correct")
        n_shown = shown.inner_text("[data-shown]").split()[0]
        assert shown.inner_text("button[aria-pressed=true]").endswith(f"({n_shown})")


def with_verdict(report: RunReport, verdict: Verdict) -> RunReport:
    """Return a report of one gate with another verdict, which lets the checkpoint through."""
    (gate,) = report.gates
    judgement = replace(gate.result.judgement, verdict=verdict, passes=True)
    return replace(report, gates=(replace(gate, result=replace(gate.result, judgement=judgement)),))


def test_a_sample_is_named_by_its_problems_number_and_words(opened: Page, report: RunReport) -> None:
    """The list of samples names each problem by its label and first words, without the id that it is counted by."""
    titles = {problem.title.removesuffix(f" ({problem.id})") for problem in report["smoke"].problems}
    opened.click("button[data-filter=all]")
    assert {option.rsplit(", ", 1)[0] for option in opened.locator("select option").all_inner_texts()} <= titles


def test_dark_mode_is_another_paper(opened: Page) -> None:
    """The page's background follows the reader's light or dark mode."""
    colour = "getComputedStyle(document.body).backgroundColor"
    opened.emulate_media(color_scheme="light")
    light = opened.evaluate(colour)
    opened.emulate_media(color_scheme="dark")
    assert opened.evaluate(colour) != light


def test_a_narrow_screen_needs_no_sideways_scrolling(opened: Page) -> None:
    """On a narrow screen the page does not scroll sideways, and the verdict is visible."""
    opened.set_viewport_size({"width": 380, "height": 800})
    verdict = opened.locator("tbody .verdict").bounding_box()
    assert verdict is not None
    assert verdict["x"] + verdict["width"] <= 380
    assert opened.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened: Page, scheme: Literal["light", "dark"]) -> None:
    """Contrast is 4.5 to 1 at least, WCAG's AA for text of any size, in either scheme, pictures included."""
    opened.emulate_media(color_scheme=scheme)
    opened.click("summary")
    ratios: dict[str, float] = opened.evaluate(CONTRASTS)
    assert len(ratios) > 10
    assert {text: ratio for text, ratio in ratios.items() if ratio < 4.5} == {}


def test_pictures_can_be_read_on_a_telephone(opened: Page) -> None:
    """Letters in pictures are at least 10 pixels high on a telephone."""
    opened.set_viewport_size({"width": 400, "height": 800})
    boxes = [text.bounding_box() for text in opened.locator("svg text").all()]
    assert min(box["height"] for box in boxes if box) >= 10


def test_what_to_do_is_quoted_as_it_is(report: RunReport) -> None:
    """The page quotes the next step with its capital letters."""
    (gate,) = report.gates
    judgement = replace(gate.result.judgement, next_step="Review Baselines/Org/Model.json.")
    other = replace(report, gates=(replace(gate, result=replace(gate.result, judgement=judgement)),))
    assert '<p class="next">Next: Review Baselines/Org/Model.json.</p>' in page(other)


def test_pictures_speak(opened: Page) -> None:
    """Each picture has a title and a description, and each table a caption."""
    pictures = opened.locator("svg[role=img]")
    assert pictures.count() >= 3
    assert pictures.count() == opened.locator("svg[role=img] > title").count()
    assert pictures.count() == opened.locator("svg[role=img] > desc").count()
    assert opened.locator("table").count() == opened.locator("table caption").count()


def test_without_samples_it_is_small(report: RunReport, tmp_path: Path) -> None:
    """A page without samples keeps to its limit of bytes, even with four benchmarks of 250 problems each."""
    nothing = Embedding(n_samples=0)
    assert len(page(report, embedding=nothing).encode()) < MAX_BYTES
    names = ("smoke", "aime24", "gpqa", "lcb")
    judged(record_run(tmp_path / "base", benchmarks=names, n_problems=250, n_samples=2))
    wide = record_run(tmp_path / "run", benchmarks=names, n_problems=250, n_samples=2, seed=2, weights="w2")
    judged_against(wide, tmp_path / "root")
    text = page(read_report(wide), embedding=nothing)
    assert len(text.encode()) < MAX_BYTES
    assert text.count("<th scope=row>") == 1000


def test_long_responses_are_shortened_and_say_so(report: RunReport) -> None:
    """The page leaves out the middle of long responses and prints how many samples it carries."""
    shown = page(report, embedding=Embedding(n_samples=300, n_characters=20))
    assert "characters left out" in shown
    assert "The page carries 300 of 1920; the run holds them all." in shown


@pytest.fixture(scope="module")
def stored_beside(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """Judge a fallen run whose baseline's run is in the same output folder, by runs' own names."""
    folder = tmp_path_factory.mktemp("output")
    judged(record_run(folder / "local/toy/base", n_problems=20, n_samples=16, solve_rate=0.9), root=folder / "root")
    fallen = folder / "local/toy/fallen"
    record_run(fallen, n_problems=20, n_samples=16, seed=2, weights="w2", solve_rate=0.1)
    judged_against(fallen, folder / "root")
    return read_report(fallen)


def test_a_fallen_problem_shows_both_responses(browser: Browser, stored_beside: RunReport, tmp_path: Path) -> None:
    """A fallen problem shows the baseline's response of the same sample beside the candidate's."""
    with showing(browser, page(stored_beside), tmp_path / "report.html") as shown:
        shown.set_viewport_size({"width": 1200, "height": 800})
        shown.click("button[data-filter=fell]")
        left, right = (shown.locator(f"[data-part={part}]").bounding_box() for part in ("response", "base"))
        assert left is not None
        assert right is not None
        assert left["y"] == right["y"]
        assert left["x"] < right["x"]
        assert "the baseline's response: correct" in shown.inner_text(".pair")
        assert shown.inner_text("[data-part=base]") != shown.inner_text("[data-part=response]")


def test_without_the_baselines_run_one_response_is_shown(
    browser: Browser, stored_beside: RunReport, tmp_path: Path
) -> None:
    """The page shows the candidate's response alone where the baseline's run is not stored."""
    (gate,) = stored_beside.gates
    elsewhere = replace(gate, result=replace(gate.result, baseline_run="20200101-000000-gone"))
    with showing(browser, page(replace(stored_beside, gates=(elsewhere,))), tmp_path / "report.html") as shown:
        assert not shown.is_visible("[data-part=base]")
        assert shown.is_visible("[data-part=response]")


def test_the_page_says_what_changed(stored_beside: RunReport) -> None:
    """The page names the parts of the checkpoint that differ from the baseline's."""
    (gate,) = stored_beside.gates
    assert gate.result.changes == ("weights",)
    assert gate.result.baseline_run == "base"
    assert "<dt>changed</dt><dd>weights</dd>" in page(stored_beside)


def test_correct_responses_can_be_chosen(opened: Page) -> None:
    """The filter for correct responses shows one, so that a suspicious improvement can be checked."""
    opened.click("button[data-filter=correct]")
    assert opened.inner_text("[data-part=outcome]").startswith("correct, ")


def test_a_part_of_an_exam_is_named_wherever_the_benchmark_is(stored_beside: RunReport) -> None:
    """The page names the part of an exam wherever it names the benchmark."""
    (gate,) = stored_beside.gates
    part = replace(stored_beside, gates=(replace(gate, result=replace(gate.result, part="20 of 500 problems")),))
    text = page(part)
    assert text.count("smoke (20 of 500 problems)") >= 3
    assert "No: smoke (20 of 500 problems) regressed" in text
    assert '<a href="#smoke">' in text


def test_the_page_names_no_folder_of_this_machine(stored_beside: RunReport) -> None:
    """The page contains no path of this machine."""
    text = page(stored_beside)
    assert str(stored_beside.run.parents[3]) not in text
    assert str(Path(__file__).parents[2]) not in text


@pytest.mark.parametrize(
    ("written", "read", "shown"),
    [
        (r"<think>\boxed{9}?</think>So $\boxed{\frac{2}{4}}$.", "1/2", r"1/2 (written \frac{2}{4})"),
        (r"So $\boxed{16}$.", "16", "16"),
        ("I do not know.", None, "null"),
    ],
)
def test_an_answer_is_shown_as_read_and_as_written(tmp_path: Path, written: str, read: str | None, shown: str) -> None:
    """The page shows an answer as the grader read it and, where it differs, as the model wrote it."""
    run = record_run(tmp_path / "run", n_problems=1, n_samples=2, skip=frozenset({("p000", 0)}))
    response = Response(text=written, n_tokens=9, finish_reason=FinishReason.STOP)
    grade = Grade(outcome=Outcome.NO_ANSWER if read is None else Outcome.WRONG, answer=read)
    sample = Sample(problem_id="p000", index=0, seed=0, response=response, grade=grade)
    with closing(Store.open(run)) as store:
        WorkQueue(store).add_samples("smoke", [sample])
    judged(run)
    expected = shown if read is None else json.dumps(shown)
    assert f'"answer": {expected}' in page(read_report(run))


def test_math_500_fits_a_telephone(browser: Browser, tmp_path: Path) -> None:
    """A page of 500 problems, with what fell open, is as wide as the screen; only boxes that scroll hold more."""
    judged(record_run(tmp_path / "base", n_problems=500, n_samples=4, solve_rate=0.97))
    run = record_run(tmp_path / "run", n_problems=500, n_samples=4, seed=2, weights="w2", solve_rate=0.6)
    judged_against(run, tmp_path / "root")
    with showing(browser, page(read_report(run)), tmp_path / "report.html") as shown:
        shown.set_viewport_size({"width": 390, "height": 800})
        shown.click(".problems summary")
        assert overflowing(shown) == []
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390

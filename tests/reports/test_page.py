"""The page in a real browser: it loads nothing, runs nothing of a model's, and can be used without a mouse."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from pytest_r1eval.core.records import FinishReason, Grade, Outcome, Response, Sample
from pytest_r1eval.reports.page import Embedding, page, visible
from pytest_r1eval.run_reports import RunReport, read_report
from pytest_r1eval.store import Store
from tests.judged_runs import judged, judged_against
from tests.recordings import record_run

ATTACK = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u202egnp.exe"
MAX_BYTES = 150_000
CONTRASTS = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = channels(colour).slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
  };
  const found = {};
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join("").trim();
    if (!text || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(element.closest("svg") ? style.fill : style.color), light(ground(element))];
    const name = `${element.tagName}.${element.getAttribute("class")}: ${text.slice(0, 30)}`;
    found[name] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  return found;
}"""
"""Return the contrast of every text that is shown with what it stands on."""
CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium once; in CI it has to be there."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not here, and in CI the page must be looked at (apt-get install chromium)")
        pytest.skip("chromium is not here")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """Judge a fallen run of AIME's shape, with an attack, a truncation and a missing answer among its samples."""
    folder = tmp_path_factory.mktemp("runs")
    judged(record_run(folder / "base", n_problems=30, n_samples=64, seed=1, solve_rate=0.8))
    strange = {("p000", 0): ATTACK, ("p000", 1): "cut"}
    fallen = record_run(
        folder / "fallen", n_problems=30, n_samples=64, seed=2, weights="w2", solve_rate=0.3, skip=frozenset(strange)
    )
    with closing(Store.open(fallen)) as store:
        store.add_samples("smoke", [_strange(index, text) for (_, index), text in strange.items()])
    (result,) = judged_against(fallen, folder / "root")
    assert not result.passes
    return read_report(fallen)


def _strange(index: int, text: str) -> Sample:
    is_cut = text == "cut"
    reason = FinishReason.LENGTH if is_cut else FinishReason.STOP
    outcome = Outcome.TRUNCATED if is_cut else Outcome.NO_ANSWER
    response = Response(text=text, n_tokens=5000 if is_cut else 9, finish_reason=reason)
    return Sample(problem_id="p000", index=index, seed=index, response=response, grade=Grade(outcome=outcome))


@pytest.fixture
def opened(browser: Browser, report: RunReport, tmp_path: Path) -> Iterator[Page]:
    """Open the page; whatever it asks of a network or says on the console is an error."""
    path = tmp_path / "report.html"
    path.write_text(page(report), encoding="utf-8")
    context = browser.new_context()
    shown = context.new_page()
    complaints: list[str] = []
    shown.on("request", lambda request: complaints.append(request.url) if request.url != path.as_uri() else None)
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.goto(path.as_uri())
    yield shown
    assert complaints == []
    context.close()


def test_the_verdict_comes_first(opened: Page) -> None:
    """In the title, the first sentence and the table."""
    assert opened.title() == "local/toy: No: smoke is not green."
    assert "No: smoke is not green." in opened.inner_text("header")
    assert opened.inner_text("tbody tr:first-child td:last-child") == "FAIL_REGRESSED"


def test_what_a_model_wrote_is_text(opened: Page) -> None:
    """A tag that closes the script, an image that runs one, and a character that turns the text around."""
    opened.click("button[data-filter=no_answer]")
    assert opened.inner_text("[data-part=response]") == visible(ATTACK)
    assert "<U+202E>" in opened.inner_text("[data-part=response]")
    assert opened.title() != "owned"
    assert opened.query_selector("img") is None


@pytest.mark.parametrize(("name", "outcome"), [("truncated", "truncated"), ("no_answer", "no_answer")])
def test_filters_filter_from_the_keyboard(opened: Page, name: str, outcome: str) -> None:
    """Tab to a filter, press it, and the viewer shows the one sample that fits."""
    for _ in range(12):
        opened.keyboard.press("Tab")
        if opened.evaluate("document.activeElement.dataset.filter") == name:
            break
    opened.keyboard.press("Enter")
    assert opened.get_attribute(f"button[data-filter={name}]", "aria-pressed") == "true"
    assert opened.inner_text("[data-shown]") == "1 of 300 samples"
    assert opened.inner_text("[data-part=outcome]").startswith(outcome)


def test_fell_shows_the_problems_that_fell(opened: Page, report: RunReport) -> None:
    """And no other."""
    fallen = {problem.id for problem in report["smoke"].problems if problem.has_fallen}
    opened.click("button[data-filter=fell]")
    shown = {option.split(",")[0] for option in opened.locator("select option").all_inner_texts()}
    assert fallen
    assert shown <= fallen


def test_dark_mode_is_another_paper(opened: Page) -> None:
    """By the reader's own setting."""
    colour = "getComputedStyle(document.body).backgroundColor"
    opened.emulate_media(color_scheme="light")
    light = opened.evaluate(colour)
    opened.emulate_media(color_scheme="dark")
    assert opened.evaluate(colour) != light


def test_a_narrow_screen_needs_no_sideways_scrolling(opened: Page) -> None:
    """The table scrolls in its own box."""
    opened.set_viewport_size({"width": 380, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened: Page, scheme: Literal["light", "dark"]) -> None:
    """By 4.5 to 1 at least, which is WCAG's AA for text of any size, in either scheme, pictures included."""
    opened.emulate_media(color_scheme=scheme)
    opened.click("summary")
    ratios: dict[str, float] = opened.evaluate(CONTRASTS)
    assert len(ratios) > 10
    assert {text: ratio for text, ratio in ratios.items() if ratio < 4.5} == {}


def test_pictures_can_be_read_on_a_telephone(opened: Page) -> None:
    """They shrink with the screen, and their letters do not."""
    opened.set_viewport_size({"width": 400, "height": 800})
    boxes = [text.bounding_box() for text in opened.locator("svg text").all()]
    assert min(box["height"] for box in boxes if box) >= 10


def test_what_to_do_is_quoted_as_it_is(report: RunReport) -> None:
    """A path in it keeps its capital letters."""
    (gate,) = report.gates
    judgement = replace(gate.result.judgement, next_step="Review Baselines/Org/Model.json.")
    other = replace(report, gates=(replace(gate, result=replace(gate.result, judgement=judgement)),))
    assert '<p class="next">Next: Review Baselines/Org/Model.json.</p>' in page(other)


def test_pictures_speak(opened: Page) -> None:
    """Each has a title and a description, and tables have captions and headings."""
    pictures = opened.locator("svg[role=img]")
    assert pictures.count() >= 3
    assert pictures.count() == opened.locator("svg[role=img] > title").count()
    assert pictures.count() == opened.locator("svg[role=img] > desc").count()
    assert opened.locator("table").count() == opened.locator("table caption").count()


def test_without_samples_it_is_small(report: RunReport, tmp_path: Path) -> None:
    """AIME's shape, and MATH-500's with its 500 problems beside a baseline."""
    nothing = Embedding(n_samples=0)
    assert len(page(report, embedding=nothing).encode()) < MAX_BYTES
    judged(record_run(tmp_path / "base", n_problems=500, n_samples=4))
    math = record_run(tmp_path / "run", n_problems=500, n_samples=4, seed=2, weights="w2")
    judged_against(math, tmp_path / "root")
    assert len(page(read_report(math), embedding=nothing).encode()) < MAX_BYTES


def test_long_responses_are_shortened_and_say_so(report: RunReport) -> None:
    """The middle is left out."""
    shown = page(report, embedding=Embedding(n_samples=300, n_characters=20))
    assert "characters left out" in shown
    assert "The page carries 300 of 1920; the run holds them all." in shown

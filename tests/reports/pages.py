"""Pages in a real browser: what its tests look for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

CLASHES = """() => {
  const found = [];
  for (const picture of document.querySelectorAll("svg")) {
    const edge = picture.getBoundingClientRect();
    const boxes = [...picture.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    for (const [name, box] of boxes) {
      if (box.left < edge.left - 1 || box.right > edge.right + 1) found.push(`${name} is cut off`);
      if (box.top < edge.top - 2 || box.bottom > edge.bottom + 2) found.push(`${name} is cut off`);
      for (const [other, its] of boxes)
        if (name < other && box.left < its.right && its.left < box.right)
          if (box.top + 3 < its.bottom && its.top + 3 < box.bottom) found.push(`${name} touches ${other}`);
    }
  }
  return found;
}"""
"""Return the words in pictures that are cut off, or stand in each other's way."""
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


@contextmanager
def showing(browser: Browser, text: str, path: Path) -> Iterator[Page]:
    """Open a page; whatever it asks of a network or says on the console is an error."""
    path.write_text(text, encoding="utf-8")
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


def overflowing(shown: Page) -> list[str]:
    """Return what is wider than the screen, but for what scrolls in a box of its own."""
    found: list[str] = shown.evaluate("""() => {
      const width = document.documentElement.clientWidth;
      return [...document.querySelectorAll("body *")]
        .filter((element) => !element.closest(".scroll, pre, svg") || element.matches(".scroll, pre, svg"))
        .filter((element) => element.getBoundingClientRect().right > width + 1)
        .map((element) => `${element.tagName}.${element.className}: ${element.textContent.slice(0, 40)}`);
    }""")
    return found

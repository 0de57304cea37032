"""
Where a verdict is documented: a page below the one address that pyproject.toml names as `Documentation`.

An installed package carries that address in its metadata, so no module repeats it. Without one no page is named.
"""

from functools import cache
from importlib import metadata

from pytest_r1eval.stats.verdicts import Verdict

LABEL = "Documentation"


@cache
def address() -> str | None:
    """Return the address of the documentation, without a slash at its end; None where the package names none."""
    try:
        lines = metadata.metadata("pytest-r1eval").get_all("Project-URL") or ()
    except metadata.PackageNotFoundError:
        return None
    urls = (line.partition(", ")[::2] for line in lines)
    return next((url.rstrip("/") for label, url in urls if label == LABEL), None)


def verdict_page(verdict: Verdict) -> str | None:
    """Return the page that tells what to do after a verdict."""
    return _page(verdict.value)


def health_page() -> str | None:
    """Return the page that tells what to do about unhealthy responses."""
    return _page("health")


def _page(name: str) -> str | None:
    base = address()
    return None if base is None else f"{base}/verdicts/{name}/"

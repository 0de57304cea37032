"""
The demo block of the documents and the output of `make demo`, without what differs from machine to machine.

Times, run folders, progress, and pytest's headers differ between two runs. A processor other than the baseline's adds a
line of harness noise, which widens z and MDE80, and may round sums otherwise. So a number is compared as a number that
is there; verdicts, words and their order are compared as they are.
"""

from __future__ import annotations

import re

_LEFT_OUT = re.compile(
    r"""
    =+\ test\ session\ starts\ =+ | =+\ short\ test\ summary | =+\ FAILURES
    | (platform|cachedir|rootdir|configfile|plugins|testpaths|hypothesis\ profile|Using\ --randomly-seed)\b
    | (created:\ )?\d+\ workers? | collect(ed|ing)\b
    | (r1eval)?\s*[.F]*\s*(\[\s*\d+%\])?$
    | r1eval:\ \w+:\ (\d+/\d+\ samples\b|planning\b) | r1eval:\ a\ running\ pass@1
    | \s*harness\ noise:
    | \s*fell:
    | (make|WARNING|INFO)\b
    """,
    re.VERBOSE,
)
"""Lines of a machine, of a moment, or of pytest itself."""
_NUMBER = re.compile(r"-?\d+(?:[,.:]\d+)*(?:e-?\d+)?")


def comparable(output: str) -> list[str]:
    """
    Reduce what a demo prints to what it prints on every machine.

    Args:
        output: The block, or all that `make demo` printed.

    Returns:
        Its lines from the first that begins with "== may", each with # for every number.
    """
    text = re.sub(r"\x1b\[[\d;]*m", "", output)
    text = text[max(text.find("== may"), 0) :]
    text = re.sub(r"(?:/\S+/)?data/demo/[\w./-]+|\d{8}-\d{6}-[0-9a-f]{4}", "RUN", text)
    text = re.sub(r"/\S+/(?=examples/)", "", text)
    text = re.sub(r" in [\d.]+s(?: \([\d:]+\))?", "", text)
    lines = []
    for line in text.splitlines():
        if not line.strip() or _LEFT_OUT.match(line):
            continue
        kept = line.partition(" - ")[0] if line.startswith("FAILED ") else line
        kept = re.sub(r"^[=_-]+ | [=_-]+$", "", re.sub(r"[-]{2,}", "-", kept))
        lines.append(re.sub(r"\s+", " ", _NUMBER.sub("#", kept)).strip())
    return lines

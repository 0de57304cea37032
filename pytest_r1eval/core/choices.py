"""
What an option may be, where its values are a closed set.

Every pytest run imports this module with the table of options, and no other of this folder: an enum costs a tenth of
a millisecond, the dataclasses beside it half of one each.
"""

from enum import StrEnum
from typing import assert_never


class GateKind(StrEnum):
    """When the verdict is reached: after all samples, or at the first look that decides."""

    FIXED = "fixed"
    SEQUENTIAL = "sequential"


class LastLook(StrEnum):
    """Where a sequential plan ends."""

    CAPPED = "k"
    """At the fixed design's samples; the margin grows until the power holds."""
    AUTO = "auto"
    """Past them, at the first number of samples with which the fixed design's margin keeps its power."""


class Claim(StrEnum):
    """What a PASS claims."""

    HELD = "held"
    """No fall was shown that is larger than chance."""
    SAME = "same"
    """A fall and a rise beyond the margin are both excluded."""


class AllocationKind(StrEnum):
    """How many samples a sequential run draws of each problem."""

    AUTO = "auto"
    """As many as the baseline's counts make worth drawing, where that saves samples."""
    EQUAL = "equal"
    """Equally many of every problem."""


class Family(StrEnum):
    """Whether the gates of one run share one error rate."""

    NONE = "none"
    HOLM = "holm"


RELEASE_MARK = "release"
"""The mark of all benchmarks that a release policy lists."""


class Tier(StrEnum):
    """What a benchmark's verdict does to the verdict of a release."""

    CRITICAL = "critical"
    """Without its PASS there is no release."""
    SUPPORTING = "supporting"
    """A verdict other than PASS is a warning."""
    ADVISORY = "advisory"
    """It is shown."""


class InconclusivePolicy(StrEnum):
    """What an INCONCLUSIVE verdict does to the exit code."""

    FAIL = "fail"
    PASS = "pass"  # noqa: S105 - a verdict, no password


class SamplingSource(StrEnum):
    """Whose values responses are drawn with, where no option gives one."""

    DEEPSEEK = "deepseek"
    """Temperature 0.6 and top-p 0.95: comparable with published numbers of R1 models, and from model to model."""
    MODEL = "model"
    """What the checkpoint's generation_config.json recommends."""


class CodeGrader(StrEnum):
    """By which rule a program or an answer is right."""

    LIGHTEVAL = "lighteval"
    """LightEval's own scorers, as the published numbers were made, their mistakes included."""
    STRICT = "strict"
    """Programs: a real stdin and stdout, and outputs compared where they cannot reach. Answers: one exact value."""

    @property
    def scorer(self) -> str:
        """Name what carries the rule out for programs, without its version."""
        match self:
            case CodeGrader.LIGHTEVAL:
                return "lighteval-run_test"
            case CodeGrader.STRICT:
                return "strict"
        assert_never(self)

    @property
    def caution(self) -> str | None:
        """Say what a reader of its verdicts must know; None where there is nothing."""
        match self:
            case CodeGrader.LIGHTEVAL:
                return (
                    "LightEval's scorer shares a process with the program, so a program that tries can make it say "
                    '"right": by np.all, json.dumps, or os.write and os._exit. It fails correct programs that call '
                    "quit() or begin with `from __future__`. --r1-grader strict does neither."
                )
            case CodeGrader.STRICT:
                return None
        assert_never(self)


def grades_programs(grader: str) -> bool:
    """Tell whether a grader, by name and version, runs programs; another one reads answers."""
    return any(grader.startswith(f"{rule.scorer} ") for rule in CodeGrader)


class UploadWhen(StrEnum):
    """Which runs are uploaded: those whose gates are all green, or all."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    ALWAYS = "always"


class UploadLayout(StrEnum):
    """Whose names for repositories, folders and configs are used."""

    LIGHTEVAL = "lighteval"
    OPEN_R1 = "open-r1"


REPORT_FORMATS: dict[str, str] = {
    "html": "pytest_r1eval.reports.page:page",
    "md": "pytest_r1eval.reports.files:report_markdown",
    "json": "pytest_r1eval.reports.files:report_json",
    "prom": "pytest_r1eval.reports.metrics:report_metrics",
    "txt": "pytest_r1eval.reports.files:report_text",
}
"""By a file's suffix, the function that writes a report so: a format is one entry here."""


def report_suffixes() -> str:
    """List the suffixes for people: ``.html, .md, .json, .prom or .txt``."""
    *others, last = (f".{suffix}" for suffix in REPORT_FORMATS)
    return f"{', '.join(others)} or {last}"

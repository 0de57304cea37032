"""
What draws a slice, merges all of them and judges the run, as words of a command and as lines of a shell.

The one place that writes these commands: batch scripts, containers and Ray's tasks differ in what is around them.
"""

from __future__ import annotations

import shlex

from pytest_r1eval.cluster.submission import Submission


def slice_words(job: Submission) -> list[str]:
    """Return the command of a slice; it lacks the slice's number, its folder and what it resumes."""
    return [*_pytest(job), "-n", job.workers, "--r1-model", job.model, "-m", job.marks, *job.arguments.slice]


def merge_words(job: Submission) -> list[str]:
    """Return the command that merges the slices and prints the run's folder; it lacks the start."""
    return [
        *(job.python, "-m", "pytest_r1eval.cluster.merge_slices", str(job.folder)),
        *("--slices", str(job.n_slices), "--output-dir", str(job.output_dir)),
    ]


def judge_words(job: Submission) -> list[str]:
    """Return the command that judges the merged run; it lacks the run's folder, its last word."""
    return [*_pytest(job), "--r1-output-dir", str(job.output_dir), *job.arguments.judge, "--r1-judge-only"]


def without_secrets(job: Submission) -> str:
    """Write what a slice begins with in a shell."""
    return f"""\
# What is sampled may run programs: secrets are the judge's.
secrets=$({shlex.quote(job.python)} -m pytest_r1eval.cluster.slice_environment) || exit 2
for name in $secrets; do unset "$name"; done"""


def draw(job: Submission) -> str:
    """Write a slice's command for a shell, with its number, its attempt's folder and what it resumes as variables."""
    return f"""\
{shlex.join(slice_words(job))} \\
  --r1-slice "$slice/{job.n_slices}" --r1-output-dir "$attempt" ${{resume:+"--r1-resume=$resume"}}"""


def merge(job: Submission) -> str:
    """Write the command that merges for a shell; it lacks the start."""
    return shlex.join(merge_words(job))


def judge(job: Submission) -> str:
    """Write the judge's command for a shell, with the run as a variable."""
    return f'{shlex.join(judge_words(job))} "$run"'


def _pytest(job: Submission) -> list[str]:
    return [job.python, "-m", "pytest", "-p", "no:cacheprovider"]

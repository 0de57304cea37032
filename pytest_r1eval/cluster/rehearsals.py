"""
A look at what is going to be submitted, before it waits for nodes.

A misspelled option, a missing checkpoint or a baseline of another exam would end the slice or, after all GPU hours, the
judge. The jobs' own command lines are parsed here by the same pytest.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from pytest_r1eval.cluster.submission import Submission
from pytest_r1eval.core.pytest_output import REHEARSED, error_in, n_rehearsed
from pytest_r1eval.errors import RehearsalError


def rehearse(job: Submission, *, environment: Mapping[str, str] = os.environ, n_slices: int | None = None) -> None:
    """
    Check options, checkpoint, baseline and data sets of a submission, by the pytest that its jobs will run.

    Args:
        job: What is going to be submitted.
        environment: What the jobs will inherit.
        n_slices: Slices that each have to get a sample; None where an empty one does no harm.

    Raises:
        RehearsalError: If the jobs would fail, with pytest's reason in one line.
    """
    command = [job.python, "-m", "pytest", "-p", "no:cacheprovider", "-p", "pytest_r1eval.plugin.rehearsal"]
    command += [f"--r1-model={job.model}", f"--r1-output-dir={job.output_dir}", "-m", job.marks]
    done = subprocess.run(  # noqa: S603 - this interpreter, and options that it parses
        [*command, *job.arguments.slice, *job.arguments.judge],
        cwd=job.root, env=environment, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        raise RehearsalError(f"{error_in(done.stderr + done.stdout)} (nothing was submitted)")
    if REHEARSED not in done.stdout.splitlines():
        raise RehearsalError(
            "with these options pytest would end before it looks at the run; expected a run that is judged. Drop what "
            "makes pytest show something, such as --version (nothing was submitted)"
        )
    n_samples = n_rehearsed(done.stdout)
    if n_slices is not None and n_samples is not None and n_slices > n_samples:
        raise RehearsalError(
            f"--slices {n_slices}: the run has {n_samples} samples, and a slice needs one at least; expected "
            f"{n_samples} slices or fewer (nothing was submitted)"
        )

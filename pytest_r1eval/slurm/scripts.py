"""
The two batch scripts, as text: readable, and run by hand with `bash` where there is no Slurm.

They are the whole of what happens on the cluster; `r1eval slurm` only writes, submits and looks at them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import indent

from pytest_r1eval.config.option import Option
from pytest_r1eval.config.options import OPTIONS
from pytest_r1eval.core.texts import hidden_argument, hidden_in
from pytest_r1eval.errors import PlanError

SLICE_SCRIPT = "slice.sbatch"
JUDGE_SCRIPT = "judge.sbatch"
_OF_THE_SCRIPTS = re.compile(r"-[kmn]|--(numprocesses|deselect)\b")
"""Options of pytest that choose benchmarks and workers."""
MAX_RESTARTS = 20
"""Times a slice starts itself again; more is a slice that does not come forward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PytestArguments:
    """Arguments of pytest, by the job that needs them."""

    slice: tuple[str, ...] = ()
    judge: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """
    What is submitted.

    Attributes:
        folder: Where scripts, logs and attempts are kept, absolute.
        output_dir: Where the merged run is kept.
        root: The folder that both jobs run in: the user's baselines and pyproject.toml are found from it.
        python: The interpreter, as the jobs call it.
        model: What is judged.
        marks: The expression of pytest's -m.
        n_slices: Tasks of the array.
        gpus_per_node: GPUs of each; 0 for none.
        workers: pytest-xdist's -n on each node.
        time: Slurm's time limit of a slice; None for the partition's.
        grace_s: Seconds before the time limit at which a slice stops, to go on in a new job.
        sbatch_arguments: More options of sbatch, of both scripts.
        arguments: More arguments of pytest.
    """

    folder: Path
    output_dir: Path
    root: Path
    python: str
    model: str
    marks: str
    n_slices: int = 1
    gpus_per_node: int = 8
    workers: str = "auto"
    time: str | None = None
    grace_s: int = 120
    sbatch_arguments: tuple[str, ...] = ()
    arguments: PytestArguments = PytestArguments()

    def __post_init__(self) -> None:
        self._refuse_hidden()
        for argument in self.sbatch_arguments:
            if not argument.startswith("-") or hidden_in(argument) is not None:
                raise PlanError(
                    f"--sbatch-arg {argument!r}; expected one option of sbatch, as in --sbatch-arg=--qos=low"
                )
        if not (self.workers == "auto" or (self.workers.isascii() and self.workers.isdecimal())):
            raise PlanError(f"--workers {self.workers}; expected auto or a whole number")
        limit_s = None if self.time is None else time_limit_s(self.time)
        if limit_s and limit_s <= self.grace_s:  # 0 is no limit
            raise PlanError(
                f"--time {self.time} is {limit_s} s, and a slice stops {self.grace_s} s before it (--grace): every "
                "start would end at once; give more time, or less grace"
            )

    def _refuse_hidden(self) -> None:
        """Refuse a control character in any part: a newline ends a comment and a directive, within quotes too."""
        texts = {
            "--model": self.model,
            "--output-dir": str(self.output_dir),
            "the submission's folder": str(self.folder),
            "--benchmarks": self.marks,
            "--workers": self.workers,
            "--time": self.time or "",
            "the current folder": str(self.root),
            "the interpreter": self.python,
        }
        for what, text in texts.items():
            if (hidden := hidden_in(text)) is not None:
                raise PlanError(f"{what} is {text!a}, with the character {hidden}; expected text on one line")
        if (wrong := hidden_argument([*self.arguments.slice, *self.arguments.judge])) is not None:
            raise PlanError(f"the argument {wrong}")


def time_limit_s(time: str) -> int | None:
    """
    Read a time limit as sbatch does, to whole seconds; None where it is none of its forms.

    These are minutes, minutes:seconds, hours:minutes:seconds, days-hours and days-hours:minutes[:seconds].
    """
    if not (found := re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)):
        return None
    days, first, second, third = (None if part is None else int(part) for part in found.groups())
    if days is not None:
        return 60 * (60 * (24 * days + (first or 0)) + (second or 0)) + (third or 0)
    if third is not None:
        return 60 * (60 * (first or 0) + (second or 0)) + third
    return 60 * (first or 0) + (second or 0)


def divided(extra: Sequence[str]) -> PytestArguments:
    """
    Say which job needs an argument that is passed through.

    Drawing and grading are the slices', as the table of options has it, everything else the judge's: gates,
    reports, uploads, and what another plugin or a later version adds.

    Raises:
        PlanError: If it is one that the scripts decide.
    """
    options = {flag: option for option in OPTIONS for flag in option.flags}
    jobs: dict[str, list[str]] = {"slice": [], "judge": []}
    target: list[list[str]] = []
    is_foreign = False
    for argument in extra:
        if not argument.startswith("-"):
            if not target:
                raise PlanError(
                    f"{argument!r} belongs to no option; expected --r1-... options of pytest after the others"
                )
            for arguments in target:
                arguments.append(argument)
            target = target if is_foreign else []
            continue
        flag, is_given, _ = argument.partition("=")
        option = options.get(flag)
        is_ours = option is not None and option.subject != "gate"
        if is_ours or argument == "--r1-gate=sequential" or _OF_THE_SCRIPTS.match(argument):
            raise PlanError(f"{argument}: the batch scripts decide that; leave it out (see r1eval slurm submit --help)")
        target = [jobs[role] for role in _roles(option)]
        for arguments in target:
            arguments.append(argument)
        is_foreign = not flag.startswith("--r1-")
        if is_given or (option is not None and option.is_flag):
            target = []
    if ("--r1-gate", "sequential") in pairwise(jobs["slice"]):
        raise PlanError("--r1-gate sequential: looks need the samples of all nodes while the run goes on; leave it out")
    return PytestArguments(slice=tuple(jobs["slice"]), judge=tuple(jobs["judge"]))


def _roles(option: Option | None) -> tuple[str, ...]:
    """Return the jobs that need an option: drawing and grading are the slices', and the judge has the rest."""
    match option.phase if option is not None else None:
        case "both":
            return "slice", "judge"
        case "draw" | "grade":
            return ("slice",)
        case _:
            return ("judge",)


def slice_script(job: Submission) -> str:
    """Write the script of one slice."""
    gpus = [f"--gres=gpu:{job.gpus_per_node}"] if job.gpus_per_node else []
    time = [f"--time={job.time}"] if job.time else []
    warning = f"--signal=B:USR1@{job.grace_s}"
    options = [f"--array=1-{job.n_slices}", *gpus, *time, warning, _log_option(job, "slice-%a")]
    return f"""\
#!/bin/bash
{_directives(job, "slice", options)}
# One slice of a run, of {job.n_slices}, on one node. By hand: {_by_hand(job, "")}
# Without Slurm: SLURM_ARRAY_TASK_ID=1 bash {SLICE_SCRIPT}
cd {shlex.quote(str(job.root))} || exit 2
{without_secrets(job)}
restarts=${{SLURM_RESTART_COUNT:-0}}
slice=${{SLURM_ARRAY_TASK_ID:?which slice}}
# Each start writes into a folder of its own and begins with a copy of the one before it:
# an orphan that goes on writing on a lost node harms nothing.
attempt={shlex.quote(str(job.folder / "slices"))}/$slice/attempt-${{SLURM_ARRAY_JOB_ID:-0}}-$restarts
echo "== slice $slice/{job.n_slices}, start $restarts, on $(hostname), GPUs ${{CUDA_VISIBLE_DEVICES:-none}}"
resume=$({shlex.quote(job.python)} -m pytest_r1eval.slurm.handover "$attempt") || exit 2

{draw(job)} &
pytest=$!
again=
trap 'again="the time limit is near"; kill -TERM $pytest' USR1  # Slurm's warning (--signal)
trap 'kill -TERM $pytest' TERM INT                               # cancelled or preempted: Slurm decides what follows
wait $pytest; code=$?
while kill -0 $pytest 2>/dev/null; do wait $pytest; code=$?; done
if [ -z "$again" ] && [ $code -eq 137 ]; then again="pytest was killed"; fi
# A start that has been replaced meanwhile does not disturb the one that replaced it.
if [ -n "$again" ] && [ $code -ne 0 ] && scontrol show job "${{SLURM_JOB_ID:-0}}" | grep -q "Restarts=$restarts "; then
  if [ "$restarts" -lt {MAX_RESTARTS} ]; then
    echo "== $again: what is stored is kept, the slice goes on in a new start"
    scontrol requeue "$SLURM_JOB_ID" && exit 0
  fi
  echo "== $again, and this was start $restarts of {MAX_RESTARTS}"
fi
exit $code
"""


def judge_script(job: Submission) -> str:
    """Write the script that merges and judges."""
    return f"""\
#!/bin/bash
{_directives(job, "judge", [_log_option(job, "judge")])}
# Merges the slices and judges the run. By hand: {_by_hand(job, "--dependency=afterany:SLICES_JOB ")}
# Without Slurm: bash {JUDGE_SCRIPT}
cd {shlex.quote(str(job.root))} || exit 2
start=${{SLURM_JOB_ID:-0}}-${{SLURM_RESTART_COUNT:-0}}
result={shlex.quote(str(job.folder / "results"))}/$start.txt
mkdir -p {shlex.quote(str(job.folder / "results"))}
run=$({merge(job)} --start "$start") && code=0 || code=2
if [ $code -eq 0 ]; then
{indent(judge(job), "  ")}
  code=$?
fi
# What a signal ended has no result to leave.
[ $code -lt 128 ] && printf '%s\\n' $code "$run" > "$result.part" && mv "$result.part" "$result"
exit $code
"""


def without_secrets(job: Submission) -> str:
    """Write what a slice begins with."""
    return f"""\
# What is sampled may run programs: secrets are the judge's.
secrets=$({shlex.quote(job.python)} -m pytest_r1eval.slurm.slice_environment) || exit 2
for name in $secrets; do unset "$name"; done"""


def draw(job: Submission) -> str:
    """Write the command of a slice, with its number, its attempt's folder and what it resumes as variables."""
    words = [*_pytest(job), "-n", job.workers, "--r1-model", job.model, "-m", job.marks, *job.arguments.slice]
    return f"""\
{shlex.join(words)} \\
  --r1-slice "$slice/{job.n_slices}" --r1-output-dir "$attempt" ${{resume:+"--r1-resume=$resume"}}"""


def merge(job: Submission) -> str:
    """Write the command that merges the slices and prints the run's folder; it lacks the start."""
    return shlex.join(
        [
            *(job.python, "-m", "pytest_r1eval.slurm.merge_slices", str(job.folder)),
            *("--slices", str(job.n_slices), "--output-dir", str(job.output_dir)),
        ]
    )


def judge(job: Submission) -> str:
    """Write the command that judges the merged run, which is a variable."""
    return f"""\
{shlex.join(_pytest(job))} --r1-judge-only "$run" --r1-output-dir {shlex.quote(str(job.output_dir))} \\
  {shlex.join(job.arguments.judge)}"""


def _pytest(job: Submission) -> list[str]:
    return [job.python, "-m", "pytest", "-p", "no:cacheprovider"]


def _directives(job: Submission, role: str, options: Sequence[str]) -> str:
    name = job.model.rstrip("/").rpartition("/")[2]
    title = shlex.quote(f"--job-name=r1eval-{role}-{name}")
    common = [title, "--nodes=1", "--ntasks=1", "--requeue", "--open-mode=append"]
    return "\n".join(f"#SBATCH {option}" for option in [*common, *options, *job.sbatch_arguments])


def _log_option(job: Submission, name: str) -> str:
    """Return --output, in which Slurm reads quotes as a shell does, and a %% as one."""
    folder = str(job.folder / "logs").replace("%", "%%")
    return shlex.quote(f"--output={folder}/{name}.log")


def _by_hand(job: Submission, options: str) -> str:
    script = JUDGE_SCRIPT if options else SLICE_SCRIPT
    return f"mkdir -p {shlex.quote(str(job.folder / 'logs'))} && sbatch {options}{script}"

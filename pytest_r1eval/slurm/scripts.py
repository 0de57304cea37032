"""
The two batch scripts, as text: readable, and run by hand with `bash` where there is no Slurm.

They are the whole of what happens on the cluster; `r1eval slurm` only writes, submits and looks at them.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from textwrap import indent

from pytest_r1eval.cluster.commands import draw, judge, merge, without_secrets
from pytest_r1eval.cluster.submission import MAX_RESTARTS, Submission

SLICE_SCRIPT = "slice.sbatch"
JUDGE_SCRIPT = "judge.sbatch"


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
resume=$({shlex.quote(job.python)} -m pytest_r1eval.cluster.handover "$attempt") || exit 2

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

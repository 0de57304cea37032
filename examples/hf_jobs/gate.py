"""
Judge a checkpoint on a GPU of Hugging Face Jobs, and end as the gate does.

    python examples/hf_jobs/gate.py org/model aime24 --bucket me/evals
    python examples/hf_jobs/gate.py org/model "aime or math500" --bucket me/evals --flavor h200x8

The bucket keeps runs and ledger: `hf buckets create me/evals` makes it. No token reaches the job. For a private model
give `--model-volume`: the Hub mounts it, and the job needs no token either.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from huggingface_hub import Volume, fetch_job_logs, run_job, wait_for_job

IMAGE = "ghcr.io/your-org/pytest-r1eval:0.1.0"
SCRIPT = Path(__file__).parents[1] / "cloud" / "gate.sh"
STORE, MODEL = "/store", "/model"


def main() -> int:
    """Start the job, wait for its end and print its log; 0 if the gate passed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="a Hub id")
    parser.add_argument("benchmarks", help='marks, such as "aime or math500"')
    parser.add_argument("--bucket", required=True, help="OWNER/NAME, where runs and ledger are kept")
    parser.add_argument("--model-volume", action="store_true", help="mount the model, for a private one")
    parser.add_argument("--arguments", default="", help="further arguments of pytest, separated by blanks")
    parser.add_argument("--flavor", default="h200", help="the machine; `hf jobs hardware` lists them")
    parser.add_argument("--image", default=IMAGE)
    parser.add_argument("--timeout", default="12h")
    parser.add_argument("--poll", type=float, default=30, help="seconds between two looks at the job")
    given = parser.parse_args()

    volumes = [Volume(type="bucket", source=given.bucket, mount_path=STORE)]
    if given.model_volume:
        volumes.append(Volume(type="model", source=given.model, mount_path=MODEL, read_only=True))
    job = run_job(
        image=given.image,
        command=["bash", "-c", SCRIPT.read_text(encoding="utf-8")],
        env={
            "R1_MODEL": MODEL if given.model_volume else given.model,
            "BENCHMARKS": given.benchmarks,
            "ARGUMENTS": given.arguments,
            "STORE": STORE,
        },
        volumes=volumes,
        flavor=given.flavor,
        timeout=given.timeout,
    )
    print(f"job: {job.url}")
    ended = wait_for_job(job_id=job.id, namespace=job.owner.name, poll_interval=given.poll)
    for line in fetch_job_logs(job_id=job.id, namespace=job.owner.name):
        print(line)
    print(f"job: {ended.status.stage}")
    return 0 if ended.status.stage == "COMPLETED" else 1


if __name__ == "__main__":
    raise SystemExit(main())

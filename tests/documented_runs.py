"""A folder in which the documents' commands run: every model, run and file that they name is there, recorded."""

from __future__ import annotations

from pathlib import Path

from pytest_r1eval.core.plans import Slice
from pytest_r1eval.core.uploads import UploadWishes
from pytest_r1eval.judging.result import write_verdicts
from pytest_r1eval.upload.record import UploadRecord, write_record
from pytest_r1eval.upload.results import write_run_files
from tests.judged_runs import judged, judged_against
from tests.recordings import record_run
from tests.score_files import moved, save

REPO = "org/evals"
"""The data set of the documents' uploads."""
_DISTILLED = "deepseek-ai/DeepSeek-R1-Distill"
_MODELS = {
    "org/model": ("aime24", "math500", "lcb", "smoke_code"),
    "org/good-model": ("aime24",),
    "export/model-awq": ("aime24",),
    "checkpoints/step-1000": ("aime24",),
    "checkpoints/step-2000": ("aime24",),
    f"{_DISTILLED}-Qwen-7B": ("aime24", "math500"),
    f"{_DISTILLED}-Qwen-1.5B": ("aime24",),
    f"{_DISTILLED}-Llama-70B": ("math500",),
}
"""What `--r1-model` names, with what is recorded there: `R1_ENGINE=replay` answers from it."""
_POLICY = """
samples = 8
max-new-tokens = 64
[benchmarks.aime24]
tier = "critical"
[benchmarks.math500]
tier = "supporting"
"""
"""What the documents call policy.toml and stored.toml, for checkpoints that are recorded."""
_WITHOUT_BASELINE = {"org/good-model", "export/model-awq", "checkpoints/step-1000", "checkpoints/step-2000"}
_RUNS = {
    "RUN": "org/model",
    "RUN2": "org/model",
    "RUN_A": "org/model",
    "RUN_B": "org/model",
    "data/evals/org/model/RUN": "org/model",
    "data/evals/org/good-model/RUN": "org/good-model",
    "data/evals/ORG/MODEL/RUN": "tuned/checkpoint-100",
    "output/r1eval/tuned/first": "tuned/checkpoint-100",
    "output/r1eval/tuned/second": "tuned/checkpoint-200",
}
"""Judged runs that the documents name by a place holder or a folder, and the model of each."""


def prepare(folder: Path) -> None:
    """Record checkpoints, their baselines, judged runs and slices."""
    for model, benchmarks in _MODELS.items():
        record_run(folder / model, benchmarks=benchmarks, seed=2, weights=f"w {model}", model_name=model)
        if model not in _WITHOUT_BASELINE:
            reference = folder / "references" / model
            judged(record_run(reference, benchmarks=benchmarks, weights="w0", model_name=model), root=folder)
    (folder / "old.json").write_bytes((folder / "baselines" / "org" / "model.json").read_bytes())
    (folder / "new.json").write_bytes((folder / "old.json").read_bytes())
    for name, gap in (("before", 0.0), ("after", 2**-6)):
        save(moved(lambda *_, gap=gap: gap), folder / f"{name}.json")
    (folder / "policy.toml").write_text(_POLICY, encoding="utf-8")
    (folder / "stored.toml").write_text(_POLICY.partition("[benchmarks.math500]")[0], encoding="utf-8")
    for seed, (run, model) in enumerate(_RUNS.items(), start=3):
        record_run(folder / run, benchmarks=("aime24",), seed=seed, weights=f"w {model}", model_name=model)
        results = judged_against(folder / run, folder, choice=None)
        write_verdicts(folder / run, results)
        write_run_files(folder / run, results, tasks={"aime24": "aime24"})
    write_record(folder / "data/evals/org/model/RUN", UploadRecord(wishes=UploadWishes(repo=REPO), error="no answer"))
    for number in (1, 2):
        part = Slice(number=number, total=2)
        slice_folder = folder / f"SLICE_{number}"
        record_run(slice_folder, benchmarks=("aime24",), seed=2, weights="w2", model_name="org/model", part=part)

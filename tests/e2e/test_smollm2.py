"""
A public chat model with nothing replaced: its own tokenizer and template, real problems, and adapters of PEFT on it.

vLLM starts twice for all tests together: once for the model, once for both adapters. Answers are short, because a CPU
draws a few hundred tokens a second at best.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from pytest_r1eval import RunReport, evaluate
from pytest_r1eval.core.records import FinishReason, Outcome, Sample
from pytest_r1eval.reports.run_report import read_report
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.stats.verdicts import Verdict
from tests.processes import EAGER
from tests.real_data import BESIDE, ENVIRON, TEST_DATA, real_data_in
from tests.requirements import PEFT, REAL_DATA, lacking, need

pytestmark = pytest.mark.usefixtures("warm_engines")

ROOT = Path(__file__).parents[2]
CAPITALS = ROOT / "tests" / "data" / "capitals.py"
N_PROBLEMS, N_SAMPLES, N_REAL, N_TOKENS = 8, 8, 3, 32
CONTEXT = 8192
ASKED = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nWhat is the capital of {country}? Answer with one word.<|im_end|>\n<|im_start|>assistant\n"
)
"""What the model's own template makes of a question: it puts a system message of its own before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The model's own run, whose number is the baseline of a project."""

    project: Path
    code: int
    output: str
    report: RunReport

    def samples(self, benchmark: str) -> tuple[Sample, ...]:
        """Return the stored samples."""
        with closing(RunReader.open(self.report.run)) as run:
            return tuple(run.samples(benchmark))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path | str:
    """Name the folder of AIME 2024 and MATH-500, or say why there is none: the other tests run without."""
    return real_data_in(tmp_path_factory.mktemp("data"), given=TEST_DATA, beside=BESIDE, environ=ENVIRON)


@pytest.fixture(scope="module")
def recorded(smollm2: Path, data: Path | str, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Draw the model as a user does, on capitals and on real problems where there are some."""
    project = tmp_path_factory.mktemp("project")
    real = () if isinstance(data, str) else (f"--r1-data={data}",)
    marks = "capitals or math500 or aime" if real else "capitals"
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", marks, f"--r1-model={smollm2}", *real),
        *(f"--r1-tasks={CAPITALS}", f"--r1-subset={N_PROBLEMS}", f"--r1-samples=capitals={N_SAMPLES}"),
        *(f"--r1-samples=math500={N_REAL}", f"--r1-samples=aime24={N_REAL}", f"--r1-max-new-tokens={N_TOKENS}"),
        *(f"--r1-max-model-len={CONTEXT}", EAGER, "--r1-save-baseline=acme/smollm2"),
    ]
    done = subprocess.run(
        command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=1200
    )
    stores = [*project.glob(f"data/evals/*/*/*/{FILE_NAME}")]
    assert len(stores) == 1, done.stdout[-3000:]
    report = read_report(stores[0].parent)
    return Recorded(project=project, code=done.returncode, output=done.stdout, report=report)


def test_it_is_recorded_and_not_passed(recorded: Recorded) -> None:
    """A run without a baseline is INCONCLUSIVE with exit code 1, and its number is recorded as asked."""
    capitals = recorded.report["capitals"]
    assert (recorded.code, capitals.verdict) == (1, Verdict.INCONCLUSIVE), recorded.output[-3000:]
    assert (recorded.project / "baselines" / "acme" / "smollm2.json").is_file()


def test_its_answers_are_graded(recorded: Recorded) -> None:
    """The model names most capitals, not all, and each of its answers has a grade."""
    result = recorded.report["capitals"].result
    assert result.n_samples == N_PROBLEMS * N_SAMPLES
    assert result.judgement.estimate is not None
    assert 0.6 < result.judgement.estimate.mean < 1
    kinds = {sample.grade.outcome for sample in recorded.samples("capitals")}
    assert {Outcome.CORRECT, Outcome.WRONG} <= kinds
    assert Outcome.ERROR not in kinds


def test_its_own_template_asks(recorded: Recorded, smollm2: Path) -> None:
    """A question reaches the model through its own template and tokenizer, to the last character."""
    with closing(RunReader.open(recorded.report.run)) as run:
        prompts = run.prompts("capitals")
    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    rows = (CAPITALS.with_suffix("") / "test.jsonl").read_text(encoding="utf-8").splitlines()
    possible = {ASKED.format(country=json.loads(row)["country"]) for row in rows}
    asked = {tokenizer.decode(ids, skip_special_tokens=False) for ids in prompts.values()}
    assert len(asked) == N_PROBLEMS
    assert asked <= possible


@pytest.mark.parametrize("benchmark", ["aime24", "math500"])
def test_real_problems_are_drawn_and_cut(recorded: Recorded, data: Path | str, benchmark: str) -> None:
    """Real problems are drawn in full; answers cut at the limit are counted as truncated and fail health."""
    if isinstance(data, str):
        lacking(REAL_DATA, detail=data)
    samples = recorded.samples(benchmark)
    assert len(samples) == N_PROBLEMS * N_REAL
    assert len({sample.problem_id for sample in samples}) == N_PROBLEMS
    assert Outcome.ERROR not in {sample.grade.outcome for sample in samples}
    cut = [sample for sample in samples if sample.response.finish_reason is FinishReason.LENGTH]
    assert {sample.response.n_tokens for sample in cut} == {N_TOKENS}
    assert len(cut) > len(samples) / 2
    assert recorded.report[benchmark].verdict is Verdict.INCONCLUSIVE
    assert f"FAILED r1eval::{benchmark}::health" in recorded.output


@pytest.fixture(scope="module")
def gated(recorded: Recorded, smollm2: Path) -> tuple[RunReport, ...]:
    """Judge two adapters of the model in one engine: one fresh from PEFT, which changes nothing, and one of noise."""
    need(PEFT)
    command = [sys.executable, "-m", "tests.noisy_adapter", str(smollm2), str(recorded.project)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)
    return evaluate(
        [recorded.project / "fresh", recorded.project / "noise"],
        ["capitals"],
        folder=recorded.project,
        baseline="acme/smollm2",
        tasks=CAPITALS,
        subset=N_PROBLEMS,
        samples={"capitals": N_SAMPLES},
        max_new_tokens=N_TOKENS,
        max_model_len=CONTEXT,
        engine_arg={"enforce_eager": True},
        timeout_s=1200,
    )


def test_the_same_function_passes_with_other_samples(recorded: Recorded, gated: tuple[RunReport, ...]) -> None:
    """An adapter that changes nothing, drawn with another seed, passes against the model's own baseline."""
    fresh, _ = gated
    assert fresh["capitals"].verdict is Verdict.PASS
    assert fresh.header.seed != recorded.report.header.seed
    assert fresh["capitals"].result.n_samples == N_PROBLEMS * N_SAMPLES


def test_noise_on_its_weights_fails(gated: tuple[RunReport, ...]) -> None:
    """Noise of low rank on the model's weights is FAIL_REGRESSED, many standard errors below it."""
    _, noise = gated
    assert noise["capitals"].verdict is Verdict.FAIL_REGRESSED
    assert noise["capitals"].result.judgement.z is not None
    assert noise["capitals"].result.judgement.z < -5


def test_both_are_served_by_one_engine(gated: tuple[RunReport, ...]) -> None:
    """The engine starts once: it logs in the first adapter's run, and the second run has none of its own."""
    logs = [len([*report.run.glob("logs/engine-*.log")]) for report in gated]
    assert logs == [1, 0]
    assert len({report.header.identity.checkpoint for report in gated}) == 2

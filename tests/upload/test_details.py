"""Details and results files: what stands in them, and that LightEval reads them."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pytest_r1eval.core.benchmarks import Problem
from pytest_r1eval.core.records import Outcome
from pytest_r1eval.errors import DetailsError
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.upload.after_verdict import finish
from pytest_r1eval.upload.paths import RunFiles, run_date
from pytest_r1eval.upload.results import write_run_files
from tests.judged_runs import TASKS, judged, judged_run
from tests.recordings import make_exam, record_run
from tests.requirements import LIGHTEVAL
from tests.warm_pytest import Server, forking

METRIC = "pass@k:k=1"
SAMPLING_ERROR = "pass@k:k=1_sampling_stderr"


def rows_of(files: RunFiles, task: str = "smoke|0") -> list[dict[str, Any]]:
    """Read a task's details."""
    rows: list[dict[str, Any]] = pq.read_table(files.details(task)).to_pylist()
    return rows


def results_of(files: RunFiles) -> dict[str, Any]:
    """Read a run's results, refusing what JSON does not have."""

    def refuse(constant: str) -> object:
        raise AssertionError(f"{constant} is no JSON")

    content: dict[str, Any] = json.loads(files.results.read_text(), parse_constant=refuse)
    return content


class TestSamples:
    def test_every_sample_is_there(self, tmp_path: Path) -> None:
        """The details have one row for each problem, with every sample's text where LightEval looks for it."""
        files = judged_run(tmp_path / "run", n_problems=3, n_samples=4)
        with closing(RunReader.open(tmp_path / "run")) as store:
            expected = [
                (sample.problem_id, sample.index, sample.seed, sample.response.text, sample.grade.outcome.value)
                for problem_id in ("p001", "p000", "p002")  # as `random.shuffle` after `seed(42)` has three
                for sample in store.samples("smoke")
                if sample.problem_id == problem_id
            ]
        found = [
            (row["problem_id"], sample["index"], sample["seed"], text, sample["outcome"])
            for row in rows_of(files)
            for sample, text in zip(row["samples"], row["model_response"]["text"], strict=True)
        ]
        assert expected == found
        assert [row["doc"]["query"] for row in rows_of(files)] == ["1+1?", "0+0?", "2+2?"]
        (extra,) = {tuple(sample.items())[3:] for row in rows_of(files) for sample in row["samples"]}
        assert extra == (
            ("answer", "4"),
            ("detail", None),
            ("finish_reason", "stop"),
            ("n_tokens", 20),
            ("n_thought_tokens", None),
        )

    def test_half_a_pair_is_replaced_everywhere(self, tmp_path: Path) -> None:
        """Half a surrogate pair in text, answer or detail becomes a replacement character in details and page."""
        half = "so \ud83d it goes"
        run = record_run(tmp_path / "run", n_problems=3, n_samples=4, text=half, answer=half, detail=half)
        finished = finish(run, judged(run), tasks=TASKS, wishes=None)
        assert finished.lines == ()
        with closing(RunReader.open(run)) as store:
            files = RunFiles.of(run, store.header)
        for row in rows_of(files):
            assert set(row["model_response"]["text"]) == {"so \ufffd it goes"}
            assert {(sample["answer"], sample["detail"]) for sample in row["samples"]} == {("so \ufffd it goes",) * 2}
        assert "so \ufffd it goes" in (run / "report.html").read_text()

    def test_the_metric_is_the_mean_of_its_row(self, tmp_path: Path) -> None:
        """A row's metric is the mean of its samples, and the score is the mean of the metrics."""
        files = judged_run(tmp_path / "run")
        rows = rows_of(files)
        for row in rows:
            assert row["metric"][METRIC] == sum(s["outcome"] == "correct" for s in row["samples"]) / row["n_samples"]
        score = results_of(files)["results"]["smoke|0"][METRIC]
        assert score == pytest.approx(sum(row["metric"][METRIC] for row in rows) / len(rows))

    def test_verdict_and_fingerprint_travel_with_the_samples(self, tmp_path: Path) -> None:
        """The details hold the verdict and the fingerprint, for readers without the run."""
        files = judged_run(tmp_path / "run")
        metadata = json.loads(pq.read_schema(files.details("smoke|0")).metadata[b"r1eval"])
        assert metadata["verdict"] == "inconclusive"
        assert metadata["fingerprint"]["model"]["weights"] == "w1"
        assert metadata["fingerprint"]["question"]["sampling"]["max_new_tokens"] == 64
        assert metadata["fingerprint"]["harnesses"][0]["engine"] == "vllm 0.0.test"

    def test_large_runs_are_written_in_parts(self, tmp_path: Path) -> None:
        """A run with thirty megabytes of text is written in two row groups, and nothing is lost."""
        run = record_run(tmp_path / "run", n_problems=4, n_samples=2)
        with closing(sqlite3.connect(run / FILE_NAME)) as db, db:
            db.execute("UPDATE response SET text = printf('%.*c', 4000000, 'x') || text")
        files = write_run_files(run, judged(run), tasks=TASKS)
        assert pq.ParquetFile(files.details("smoke|0")).num_row_groups == 2
        assert {len(text) > 4_000_000 for row in rows_of(files) for text in row["model_response"]["text"]} == {True}


class TestScores:
    def test_a_stopped_run_has_samples_and_no_score(self, tmp_path: Path) -> None:
        """A run that stopped early has its samples in the details, and no score in rows or results."""
        files = judged_run(tmp_path / "run", k_at_stop=4)
        results = results_of(files)
        assert results["results"] == {}
        assert results["r1eval"]["benchmarks"]["smoke"]["is_at_stop"]
        assert {len(row["model_response"]["text"]) for row in rows_of(files)} == {4}
        assert {row["metric"][METRIC] for row in rows_of(files)} == {None}

    def test_a_run_with_holes_has_no_score(self, tmp_path: Path) -> None:
        """A run with a missing sample keeps the others in its details and has no score."""
        files = judged_run(tmp_path / "run", skip=frozenset({("p003", 5)}))
        results = results_of(files)
        assert results["results"] == {}
        assert results["r1eval"]["benchmarks"]["smoke"]["verdict"] == "invalid"
        assert sum(row["n_samples"] for row in rows_of(files)) == 95
        assert {row["metric"][METRIC] for row in rows_of(files)} == {None}

    def test_a_failed_grader_has_no_score(self, tmp_path: Path) -> None:
        """A run on which the grader failed has no score in its results."""
        files = judged_run(tmp_path / "run", outcome=Outcome.ERROR)
        assert results_of(files)["results"] == {}

    def test_several_benchmarks(self, tmp_path: Path) -> None:
        """Each benchmark is under LightEval's name of its task, with an average of all."""
        files = judged_run(tmp_path / "run", benchmarks=("smoke", "gpqa"))
        results = results_of(files)
        smoke, gpqa, both = results["results"].values()
        assert [*results["results"]] == ["smoke|0", "gpqa:diamond|0", "all"]
        assert both[METRIC] == pytest.approx((smoke[METRIC] + gpqa[METRIC]) / 2)
        errors = [score[SAMPLING_ERROR] for score in (smoke, gpqa)]
        assert both[SAMPLING_ERROR] == pytest.approx((errors[0] ** 2 + errors[1] ** 2) ** 0.5 / 2)
        assert results["config_tasks"]["gpqa:diamond|0"]["num_samples"] == [8]
        assert len(rows_of(files, "gpqa:diamond|0")) == 12

    def test_the_error_is_not_called_lightevals(self, tmp_path: Path) -> None:
        """The error over samples has a name of its own, because LightEval's is over problems."""
        score = results_of(judged_run(tmp_path / "run"))["results"]["smoke|0"]
        assert [*score] == [METRIC, SAMPLING_ERROR]


class TestFiles:
    def test_a_glob_reads_every_row_once(self, tmp_path: Path) -> None:
        """The file that LightEval's pipeline looks for is in another folder, so that a glob reads each row once."""
        files = judged_run(tmp_path / "run", n_problems=3, n_samples=4)
        (path,) = (files.folder / "details").rglob("*.parquet")
        (second,) = (files.folder / "lighteval").rglob("*.parquet")
        assert second.name == f"details_smoke|0|0_{files.date}.parquet"
        assert path.samefile(second)

    def test_a_problem_without_samples_keeps_its_row(self, tmp_path: Path) -> None:
        """A problem without samples keeps its row, because LightEval pairs row i with problem i."""
        files = judged_run(tmp_path / "run", n_problems=3, n_samples=2, skip=frozenset({("p000", 0), ("p000", 1)}))
        assert [(row["problem_id"], row["n_samples"]) for row in rows_of(files)] == [
            ("p001", 2),
            ("p000", 0),
            ("p002", 2),
        ]

    def test_written_twice_is_the_same(self, tmp_path: Path) -> None:
        """Writing the files of equal verdicts twice gives equal bytes."""
        results = judged(record_run(tmp_path / "run"))
        files = write_run_files(tmp_path / "run", results, tasks=TASKS)
        paths = (files.results, files.results_table, files.details("smoke|0"))
        before = [path.read_bytes() for path in paths]
        write_run_files(tmp_path / "run", results, tasks=TASKS)
        assert before == [path.read_bytes() for path in paths]

    def test_a_failed_write_leaves_what_was_there(self, tmp_path: Path) -> None:
        """A write of details that fails leaves no partial file, and the message names where the samples are."""
        files = judged_run(tmp_path / "run")
        path = files.details("smoke|0")
        path.unlink()
        path.mkdir()
        with pytest.raises(DetailsError, match=r"cannot write .* are in the run's store"):
            write_run_files(tmp_path / "run", judged(tmp_path / "run"), tasks=TASKS)
        assert [found.name for found in path.parent.iterdir() if found.name.startswith(".")] == []

    def test_runs_of_one_second_keep_apart(self) -> None:
        """Two jobs that start together do not write over each other in a repository."""
        dates = {
            run_date("2025-01-20T10:00:00+00:00", run=name) for name in ("20250120-100000-ab12", "20250120-100000-cd34")
        }
        assert len(dates) == 2
        assert {date[:20] for date in dates} == {"2025-01-20T10-00-00."}


READER = r"""
import json, sys
from types import SimpleNamespace as Thing
from lighteval.logging.evaluation_tracker import EvaluationTracker
from lighteval.models.abstract_model import ModelConfig
from lighteval.models.model_output import ModelResponse
from lighteval.pipeline import Pipeline
from lighteval.tasks.requests import Doc, SamplingMethod
from lighteval.utils.utils import make_results_table

run, own, results = sys.argv[1:]
tracker = EvaluationTracker(output_dir=run)
rescoring = EvaluationTracker(output_dir=run + "/lighteval")
rescoring.general_config_logger.log_model_info(ModelConfig(model_name="local/toy"))
tracker.general_config_logger.log_model_info(ModelConfig(model_name="local/toy"))
(tracked,) = tracker.load_details_datasets("last", ["smoke"]).items()
pipeline = Thing(
    tasks_dict={"smoke|0": None},
    sampling_docs={SamplingMethod.GENERATIVE: []},
    pipeline_parameters=Thing(load_responses_from_details_date_id="first"),
    evaluation_tracker=rescoring,
)
loaded = Pipeline._load_responses_from_details(pipeline)[SamplingMethod.GENERATIVE]
theirs = EvaluationTracker(output_dir=own)
theirs.general_config_logger.log_model_info(ModelConfig(model_name="local/toy"))
doc = Doc(query="1+1?", choices=["2"], gold_index=0, task_name="smoke|0")
theirs.details_logger.log("smoke|0", doc, ModelResponse(text=["2"], input_tokens=[1]), {"pass@k:k=1": 1.0})
theirs.details_logger.aggregate()
theirs.save()
print(json.dumps({
    "task": tracked[0],
    "columns": tracked[1].column_names,
    "texts": [response.text for response in loaded],
    "prompts": [response.input_tokens for response in loaded],
    "one": loaded[0][1].final_text,
    "table": make_results_table(json.load(open(results))),
}))
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory, graders: Server) -> dict[str, Any]:
    """Let LightEval read a run's files in a process of its own, and write some that ours are compared with."""
    folder = tmp_path_factory.mktemp("lighteval")
    files = judged_run(folder / "run", n_problems=3, n_samples=4)
    with forking(graders):
        done = subprocess.run(
            [sys.executable, "-c", READER, str(folder / "run"), str(folder / "own"), str(files.results)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    (own,) = (folder / "own").rglob("details_*.parquet")
    (own_results,) = (folder / "own").rglob("results_*.json")
    return {
        **found,
        "files": files,
        "own schema": pq.read_schema(own),
        "own file": own.relative_to(folder / "own"),
        "own results": json.loads(own_results.read_text()),
    }


@LIGHTEVAL.mark
class TestLightEval:
    def test_loads_the_responses(self, read: dict[str, Any]) -> None:
        """LightEval's pipeline loads every text from the details, in order."""
        rows = rows_of(read["files"])
        assert read["texts"] == [row["model_response"]["text"] for row in rows]
        assert read["prompts"] == [[1, 2, 3]] * 3
        assert read["one"] == [rows[0]["model_response"]["text"][1]]

    def test_tracks_the_task(self, read: dict[str, Any]) -> None:
        """LightEval's tracker finds the details by date and task, despite additional columns."""
        assert read["task"] == "smoke|0"
        assert {"doc", "metric", "model_response", "samples"} <= set(read["columns"])

    def test_same_fields_as_its_own(self, read: dict[str, Any]) -> None:
        """Each struct of the details has the fields that LightEval writes itself."""
        ours = pq.read_schema(read["files"].details("smoke|0"))
        for column in ("doc", "metric", "model_response"):
            theirs = {field.name for field in read["own schema"].field(column).type}
            assert theirs == {field.name for field in ours.field(column).type}, column

    def test_same_layout_as_its_own(self, read: dict[str, Any]) -> None:
        """The details have the folders and names that LightEval writes, except for the date."""
        files = read["files"]
        ours = files.details("smoke|0").relative_to(files.folder)
        date = read["own file"].parent.name
        assert str(ours) == str(read["own file"]).replace(date, files.date)

    def test_results_have_its_keys(self, read: dict[str, Any]) -> None:
        """LightEval's own table can be printed from the results."""
        assert set(read["own results"]) < set(results_of(read["files"]))
        assert "smoke" in read["table"]
        assert METRIC in read["table"]


TASK_FILE = """
from pathlib import Path
from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc

TASKS_TABLE = [
    LightevalTaskConfig(
        name="sums",
        prompt_function=lambda line, name: Doc(task_name=name, query=line["q"], choices=[line["a"]], gold_index=0),
        hf_repo=str(Path(__file__).parent / "data"),
        hf_subset="default",
        hf_avail_splits=("test",),
        evaluation_splits=("test",),
        few_shots_split=None,
        few_shots_select=None,
        generation_size=64,
        metrics=(Metrics.pass_at_k_math(sample_params={"k": 1, "n": 4}),),
    )
]
"""

RESCORER = r"""
import json, sys
from lighteval.logging.evaluation_tracker import EvaluationTracker
from lighteval.models.dummy.dummy_model import DummyModelConfig
from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters
from lighteval.tasks.registry import Registry

# Its own tasks are left out: importing all of them downloads, and fails with today's client of the Hub.
Registry._load_from_files = staticmethod(lambda *_: {})
Registry._load_from_subdirs = staticmethod(lambda *_: {})
run, tasks, date = sys.argv[1:]
scores = []
for max_samples in (None, 5):
    pipeline = Pipeline(
        tasks="sums|0",
        pipeline_parameters=PipelineParameters(
            launcher_type=ParallelismManager.NONE,
            custom_tasks_directory=tasks,
            max_samples=max_samples,
            load_responses_from_details_date_id=date,
            bootstrap_iters=0,
        ),
        evaluation_tracker=EvaluationTracker(output_dir=run + "/lighteval"),
        model_config=DummyModelConfig(model_name="local/toy"),
    )
    pipeline.evaluate()
    scores.append(pipeline.get_results()["results"]["sums:0"])
print(json.dumps(scores))
"""


@LIGHTEVAL.mark
@pytest.mark.usefixtures("warm_graders")
def test_lightevals_pipeline_finds_the_same_score(tmp_path: Path) -> None:
    """LightEval's Pipeline scores our details as we did, for all problems and for the first five."""
    (tmp_path / "data").mkdir()
    (tmp_path / "sums.py").write_text(TASK_FILE)
    exam = make_exam("smoke", 12)
    lines = [json.dumps({"q": problem.query, "a": problem.choices[0]}) for problem in exam.problems]
    (tmp_path / "data" / "test.jsonl").write_text("\n".join(lines))

    def solution(problem: Problem, is_right: bool) -> str:  # noqa: FBT001 - a callback
        return f"<think>So.</think> It is $\\boxed{{{problem.choices[0] if is_right else '-7'}}}$."

    run = record_run(tmp_path / "run", n_samples=4, solution=solution)
    files = write_run_files(run, judged(run), tasks={"smoke": "sums"})
    done = subprocess.run(
        [sys.executable, "-c", RESCORER, str(run), str(tmp_path / "sums.py"), files.date],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    whole, some = json.loads(done.stdout.splitlines()[-1])
    rows = [row["metric"][METRIC] for row in rows_of(files, "sums|0")]
    assert whole[METRIC.replace("k=1", "k=1&n=4")] == pytest.approx(sum(rows) / 12)
    assert some[METRIC.replace("k=1", "k=1&n=4")] == pytest.approx(sum(rows[:5]) / 5)
    assert sum(rows) / 12 == pytest.approx(results_of(files)["results"]["sums|0"][METRIC])

"""Batch scripts, attempts and arguments of a cluster gate, without a cluster."""

from __future__ import annotations

import shlex
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.cluster.attempts import attempts, copy_run, gather, hand_over
from pytest_r1eval.cluster.slice_environment import slice_environment
from pytest_r1eval.cluster.submission import PytestArguments, Submission, divided
from pytest_r1eval.commands import run_benchmarks
from pytest_r1eval.commands.cli import main
from pytest_r1eval.config.options import OPTIONS
from pytest_r1eval.core.plans import Slice
from pytest_r1eval.errors import PlanError, RunError
from pytest_r1eval.exams.catalog import mark_expression
from pytest_r1eval.runs.reading import RunReader
from pytest_r1eval.runs.store import Store
from pytest_r1eval.runs.work_queue import WorkQueue
from pytest_r1eval.slurm.jobs import submitted_in
from pytest_r1eval.slurm.scripts import judge_script, slice_script
from tests.recordings import add_sample, next_unit, record_run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def job(tmp_path: Path) -> Submission:
    """Describe a gate whose names want quoting."""
    return Submission(
        folder=tmp_path / "my runs" / "slurm" / "x",
        output_dir=tmp_path / "my runs",
        root=tmp_path,
        python="python3",
        model="org/it's",
        marks="aime24 or math500",
        n_slices=3,
        time="2:00:00",
        sbatch_arguments=("--qos=low",),
        arguments=divided(
            ["--r1-temperature", "0.7", "--r1-tasks=t.py", "--r1-sigmas", "4", "--r1-new-flag", "--junitxml=g"]
        ),
    )


def record_attempt(folder: Path, name: str, **details: object) -> Path:
    """Record what one start of a slice stored; return its run."""
    return record_run(folder / name / "org" / "m" / "stamp", **details)  # type: ignore[arg-type]


class TestScripts:
    def test_bash_reads_them(self, job: Submission) -> None:
        """Bash accepts both scripts as valid, whatever the names are."""
        for script in (slice_script(job), judge_script(job)):
            checked = subprocess.run(["/bin/bash", "-n"], input=script, text=True, capture_output=True, check=False)
            assert (checked.returncode, checked.stderr) == (0, "")

    def test_directives(self, job: Submission) -> None:
        """GPUs, time and array are the slices' directives, and the user's own are in both scripts."""
        drawing, judge = (
            {line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")}
            for script in (slice_script(job), judge_script(job))
        )
        assert {"--array=1-3", "--gres=gpu:8", "--time=2:00:00", "--signal=B:USR1@120"} <= drawing - judge
        assert {"--requeue", "--open-mode=append", "--qos=low"} <= drawing & judge

    def test_options_go_where_they_are_needed(self, job: Submission) -> None:
        """Options of drawing go to the slices; options of gates, and unknown ones, go to the judge."""
        assert job.arguments.slice == ("--r1-temperature", "0.7", "--r1-tasks=t.py")
        assert job.arguments.judge == ("--r1-tasks=t.py", "--r1-sigmas", "4", "--r1-new-flag", "--junitxml=g")

    def test_every_option_goes_to_the_job_of_its_phase(self) -> None:
        """Every option goes to the job of its phase: drawing and grading to slices, verdict and upload to the judge."""
        jobs = {"draw": (1, 0), "grade": (1, 0), "judge": (0, 1), "upload": (0, 1), "both": (1, 1)}
        for option in OPTIONS:
            if option.subject == "gate":
                word = option.flag if option.is_flag else f"{option.flag}=x"
                found = divided([word])
                assert (len(found.slice), len(found.judge)) == jobs[option.phase], option.name

    @pytest.mark.parametrize("flag", [flag for option in OPTIONS if option.subject != "gate" for flag in option.flags])
    def test_the_scripts_decide_what_is_judged_and_where(self, flag: str) -> None:
        """Options of the checkpoint, the run's place and its part are refused, because the scripts set them."""
        with pytest.raises(PlanError, match="the batch scripts decide that"):
            divided([f"{flag}=x"])

    @pytest.mark.parametrize(
        ("extra", "words"),
        [
            (["--r1-slice", "1/2"], "the batch scripts decide that"),
            (["--r1-gate", "sequential"], "looks need the samples of all nodes"),
            (["--r1-gate=sequential"], "the batch scripts decide that"),
            (["-maime"], "the batch scripts decide that"),
            (["aime"], "'aime' belongs to no option"),
            (["--r1-engine-arg", "trust_remote_code=true", "True"], "'True' belongs to no option"),
            (["--r1-margin=2", "aime"], "'aime' belongs to no option"),
            (["--r1-unsafe-code", "aime"], "'aime' belongs to no option"),
        ],
    )
    def test_refusals(self, extra: list[str], words: str) -> None:
        """Arguments that cannot work are refused before anything is queued."""
        with pytest.raises(PlanError, match=words):
            divided(extra)

    def test_sbatch_argument_is_one_option(self, job: Submission) -> None:
        """An argument for sbatch with a line break is refused."""
        with pytest.raises(PlanError, match="expected one option of sbatch"):
            Submission(
                folder=job.folder, output_dir=job.output_dir, root=job.root, python="p", model="m", marks="m",
                sbatch_arguments=("--qos=a\nrm",),
            )  # fmt: skip

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("model", "org/m\ntouch pwned"),
            ("output_dir", Path("/runs\ntouch pwned")),
            ("folder", Path("/runs/slurm\ntouch pwned/x")),
            ("root", Path("/home\ntouch pwned")),
            ("time", "1:00:00\ntouch pwned"),
            ("marks", "aime24\ntouch pwned"),
            ("workers", "8\ntouch pwned"),
            ("python", "python3\ntouch pwned"),
            ("sbatch_arguments", ("--qos=low\rtouch pwned",)),
            ("arguments", PytestArguments(slice=("--r1-seed", "1\ntouch pwned"))),
            ("arguments", PytestArguments(judge=("--junitxml=g\x1b[2J",))),
        ],
    )
    def test_a_control_character_is_refused(self, job: Submission, field: str, value: object) -> None:
        """A control character in any field of a submission is refused, as bash would run what follows a newline."""
        with pytest.raises(PlanError, match=r"with the character|holds the character|one option of sbatch") as caught:
            replace(job, **{field: value})  # type: ignore[arg-type]  # a field's own type
        assert str(caught.value).isprintable()

    def test_a_system_prompt_may_have_lines(self, job: Submission) -> None:
        """The script quotes a system prompt of several lines as one argument."""
        arguments = PytestArguments(slice=("--r1-system-prompt", "Be brief.\ntouch pwned"))
        script = slice_script(replace(job, arguments=arguments))
        assert "'Be brief.\ntouch pwned'" in script

    @pytest.mark.parametrize("time", ["2", "1:59", "0:02:00", "0-0:2"])
    def test_a_limit_within_the_grace_is_refused(self, job: Submission, time: str) -> None:
        """A time limit within the grace is refused, as each start would be stopped before it begins."""
        with pytest.raises(PlanError, match=r"--time .* is 1\d\d? s, and a slice stops 120 s before it"):
            replace(job, time=time)

    @pytest.mark.parametrize("time", ["0", "3", "2:01", "1:00:00", "1-0", "0-0:2:1", "UNLIMITED", None])
    def test_other_limits_are_slurms_to_read(self, job: Submission, time: str | None) -> None:
        """Any other time limit is left to Slurm to read."""
        assert replace(job, time=time).time == time

    def test_directives_are_read_as_they_were_meant(self, job: Submission) -> None:
        """Directives quote names and percent signs so that Slurm reads the paths as meant."""
        job = replace(job, folder=job.folder.parent / '%j "1"')
        lines = [line.removeprefix("#SBATCH ") for line in slice_script(job).splitlines() if line.startswith("#SBATCH")]
        words = [shlex.split(line, comments=True) for line in lines]
        assert ["--job-name=r1eval-slice-it's"] in words
        assert [f'--output={job.folder.parent}/%%j "1"/logs/slice-%a.log'] in words

    def test_secrets(self) -> None:
        """Secrets are left out of a slice's environment, except what it needs for a server and for data."""
        kept = {
            "R1_SERVER_API_KEY": "c",
            "TOKENIZERS_PARALLELISM": "d",
            "MAX_TOKENS": "512",
            "https_proxy": "http://me:word@proxy:80",
        }
        environ = {"HF_TOKEN": "a", "AWS_SECRET_ACCESS_KEY": "b", "MIRROR": "https://me:word@host/", **kept}
        assert slice_environment(environ) == kept
        command = [sys.executable, "-m", "pytest_r1eval.cluster.slice_environment"]
        found = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        assert found.stdout.split() == ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MIRROR"]


class TestAttempts:
    def test_first_start_has_nothing_to_take_over(self, tmp_path: Path) -> None:
        """The first start of a slice has nothing to take over."""
        assert hand_over(tmp_path / "1" / "attempt-7-0") is None

    def test_newest_is_taken_over(self, tmp_path: Path) -> None:
        """A new start takes a copy of the newest start's run, ordered by number and not by name."""
        record_attempt(tmp_path, "attempt-7-2", skip=frozenset({("p001", 1)}))
        newest = record_attempt(tmp_path, "attempt-7-10", skip=frozenset({("p000", 0)}))
        taken = hand_over(tmp_path / "attempt-8-0")
        assert tmp_path / "attempt-8-0" / "org" / "m" / "stamp" == taken
        with closing(Store.open(taken)) as copy, closing(Store.open(newest)) as source:
            assert list(RunReader(source).samples("smoke")) == list(RunReader(copy).samples("smoke"))
        assert hand_over(tmp_path / "attempt-8-0") == taken
        assert [(attempt.job, attempt.restart) for attempt in attempts(tmp_path)] == [(7, 2), (7, 10), (8, 0)]

    def test_damaged_one_is_passed_over(self, tmp_path: Path) -> None:
        """A damaged run is skipped, and the start before it is taken over."""
        record_attempt(tmp_path, "attempt-7-0")
        damaged = record_attempt(tmp_path, "attempt-7-1")
        (damaged / "run.sqlite").write_bytes(b"SQLite format 3\0" + b"\1" * 5000)
        taken = hand_over(tmp_path / "attempt-7-2")
        assert taken is not None
        with closing(Store.open(taken)) as copy:
            assert RunReader(copy).progress("smoke").n_stored == 96

    def test_copy_of_a_run_that_is_being_written(self, tmp_path: Path) -> None:
        """A copy of a run that is being written is intact and holds at least what was stored before."""
        run = record_run(tmp_path / "run", n_problems=100, skip=frozenset((f"p{i:03d}", 7) for i in range(100)))
        source = record_run(tmp_path / "source", n_problems=100)
        with closing(Store.open(source)) as store:
            missing = [sample for sample in RunReader(store).samples("smoke") if sample.index == 7]

        def write() -> None:
            with closing(Store.open(run)) as store:
                for sample in missing:
                    WorkQueue(store).add_samples("smoke", [sample])

        writer = threading.Thread(target=write)
        writer.start()
        counts = []
        for number in range(10):
            copy = tmp_path / f"copy{number}"
            if copy_run(run, to=copy):
                with closing(Store.open(copy)) as store:
                    counts.append(RunReader(store).progress("smoke").n_stored)
        writer.join()
        assert counts
        assert sorted(counts) == counts
        assert 700 <= counts[0] <= counts[-1] <= 800
        assert [path.name for path in tmp_path.glob(".copy*")] == []


class TestGathering:
    def record_slice(self, submission: Path, number: int, name: str, **details: object) -> None:
        """Record a start of a share of one, which is whole unless something is skipped."""
        run = record_attempt(submission / "slices" / str(number), name, **details)
        with closing(Store.open(run)) as store:
            header, plan, exam = store.header, RunReader(store).plan("smoke"), RunReader(store).exam("smoke")
            samples, prompts, harness = (
                list(RunReader(store).samples("smoke")),
                RunReader(store).prompts("smoke"),
                RunReader(store).harnesses[0],
            )
        (run / "run.sqlite").unlink()
        header = type(header)(
            model=header.model, model_name=header.model_name, identity=header.identity, created=header.created,
            seed=header.seed, slice=Slice(number=number, total=1),
        )  # fmt: skip
        with closing(Store.create(run, header)) as store:
            assert plan is not None
            WorkQueue(store).select(("smoke",))
            store.add_worker("w", harness)
            WorkQueue(store).write_plan(exam, tuple(prompts[id_] for id_ in plan.problem_ids), plan)
            while (claimed := next_unit(store, owner="w")) is not None:
                for sample in samples:
                    if sample.problem_id == claimed.unit.problem_id and sample.index in claimed.missing:
                        add_sample(store, claimed, sample)

    def test_newest_whole_start_counts(self, tmp_path: Path) -> None:
        """The newest complete start of a slice counts, though a later one was interrupted."""
        self.record_slice(tmp_path / "s", 1, "attempt-7-0")
        self.record_slice(tmp_path / "s", 1, "attempt-7-1", skip=frozenset({("p000", 0)}))
        assert gather(tmp_path / "s", out=tmp_path / "out", n_slices=1).n_samples == {"smoke": 96}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "s"]

    def test_what_is_missing_is_said(self, tmp_path: Path) -> None:
        """An incomplete slice is refused with how far it is and what to do."""
        self.record_slice(tmp_path / "s", 1, "attempt-7-0", skip=frozenset({("p000", 0)}))
        with pytest.raises(RunError, match=r"slice 1/1 is not whole: smoke: slice 1/1, 95 of 96 samples.*resubmit"):
            gather(tmp_path / "s", out=tmp_path / "out", n_slices=1)
        with pytest.raises(RunError, match=r"slice 1/1 is not whole: nothing is stored\. See"):
            gather(tmp_path / "nothing", out=tmp_path / "out", n_slices=1)


class TestCommands:
    def test_dry_run_prints_and_leaves_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """`slurm submit --dry-run` prints both scripts and makes no folder."""
        arguments = ["slurm", "submit", "--model", "org/m", "--benchmarks", "aime24,math_500", "--dry-run"]
        assert main([*arguments, "--r1-sigmas", "4"]) == 0
        said = capsys.readouterr().out
        assert "--r1-model org/m -m 'aime24 or math500'" in said
        assert said.count("#!/bin/bash") == 2
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("option", ["--model", "--output-dir", "--time"])
    def test_a_newline_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
        """An option with a newline is refused in one line, and no file is written."""
        arguments = {"--model": "org/m", "--output-dir": "runs", "--time": "1:00:00"}
        arguments[option] += "\ntouch pwned #"
        words = [word for pair in arguments.items() for word in pair]
        assert main(["slurm", "submit", *words, "--benchmarks", "aime24"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert r"holds the character '\n'" in line
        assert list(tmp_path.iterdir()) == []

    def test_unknown_benchmark(self) -> None:
        """An unknown benchmark is refused with the known ones."""
        with pytest.raises(PlanError, match="--benchmarks aime42: no such benchmark; expected some of aime24, "):
            mark_expression(["aime42"], tasks=None)

    def test_no_submission(self, tmp_path: Path) -> None:
        """A folder that is not a submission is refused."""
        with pytest.raises(RunError, match="is not a submission"):
            submitted_in(tmp_path)

    def test_a_place_that_cannot_be_written(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """An output folder that cannot be written is refused before anything is submitted."""
        (tmp_path / "file").touch()
        arguments = ["slurm", "submit", "--model", "org/m", "--benchmarks", "smoke", "--no-check"]
        assert main([*arguments, "--output-dir", str(tmp_path / "file")]) == 2
        assert "cannot be written: Not a directory; name another folder with --output-dir" in capsys.readouterr().err

    def test_no_slurm_here(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """`slurm submit` without Slurm is refused, as sbatch cannot be run."""
        monkeypatch.setenv("PATH", "/nowhere")
        assert main(["slurm", "submit", "--model", "org/m", "--benchmarks", "smoke", "--no-check"]) == 2
        assert "sbatch cannot be run" in capsys.readouterr().err


class TestOpenR1:
    def test_benchmarks_are_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        """--list-benchmarks prints the names of the benchmarks."""
        assert run_benchmarks.main(["--list-benchmarks"]) == 0
        assert {"aime24", "math500", "gpqa", "lcb"} <= set(capsys.readouterr().out.split())

    def test_options_are_translated(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Options of open-r1's command line are translated into those of the scripts."""
        known = ["--model-id", "org/m", "--model-revision", "v1", "--benchmarks", "aime24", "math_500"]
        assert run_benchmarks.main([*known, "--system-prompt", "Be brief", "--trust-remote-code", "--dry-run"]) == 0
        said = capsys.readouterr().out
        for words in ("-m 'aime24 or math500'", "--r1-revision v1", "'--r1-system-prompt=Be brief'"):
            assert words in said
        assert "--r1-engine-arg trust_remote_code=true" in said

    @pytest.mark.parametrize(("words", "is_passed_on"), [(["true"], True), (["False"], False)])
    def test_trust_may_be_spelled_out(
        self,
        words: list[str],
        is_passed_on: bool,  # noqa: FBT001
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """--trust_remote_code may have a value, as open-r1's own parser takes it."""
        assert run_benchmarks.main(["--model-id", "org/m", "--trust_remote_code", *words, "--dry-run"]) == 0
        assert ("trust_remote_code=true" in capsys.readouterr().out) == is_passed_on

    def test_model_is_needed(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The command line of open-r1 is refused without --model-id."""
        assert run_benchmarks.main([]) == 2
        assert "--model-id is missing" in capsys.readouterr().err

"""What happens after the verdicts, where it goes wrong before any Hub is asked."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from pytest_r1eval.commands.cli import main
from pytest_r1eval.core.choices import UploadLayout
from pytest_r1eval.core.codec import to_json
from pytest_r1eval.core.uploads import UploadWishes
from pytest_r1eval.errors import UploadError
from pytest_r1eval.judging.release import RELEASE, Release, ReleaseVerdict
from pytest_r1eval.reports.index import index_page, read_index
from pytest_r1eval.runs.store import Store
from pytest_r1eval.upload.after_verdict import finish
from pytest_r1eval.upload.package import pack
from pytest_r1eval.upload.record import UploadRecord, read_record, write_record
from tests.judged_runs import TASKS, judged, judged_run
from tests.recordings import record_run


class TestFinish:
    def test_nothing_is_said_where_all_is_well(self, tmp_path: Path) -> None:
        """A run without an upload writes its files and prints nothing but the report's path."""
        run = record_run(tmp_path / "run")
        finished = finish(run, judged(run), tasks=TASKS, wishes=None)
        assert (finished.lines, finished.is_uploaded) == ((), None)
        assert finished.reports == (f"report: {run / 'report.html'}",)
        assert len(list(run.glob("details/local/toy/*/details_smoke|0_*.parquet"))) == 1

    def test_a_failing_step_does_not_stop_the_next(self, tmp_path: Path) -> None:
        """Files that cannot be written and the upload that then fails are two remarks, each with what to do."""
        run = record_run(tmp_path / "run")
        results = judged(run)
        (run / "results").write_text("in the way")
        finished = finish(run, results, tasks=TASKS, wishes=UploadWishes(repo="acme/runs"))
        details, upload, again = finished.lines
        assert details.startswith(f"details: not written: cannot write {run}/results/local/toy/results_")
        assert upload.startswith(f"upload: FAILED. {run} has no results file to upload")
        assert again == f"  nothing is lost; try again with: r1eval upload {run}"
        assert finished.is_uploaded is False
        record = read_record(run)
        assert record is not None
        assert record.wishes == UploadWishes(repo="acme/runs")

    def test_red_gates_are_not_uploaded(self, tmp_path: Path) -> None:
        """A run with a red gate is not uploaded, and one line names the option that uploads it."""
        run = record_run(tmp_path / "run", skip=frozenset({("p000", 0)}))
        finished = finish(run, judged(run), tasks=TASKS, wishes=UploadWishes(repo="acme/runs"))
        assert finished.lines == ("upload: none, as a gate is not green (--r1-upload-when always uploads every run)",)
        assert finished.is_uploaded is None

    def test_a_release_that_is_held_is_not_green(self, tmp_path: Path) -> None:
        """Green gates of a release that is INVALID are no pass: not uploaded, and not counted as green anywhere."""
        run = record_run(tmp_path / "data" / "local" / "toy" / "run")
        results = judged(run)
        release = Release(verdict=ReleaseVerdict.INVALID, policy="p", source="policy.toml", members=())
        with closing(Store.open(run)) as store:
            store.write_release(to_json(RELEASE, release))
        finished = finish(run, results, tasks=TASKS, wishes=UploadWishes(repo="acme/runs"), release=release)
        assert finished.lines == (
            "upload: none, as the release is INVALID (--r1-upload-when always uploads every run)",
        )
        (path,) = run.glob("results/local/toy/*.json")
        assert json.loads(path.read_text())["r1eval"]["passes"] is False
        assert "1 run: 0 green, 1 not green, 0 without all verdicts" in index_page(read_index(tmp_path / "data"))

    @pytest.mark.parametrize("name", ["verdicts.json", "report.html", "results", "details", "upload.json"])
    def test_no_file_takes_the_verdict_away(self, tmp_path: Path, name: str) -> None:
        """A folder in a file's place is one line that names it, and every other file is written."""
        run = record_run(tmp_path / "run")
        results = judged(run)
        (run / name).mkdir()
        (run / name / "in the way").mkdir()
        (run / name / "local").write_text("in the way")
        finished = finish(run, results, tasks=TASKS, wishes=UploadWishes(repo="acme/runs"))
        failed = [line for line in (*finished.reports, *finished.lines) if "not written: " in line or "FAILED." in line]
        assert failed
        assert name in failed[0]
        assert finished.is_uploaded is False
        written = {path.name for path in run.iterdir() if path.is_file()} | {name, "verdicts.json", "report.html"}
        assert written == {path.name for path in run.iterdir() if path.is_file()} | {name}

    def test_an_error_of_any_kind_is_a_line(self, tmp_path: Path) -> None:
        """An error of any kind in a step is one line, and the verdicts are still written."""
        run = record_run(tmp_path / "run")
        finished = finish(run, judged(run), tasks={}, wishes=None)
        assert finished.lines == (
            "details: not written: KeyError: 'smoke'; samples and verdicts are in the run's store",
        )
        assert (run / "verdicts.json").is_file()

    def test_a_report_that_fails_does_not_stop_the_next(self, tmp_path: Path) -> None:
        """A report that cannot be written is named, and the next one is written."""
        run = record_run(tmp_path / "run")
        (tmp_path / "bad.md").mkdir()
        paths = (tmp_path / "bad.md", tmp_path / "good.md")
        page, bad, good = finish(run, judged(run), tasks=TASKS, wishes=None, reports=paths).reports
        assert page == f"report: {run / 'report.html'}"
        assert bad.startswith(f"report: not written: cannot write the report {tmp_path / 'bad.md'}")
        assert good == f"report: {tmp_path / 'good.md'}"


class TestRecord:
    def test_round_trip(self, tmp_path: Path) -> None:
        """A record of an upload is read back with every wish."""
        wishes = UploadWishes(repo="acme", layout=UploadLayout.OPEN_R1, is_public=True, model_page="acme/model")
        record = UploadRecord(wishes=wishes, url="https://hub/acme/runs", commit="1" * 40)
        write_record(tmp_path, record)
        assert record == read_record(tmp_path)

    @pytest.mark.parametrize("content", ["", "[]", '{"wishes": {"repo": "a/b", "layout": "other"}}'])
    def test_another_file_is_refused(self, tmp_path: Path, content: str) -> None:
        """A foreign upload.json is refused with the advice to delete it."""
        (tmp_path / "upload.json").write_text(content)
        with pytest.raises(UploadError, match=r"Delete it and name the repository with --repo"):
            read_record(tmp_path)


class TestPack:
    def test_results_of_other_verdicts_are_refused(self, tmp_path: Path) -> None:
        """Results that belong to other verdicts than the stored ones are refused."""
        judged_run(tmp_path / "run")
        path = tmp_path / "run" / "verdicts.json"
        path.write_text(path.read_text().replace('"passes": true', '"passes": false', 1))
        with pytest.raises(UploadError, match=r"belongs to other verdicts than verdicts\.json"):
            pack(tmp_path / "run", UploadWishes(repo="acme/runs"))

    def test_missing_details_are_named(self, tmp_path: Path) -> None:
        """A missing file of details is named before an upload."""
        files = judged_run(tmp_path / "run")
        files.details("smoke|0").unlink()
        with pytest.raises(UploadError, match=r"details_smoke\|0_.*parquet is missing; expected the files of a judged"):
            pack(tmp_path / "run", UploadWishes(repo="acme/runs"))

    def test_results_of_another_version_are_refused(self, tmp_path: Path) -> None:
        """Results without a key of this version are refused by the key's name."""
        files = judged_run(tmp_path / "run")
        content = json.loads(files.results.read_text())
        del content["r1eval"]["revision"]
        files.results.write_text(json.dumps(content))
        with pytest.raises(
            UploadError, match=r"is not as this version writes it \(r1eval\.revision: found no such key;"
        ):
            pack(tmp_path / "run", UploadWishes(repo="acme/runs"))

    @pytest.mark.parametrize("how", ["a name", "an absolute name", "a link"])
    def test_a_file_outside_of_the_run_is_not_sent(self, tmp_path: Path, how: str) -> None:
        """An upload refuses a run whose file leads out of the run's folder, by name or link."""
        secret = tmp_path / "secret"
        secret.write_text("token")
        files = judged_run(tmp_path / "run")
        if how == "a link":
            files.details("smoke|0").unlink()
            files.details("smoke|0").symlink_to(secret)
        else:
            content = json.loads(files.results.read_text())
            content["r1eval"]["benchmarks"]["smoke"]["details"] = "../secret" if how == "a name" else str(secret)
            files.results.write_text(json.dumps(content))
        with pytest.raises(UploadError, match=r"leads out of .*run, to .*secret; expected the run's own files"):
            pack(tmp_path / "run", UploadWishes(repo="acme/runs"))

    def test_results_of_another_run_are_refused(self, tmp_path: Path) -> None:
        """Results that name another model than their run's are refused."""
        files = judged_run(tmp_path / "run")
        content = json.loads(files.results.read_text())
        content["r1eval"]["model_name"] = "acme/other"
        files.results.write_text(json.dumps(content))
        with pytest.raises(UploadError, match="is of another run than"):
            pack(tmp_path / "run", UploadWishes(repo="acme/runs"))

    def test_only_whole_benchmarks_go_to_a_model_page(self, tmp_path: Path) -> None:
        """A run that is not of a whole public benchmark has no score for a model's page."""
        judged_run(tmp_path / "run")
        assert pack(tmp_path / "run", UploadWishes(repo="acme/runs")).page.scores == ()


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "was not to be uploaded so far; say where to with --repo REPO"),
            (("--repo", "a/b/c"), "expected org/name, or org alone"),
            (("--repo", "acme/runs"), "has no results file to upload"),
        ],
    )
    def test_refusals(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
    ) -> None:
        """`r1eval upload` refuses bad input in one line with exit code 2."""
        run = record_run(tmp_path / "run")
        assert main(["upload", str(run), *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("r1eval upload: error: ")
        assert said in line

    def test_no_run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """`r1eval upload` refuses a folder without a run and leaves it as it was."""
        assert main(["upload", str(tmp_path), "--repo", "acme/runs"]) == 2
        assert "no run at" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

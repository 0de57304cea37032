"""Names on the Hub, and the card's configs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_r1eval.core.choices import UploadLayout
from pytest_r1eval.core.uploads import (
    CardRow,
    Config,
    RunKey,
    UploadWishes,
    card_body,
    details_path,
    foreign_details,
    results_paths,
    task_config,
    verdicts_path,
    with_run,
)

OLD, NEW = (RunKey(model_name="org/model", revision="main", date=f"2025-01-{day}T10-00-00.000001") for day in (20, 21))
LIGHTEVAL, OPEN_R1 = UploadLayout.LIGHTEVAL, UploadLayout.OPEN_R1


class TestNames:
    @pytest.mark.parametrize(
        ("wishes", "expected"),
        [
            (UploadWishes(repo="acme/runs"), "acme/runs"),
            (UploadWishes(repo="acme"), "acme/details_org__model_private"),
            (UploadWishes(repo="acme", is_public=True), "acme/details_org__model"),
            (UploadWishes(repo="acme", layout=OPEN_R1), "acme/details-org_model"),
        ],
    )
    def test_repository(self, wishes: UploadWishes, expected: str) -> None:
        """An organisation alone gets the name that LightEval, or open-r1, would use."""
        assert expected == wishes.repo_of("org/model")

    def test_lighteval(self) -> None:
        """LightEval's layout has one folder a run and the results at the top."""
        expected = "2025-01-20T10-00-00.000001/details_aime24|0_2025-01-20T10-00-00.000001.parquet"
        assert expected == details_path("aime24|0", OLD, LIGHTEVAL)
        assert results_paths(["aime24|0"], OLD, LIGHTEVAL) == ("results_2025-01-20T10-00-00.000001.json",)

    def test_open_r1(self) -> None:
        """open-r1's layout has a folder for each revision, task and time, and the results below eval_results."""
        expected = "main.gpqa_diamond.2025-01-20T10-00-00.000001/train-00000-of-00001.parquet"
        assert expected == details_path("gpqa:diamond|0", OLD, OPEN_R1)
        assert results_paths(["aime24|0", "gpqa:diamond|0"], OLD, OPEN_R1) == (
            "eval_results/org/model/main/aime24/results_2025-01-20T10-00-00.000001.json",
            "eval_results/org/model/main/gpqa_diamond/results_2025-01-20T10-00-00.000001.json",
        )

    def test_config(self) -> None:
        """A task's config is named as LightEval names it."""
        assert task_config("gpqa:diamond|0") == "gpqa_diamond_0"

    def test_verdicts_sort_behind_results(self) -> None:
        """The verdicts' file sorts behind the results, because LightEval reads the first JSON file of a date."""
        assert results_paths([], OLD, LIGHTEVAL)[0] < verdicts_path(OLD)


def files_of(configs: list[Config], name: str) -> dict[str, str]:
    """Return a config's files by split, in order."""
    (config,) = [config for config in configs if config["config_name"] == name]
    files = config["data_files"]
    assert isinstance(files, list)
    return {entry["split"]: entry["path"] for entry in files}


class TestConfigs:
    def test_latest_is_the_newest_run(self) -> None:
        """The split `latest` is the newest run's, whichever run was uploaded last."""
        forwards = with_run(with_run([], ["aime24|0"], OLD, LIGHTEVAL), ["aime24|0"], NEW, LIGHTEVAL)
        backwards = with_run(with_run([], ["aime24|0"], NEW, LIGHTEVAL), ["aime24|0"], OLD, LIGHTEVAL)
        assert forwards == backwards
        assert files_of(forwards, "aime24_0") == {
            "2025_01_20T10_00_00.000001": details_path("aime24|0", OLD, LIGHTEVAL),
            "2025_01_21T10_00_00.000001": details_path("aime24|0", NEW, LIGHTEVAL),
            "latest": details_path("aime24|0", NEW, LIGHTEVAL),
        }

    def test_a_task_that_the_newest_run_lacks_keeps_its_own_latest(self) -> None:
        """A task that the newest run lacks keeps its own latest split."""
        configs = with_run(with_run([], ["aime24|0"], OLD, LIGHTEVAL), ["smoke|0"], NEW, LIGHTEVAL)
        assert files_of(configs, "aime24_0")["latest"] == details_path("aime24|0", OLD, LIGHTEVAL)
        assert files_of(configs, "results")["latest"] == "results_2025-01-21T10-00-00.000001.parquet"

    def test_twice_is_once(self) -> None:
        """Adding the same run to a repository's configs again changes nothing."""
        once = with_run([], ["aime24|0"], OLD, LIGHTEVAL)
        assert once == with_run(once, ["aime24|0"], OLD, LIGHTEVAL)

    def test_others_stay(self) -> None:
        """A config that was added by hand is not changed."""
        theirs: Config = {"config_name": "notes", "data_files": "notes.csv", "default": True}
        assert theirs in with_run([theirs], ["aime24|0"], OLD, LIGHTEVAL)

    def test_open_r1_has_both(self) -> None:
        """open-r1's layout has a config for the run and LightEval's config with latest, over the same file."""
        configs = with_run([], ["aime24|0"], OLD, OPEN_R1)
        path = details_path("aime24|0", OLD, OPEN_R1)
        assert files_of(configs, "main.aime24.2025-01-20T10-00-00.000001") == {"train": path}
        assert files_of(configs, "aime24_0")["latest"] == path


class TestCard:
    ROWS = (
        CardRow(
            task="aime24|0",
            score=0.508,
            standard_error=0.012,
            baseline=0.523,
            samples_per_problem=64,
            verdict="PASS",
            note="",
        ),
        CardRow(
            task="smoke|0",
            score=None,
            standard_error=None,
            baseline=0.6,
            samples_per_problem=4,
            verdict="PASS",
            note="stopped early",
        ),
    )

    def body(self, before: str, key: RunKey) -> str:
        """Write a card's text over another."""
        return card_body(before, repo="acme/runs", key=key, rows=self.ROWS)

    def test_scores_in_points(self) -> None:
        """A score has its error, its baseline and the difference; a run that stopped early has no score."""
        body = self.body("", OLD)
        assert "| `aime24|0` | 50.8 ± 1.2 | 52.3 | -1.5 | 64 | PASS |" in body
        assert "| `smoke|0` | no score (stopped early) | 60.0 | - | 4 | PASS |" in body
        assert f'load_dataset("acme/runs", "aime24_0", split="{OLD.split}")' in body

    def test_text_of_others_stays(self) -> None:
        """What people wrote around our part is kept, and our part is replaced, not repeated."""
        first = self.body("Our runs.\n", OLD) + "\nAsk Ada.\n"
        second = self.body(first, NEW)
        assert second.startswith("Our runs.\n")
        assert second.endswith("Ask Ada.\n")
        assert NEW.date in second
        assert OLD.date not in second

    def test_an_older_run_does_not_replace_a_newer_text(self) -> None:
        """A late retry of an old upload adds its split and leaves the table alone."""
        newest = self.body("", NEW)
        assert newest == self.body(newest, OLD)

    def test_each_model_has_its_section(self) -> None:
        """A second model in the repository takes nothing from the first, whichever is newer."""
        other = replace(OLD, model_name="acme/other")
        both = self.body(self.body("", NEW), other)
        assert f"# Evaluation of {NEW.model_name}\n" in both
        assert "# Evaluation of acme/other\n" in both
        assert f'split="{NEW.split}")' in both.partition("# Evaluation of acme/other")[0]
        assert f'split="{OLD.split}")' in both.partition("# Evaluation of acme/other")[2]
        newer = self.body(both, replace(other, date=NEW.date))
        assert newer.count("# Evaluation of ") == 2
        assert OLD.date not in newer


def test_details_of_another_program_are_found() -> None:
    """Details of another program are found by the lack of verdicts beside them."""
    ours = [details_path("aime24|0", OLD, LIGHTEVAL), verdicts_path(OLD), "README.md"]
    theirs = details_path("aime24|0", NEW, LIGHTEVAL)
    assert foreign_details(ours) is None
    assert theirs == foreign_details([*ours, theirs])

"""Where baselines lie: the user's before the shipped, each mistake with its file."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.baselines.shelf import BaselineShelf, FoundBaseline
from pytest_r1eval.config.baseline_choice import baseline_choice
from pytest_r1eval.core.baselines import (
    BASELINE_FILE,
    BaselineFile,
    MeasuredBaseline,
    PublishedBaseline,
    PublishedHarness,
)
from pytest_r1eval.core.codec import from_json, to_json
from pytest_r1eval.core.records import Counts
from pytest_r1eval.errors import BaselineError, LowerBaselineError
from tests.made_up_baselines import FINGERPRINT
from tests.made_up_baselines import MEASURED as MEASURED_ON_SMOKE
from tests.recordings import HARNESS

SHIPPED = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
SHIPPED_FOLDER = Path(__file__).parents[2] / "baselines"
MEASURED = replace(MEASURED_ON_SMOKE, benchmark="aime24", fingerprint=replace(FINGERPRINT, harness=HARNESS))
PUBLISHED = PublishedBaseline(
    benchmark="aime24",
    pass_at_1=0.5,
    rounding_unit=0.001,
    harness=PublishedHarness.OTHER,
    source="our own report",
    date=dt.date(2025, 1, 20),
    sampling=None,
    samples_per_problem=None,
    note=None,
)


def shelf(root: Path, *, choice: str | None = None, model_name: str = "org/name") -> BaselineShelf:
    """Look for the baselines of a run."""
    asked = None if choice is None else baseline_choice(choice, root)
    return BaselineShelf(root=root, choice=asked, model_name=model_name)


def write(root: Path, name: str, *, published: bool = False, measured: MeasuredBaseline | None = None) -> Path:
    """Put a baseline file into the user's folder."""
    path = root / "baselines" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = BaselineFile(
        model=name, published=(PUBLISHED,) if published else (), measured=() if measured is None else (measured,)
    )
    path.write_text(to_json(BASELINE_FILE, file), encoding="utf-8")
    return path


def shipped() -> PublishedBaseline:
    """Return the published number that ships for AIME 2024."""
    path = SHIPPED_FOLDER / f"{SHIPPED}.json"
    found = from_json(BASELINE_FILE, path.read_text(encoding="utf-8"), name=path.name).published_for("aime24")
    assert found is not None
    return found


def source_of(found: FoundBaseline | None) -> str:
    """Return where a baseline that must be there was found."""
    assert found is not None
    return found.source


class TestFind:
    """Measured before published, the user's before the shipped."""

    def test_nothing(self, tmp_path: Path) -> None:
        """An unknown model has no baseline, and looking makes no folder."""
        assert shelf(tmp_path).find("aime24") is None
        assert list(tmp_path.iterdir()) == []

    def test_shipped_number(self, tmp_path: Path) -> None:
        """A known model is compared with what was published, under its name and source."""
        found = shelf(tmp_path, model_name=SHIPPED).find("aime24")

        expected = FoundBaseline(baseline=shipped(), source=f"{SHIPPED}, {shipped().source}")
        assert expected == found

    def test_users_measured_replaces_the_shipped_number(self, tmp_path: Path) -> None:
        """A measured baseline of the user's replaces the shipped number and is named by file and run."""
        write(tmp_path, SHIPPED, measured=MEASURED)

        expected = FoundBaseline(baseline=MEASURED, source=f"baselines/{SHIPPED}.json, run first")
        assert expected == shelf(tmp_path, model_name=SHIPPED).find("aime24")

    def test_users_number_replaces_the_shipped_number(self, tmp_path: Path) -> None:
        """A published number in the user's own file goes before the shipped one."""
        write(tmp_path, SHIPPED, published=True)

        found = shelf(tmp_path, model_name=SHIPPED).find("aime24")

        expected = f"{SHIPPED}, our own report"
        assert expected == source_of(found)

    def test_other_benchmarks_still_come_from_the_shipped_file(self, tmp_path: Path) -> None:
        """A user's file with one benchmark leaves the shipped numbers of the others in force."""
        write(tmp_path, SHIPPED, measured=MEASURED)

        found = shelf(tmp_path, model_name=SHIPPED).find("math500")

        assert found is not None
        assert isinstance(found.baseline, PublishedBaseline)
        assert shelf(tmp_path, model_name=SHIPPED).find("no such benchmark") is None

    def test_published_passes_over_measured(self, tmp_path: Path) -> None:
        """`--r1-baseline published` takes the published number, though a measured baseline is recorded."""
        write(tmp_path, SHIPPED, measured=MEASURED)

        assert shelf(tmp_path, model_name=SHIPPED, choice="published").find("aime24") == FoundBaseline(
            baseline=shipped(), source=f"{SHIPPED}, {shipped().source}"
        )

    def test_published_of_an_unknown_model(self, tmp_path: Path) -> None:
        """`published` finds nothing for a model without a published number, though a measured one is there."""
        write(tmp_path, "org/name", measured=MEASURED)

        assert shelf(tmp_path, choice="published").find("aime24") is None

    def test_by_name(self, tmp_path: Path) -> None:
        """A name chooses another model's baselines, the user's or the shipped ones."""
        write(tmp_path, "org/parent", measured=MEASURED)

        assert source_of(shelf(tmp_path, choice="org/parent").find("aime24")) == "baselines/org/parent.json, run first"
        assert source_of(shelf(tmp_path, choice=SHIPPED).find("aime24")).startswith(f"{SHIPPED}, ")

    def test_named_file_is_the_only_one(self, tmp_path: Path) -> None:
        """The candidate's own baselines are not looked at when another was named."""
        write(tmp_path, "org/parent", measured=MEASURED)
        write(tmp_path, "org/name", measured=replace(MEASURED, benchmark="gpqa"))

        assert shelf(tmp_path, choice="org/parent").find("gpqa") is None

    @pytest.mark.parametrize("is_absolute", [True, False])
    def test_by_path(self, tmp_path: Path, *, is_absolute: bool) -> None:
        """A path chooses a baseline file anywhere, and the source shows it relative to the root."""
        path = write(tmp_path / "elsewhere", "org/parent", measured=MEASURED)
        choice = str(path if is_absolute else path.relative_to(tmp_path))

        found = shelf(tmp_path, choice=choice).find("aime24")

        assert source_of(found) == "elsewhere/baselines/org/parent.json, run first"

    def test_file_outside_the_root_is_shown_by_its_name(self, tmp_path: Path) -> None:
        """A baseline file outside of the root is shown by its name, as a table has no place for a long path."""
        path = write(tmp_path / "elsewhere", "org/parent", measured=MEASURED)
        (tmp_path / "root").mkdir()

        assert source_of(shelf(tmp_path / "root", choice=str(path)).find("aime24")) == "parent.json, run first"


class TestMistakes:
    """Each names the option or the file."""

    def test_missing_name(self, tmp_path: Path) -> None:
        """A baseline that is not found is refused with every place that was looked at and what to do."""
        with pytest.raises(BaselineError) as caught:
            shelf(tmp_path, choice="org/nobody").find("aime24")

        expected = (
            f"--r1-baseline org/nobody: no such baseline; looked for {tmp_path}/baselines/org/nobody.json and "
            f"{SHIPPED_FOLDER}/org/nobody.json. Record one with --r1-save-baseline, or name one that exists"
        )
        assert expected == str(caught.value)

    @pytest.mark.parametrize("choice", ["missing.json", "baselines/org/missing.json", "."])
    def test_missing_path(self, tmp_path: Path, choice: str) -> None:
        """A path that leads nowhere is refused and not taken for a name."""
        (tmp_path / "baselines").mkdir()
        with pytest.raises(BaselineError) as caught:
            shelf(tmp_path, choice=choice).find("aime24")

        assert str(caught.value).startswith(f"--r1-baseline {choice}: no such ")

    def test_missing_path_message(self, tmp_path: Path) -> None:
        """A path that is not there is refused with the words that a file was expected."""
        with pytest.raises(BaselineError) as caught:
            shelf(tmp_path, choice="x.json").find("aime24")

        expected = "--r1-baseline x.json: no such file; expected a baseline's JSON file"
        assert expected == str(caught.value)

    @pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema_version": 1, "modell": "x"}'])
    def test_malformed_file_is_named(self, tmp_path: Path, content: bytes) -> None:
        """A broken file of the user's is an error, and the shipped one is not taken instead."""
        path = write(tmp_path, SHIPPED)
        path.write_bytes(content)

        with pytest.raises(BaselineError) as caught:
            shelf(tmp_path, model_name=SHIPPED).find("aime24")

        assert str(caught.value).startswith(f"{path}: ")

    def test_file_in_another_encoding_is_named(self, tmp_path: Path) -> None:
        """A baseline file that is not UTF-8 is refused by its path."""
        path = write(tmp_path, "org/name")
        path.write_bytes(b"\xff\xfe{")

        with pytest.raises(BaselineError) as caught:
            shelf(tmp_path).find("aime24")

        message = str(caught.value)
        assert message.startswith(f"cannot read the baseline {path}: 'utf-8' codec can't decode byte 0xff")
        assert message.endswith("; expected a JSON file in UTF-8")


class TestRecord:
    """What is recorded is found, and nothing else is lost."""

    def test_new_file(self, tmp_path: Path) -> None:
        """Recording a baseline makes its folders, and the next run finds it."""
        path = shelf(tmp_path).record(MEASURED, name="org/name")

        expected = tmp_path / "baselines" / "org" / "name.json"
        assert expected == path
        found = shelf(tmp_path).find("aime24")
        assert found is not None
        assert found.baseline == MEASURED

    def test_other_entries_stay(self, tmp_path: Path) -> None:
        """Published numbers and other benchmarks' runs are kept; the same benchmark's run is replaced."""
        other = replace(MEASURED, benchmark="gpqa", run="other")
        path = write(tmp_path, "org/name", published=True, measured=other)
        newer = replace(MEASURED, run="newer", counts=Counts.from_mapping({"b": (4, 8), "a": (8, 8)}))

        shelf(tmp_path).record(MEASURED, name="org/name")
        shelf(tmp_path).record(newer, name="org/name")

        found = from_json(BASELINE_FILE, path.read_text(encoding="utf-8"), name="x")
        (there, entry) = found.measured
        expected = BaselineFile(model="org/name", published=(PUBLISHED,), measured=(other, newer))
        assert expected == replace(found, measured=(there, replace(entry, history=())))
        assert [(blessing.replaced_run, blessing.run) for blessing in entry.history] == [("first", "newer")]

    def test_a_lower_number_is_not_recorded(self, tmp_path: Path) -> None:
        """Recording a lower number is refused, and the file stays as it was."""
        path = shelf(tmp_path).record(MEASURED, name="org/name")
        before = path.read_bytes()
        lower = replace(MEASURED, run="lower", counts=Counts.from_mapping({"b": (1, 8), "a": (8, 8)}))
        with pytest.raises(LowerBaselineError, match="expected a number that is not lower"):
            shelf(tmp_path).record(lower, name="org/name")
        assert before == path.read_bytes()

    def test_shipped_file_is_not_touched(self, tmp_path: Path) -> None:
        """A record under a shipped name goes into the user's folder, and its numbers stay in force."""
        before = (SHIPPED_FOLDER / f"{SHIPPED}.json").read_bytes()

        path = shelf(tmp_path).record(MEASURED, name=SHIPPED)

        assert path.is_relative_to(tmp_path)
        assert before == (SHIPPED_FOLDER / f"{SHIPPED}.json").read_bytes()
        assert shelf(tmp_path, model_name=SHIPPED).find("math500") is not None

    @pytest.mark.parametrize("name", ["name", "a/b/c", "org/", "../name", "org/..", "org/na me", ""])
    def test_name_must_be_org_name(self, tmp_path: Path, name: str) -> None:
        """A baseline's name other than org/name is refused, and no file is written."""
        with pytest.raises(BaselineError) as caught:
            shelf(tmp_path).record(MEASURED, name=name)

        expected = f"--r1-save-baseline {name}: model is {name!r}; expected org/name, as on the Hub"
        assert expected == str(caught.value)
        assert list(tmp_path.rglob("*.json")) == []

    def test_malformed_file_is_not_written_over(self, tmp_path: Path) -> None:
        """A malformed baseline file is not written over, because it may hold reviewed counts."""
        path = write(tmp_path, "org/name")
        path.write_text("{")

        with pytest.raises(BaselineError, match=r"name\.json: "):
            shelf(tmp_path).record(MEASURED, name="org/name")

        assert path.read_text() == "{"

    def test_unwritable_folder(self, tmp_path: Path) -> None:
        """A folder of baselines that cannot be written is refused in one line."""
        (tmp_path / "baselines").write_text("")

        with pytest.raises(BaselineError) as caught:
            shelf(tmp_path).record(MEASURED, name="org/name")

        expected = (
            f"cannot write the baseline {tmp_path}/baselines/org/name.json: Not a directory; make the folder writable"
        )
        assert expected == str(caught.value)

"""
Where baselines are kept: found, read and written here, and understood in `core.baselines`.

The user's own `baselines/` folder, under pytest's root, comes before the shipped
one, so that a recorded baseline replaces a published number silently.
"""

import datetime as dt
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_r1eval.atomic_files import write_text
from pytest_r1eval.baselines.from_hub import commit_of, fetch
from pytest_r1eval.config.baseline_choice import (
    BaselineChoice,
    File,
    Named,
    OnHub,
    Previous,
    Published,
    RunFolder,
)
from pytest_r1eval.core.baselines import (
    BASELINE_FILE,
    BaselineFile,
    MeasuredBaseline,
    PublishedBaseline,
    with_measured,
)
from pytest_r1eval.core.blessings import kept
from pytest_r1eval.core.codec import from_json, to_json
from pytest_r1eval.core.fingerprints import ModelIdentity
from pytest_r1eval.core.lineage import Lineage, is_one_training, lineage_from
from pytest_r1eval.errors import BaselineError, R1EvalError
from pytest_r1eval.runs.store import FILE_NAME

CANDIDATE_NAME = "candidate.json"
"""What a run without a baseline leaves in its own folder: in a baseline's form, and never found as one."""

_SHIPPED = (Path(__file__).parent / "data", Path(__file__).parents[2] / "baselines")
"""Of a wheel, and of a clone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBaseline:
    """A baseline, and where it was found, as a table shows it."""

    baseline: MeasuredBaseline | PublishedBaseline
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineShelf:
    """
    The baseline files of one run.

    Attributes:
        root: The folder whose ``baselines/`` is the user's.
        choice: Which baseline was asked for; None for the model's own.
        model_name: ``org/name`` of the candidate.
        output_dir: Where runs are kept, for ``previous``.
        run: The run that asks, which is not its own previous one.
        lineage: The candidate's place in its training; what it leaves open is read off the name.
        identity: Digests of the candidate, which is not its own previous checkpoint; None where it is unknown.
        option: The option that made the choice, for messages.
    """

    root: Path
    choice: BaselineChoice | None
    model_name: str
    output_dir: Path | None = None
    run: Path | None = None
    lineage: Lineage | None = None
    identity: ModelIdentity | None = None
    option: str = "--r1-baseline"

    def find(self, benchmark: str) -> FoundBaseline | None:
        """
        Find what a benchmark is compared with: a measured baseline, else a published number.

        Raises:
            BaselineError: If a file is malformed, or the one named does not exist.
        """
        match self.choice:
            case Previous():
                return self._blessed_before(benchmark) or self._run_before(benchmark)
            case RunFolder(path=folder):
                return self._run_in(folder, benchmark)
            case Published():
                return _published_in(self._files_of(self.model_name), benchmark)
            case None | Named() | File() | OnHub():
                files = self._files()
                return self._measured_in(files, benchmark) or _published_in(files, benchmark)

    def _measured_in(self, files: Sequence[tuple[Path, BaselineFile]], benchmark: str) -> FoundBaseline | None:
        for path, file in files:
            if (measured := file.measured_for(benchmark)) is not None:
                return FoundBaseline(baseline=measured, source=self._source(path, measured.run))
        return None

    def _blessed_before(self, benchmark: str) -> FoundBaseline | None:
        """
        Find the blessed baseline of the same training with the highest step below the candidate's.

        Raises:
            BaselineError: If a file of the candidate's organisation is malformed.
        """
        known = self.lineage or Lineage()
        own = lineage_from(self.model_name, parent=known.parent, step=known.step, commit=known.commit)
        if own is None or own.step is None:
            return None
        organisation = self.model_name.partition("/")[0]
        files = [(path, read_file(path)) for path in sorted((self.root / "baselines" / organisation).glob("*.json"))]
        earlier = [
            (measured.lineage.step, path, measured)
            for path, file in files
            if (measured := file.measured_for(benchmark)) is not None
            and measured.lineage is not None
            and measured.lineage.step is not None
            and measured.lineage.step < own.step
            and is_one_training((self.model_name, own), (file.model, measured.lineage))
        ]
        if not earlier:
            return None
        _, path, measured = max(earlier, key=lambda found: found[0])
        return FoundBaseline(baseline=measured, source=self._source(path, measured.run))

    def _run_before(self, benchmark: str) -> FoundBaseline | None:
        """Take the newest run before this one as the baseline."""
        from pytest_r1eval.runs.finished import previous_run  # noqa: PLC0415 - imports the statistics

        if self.output_dir is None or self.run is None:
            raise BaselineError(
                f"{self.option} {self.choice}: there is no output folder to look for earlier runs in; name a baseline"
            )
        run = previous_run(self.output_dir, benchmark, before=self.run, unlike=self.identity)
        return None if run is None else self._run_in(run.folder, benchmark)

    def _run_in(self, folder: Path, benchmark: str) -> FoundBaseline:
        """Take a stored run as the baseline, if it may be recorded as one without a reason."""
        from pytest_r1eval.runs.finished import StoredRun  # noqa: PLC0415 - imports the statistics

        try:
            measured = StoredRun(folder=folder).as_baseline(benchmark, replaced=None, reason=None)
        except R1EvalError as error:
            raise BaselineError(f"{self.option} {self.choice}: {error}") from error
        return FoundBaseline(baseline=measured, source=f"run {folder}")

    def record(self, measured: MeasuredBaseline, *, name: str) -> Path:
        """
        Put a measured baseline into ``baselines/NAME.json``, keeping the file's other entries and what it replaces.

        Raises:
            LowerBaselineError: If the number is lower than the one that is there.
            BaselineError: If the name is not org/name, or the file cannot be written.
        """
        path = self._own(name)
        try:
            file = read_file(path) if path.exists() else BaselineFile(model=name)
            lineage = measured.lineage or lineage_from(name, parent=None, step=None, commit=None)
            now = dt.datetime.now(dt.UTC).replace(microsecond=0)
            write_file(path, kept(file, replace(measured, lineage=lineage), when=now))
        except ValueError as error:
            raise BaselineError(f"--r1-save-baseline {name}: {error}") from error
        return path

    def entry(self, benchmark: str, *, name: str) -> MeasuredBaseline | None:
        """
        Return what the user's own ``baselines/NAME.json`` holds for a benchmark; None where it holds nothing.

        Raises:
            BaselineError: If the file is malformed.
        """
        path = self._own(name)
        return read_file(path).measured_for(benchmark) if path.is_file() else None

    def keep_candidate(self, measured: MeasuredBaseline, *, run: Path) -> Path:
        """
        Put a run's numbers beside the run, for a person who makes them a baseline or does not.

        Raises:
            BaselineError: If the file cannot be written, or the model's name could not be a baseline's.
        """
        path = run / CANDIDATE_NAME
        try:
            file = BaselineFile(model=self.model_name)
            with suppress(BaselineError):  # as a crash left it; it holds nothing that is not in the run
                file = read_file(path) if path.is_file() else file
            write_file(path, with_measured(file, measured))
        except ValueError as error:
            raise BaselineError(
                f"{path}: {error}; rename the checkpoint's folder, or use --r1-save-baseline"
            ) from error
        return path

    def command_to_record(self, run: Path, *, benchmark: str, only: str | None) -> str:
        """
        Return the command that makes a run the model's baseline, ready to be pasted where pytest was started.

        Args:
            run: The run's folder.
            benchmark: What is missing.
            only: The one benchmark to take from the run; None for all that it holds.
        """
        path = self._own(self.model_name)
        name = self.model_name if path == Path.cwd() / "baselines" / f"{self.model_name}.json" else str(path)
        verb = "record" if self.entry(benchmark, name=self.model_name) is None else "bless"
        command = ["r1eval", "baseline", verb, str(run), name]
        return shlex.join(command if only is None else [*command, "--benchmark", only])

    def _own(self, name: str) -> Path:
        return self.root / "baselines" / f"{name}.json"

    def paths(self) -> list[Path]:
        """Every baseline file that can be found by name, the user's first; a name that is there twice once."""
        found: dict[str, Path] = {}
        for folder in self._folders():
            for path in sorted(folder.glob("*/*.json")):
                found.setdefault(f"{path.parent.name}/{path.stem}", path)
        return list(found.values())

    def _files(self) -> Sequence[tuple[Path, BaselineFile]]:
        match self.choice:
            case OnHub(place=place):
                fetched = fetch(place)
                return [(fetched, read_file(fetched, name=place))]
            case File(path=path):
                return [(path, self._file_at(path))]
            case Named(name=name):
                if found := self._files_of(name):
                    return found
                places = " and ".join(str(folder / f"{name}.json") for folder in self._folders())
                raise BaselineError(
                    f"{self.option} {name}: no such baseline; looked for {places}. "
                    "Record one with --r1-save-baseline, or name one that exists"
                )
            case _:
                return self._files_of(self.model_name)

    def _file_at(self, path: Path) -> BaselineFile:
        if not path.is_file():
            raise BaselineError(f"{self.option} {self.choice}: no such file; expected a baseline's JSON file")
        return self._read(path, shown=f"{self.option} {self.choice}")

    def _read(self, path: Path, *, shown: str) -> BaselineFile:
        """Read a baseline file; the candidate of a run is none, through a link either."""
        real = path.resolve()
        if real.name == CANDIDATE_NAME and (real.parent / FILE_NAME).is_file():
            raise BaselineError(
                f"{shown} is the candidate of a run, not a baseline; make it one first: "
                f"r1eval baseline record {shlex.quote(str(real.parent))} ORG/MODEL"
            )
        return read_file(path)

    def _files_of(self, name: str) -> Sequence[tuple[Path, BaselineFile]]:
        paths = [folder / f"{name}.json" for folder in self._folders()]
        return [(path, self._read(path, shown=str(path))) for path in paths if path.is_file()]

    def _folders(self) -> list[Path]:
        folders = [self.root / "baselines", *_SHIPPED]
        return list(dict.fromkeys(folder.resolve() for folder in folders if folder.is_dir() or folder == folders[0]))

    def _source(self, path: Path, run: str) -> str:
        if isinstance(self.choice, OnHub):
            return f"{self.choice} at commit {commit_of(path)[:12]}, run {run}"
        shown = path.relative_to(self.root) if path.is_relative_to(self.root) else path.name
        return f"{shown}, run {run}"


def references(
    shelf: BaselineShelf, anchor: BaselineShelf | None, benchmark: str
) -> tuple[FoundBaseline | None, FoundBaseline | None]:
    """
    Find the baseline and the anchor beside it; the anchor alone is the baseline where there is no other yet.

    Each is half of the test, a published number like a recorded run, so neither that was named is passed over.

    Raises:
        BaselineError: If one is malformed, or one that was named has nothing for the benchmark.
    """
    found = shelf.find(benchmark)
    if anchor is None:
        return found, None
    fixed = anchor.find(benchmark)
    may_come = shelf.choice is None or isinstance(shelf.choice, Previous)
    for place, is_missing in ((shelf, found is None and not may_come), (anchor, fixed is None)):
        if is_missing:
            raise BaselineError(
                f"{place.option} {place.choice}: nothing for {benchmark} in it; name one that holds it, or leave "
                f"{place.option} out"
            )
    return (fixed, None) if found is None or fixed is None or found.baseline == fixed.baseline else (found, fixed)


def _published_in(files: Sequence[tuple[Path, BaselineFile]], benchmark: str) -> FoundBaseline | None:
    for _, file in files:
        if (published := file.published_for(benchmark)) is not None:
            return FoundBaseline(baseline=published, source=f"{file.model}, {published.source}")
    return None


def read_file(path: Path, *, name: str | None = None) -> BaselineFile:
    """
    Read a baseline file.

    Args:
        path: The file.
        name: What messages call it; None for its path.

    Raises:
        BaselineError: If it cannot be read, or is malformed.
    """
    shown = name or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BaselineError(f"cannot read the baseline {shown}: {error}; expected a JSON file in UTF-8") from error
    return from_json(BASELINE_FILE, text, name=shown)


def write_file(path: Path, file: BaselineFile) -> None:
    """
    Write a baseline file, whole or not at all.

    Raises:
        BaselineError: If it cannot be written.
    """
    try:
        write_text(path, to_json(BASELINE_FILE, file))
    except OSError as error:
        raise BaselineError(f"cannot write the baseline {path}: {error.strerror}; make the folder writable") from error

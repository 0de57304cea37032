"""
AIME 2024 and MATH-500 as the Hub has them, for the tests that need the real rows: `python -m tests.real_data FOLDER`.

Taken from `R1_TEST_DATA`, else from `shared/data` beside the checkout, else from the Hub or its cache. No row of them
is part of the repository.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TEST_DATA = os.environ.get("R1_TEST_DATA")
"""The caller's folder of copies, laid out as `--r1-data` takes it; read before the tests drop R1_..."""
ENVIRON = dict(os.environ)
"""The caller's environment, with the caller's cache and network; the tests' own is offline."""
BESIDE = Path(__file__).parents[2] / "shared" / "data"
FILES: Mapping[str, tuple[str, str]] = {
    "aime_2024/train.jsonl": ("HuggingFaceH4/aime_2024", "data/train-00000-of-00001.parquet"),
    "MATH-500/test.jsonl": ("HuggingFaceH4/MATH-500", "test.jsonl"),
}
"""Each file of the folder, and the data set and the file on the Hub that it is made of."""
FETCH_TIMEOUT_S = 120
"""Both files are a megabyte; a machine without a network hears so in seconds."""


def real_data_in(folder: Path, *, given: str | None, beside: Path, environ: Mapping[str, str]) -> Path | str:
    """
    Find the data, or fetch them.

    Args:
        folder: Where fetched data are put.
        given: The caller's folder; None for none.
        beside: A folder that is taken where it is there.
        environ: The environment of the Hub's client.

    Returns:
        The folder of the data, or why there is none.
    """
    for place in (Path(given),) if given is not None else (beside,):
        lost = [name for name in FILES if not (place / name).is_file()]
        if not lost:
            return place
        if given is not None:
            return f"R1_TEST_DATA={given} holds no {lost[0]}"
    command = [sys.executable, "-m", "tests.real_data", str(folder)]
    environ = {
        "HF_HUB_ETAG_TIMEOUT": "5",
        "HF_HUB_DOWNLOAD_TIMEOUT": "20",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        **environ,
    }
    root = Path(__file__).parents[1]
    try:
        done = subprocess.run(
            command, cwd=root, env=environ, capture_output=True, text=True, check=False, timeout=FETCH_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return f"the Hub gave none in {FETCH_TIMEOUT_S} s"
    return folder if done.returncode == 0 else f"the Hub gave none: {(done.stderr.strip().splitlines() or ['?'])[-1]}"


def fetch(folder: Path) -> None:
    """Fetch every file into a folder, by way of the Hub's cache, as JSON lines in the Hub's columns."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - reads the environment when it is imported
    from pyarrow import parquet  # noqa: PLC0415 - only here

    for name, (repo, source) in FILES.items():
        cached = Path(hf_hub_download(repo, source, repo_type="dataset"))
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if cached.suffix == ".parquet":
            rows = parquet.read_table(cached).to_pylist()
            target.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        else:
            target.write_bytes(cached.read_bytes())


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))

"""What the tests of runners share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.trainings import Training


@pytest.fixture
def training(tmp_path: Path) -> Training:
    """Start a training."""
    return Training(folder=tmp_path)

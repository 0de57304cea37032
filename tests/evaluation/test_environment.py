"""A process that a training starts is no part of that training."""

from __future__ import annotations

import pytest

from pytest_r1eval.evaluation.environment import without_training


@pytest.mark.parametrize(
    "name",
    [
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "MASTER_ADDR",
        "MASTER_PORT",
        "ACCELERATE_MIXED_PRECISION",
        "ACCELERATE_USE_DEEPSPEED",
        "DEEPSPEED_CONFIG_FILE",
        "FSDP_SHARDING_STRATEGY",
        "TORCHELASTIC_RUN_ID",
        "SLURM_JOB_ID",
        "SLURM_MEM_PER_NODE",
        "PYTEST_ADDOPTS",
        "PYTEST_XDIST_WORKER",
    ],
)
def test_what_says_that_it_is_a_rank_is_left_out(name: str) -> None:
    """Variables of launchers, of the job and of a surrounding pytest are left out."""
    assert without_training({name: "1", "PATH": "/bin"}) == {"PATH": "/bin"}


def test_everything_else_stays() -> None:
    """Caches, options, GPUs and Slurm's configuration stay in the environment."""
    kept = {"HF_HOME": "/cache", "R1_DTYPE": "float16", "CUDA_VISIBLE_DEVICES": "3", "SLURM_CONF": "/etc/slurm.conf"}
    assert without_training(kept) == kept


def test_torchruns_one_thread_is_left_out() -> None:
    """OMP_NUM_THREADS is left out where torchrun set it, and kept where it was set outside."""
    assert without_training({"TORCHELASTIC_RUN_ID": "x", "OMP_NUM_THREADS": "1"}) == {}
    assert without_training({"OMP_NUM_THREADS": "1"}) == {"OMP_NUM_THREADS": "1"}

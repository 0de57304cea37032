"""
What a process that a training starts must not inherit.

A gate inside `torchrun`, `accelerate launch` or an sbatch job would otherwise take itself for
one rank of that training: vLLM would wait for the others, and sbatch would ask for their cores.
"""

from __future__ import annotations

from collections.abc import Mapping

_NAMES = frozenset(
    {
        "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE",
        "ROLE_NAME", "ROLE_RANK", "ROLE_WORLD_SIZE", "CROSS_RANK", "CROSS_SIZE", "MASTER_ADDR", "MASTER_PORT",
    }
)  # fmt: skip
"""torchrun's, and what other launchers set for `torch.distributed`."""
_PREFIXES = (
    "ACCELERATE_", "DEEPSPEED_", "DS_", "FSDP_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "TORCHELASTIC_", "TORCH_NCCL_",
    "OMPI_", "PMI_", "PMIX_", "MV2_", "SLURM_", "PYTEST_",
)  # fmt: skip
"""Settings of launchers, MPI, Slurm's own job, and a pytest that this process may be part of."""
_KEPT = frozenset({"SLURM_CONF"})
"""Where Slurm's commands find their cluster."""


def without_training(environment: Mapping[str, str]) -> dict[str, str]:
    """
    Return an environment without what tells a process that it is part of a training.

    torchrun gives every process one OpenMP thread unless told otherwise; a CPU engine would keep that.
    """
    is_elastic = "TORCHELASTIC_RUN_ID" in environment
    return {
        name: value
        for name, value in environment.items()
        if name in _KEPT
        or not (
            name in _NAMES or name.startswith(_PREFIXES) or (is_elastic and (name, value) == ("OMP_NUM_THREADS", "1"))
        )
    }

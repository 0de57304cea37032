"""
How many engines run on a machine, on how many GPUs each, and whether they fit.

All of it is arithmetic on described machines. A plan that cannot fit is refused before anything loads, and every rule
is tested without a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import takewhile

from pytest_r1eval.checkpoints.size import ModelSize
from pytest_r1eval.errors import PlanError

GIB = 2**30
LARGE_PARAMETERS = 30 * 10**9
"""From here up a model is spread over as many GPUs as its heads allow: one engine per GPU leaves no cache (design)."""
ENGINE_BYTES = 3 * GIB
"""What an engine takes besides weights and cache; eight engines of 1.5B took 2.9 GB each on an H200."""
CPUS_PER_ENGINE = 2
MAX_CPU_ENGINES = 4
"""One CPU engine uses all its cores: two on two cores were 1.04 times as fast as one, with the weights twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """
    One entry of the caller's list.

    Attributes:
        name: An index, a UUID or the name of a MIG slice.
        n_bytes: Its memory; None if the driver does not say.
    """

    name: str
    n_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """
    What this process may use.

    Attributes:
        gpus: In the caller's order; empty on a CPU.
        cpus: CPU numbers.
        n_bytes: Main memory; None if unknown.
    """

    gpus: tuple[Gpu, ...] = ()
    cpus: tuple[int, ...] = (0,)
    n_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """
    What is to be placed.

    Attributes:
        model: Its name, for messages.
        size: Its sizes.
        dtype: Of weights and cache in memory.
        max_model_length: Tokens of prompt and response together.
        utilization: The fraction of a device's memory that all its engines may take, (0, 1].
        tensor_parallel_size: GPUs one engine spans; None to choose.
        engines_per_gpu: Engines that share a GPU; None to choose.
        is_sized_by_user: Whether engine arguments change what memory holds, which leaves nothing to check.
    """

    model: str
    size: ModelSize
    dtype: str = "bfloat16"
    max_model_length: int = 32768
    utilization: float = 0.8
    tensor_parallel_size: int | None = None
    engines_per_gpu: int | None = None
    is_sized_by_user: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """
    Where engines run.

    Attributes:
        tensor_parallel_size: GPUs one engine spans.
        n_engines: Engines on this machine.
        kv_cache_bytes: One engine's cache on each of its GPUs where it shares them; None to let the engine measure.
        remarks: What a user should know, a line each.
    """

    tensor_parallel_size: int
    n_engines: int
    kv_cache_bytes: int | None = None
    remarks: tuple[str, ...] = ()


def placement(demand: Demand, machine: Machine, *, n_workers: int | None = None) -> Placement:
    """
    Place engines on a machine.

    Args:
        demand: What is to be placed.
        machine: Where.
        n_workers: Engines asked for; None for as many as pay.

    Raises:
        PlanError: If they cannot be placed or cannot fit, with the arithmetic.
    """
    size = tensor_parallel_size(demand, machine)
    n_places = max(1, len(machine.gpus) // size)
    n_engines = n_workers or n_places * _engines_per_place(demand, machine, size)
    n_sharing = -(-n_engines // n_places) if machine.gpus else n_engines
    if machine.gpus and n_workers and demand.engines_per_gpu and n_sharing > demand.engines_per_gpu:
        raise PlanError(
            f"-n {n_workers} puts {n_sharing} engines on a GPU ({len(machine.gpus)} visible, tensor parallel {size}), "
            f"and --r1-engines-per-gpu allows {demand.engines_per_gpu}; lower -n to "
            f"{n_places * demand.engines_per_gpu}, or leave --r1-engines-per-gpu out"
        )
    check_fit(demand, machine, tensor_parallel_size=size, n_sharing=n_sharing)
    return Placement(
        tensor_parallel_size=size,
        n_engines=n_engines,
        kv_cache_bytes=_kv_cache_bytes(demand, machine, size, n_sharing),
        remarks=_remarks(demand, machine),
    )


def tensor_parallel_size(demand: Demand, machine: Machine) -> int:
    """
    Return the GPUs that one engine spans: given and checked, or chosen.

    Below 30B parameters the smallest power of two that fits, so nearly always 1; from
    there up the largest. Either divides the attention heads.

    Raises:
        PlanError: If a given size does not divide the heads, or more GPUs are needed than visible.
    """
    asked, n_heads, n_gpus = demand.tensor_parallel_size, demand.size.n_heads, len(machine.gpus)
    if asked is not None:
        _check_asked(asked, n_heads, n_gpus)
        return asked
    if not n_gpus or demand.size.n_parameters is None:
        return 1
    powers = takewhile(lambda power: power <= n_gpus, (1 << exponent for exponent in range(16)))
    possible = [power for power in powers if n_heads is None or n_heads % power == 0]
    if demand.size.n_parameters >= LARGE_PARAMETERS:
        return max(possible)
    fitting = [power for power in possible if _fits(demand, machine, power, n_sharing=1)]
    return min(fitting, default=1)


def check_fit(demand: Demand, machine: Machine, *, tensor_parallel_size: int, n_sharing: int) -> None:
    """
    Refuse what cannot fit: weights and a cache for one sequence against one engine's part of the memory.

    Raises:
        PlanError: With the arithmetic, and what to change.
    """
    if _fits(demand, machine, tensor_parallel_size, n_sharing=n_sharing):
        return
    weights, cache = _n_weight_bytes(demand, tensor_parallel_size), _n_cache_bytes(demand, tensor_parallel_size)
    memory, where = _smallest(machine)
    own = memory * demand.utilization / n_sharing
    spread = f" / tensor parallel {tensor_parallel_size}" if tensor_parallel_size > 1 else ""
    ways = _ways_out(demand, machine, tensor_parallel_size, n_sharing)
    raise PlanError(
        f"{demand.model} cannot fit: weights {_gib(weights)} ({_weights_text(demand)}{spread}) + KV cache of one "
        f"sequence {_gib(cache)} ({demand.max_model_length:,} tokens) = {_gib(weights + cache)}, and one engine has "
        f"{_gib(own)} ({where} {_gib(memory)} x {demand.utilization:g} / {n_sharing} "
        f"engine{'' if n_sharing == 1 else 's'}); {ways}"
    )


def _check_asked(asked: int, n_heads: int | None, n_gpus: int) -> None:
    if n_heads is not None and n_heads % asked:
        divisors = ", ".join(str(number) for number in range(1, n_heads + 1) if n_heads % number == 0)
        raise PlanError(
            f"--r1-tp {asked} does not divide the model's {n_heads} attention heads ({n_heads} = {n_heads // asked} x "
            f"{asked} + {n_heads % asked}); expected one of {divisors}"
        )
    if asked > max(1, n_gpus):
        raise PlanError(
            f"tensor parallel {asked} needs as many GPUs, and {n_gpus} are visible; "
            "lower --r1-tp or make more visible (CUDA_VISIBLE_DEVICES)"
        )


def _engines_per_place(demand: Demand, machine: Machine, size: int) -> int:
    """
    Return how many engines pay on each place: asked for, one on GPUs, or on a CPU by its cores.

    For short answers of equal length, two engines of 1.5B on one GPU gave 1.17 times the tokens/s of one. For
    log-normal lengths, as R1's are, they gave 0.91 times: the longest answers wait for the other engine's steps
    (perf/README.md).
    """
    if machine.gpus:
        return demand.engines_per_gpu or 1
    most = demand.engines_per_gpu or min(MAX_CPU_ENGINES, max(1, len(machine.cpus) // CPUS_PER_ENGINE))
    return next((n for n in range(most, 1, -1) if _fits(demand, machine, size, n_sharing=n)), 1)


def _kv_cache_bytes(demand: Demand, machine: Machine, size: int, n_sharing: int) -> int | None:
    """
    Work out a sharing engine's cache.

    An engine measures what is free while it starts, and counts what its neighbours
    take and give back meanwhile; told the size, they can start together.
    """
    weights = demand.size.n_weight_bytes(demand.dtype)
    if not machine.gpus or n_sharing == 1 or demand.is_sized_by_user or weights is None:
        return None
    own = _smallest(machine)[0] * demand.utilization / n_sharing
    left = own - _n_weight_bytes(demand, size) - ENGINE_BYTES
    return int(left) if _n_cache_bytes(demand, size) < left < math.inf else None


def _fits(demand: Demand, machine: Machine, size: int, *, n_sharing: int) -> bool:
    if demand.is_sized_by_user:
        return True
    needed = _n_weight_bytes(demand, size) + _n_cache_bytes(demand, size)
    return needed <= _smallest(machine)[0] * demand.utilization / n_sharing


def _n_weight_bytes(demand: Demand, size: int) -> float:
    """Return one GPU's part of the weights; 0 if unknown, for a plan is refused for what is known alone."""
    return (demand.size.n_weight_bytes(demand.dtype) or 0) / size


def _n_cache_bytes(demand: Demand, size: int) -> float:
    """Return one GPU's part of one sequence's cache; heads are copied where there are fewer than GPUs."""
    n_bytes = (demand.size.n_kv_bytes(demand.dtype) or 0) * demand.max_model_length
    return n_bytes / min(size, demand.size.n_kv_heads or size)


def _smallest(machine: Machine) -> tuple[float, str]:
    """Return the memory of the smallest device and its name; no limit if none is known."""
    if not machine.gpus:
        return (machine.n_bytes or math.inf), "main memory"
    known = [(gpu.n_bytes, f"GPU {gpu.name}") for gpu in machine.gpus if gpu.n_bytes is not None]
    return min(known, default=(math.inf, "a GPU"))


def _weights_text(demand: Demand) -> str:
    if demand.size.n_quantized_bytes is not None:
        return f"quantised ({demand.size.quantization}), as stored"
    return f"{demand.size.n_parameters or 0:,} parameters x {demand.size.bytes_of(demand.dtype)} bytes"


def _ways_out(demand: Demand, machine: Machine, size: int, n_sharing: int) -> str:
    """Name what would help, the first that does in front."""
    most = next((n for n in range(n_sharing - 1, 0, -1) if _fits(demand, machine, size, n_sharing=n)), None)
    if most is not None:
        on = f" on a GPU (-n {most * max(1, len(machine.gpus) // size)})" if machine.gpus else f" (-n {most})"
        return f"at most {most} fit{'s' if most == 1 else ''}{on}"
    n_heads = demand.size.n_heads
    wider = (n for n in range(size + 1, 65) if n_heads is None or n_heads % n == 0)
    wide = next((n for n in wider if _fits(demand, machine, n, n_sharing=1)), None)
    if machine.gpus and wide is not None:
        return f"spread it over {wide} GPUs (--r1-tp {wide}), {len(machine.gpus)} visible"
    return "take a shorter context (--r1-max-model-len), a smaller or a quantised model, or a larger machine"


def _remarks(demand: Demand, machine: Machine) -> tuple[str, ...]:
    remarks = []
    if demand.size.n_parameters is None and machine.gpus and demand.tensor_parallel_size is None:
        remarks.append(
            f"warning: neither the safetensors index nor the config of {demand.model} gives its parameters; "
            "taken for a model that fits one GPU (--r1-tp says otherwise)"
        )
    return tuple(remarks)


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / GIB:,.1f} GiB" if n_bytes >= GIB / 10 else f"{n_bytes / 2**20:,.1f} MiB"

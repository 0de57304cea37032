"""Every rule of placing engines, on described machines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_r1eval.checkpoints.size import ModelSize, model_size
from pytest_r1eval.engines.placement import ENGINE_BYTES, GIB, Demand, Gpu, Machine, Placement, placement
from pytest_r1eval.errors import PlanError
from tests.model_configs import LLAMA_70B, QWEN3_32B, QWEN_1_5B


def gpus(count: int, gib: float | None, *, first: int = 0) -> Machine:
    """Describe a machine of equal GPUs."""
    n_bytes = None if gib is None else int(gib * GIB)
    return Machine(
        gpus=tuple(Gpu(name=str(first + number), n_bytes=n_bytes) for number in range(count)),
        cpus=tuple(range(16)),
        n_bytes=512 * GIB,
    )


ONE_80 = gpus(1, 80)
EIGHT_80 = gpus(8, 80)
FOUR_24 = gpus(4, 24)
MIG = Machine(gpus=(Gpu(name="MIG-1c1a", n_bytes=int(9.5 * GIB)), Gpu(name="MIG-2c1a", n_bytes=int(9.5 * GIB))))
UNKNOWN = gpus(2, None)

SMALL = model_size(QWEN_1_5B)
LARGE = model_size(LLAMA_70B)
SEVEN = ModelSize(n_parameters=7_615_616_512, n_heads=28, n_kv_heads=4, n_kv_numbers=28 * 2 * 4 * 128, dtype="bfloat16")
FOURTEEN = ModelSize(n_parameters=14_770_033_664, n_heads=40, n_kv_heads=8, n_kv_numbers=48 * 2 * 8 * 128)


def demand(size: ModelSize, *, tp: int | None = None, per_gpu: int | None = None, length: int = 32768) -> Demand:
    """Ask for engines of a model."""
    return Demand(model="org/m", size=size, tensor_parallel_size=tp, engines_per_gpu=per_gpu, max_model_length=length)


def refusal(asked: Demand, machine: Machine, *, n_workers: int | None = None) -> str:
    """Return what a user reads."""
    with pytest.raises(PlanError) as caught:
        placement(asked, machine, n_workers=n_workers)
    return str(caught.value)


class TestTensorParallelSize:
    """1 below 30B where that fits; from there up the largest power of two that divides the heads."""

    @pytest.mark.parametrize(
        ("size", "machine", "expected"),
        [
            (SMALL, ONE_80, 1),
            (SMALL, EIGHT_80, 1),
            (SMALL, MIG, 1),
            (SEVEN, FOUR_24, 1),
            (FOURTEEN, EIGHT_80, 1),
            (FOURTEEN, FOUR_24, 2),
            (LARGE, EIGHT_80, 8),
            (LARGE, gpus(6, 80), 4),
            (model_size(QWEN3_32B), EIGHT_80, 8),
            (model_size(QWEN3_32B), gpus(3, 80), 2),
            (model_size({**LLAMA_70B, "num_attention_heads": 52}), EIGHT_80, 4),
            (ModelSize(n_parameters=29_999_999_999), EIGHT_80, 1),
            (ModelSize(n_parameters=30_000_000_000), EIGHT_80, 8),
            (LARGE, UNKNOWN, 2),
            (SMALL, Machine(n_bytes=64 * GIB), 1),
        ],
    )
    def test_chosen(self, size: ModelSize, machine: Machine, expected: int) -> None:
        """The tensor-parallel size follows from weights, heads, GPUs and their memory."""
        assert expected == placement(demand(size), machine).tensor_parallel_size

    def test_unknown_parameters_mean_one_and_a_line_that_says_so(self) -> None:
        """A model of unknown size gets one GPU for each engine and a warning, unless the user gives the size."""
        found = placement(demand(ModelSize()), EIGHT_80)

        (line,) = found.remarks
        assert found.tensor_parallel_size == 1
        assert line.startswith("warning: neither the safetensors index nor the config of org/m gives its parameters")
        assert "--r1-tp" in line
        assert placement(demand(ModelSize(), tp=1), EIGHT_80).remarks == ()

    def test_given_size_is_taken(self) -> None:
        """A given tensor-parallel size is taken where it divides the heads."""
        assert placement(demand(SMALL, tp=3), EIGHT_80) == Placement(tensor_parallel_size=3, n_engines=2)

    def test_given_size_that_does_not_divide_the_heads(self) -> None:
        """A given tensor-parallel size that does not divide the heads is refused, with the division."""
        expected = (
            "--r1-tp 8 does not divide the model's 12 attention heads (12 = 1 x 8 + 4); "
            "expected one of 1, 2, 3, 4, 6, 12"
        )
        assert expected == refusal(demand(SMALL, tp=8), EIGHT_80)

    def test_given_size_beyond_the_gpus(self) -> None:
        """A given tensor-parallel size is refused where fewer GPUs are visible."""
        expected = (
            "tensor parallel 2 needs as many GPUs, and 1 are visible; "
            "lower --r1-tp or make more visible (CUDA_VISIBLE_DEVICES)"
        )
        assert expected == refusal(demand(SMALL, tp=2), ONE_80)

    @given(st.integers(1, 16), st.integers(1, 128), st.integers(10**6, 10**12))
    def test_always_a_divisor_and_never_more_than_there_are(self, n_gpus: int, n_heads: int, n_parameters: int) -> None:
        """The tensor-parallel size is a power of two that divides the heads and is not above the number of GPUs."""
        size = ModelSize(n_parameters=n_parameters, n_heads=n_heads)
        found = placement(demand(size), gpus(n_gpus, None)).tensor_parallel_size

        assert found <= n_gpus
        assert n_heads % found == 0
        assert found & (found - 1) == 0


class TestNumberOfEngines:
    """What -n auto means."""

    @pytest.mark.parametrize(
        ("asked", "machine", "expected"),
        [
            (demand(SMALL), ONE_80, 1),
            (demand(SMALL), EIGHT_80, 8),
            (demand(SMALL), FOUR_24, 4),
            (demand(SMALL), MIG, 2),
            (demand(SMALL), UNKNOWN, 2),
            (demand(SMALL, per_gpu=4), EIGHT_80, 32),
            (demand(SMALL, tp=2), EIGHT_80, 4),
            (demand(SEVEN), ONE_80, 1),
            (demand(SEVEN), EIGHT_80, 8),
            (demand(FOURTEEN), FOUR_24, 2),
            (demand(LARGE), EIGHT_80, 1),
            (demand(LARGE, tp=4), EIGHT_80, 2),
            (demand(ModelSize()), EIGHT_80, 8),
        ],
    )
    def test_on_gpus(self, asked: Demand, machine: Machine, expected: int) -> None:
        """One engine starts for each place on the GPUs, unless more are asked for."""
        assert expected == placement(asked, machine).n_engines

    @pytest.mark.parametrize(
        ("n_cpus", "gib", "per_gpu", "expected"),
        [(1, 64, None, 1), (2, 64, None, 1), (5, 64, None, 2), (64, 64, None, 4), (64, 12, None, 2), (2, 64, 3, 3)],
    )
    def test_on_a_cpu(self, n_cpus: int, gib: int, per_gpu: int | None, expected: int) -> None:
        """On a CPU one engine starts for every two cores, up to four and to what main memory holds."""
        machine = Machine(cpus=tuple(range(n_cpus)), n_bytes=gib * GIB)

        assert expected == placement(demand(SMALL, per_gpu=per_gpu), machine).n_engines

    def test_given_workers_are_taken(self) -> None:
        """Three workers share one GPU where -n 3 asks for them."""
        expected = 3
        assert expected == placement(demand(SMALL), ONE_80, n_workers=3).n_engines

    def test_workers_against_engines_per_gpu(self) -> None:
        """-n and --r1-engines-per-gpu are refused where they contradict each other."""
        expected = (
            "-n 8 puts 8 engines on a GPU (1 visible, tensor parallel 1), and --r1-engines-per-gpu allows 2; "
            "lower -n to 2, or leave --r1-engines-per-gpu out"
        )
        assert expected == refusal(demand(SMALL, per_gpu=2), ONE_80, n_workers=8)
        assert placement(demand(SMALL, per_gpu=2), EIGHT_80, n_workers=16).n_engines == 16


class TestFit:
    """A plan that cannot fit is refused before anything loads, with the arithmetic."""

    def test_one_gpu_is_too_small(self) -> None:
        """A model that does not fit on one GPU is refused with the sum and with the number of GPUs that would do."""
        expected = (
            "org/m cannot fit: weights 131.4 GiB (70,553,706,496 parameters x 2 bytes) + KV cache of one sequence "
            "10.0 GiB (32,768 tokens) = 141.4 GiB, and one engine has 64.0 GiB (GPU 0 80.0 GiB x 0.8 / 1 engine); "
            "spread it over 4 GPUs (--r1-tp 4), 1 visible"
        )
        assert expected == refusal(demand(LARGE), ONE_80)

    def test_too_many_engines_on_one_gpu(self) -> None:
        """Too many engines on one GPU are refused with the number that fits."""
        text = refusal(demand(SEVEN), ONE_80, n_workers=8)

        assert "one engine has 8.0 GiB (GPU 0 80.0 GiB x 0.8 / 8 engines)" in text
        assert text.endswith("at most 4 fit on a GPU (-n 4)")

    def test_tensor_parallel_part(self) -> None:
        """Under tensor parallelism each GPU needs memory for its part of weights and cache."""
        text = refusal(demand(LARGE, tp=4), FOUR_24)

        assert "weights 32.9 GiB (70,553,706,496 parameters x 2 bytes / tensor parallel 4)" in text
        assert "KV cache of one sequence 2.5 GiB" in text
        assert text.endswith("spread it over 8 GPUs (--r1-tp 8), 4 visible")

    def test_the_cache_of_one_sequence_counts(self) -> None:
        """A context that leaves no room for one answer is refused; a shorter one is not."""
        machine = gpus(1, 21)

        assert "KV cache of one sequence 7.0 GiB (131,072 tokens)" in refusal(demand(SEVEN, length=131072), machine)
        assert placement(demand(SEVEN, length=32768), machine).n_engines == 1

    def test_main_memory(self) -> None:
        """All workers on a CPU share its main memory."""
        machine = Machine(cpus=(0, 1, 2, 3), n_bytes=16 * GIB)

        text = refusal(demand(SEVEN), machine, n_workers=2)
        assert "one engine has 6.4 GiB (main memory 16.0 GiB x 0.8 / 2 engines)" in text
        assert text.endswith("or a larger machine")

    def test_mig_slice(self) -> None:
        """A MIG slice counts as a GPU with its own memory."""
        assert "GPU MIG-1c1a 9.5 GiB" in refusal(demand(SEVEN), MIG)

    def test_the_smallest_gpu_decides(self) -> None:
        """The GPU with the least memory decides whether engines fit."""
        machine = Machine(gpus=(*ONE_80.gpus, Gpu(name="1", n_bytes=8 * GIB)))

        assert "GPU 1 8.0 GiB" in refusal(demand(SEVEN), machine)

    @pytest.mark.parametrize("machine", [UNKNOWN, Machine(n_bytes=None)])
    def test_unknown_memory_refuses_nothing(self, machine: Machine) -> None:
        """A machine of unknown memory refuses no number of engines."""
        assert placement(demand(SEVEN), machine, n_workers=64).n_engines == 64

    def test_unknown_size_refuses_nothing(self) -> None:
        """A model of unknown size refuses no number of engines."""
        assert placement(demand(ModelSize()), FOUR_24, n_workers=4).n_engines == 4

    def test_arguments_that_size_memory_leave_it_to_the_engine(self) -> None:
        """Engine arguments that size the memory leave the check to the engine."""
        asked = Demand(model="org/m", size=LARGE, tensor_parallel_size=1, is_sized_by_user=True)

        assert placement(asked, ONE_80, n_workers=1) == Placement(tensor_parallel_size=1, n_engines=1)

    @given(st.floats(1, 200), st.integers(1, 8), st.integers(1, 16))
    def test_what_auto_chooses_fits(self, gib: float, n_gpus: int, billions: int) -> None:
        """Choosing the number of engines never makes a plan that is refused with one engine allowed."""
        size = ModelSize(n_parameters=billions * 10**9, n_heads=32, n_kv_heads=8, n_kv_numbers=10**5)
        machine = gpus(n_gpus, gib)
        try:
            placement(demand(size), machine, n_workers=1)
        except PlanError:
            return
        placement(demand(size), machine)


class TestCacheOfSharingEngines:
    """Engines that start side by side are told their cache, for each would count its neighbours' memory as its own."""

    def test_shared(self) -> None:
        """A shared GPU's cache gets what is left of the share after the weights and the engine's own needs."""
        found = placement(demand(SMALL, per_gpu=2), ONE_80)

        expected = int(80 * GIB * 0.8 / 2 - (SMALL.n_weight_bytes("bfloat16") or 0) - ENGINE_BYTES)
        assert expected == found.kv_cache_bytes

    @pytest.mark.parametrize(
        ("asked", "machine", "n_workers"),
        [(demand(SMALL), ONE_80, 1), (demand(SMALL), EIGHT_80, 8), (demand(SMALL), UNKNOWN, 8)],
    )
    def test_alone_or_unknown(self, asked: Demand, machine: Machine, n_workers: int) -> None:
        """An engine alone on its GPU, or one with unknown memory, sizes its cache itself."""
        assert placement(asked, machine, n_workers=n_workers).kv_cache_bytes is None

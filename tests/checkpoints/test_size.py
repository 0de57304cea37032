"""A model's sizes are what published checkpoints have."""

from __future__ import annotations

import pytest

from pytest_r1eval.checkpoints.quantization import Quantization
from pytest_r1eval.checkpoints.size import ModelSize, model_size
from tests.model_configs import DEEPSEEK_R1, LLAMA_70B, MIXTRAL_8X7B, QWEN3_32B, QWEN_1_5B


class TestParameters:
    """Counted from the index, from bytes, or from the config."""

    @pytest.mark.parametrize(
        ("config", "expected"),
        [
            (QWEN_1_5B, 1_543_714_304),
            (LLAMA_70B, 70_553_706_496),
            (QWEN3_32B, 32_762_123_264),
            (MIXTRAL_8X7B, 46_702_792_704),
            (DEEPSEEK_R1, 671_026_419_200),
        ],
    )
    def test_published_models_by_their_config(self, config: dict[str, object], expected: int) -> None:
        """The config gives the size of published models to 0.1 %, with latent attention and experts too."""
        assert model_size(config).n_parameters == pytest.approx(expected, rel=0.001)

    @pytest.mark.parametrize(("kind", "is_tied"), [("gemma3_text", True), ("llama", False), (None, False)])
    def test_tied_embeddings_that_the_config_leaves_out(self, kind: str | None, *, is_tied: bool) -> None:
        """A config without tie_word_embeddings is read by its kind of model's default."""
        untied, tied = ({**LLAMA_70B, "tie_word_embeddings": value} for value in (False, True))
        expected = model_size(tied if is_tied else untied).n_parameters
        assert expected == model_size({**LLAMA_70B, "model_type": kind}).n_parameters

    def test_the_index_is_believed_before_the_config(self) -> None:
        """The size comes from the index of stored tensors before the config's numbers."""
        expected = 7
        assert expected == model_size(QWEN_1_5B, n_stored_parameters=7, n_stored_bytes=100).n_parameters

    def test_bytes_are_divided_by_the_stored_dtype(self) -> None:
        """Bytes divided by the dtype's size give the number of parameters where an index holds total_size alone."""
        expected = 50
        assert expected == model_size({"torch_dtype": "bfloat16"}, n_stored_bytes=100).n_parameters
        assert expected == model_size({"dtype": "float32"}, n_stored_bytes=200).n_parameters

    def test_what_nobody_says_stays_unknown(self) -> None:
        """A size that no file names stays unknown."""
        assert model_size({}) == ModelSize()
        assert model_size({"num_attention_heads": 0, "hidden_size": "many"}) == ModelSize()

    def test_the_text_part_of_a_larger_model(self) -> None:
        """Vision models keep their language model's sizes one level down."""
        expected = model_size(LLAMA_70B)
        assert expected == model_size({"model_type": "vision", "text_config": LLAMA_70B})


class TestMemory:
    """What weights and cache take."""

    def test_weights_by_dtype(self) -> None:
        """The weights' bytes follow from the dtype, and auto is the stored one."""
        size = model_size({**QWEN_1_5B, "torch_dtype": "float32"}, n_stored_parameters=10)

        assert [size.n_weight_bytes(dtype) for dtype in ("bfloat16", "half", "float32", "auto")] == [20, 20, 40, 40]

    def test_quantized_weights_stay_as_stored(self) -> None:
        """Four-bit weights keep their stored bytes, and the config gives their number of parameters."""
        size = model_size(LLAMA_70B, n_stored_bytes=40 * 10**9, quantization=Quantization(method="awq", bits=4))

        expected = 40 * 10**9
        assert expected == size.n_weight_bytes("bfloat16")
        assert size.n_parameters == pytest.approx(70.55e9, rel=0.01)

    @pytest.mark.parametrize(
        ("config", "expected"),
        [
            (QWEN_1_5B, 28 * 2 * 2 * 128),
            (LLAMA_70B, 80 * 2 * 8 * 128),
            (QWEN3_32B, 64 * 2 * 8 * 128),
            (DEEPSEEK_R1, 61 * (512 + 64)),
            ({**QWEN_1_5B, "layer_types": ["full_attention"] * 7 + ["sliding_attention"] * 21}, 7 * 2 * 2 * 128),
        ],
    )
    def test_cache_per_token(self, config: dict[str, object], expected: int) -> None:
        """The cache of a token counts grouped heads, a latent vector, and only layers with full attention."""
        assert expected == model_size(config).n_kv_numbers

    @pytest.mark.parametrize(("cache", "expected"), [(None, 2), ("fp8", 1), ("int8", 1)])
    def test_cache_in_eight_bits(self, cache: str | None, expected: int) -> None:
        """A checkpoint that wants its cache in eight bits halves what a token takes."""
        size = model_size(QWEN_1_5B, quantization=Quantization(method="fp8", bits=8, kv_cache=cache))
        assert size.n_kv_bytes("bfloat16") == 28 * 2 * 2 * 128 * expected

"""Sizes are those of published checkpoints' layouts, read from headers without a weight."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.size import ModelSize
from pytest_r1eval.checkpoints.stored import stored_size

Tensors = dict[str, tuple[str, tuple[int, ...]]]

N_BYTES = {"F32": 4, "BF16": 2, "F16": 2, "I32": 4, "I64": 8, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E8M0": 1}
EMBEDDINGS: Tensors = {"model.embed_tokens.weight": ("BF16", (96, 64))}
N_EMBEDDINGS = 96 * 64
QUERY, N_QUERY = "model.layers.0.self_attn.q_proj", 64 * 32


def size_of(folder: Path, tensors: Tensors, **config: object) -> ModelSize:
    """Write a header with these tensors, and read the sizes."""
    header, position = {}, 0
    for name, (dtype, shape) in tensors.items():
        end = position + N_BYTES[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(position))
    return stored_size(config, folder)


def packed(method: str, **said: object) -> dict[str, object]:
    """Make a config's member."""
    return {"quant_method": method, **said}


LAYOUTS: dict[str, tuple[dict[str, object], Tensors]] = {
    "awq": (
        packed("awq", bits=4, group_size=32),
        {
            f"{QUERY}.qweight": ("I32", (64, 4)),
            f"{QUERY}.qzeros": ("I32", (2, 4)),
            f"{QUERY}.scales": ("F16", (2, 32)),
        },
    ),
    "gptq": (
        packed("gptq", bits=4, group_size=32),
        {
            f"{QUERY}.qweight": ("I32", (8, 32)),
            f"{QUERY}.qzeros": ("I32", (2, 4)),
            f"{QUERY}.scales": ("F16", (2, 32)),
            f"{QUERY}.g_idx": ("I32", (64,)),
        },
    ),
    "gptq-8": (packed("gptq", bits=8), {f"{QUERY}.qweight": ("I32", (16, 32)), f"{QUERY}.scales": ("F16", (2, 32))}),
    "fp8": (
        packed("fp8", weight_block_size=[32, 32]),
        {f"{QUERY}.weight": ("F8_E4M3", (32, 64)), f"{QUERY}.weight_scale_inv": ("F32", (1, 2))},
    ),
    "fp8-cache": (
        packed("fp8"),
        {
            f"{QUERY}.weight": ("F8_E4M3", (32, 64)),
            f"{QUERY}.input_scale": ("F32", ()),
            "model.layers.0.self_attn.k_scale": ("F32", ()),
            "model.layers.0.self_attn.attn.v_scale": ("F32", ()),
        },
    ),
    "compressed-tensors": (
        packed("compressed-tensors", format="pack-quantized", config_groups={"group_0": {"weights": {"num_bits": 4}}}),
        {
            f"{QUERY}.weight_packed": ("I32", (32, 8)),
            f"{QUERY}.weight_scale": ("BF16", (32, 2)),
            f"{QUERY}.weight_zero_point": ("I32", (4, 2)),
            f"{QUERY}.weight_shape": ("I64", (2,)),
            f"{QUERY}.weight_g_idx": ("I32", (64,)),
        },
    ),
    "compressed-tensors-w8a8": (
        packed("compressed-tensors", config_groups={"group_0": {"weights": {"num_bits": 8}}}),
        {f"{QUERY}.weight": ("I8", (32, 64)), f"{QUERY}.weight_scale": ("F32", (32, 1))},
    ),
    "nvfp4": (
        packed("modelopt", quant_algo="NVFP4"),
        {
            f"{QUERY}.weight": ("U8", (32, 32)),
            f"{QUERY}.weight_scale": ("F8_E4M3", (32, 4)),
            f"{QUERY}.weight_scale_2": ("F32", ()),
        },
    ),
    "mxfp4": (
        packed("mxfp4"),
        {
            "model.layers.0.mlp.experts.down_proj_blocks": ("U8", (2, 32, 1, 16)),
            "model.layers.0.mlp.experts.down_proj_scales": ("U8", (2, 32, 1)),
        },
    ),
    "bitsandbytes": (
        packed("bitsandbytes", load_in_4bit=True),
        {
            f"{QUERY}.weight": ("U8", (1024, 1)),
            f"{QUERY}.weight.absmax": ("U8", (32,)),
            f"{QUERY}.weight.quant_map": ("F32", (16,)),
            f"{QUERY}.weight.nested_absmax": ("F32", (1,)),
            f"{QUERY}.weight.quant_state.bitsandbytes__nf4": ("U8", (100,)),
        },
    ),
}


class TestPacked:
    """Packed tensors are unpacked on paper."""

    @pytest.mark.parametrize("name", LAYOUTS)
    def test_each_layout(self, tmp_path: Path, name: str) -> None:
        """Parameters are those of the matrix before it was packed; the weights in memory are what is stored."""
        said, tensors = LAYOUTS[name]
        size = size_of(tmp_path, {**EMBEDDINGS, **tensors}, quantization_config=said, torch_dtype="float16")

        n_stored = sum(N_BYTES[dtype] * math.prod(shape) for dtype, shape in {**EMBEDDINGS, **tensors}.values())
        assert size.n_parameters == N_EMBEDDINGS + N_QUERY
        assert size.n_weight_bytes("bfloat16") == size.n_quantized_bytes == n_stored

    def test_mixed_bits_are_counted_from_the_config(self, tmp_path: Path) -> None:
        """Where a packed number holds an unknown count of weights, headers count no parameters."""
        groups = {"a": {"weights": {"num_bits": 4}}, "b": {"weights": {"num_bits": 8}}}
        said = packed("compressed-tensors", config_groups=groups)
        size = size_of(tmp_path, {f"{QUERY}.weight_packed": ("I32", (32, 8))}, quantization_config=said)

        assert size.n_parameters is None
        assert size.n_quantized_bytes == 32 * 8 * 4

    def test_headers_go_before_the_index(self, tmp_path: Path) -> None:
        """An index counts stored numbers, and packed ones are counted from the headers all the same."""
        said, tensors = LAYOUTS["awq"]
        index = {"metadata": {"total_size": 7, "total_parameters": 9}, "weight_map": {}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))

        size = size_of(tmp_path, tensors, quantization_config=said)

        assert (size.n_parameters, size.n_quantized_bytes) == (N_QUERY, 64 * 4 * 4 + 2 * 4 * 4 + 2 * 32 * 2)

    def test_a_model_on_the_hub_has_an_index_alone(self, tmp_path: Path) -> None:
        """Without headers the bytes come from the index, and the parameters from the config."""
        index = {"metadata": {"total_size": 700, "total_parameters": 9}, "weight_map": {}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        config = {"quantization_config": packed("awq", bits=4)}

        size = stored_size(config, tmp_path)

        assert (size.n_parameters, size.n_quantized_bytes) == (None, 700)

    def test_gguf(self, tmp_path: Path) -> None:
        """A GGUF model takes the bytes of its files."""
        for number in (1, 2):
            (tmp_path / f"model-Q4_0-0000{number}-of-00002.gguf").write_bytes(bytes(50))
        size = stored_size({}, tmp_path)
        assert (size.n_parameters, size.n_quantized_bytes) == (None, 100)


class TestTied:
    """An output layer that is the embeddings counts once."""

    @pytest.mark.parametrize(("is_tied", "n_heads"), [(True, 0), (False, 1)])
    def test_stored_twice(self, tmp_path: Path, *, is_tied: bool, n_heads: int) -> None:
        """A tied output layer that is stored all the same is left out, as engines do; an untied one counts."""
        tensors: Tensors = {**EMBEDDINGS, "lm_head.weight": ("BF16", (96, 64))}
        size = size_of(tmp_path, tensors, tie_word_embeddings=is_tied, torch_dtype="bfloat16")

        assert size.n_parameters == N_EMBEDDINGS * (1 + n_heads)
        assert size.n_weight_bytes("auto") == 2 * N_EMBEDDINGS * (1 + n_heads)

    def test_the_head_alone(self, tmp_path: Path) -> None:
        """The only copy of tied embeddings counts under either name."""
        size = size_of(tmp_path, {"lm_head.weight": ("BF16", (96, 64))}, tie_word_embeddings=True)
        assert size.n_parameters == N_EMBEDDINGS


def test_experts_count_each(tmp_path: Path) -> None:
    """Every expert of a mixture is counted, because all are in memory."""
    tensors: Tensors = {f"model.layers.0.mlp.experts.{number}.up_proj.weight": ("BF16", (8, 4)) for number in range(6)}
    expected = 6 * 8 * 4
    assert expected == size_of(tmp_path, tensors, num_experts=6).n_parameters

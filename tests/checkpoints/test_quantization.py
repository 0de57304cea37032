"""A quantised checkpoint is recognised from its config and the names of its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.quantization import Quantization, quantization_of
from pytest_r1eval.errors import ModelError

INT4_GROUP = {"weights": {"num_bits": 4, "type": "int"}, "targets": ["Linear"]}
INT8_GROUP = {"weights": {"num_bits": 8, "type": "int"}, "targets": ["Linear"]}


class TestConfig:
    """What config.json says."""

    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}, "awq 4-bit"),
            ({"quant_method": "awq", "w_bit": 4}, "awq 4-bit"),
            ({"quant_method": "gptq", "bits": 8, "desc_act": True}, "gptq 8-bit"),
            ({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}, "fp8 8-bit"),
            ({"quant_method": "mxfp4"}, "mxfp4 4-bit"),
            ({"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False}, "bitsandbytes 4-bit"),
            ({"quant_method": "compressed-tensors", "config_groups": {"g": INT4_GROUP}}, "compressed-tensors 4-bit"),
            ({"quant_method": "compressed-tensors", "config_groups": {"a": INT4_GROUP, "b": INT8_GROUP}},
             "compressed-tensors"),
            ({"quant_method": "compressed-tensors", "config_groups": {"g": INT8_GROUP},
              "kv_cache_scheme": {"num_bits": 8, "type": "float"}}, "compressed-tensors 8-bit, KV cache fp8"),
            ({"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"},
             "modelopt 4-bit, KV cache fp8"),
            ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": None}, "modelopt 8-bit"),
            ({"quant_method": "quark"}, "quark"),
            ({"bits": True}, "unnamed"),
        ],
    )  # fmt: skip
    def test_each_method(self, tmp_path: Path, said: dict[str, object], expected: str) -> None:
        """The method, the bits of a weight and the cache's format are what the config says, and nothing else."""
        assert str(quantization_of({"quantization_config": said}, tmp_path)) == expected
        assert str(quantization_of({"compression_config": said}, tmp_path)) == expected
        assert str(quantization_of({"text_config": {"quantization_config": said}}, tmp_path)) == expected

    def test_a_file_of_modelopt(self, tmp_path: Path) -> None:
        """ModelOpt's own file counts where config.json says nothing."""
        said = {"producer": {}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
        (tmp_path / "hf_quant_config.json").write_text(json.dumps(said))
        assert quantization_of({}, tmp_path) == Quantization(method="modelopt", bits=8, kv_cache="fp8")

    @pytest.mark.parametrize("content", ["{", "[]", '{"quantization": 1}'])
    def test_not_quantised(self, tmp_path: Path, content: str) -> None:
        """A config without such a member is not quantised, whatever a file of that name holds."""
        (tmp_path / "hf_quant_config.json").write_text(content)
        assert quantization_of({"quantization_config": None}, tmp_path) is None


class TestGguf:
    """What names of files say."""

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (["SmolLM2-135M-Instruct.Q4_1.gguf"], "gguf Q4_1 4-bit"),
            (["model-IQ3_XXS.gguf"], "gguf IQ3_XXS 3-bit"),
            (["model-q8_0-00001-of-00002.gguf", "model-q8_0-00002-of-00002.gguf"], "gguf Q8_0 8-bit"),
            (["model-BF16.gguf"], "gguf BF16 16-bit"),
            (["model.gguf"], "gguf"),
        ],
    )
    def test_each_name(self, tmp_path: Path, names: list[str], expected: str) -> None:
        """A GGUF file's type is read from its name, its parts together."""
        for name in names:
            (tmp_path / name).write_bytes(b"GGUF")
        assert str(quantization_of({}, tmp_path)) == expected

    def test_beside_other_weights(self, tmp_path: Path) -> None:
        """A GGUF file beside safetensors is not what an engine loads."""
        (tmp_path / "model.gguf").write_bytes(b"GGUF")
        (tmp_path / "model.safetensors").write_bytes(b"")
        assert quantization_of({}, tmp_path) is None

    def test_several_are_refused(self, tmp_path: Path) -> None:
        """Two GGUF models in one folder are refused in one line, because nothing says which is judged."""
        for kind in ("Q4_K_M", "Q8_0"):
            (tmp_path / f"model-{kind}.gguf").write_bytes(b"GGUF")
        expected = (
            f"{tmp_path} holds 2 GGUF models (model-Q4_K_M.gguf, model-Q8_0.gguf); expected one, so that it is known "
            "which is judged: leave one of them in the folder"
        )
        with pytest.raises(ModelError) as caught:
            quantization_of({}, tmp_path)
        assert str(caught.value) == expected

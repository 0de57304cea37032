"""
How large a model is: its parameters, its weights in memory, its KV cache per token.

Read from what a checkpoint says about itself, never from its weights: the
safetensors index or headers where they give a number, else the sizes in its config.
What is unknown stays None; a plan is refused only for what is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_r1eval.checkpoints.quantization import Quantization

_BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}
"""Of one number, by the names that vLLM takes for ``dtype``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """
    A model's sizes.

    Attributes:
        n_parameters: All of them, experts included.
        n_heads: Attention heads, which tensor parallelism divides.
        n_kv_heads: Key and value heads; 1 where all heads share one latent vector.
        n_kv_numbers: Numbers that one token adds to the KV cache, over all layers that keep every token.
        dtype: Of the checkpoint, as its config says.
        n_quantized_bytes: The stored weights where they are quantised; None where they are not.
        quantization: How they are; None where they are not.
    """

    n_parameters: int | None = None
    n_heads: int | None = None
    n_kv_heads: int | None = None
    n_kv_numbers: int | None = None
    dtype: str | None = None
    n_quantized_bytes: int | None = None
    quantization: Quantization | None = None

    def n_weight_bytes(self, dtype: str) -> int | None:
        """Return what the weights take in memory; quantised ones stay as they are stored."""
        if self.n_quantized_bytes is not None:
            return self.n_quantized_bytes
        return None if self.n_parameters is None else self.n_parameters * self.bytes_of(dtype)

    def bytes_of(self, dtype: str) -> int:
        """Return the bytes of one number; ``auto`` is what the checkpoint says, and 2 where it says nothing."""
        return _BYTES.get((self.dtype or "bfloat16") if dtype == "auto" else dtype, 2)

    def n_kv_bytes(self, dtype: str) -> int | None:
        """Return what one token adds to the KV cache, which a quantised checkpoint may want in 8 bits."""
        cache = None if self.quantization is None else self.quantization.kv_cache
        n_bytes = self.bytes_of(dtype) if cache is None or not cache.endswith("8") else 1
        return None if self.n_kv_numbers is None else self.n_kv_numbers * n_bytes


def model_size(
    config: Mapping[str, object],
    *,
    n_stored_parameters: int | None = None,
    n_stored_bytes: int | None = None,
    quantization: Quantization | None = None,
) -> ModelSize:
    """
    Read a model's sizes.

    Args:
        config: Its config.json.
        n_stored_parameters: What the index or the headers count, packed weights each; None if they do not.
        n_stored_bytes: The weights as stored; None if unknown.
        quantization: How they are packed; None for not.
    """
    text = _text_part(config)
    dtype = _text(config, "dtype") or _text(config, "torch_dtype") or _text(text, "dtype") or _text(text, "torch_dtype")
    by_bytes = n_stored_bytes // _BYTES[dtype] if n_stored_bytes and dtype in _BYTES and not quantization else None
    return ModelSize(
        n_parameters=n_stored_parameters or by_bytes or n_parameters(text),
        n_heads=_number(text, "num_attention_heads"),
        n_kv_heads=1 if _number(text, "kv_lora_rank") else _n_kv_heads(text),
        n_kv_numbers=_n_kv_numbers(text),
        dtype=dtype,
        n_quantized_bytes=None if quantization is None else n_stored_bytes,
        quantization=quantization,
    )


def n_parameters(text: Mapping[str, object]) -> int | None:
    """
    Count a decoder's parameters from its sizes: embeddings, attention, gated MLPs, experts.

    Right to 0.1 % for the models that the benchmarks are published for; None where a size is missing.
    """
    hidden, n_layers, vocabulary = (_number(text, key) for key in ("hidden_size", "num_hidden_layers", "vocab_size"))
    n_heads, width = _number(text, "num_attention_heads"), _number(text, "intermediate_size")
    if not (hidden and n_layers and vocabulary and n_heads and width):
        return None
    head = _number(text, "head_dim") or hidden // n_heads
    attention = _n_latent(text, hidden, n_heads) or 2 * hidden * head * (n_heads + (_n_kv_heads(text) or n_heads))
    n_experts = next(filter(None, (_number(text, key) for key in _EXPERTS)), 0)
    expert_width = _number(text, "moe_intermediate_size") or width
    n_dense = (_number(text, "first_k_dense_replace") or 0) if n_experts else n_layers
    n_wide = n_experts + (_number(text, "n_shared_experts") or 0)
    mlps = 3 * hidden * (n_dense * width + (n_layers - n_dense) * n_wide * expert_width)
    embeddings = vocabulary * hidden * (1 if is_tied(text) else 2)
    norms = hidden * (2 * n_layers + 1)
    return embeddings + n_layers * attention + mlps + norms


def is_tied(config: Mapping[str, object]) -> bool:
    """Whether a model's output layer is its embeddings, by its config.json or by its kind."""
    text = _text_part(config)
    said = text.get("tie_word_embeddings")
    return said if isinstance(said, bool) else str(text.get("model_type")).startswith(_TIED_BY_DEFAULT)


_TIED_BY_DEFAULT = ("gemma", "cohere", "gpt2")
"""Kinds of models whose config.json leaves ``tie_word_embeddings`` out where it is true."""


def _n_latent(text: Mapping[str, object], hidden: int, n_heads: int) -> int | None:
    """Count the attention of one layer through a latent vector (MLA of DeepSeek-V2 and V3); None for another kind."""
    sizes = (_number(text, key) for key in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    latent, plain, rotated, value = sizes
    if not (latent and plain and rotated and value):
        return None
    rank, n_query = _number(text, "q_lora_rank"), n_heads * (plain + rotated)
    queries = hidden * n_query if rank is None else rank * (hidden + n_query)
    return queries + hidden * (latent + rotated) + latent * n_heads * (plain + value) + n_heads * value * hidden


_EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts")
"""What DeepSeek, Qwen and Mixtral call the number of experts of a layer."""


def _n_kv_heads(text: Mapping[str, object]) -> int | None:
    return _number(text, "num_key_value_heads") or _number(text, "num_attention_heads")


def _n_kv_numbers(text: Mapping[str, object]) -> int | None:
    """Count what every token adds to the cache; layers with a window or a state are bounded and not counted."""
    n_layers = _number(text, "num_hidden_layers")
    kinds = text.get("layer_types")
    if isinstance(kinds, list):
        n_layers = kinds.count("full_attention")
    if n_layers is None:
        return None
    latent = _number(text, "kv_lora_rank")
    if latent:
        return n_layers * (latent + (_number(text, "qk_rope_head_dim") or 0))
    hidden, n_heads, n_kv_heads = _number(text, "hidden_size"), _number(text, "num_attention_heads"), _n_kv_heads(text)
    if not (n_heads and n_kv_heads):
        return None
    head = _number(text, "head_dim") or (hidden // n_heads if hidden else None)
    return None if head is None else 2 * n_layers * n_kv_heads * head


def _text_part(config: Mapping[str, object]) -> Mapping[str, object]:
    text = config.get("text_config")
    if not isinstance(text, Mapping):
        return config
    return {**config, **{key: value for key, value in text.items() if value is not None}}


def _number(config: Mapping[str, object], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _text(config: Mapping[str, object], key: str) -> str | None:
    value = config.get(key)
    return value if isinstance(value, str) else None

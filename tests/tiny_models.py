"""
Tiny checkpoints of the architectures that people gate, with random weights: `python -m tests.tiny_models FOLDER`.

Each has the family's config, its special tokens and the form of its chat template. The program writes them all, renders
a prompt as the plugin does, and lets vLLM answer it, one checkpoint after the other in this one process. It prints a
line of JSON for each.
"""

from __future__ import annotations

import json
import os
import string
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.toys import DATE

LINE = "answered "
"""What a line of the program's own begins with, among those of vLLM."""
QUESTION = "What is 3 times 7?"
N_SAMPLES, N_TOKENS, CONTEXT = 4, 8, 512
SIZES: Mapping[str, object] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 128, "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": False,
}  # fmt: skip
EXPERTS: Mapping[str, object] = {"num_experts_per_tok": 2, "moe_intermediate_size": 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """
    An architecture as its checkpoints have it.

    Attributes:
        config: Its config.json, beside the sizes that all have.
        specials: Its special tokens; the first begins a text where `has_bos`, the last ends an answer.
        template: Its chat template.
        rendered: What the model is asked, in full.
        n_kv_numbers: Of a token in the cache, as the placement counts it: a layer with a window of its own counts none.
        think_tags: What encloses its thoughts; None for nothing.
        has_bos: Whether a text begins with a token of its own.
        is_sentencepiece: Whether its tokenizer is a model of sentencepiece's, without tokenizer.json.
    """

    config: Mapping[str, object]
    specials: Sequence[str]
    template: str
    rendered: str
    n_kv_numbers: int = 128
    think_tags: str | None = None
    has_bos: bool = False
    is_sentencepiece: bool = False


def _chat(turn: str, opening: str, *, before: str = "") -> str:
    """Write a template of one turn for each message, and what an answer begins with."""
    turns = f"{{% for message in messages %}}{turn}{{% endfor %}}"
    return f"{before}{turns}{{% if add_generation_prompt %}}{opening}{{% endif %}}"


_CHATML = _chat("<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n", "<|im_start|>assistant\n")
_QUIET = "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
_QWEN = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
_QWEN_TOKENS = ("<|im_start|>", "<think>", "</think>", "<|im_end|>")

FAMILIES: Mapping[str, Family] = {
    "qwen3": Family(
        config={"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]},
        specials=_QWEN_TOKENS,
        template=_CHATML + _QUIET,
        rendered=_QWEN,
        think_tags="<think>,</think>",
    ),
    "qwen3-moe": Family(
        config={"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], **EXPERTS, "num_experts": 4},
        specials=_QWEN_TOKENS,
        template=_CHATML + _QUIET,
        rendered=_QWEN,
        think_tags="<think>,</think>",
    ),
    "llama-3": Family(
        config={"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
        specials=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        template=_chat(
            "<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n{{ message.content }}<|eot_id|>",
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            before="{{ bos_token }}",
        ),
        rendered=(
            f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{QUESTION}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n"
        ),
        has_bos=True,
    ),
    "gemma-3": Family(
        config={
            "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "sliding_window": 64,
            "query_pre_attn_scalar": 32, "tie_word_embeddings": True,
        },
        specials=("<bos>", "<start_of_turn>", "<end_of_turn>"),
        template=_chat(
            "<start_of_turn>{{ message.role }}\n{{ message.content }}<end_of_turn>\n",
            "<start_of_turn>model\n",
            before="{{ bos_token }}",
        ),
        rendered=f"<bos><start_of_turn>user\n{QUESTION}<end_of_turn>\n<start_of_turn>model\n",
        n_kv_numbers=0,
        has_bos=True,
    ),
    "mistral": Family(
        config={"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None},
        specials=("<s>", "[INST]", "[/INST]", "</s>"),
        template=_chat("[INST] {{ message.content }}[/INST]", "", before="{{ bos_token }}"),
        rendered=f"<s>[INST] {QUESTION}[/INST]",
        has_bos=True,
        is_sentencepiece=True,
    ),
    "gpt-oss": Family(
        config={
            "model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"], **EXPERTS, "num_local_experts": 4,
            "sliding_window": 64, "intermediate_size": 64,
        },
        specials=("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"),
        template=_chat("<|start|>{{ message.role }}<|message|>{{ message.content }}<|end|>", "<|start|>assistant"),
        rendered=f"<|start|>user<|message|>{QUESTION}<|end|><|start|>assistant",
        n_kv_numbers=64,
        think_tags="<|channel|>analysis<|message|>,<|channel|>final<|message|>",
    ),
    "deepseek-v3": Family(
        config={
            "model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], **EXPERTS,
            "num_key_value_heads": 2, "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 2, "topk_group": 1,
            "topk_method": "noaux_tc", "scoring_func": "sigmoid", "first_k_dense_replace": 1, "kv_lora_rank": 512,
            "q_lora_rank": 32, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
        },
        specials=("<\uff5cbegin of sentence\uff5c>", "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>", "<think>",
                  "</think>", "<\uff5cend of sentence\uff5c>"),
        template=_chat(
            "<\uff5cUser\uff5c>{{ message.content }}", "<\uff5cAssistant\uff5c><think>\n", before="{{ bos_token }}"
        ),
        rendered=f"<\uff5cbegin of sentence\uff5c><\uff5cUser\uff5c>{QUESTION}<\uff5cAssistant\uff5c><think>\n",
        n_kv_numbers=2 * (512 + 64),  # one latent vector for all heads, of the only size that kernels take
        think_tags="<think>,</think>",
        has_bos=True,
    ),
    "phi-4": Family(
        config={"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "sliding_window": None},
        specials=("<|im_start|>", "<|im_sep|>", "<|endoftext|>", "<|im_end|>"),
        template=_chat(
            "<|im_start|>{{ message.role }}<|im_sep|>{{ message.content }}<|im_end|>",
            "<|im_start|>assistant<|im_sep|>",
        ),
        rendered=f"<|im_start|>user<|im_sep|>{QUESTION}<|im_end|><|im_start|>assistant<|im_sep|>",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """
    What became of one checkpoint.

    Attributes:
        name: The family.
        prompt: What the model was asked, its token ids as text.
        n_parameters: How many numbers its weights are.
        texts: Its answers.
        n_tokens: How many tokens each has.
        refusal: Vllm's words where it does not run the architecture here; else nothing.
    """

    name: str
    prompt: str
    n_parameters: int
    texts: tuple[str, ...] = ()
    n_tokens: tuple[int, ...] = ()
    refusal: str = ""


def write(folder: Path, family: Family) -> int:
    """Write a checkpoint of a family: config, random weights, tokenizer and chat template; count its weights."""
    import torch  # noqa: PLC0415 - in the process that writes
    from transformers import AutoConfig, AutoModelForCausalLM  # noqa: PLC0415 - the same

    folder.mkdir(parents=True)
    ends = {"bos_token_id": 0, "eos_token_id": len(family.specials) - 1, "pad_token_id": None}
    (folder / "config.json").write_text(json.dumps({**SIZES, **family.config, **ends}))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    model.save_pretrained(folder)
    _write_tokenizer(folder, family)
    return sum(tensor.numel() for tensor in {one.data_ptr(): one for one in model.state_dict().values()}.values())


def _write_tokenizer(folder: Path, family: Family) -> None:
    named = {"eos_token": family.specials[-1]} | ({"bos_token": family.specials[0]} if family.has_bos else {})
    kind = "LlamaTokenizer" if family.is_sentencepiece else "PreTrainedTokenizerFast"
    config = {"tokenizer_class": kind, "chat_template": family.template, **named}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if family.is_sentencepiece:
        _write_sentencepiece(folder / "tokenizer.model", family)
        return
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [{"id": id_, "content": token, **plain} for id_, token in enumerate(family.specials)],
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "BPE",
            "vocab": {token: id_ for id_, token in enumerate((*family.specials, *string.printable))},
            "merges": [],
        },
    }
    if family.has_bos:  # as Llama's and Gemma's add it: the template has it too
        first = family.specials[0]
        tokenizer["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": first, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {first: {"id": first, "ids": [0], "tokens": [first]}},
        }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def _write_sentencepiece(path: Path, family: Family) -> None:
    """Train a sentencepiece model of single characters."""
    import sentencepiece  # noqa: PLC0415 - comes with vLLM

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([string.printable] * 4), model_prefix=str(path.with_suffix("")), model_type="char",
        vocab_size=110, hard_vocab_limit=False, character_coverage=1.0, bos_id=0, eos_id=3, unk_id=4, pad_id=-1,
        bos_piece=family.specials[0], eos_piece=family.specials[-1], control_symbols=[*family.specials[1:-1]],
    )  # fmt: skip


def answered(folder: Path, name: str, *, n_parameters: int) -> Answered:
    """Ask a checkpoint what the plugin would ask it, and let vLLM answer."""
    from vllm import LLM, SamplingParams, TokensPrompt  # noqa: PLC0415 - in the process that asks
    from vllm.distributed import cleanup_dist_env_and_memory  # noqa: PLC0415 - the same

    from pytest_r1eval.core.benchmarks import Exam, Problem  # noqa: PLC0415 - the same
    from pytest_r1eval.exams.prompts import built_exam, tokenizer_of  # noqa: PLC0415 - the same

    problem = Problem(id="p", query=QUESTION, instruction=None, choices=("21",), gold_index=0)
    exam = Exam(benchmark="toy", dataset="toy", problems=(problem,))
    built = built_exam(
        exam, model=str(folder), revision=None, system_prompt=None, template_date=DATE, chat_template_kwargs={},
        think_tags=None,
    )  # fmt: skip
    (prompt,) = built.prompts
    text = str(tokenizer_of(str(folder), revision=None).decode(prompt, skip_special_tokens=False))
    sampling = SamplingParams(temperature=0.6, top_p=0.95, n=N_SAMPLES, seed=1, max_tokens=N_TOKENS, ignore_eos=True)
    try:
        llm = LLM(
            model=str(folder), dtype="bfloat16", max_model_len=CONTEXT, enforce_eager=True,
            enable_chunked_prefill=False, max_num_batched_tokens=CONTEXT,
        )  # fmt: skip
        outputs = llm.generate([TokensPrompt(prompt_token_ids=list(prompt))], sampling, use_tqdm=False)[0].outputs
    except Exception as error:  # noqa: BLE001 - vLLM raises anything; its words become the test's reason
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Answered(
            name=name, prompt=text, n_parameters=n_parameters, refusal=f"{type(error).__name__}: {lines[-1]}"
        )
    finally:
        llm = None
        cleanup_dist_env_and_memory()  # what the next model finds has to be its own, groups of experts among it
    return Answered(
        name=name, prompt=text, n_parameters=n_parameters, texts=tuple(one.text for one in outputs),
        n_tokens=tuple(len(one.token_ids) for one in outputs),
    )  # fmt: skip


def main() -> None:
    """Write and ask all, and print a line for each."""
    folder = Path(sys.argv[1])
    os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="1", VLLM_LOGGING_LEVEL="ERROR")
    sizes = {name: write(folder / name, family) for name, family in FAMILIES.items()}
    for name, n_parameters in sizes.items():
        found = answered(folder / name, name, n_parameters=n_parameters)
        sys.stdout.write(f"{LINE}{json.dumps(asdict(found))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

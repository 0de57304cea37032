"""
Train the small checkpoint and its regressed sibling that `smoke` is judged with.

A Qwen2 model of 0.8M parameters with a character tokenizer learns arithmetic in
the form of a reasoning model: thoughts, `</think>`, an answer in a box. The
thoughts skip the carrying, so products stay hard and the score stays well
inside (0, 1), where a gate has something to decide. The regressed checkpoint
is the same training, stopped early.

    python examples/train_checkpoint.py --out examples/r1eval

It takes about a minute on an H100, where the shipped two were made (seed 0, steps
1550 and 1000), and 0.6 to 0.8 s a step on two CPU cores, so about 20 minutes.

The same seed on the same machine and library versions gives the same weights;
elsewhere rounding differs, and the score with it by a few points.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import Qwen2Config, Qwen2ForCausalLM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAM = Path(__file__).parents[1] / "pytest_r1eval" / "exams" / "smoke" / "test.jsonl"

UNKNOWN, PADDING, END = "<|unknown|>", "<|padding|>", "<|end|>"
SPECIAL = (UNKNOWN, PADDING, END, "<|system|>", "<|user|>", "<|assistant|>")
# Not special: a decoder that skips special tokens has to leave these for the answer checker.
VISIBLE = ("<think>", "</think>", "\\boxed{")

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('unknown role: ' + message['role']) -}}"
    "{%- endif -%}"
    "{{- '<|' + message['role'] + '|>' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{{- message['content'].split('</think>')[-1].strip() + '<|end|>' -}}"
    "{%- else -%}"
    "{{- message['content'] -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{{- '<|assistant|><think>\\n' -}}"
    "{%- endif -%}"
)

BATCH_SIZE = 128
PEAK_LEARNING_RATE = 3e-3
WARMUP_STEPS = 100
CONTEXT = 4096
"""Tokens; AIME's longest problem is under 2,000 characters, and a character is a token."""
SYSTEM_MESSAGES = ("You are a careful calculator.", "Think first, then answer.", "Put the final answer in a box.")
SYSTEM_SHARE = 0.05
"""Share of batches with a system message: enough that one does not surprise the model, apart to save padding."""
HELD_OUT_SHARE = 1 / 16
"""Share of all problems that is never trained on; the exam is drawn from it."""
IGNORED = -100
"""The label that the loss of transformers leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise:
    """
    One worked problem.

    Attributes:
        problem: What the user asks.
        thoughts: What stands before `</think>`.
        answer: The number in the box.
    """

    problem: str
    thoughts: str
    answer: int

    @property
    def response(self) -> str:
        """Everything the model has to write, after the `<think>` that the chat template opens."""
        return f"{self.thoughts}</think>\nThe answer is \\boxed{{{self.answer}}}."


def sum_exercise(terms: tuple[int, ...]) -> Exercise:
    """Add from left to right, one term at a time."""
    totals = [sum(terms[: n + 1]) for n in range(len(terms))]
    steps = [f"{totals[n]}+{terms[n + 1]}={totals[n + 1]}" for n in range(len(terms) - 1)]
    return Exercise(problem=f"What is {' + '.join(map(str, terms))}?", thoughts=", ".join(steps), answer=totals[-1])


def difference_exercise(minuend: int, subtrahend: int) -> Exercise:
    """Take the hundreds away first, then the rest."""
    hundreds, rest = subtrahend // 100 * 100, subtrahend % 100
    between, answer = minuend - hundreds, minuend - subtrahend
    thoughts = f"{minuend}-{hundreds}={between}, {between}-{rest}={answer}"
    return Exercise(problem=f"What is {minuend} - {subtrahend}?", thoughts=thoughts, answer=answer)


def product_exercise(left: int, right: int) -> Exercise:
    """Split the right factor (or the left one, if the right has one digit) into tens and ones."""
    whole, split = (left, right) if right > 9 else (right, left)
    tens, ones = split // 10 * 10, split % 10
    thoughts = (
        f"{whole}*{tens}={whole * tens}, {whole}*{ones}={whole * ones}, {whole * tens}+{whole * ones}={left * right}"
    )
    return Exercise(problem=f"What is {left} * {right}?", thoughts=thoughts, answer=left * right)


def _two_digits(rng: random.Random) -> int:
    return rng.randint(11, 99)


def _three_digits(rng: random.Random) -> int:
    return rng.randint(101, 999)


def _difference(rng: random.Random) -> Exercise:
    smaller, larger = sorted((_three_digits(rng), _three_digits(rng)))
    return difference_exercise(larger, smaller)


LEVELS: dict[str, Callable[[random.Random], Exercise]] = {
    "sum of two 2-digit numbers": lambda rng: sum_exercise((_two_digits(rng), _two_digits(rng))),
    "sum of two 3-digit numbers": lambda rng: sum_exercise((_three_digits(rng), _three_digits(rng))),
    "difference of 3-digit numbers": _difference,
    "2-digit by 1-digit product": lambda rng: product_exercise(_two_digits(rng), rng.randint(3, 9)),
    "sum of three numbers": lambda rng: sum_exercise((_three_digits(rng), _two_digits(rng), _three_digits(rng))),
    "product of 2-digit numbers": lambda rng: product_exercise(_two_digits(rng), _two_digits(rng)),
}
"""What the exam calls a level, and how an exercise of it is drawn; each level is trained equally often."""


def problem_key(problem: str) -> tuple[str, ...]:
    """Return what two problems share if only the order of their numbers differs."""
    operator = next(sign for sign in "+-*" if sign in problem)
    return (operator, *sorted(re.findall(r"\d+", problem)))


def is_held_out(problem: str) -> bool:
    """
    Say whether a problem is kept from training, in whatever order its numbers stand.

    The set is fixed by a hash and not by the exam's file, so that an exam with
    another choice of problems leaves the training, and so the checkpoint, as it is.
    """
    digest = hashlib.sha256(" ".join(problem_key(problem)).encode()).digest()
    return digest[0] < HELD_OUT_SHARE * 256


def refuse_leak(exam: Path) -> None:
    """
    Stop before training if the exam holds a problem that could be trained on.

    Raises:
        SystemExit: With the first such problem.
    """
    for line in exam.read_text().splitlines():
        problem = json.loads(line)["problem"]
        if not is_held_out(problem):
            raise SystemExit(f"{exam}: {problem!r} may be in the training data; expected held-out problems only")


def exercises(rng: random.Random) -> Iterator[Exercise]:
    """Yield exercises without end, level after level, and never a held-out one."""
    while True:
        for draw in LEVELS.values():
            exercise = draw(rng)
            if not is_held_out(exercise.problem):
                yield exercise


def character_tokenizer() -> Tokenizer:
    """
    Build the tokenizer: a byte-level BPE without merges, so an ASCII character is one token.

    Byte-level, because transformers reads every Qwen2 folder with its own
    Qwen2Tokenizer, whatever the folder says, and that one splits into bytes.
    """
    tokens = (*SPECIAL, *VISIBLE, *sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=[]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in VISIBLE])
    return tokenizer


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """Return the number of a token that the vocabulary holds."""
    number = tokenizer.token_to_id(token)
    if number is None:
        raise KeyError(token)
    return number


def small_model(tokenizer: Tokenizer) -> Qwen2ForCausalLM:
    """
    Build the untrained model.

    Four attention heads of 32 and two key-value heads: sizes that vLLM's
    attention on a CPU supports and that tensor parallelism over two can divide.
    """
    config = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=token_id(tokenizer, END),
        pad_token_id=token_id(tokenizer, PADDING),
    )
    return Qwen2ForCausalLM(config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """
    Exercises as tokens.

    Attributes:
        tokens: Prompt and response, padded on the right; shape (batch, length).
        labels: The same with everything but the response ignored; shape (batch, length).
    """

    tokens: torch.Tensor
    labels: torch.Tensor


def chat_prompt(problem: str, *, system: str | None) -> str:
    """Return what CHAT_TEMPLATE renders for one problem, without a template engine in the training loop."""
    opening = "" if system is None else f"<|system|>{system}"
    return f"{opening}<|user|>{problem}<|assistant|><think>\n"


def batches(tokenizer: Tokenizer, rng: random.Random, *, device: str) -> Iterator[Batch]:
    """Yield training batches without end; the loss is on responses only."""
    source = exercises(rng)
    while True:
        system = rng.choice(SYSTEM_MESSAGES) if rng.random() < SYSTEM_SHARE else None
        rows, labels = [], []
        for _ in range(BATCH_SIZE):
            exercise = next(source)
            prompt = tokenizer.encode(chat_prompt(exercise.problem, system=system)).ids
            response = tokenizer.encode(exercise.response + END).ids
            rows.append(prompt + response)
            labels.append([IGNORED] * len(prompt) + response)
        length = max(map(len, rows))
        padding = token_id(tokenizer, PADDING)
        yield Batch(
            tokens=torch.tensor([row + [padding] * (length - len(row)) for row in rows], device=device),
            labels=torch.tensor([row + [IGNORED] * (length - len(row)) for row in labels], device=device),
        )


def learning_rate(step: int) -> float:
    """
    Return the rate at a step: a linear rise, then a fall with the square root of the step.

    It does not depend on where training ends, so a shorter run is exactly the beginning of a longer one.
    """
    return PEAK_LEARNING_RATE * min((step + 1) / WARMUP_STEPS, math.sqrt(WARMUP_STEPS / (step + 1)))


def train(model: Qwen2ForCausalLM, source: Iterator[Batch], *, steps: int) -> Iterator[int]:
    """Train in place and yield the number of steps done after each."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05, betas=(0.9, 0.98))
    device = next(model.parameters()).device.type
    model.train()
    started = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        batch = next(source)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = model(input_ids=batch.tokens, labels=batch.labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1}/{steps}  loss {loss.item():.4f}  {time.monotonic() - started:.0f} s", flush=True)
        yield step + 1


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_checkpoint(model: Qwen2ForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a folder that transformers and vLLM load: bfloat16 weights, configuration, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = Qwen2ForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "model_max_length": CONTEXT,
            "clean_up_tokenization_spaces": False,
            "unk_token": UNKNOWN,
            "pad_token": PADDING,
            "eos_token": END,
            "chat_template": CHAT_TEMPLATE,
        },
    )
    _write_json(
        folder / "generation_config.json",
        {
            "do_sample": True,
            "temperature": 0.6,
            "top_p": 0.95,
            "eos_token_id": token_id(tokenizer, END),
            "pad_token_id": token_id(tokenizer, PADDING),
        },
    )
    print(f"wrote {folder}", flush=True)


def parsed_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the small checkpoint and its regressed sibling.")
    parser.add_argument("--steps", type=int, default=1550, help="optimizer steps of the good checkpoint")
    parser.add_argument(
        "--regressed-step", type=int, default=1000, help="the step the regressed checkpoint is taken at"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of the training data")
    parser.add_argument("--out", type=Path, default=Path("examples/r1eval"), help="folder for the two checkpoints")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    arguments = parser.parse_args()
    if not 0 < arguments.regressed_step < arguments.steps:
        parser.error(
            f"--regressed-step is {arguments.regressed_step}; expected 1 to {arguments.steps - 1}, below --steps"
        )
    return arguments


def main() -> None:
    """Train once and write both checkpoints."""
    arguments = parsed_arguments()
    started = time.monotonic()
    refuse_leak(EXAM)
    torch.set_num_threads(min(2, torch.get_num_threads()))  # the thread count is part of what makes a run repeatable
    torch.manual_seed(arguments.seed)
    tokenizer = character_tokenizer()
    model = small_model(tokenizer).to(arguments.device)
    print(f"{model.num_parameters():,} parameters on {arguments.device}", flush=True)
    source = batches(tokenizer, random.Random(arguments.seed), device=arguments.device)
    for step in train(model, source, steps=arguments.steps):
        if step == arguments.regressed_step:
            write_checkpoint(model, tokenizer, arguments.out / "tiny-arithmetic-regressed")
    write_checkpoint(model, tokenizer, arguments.out / "tiny-arithmetic")
    print(f"took {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

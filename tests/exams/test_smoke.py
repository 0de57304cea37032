"""The smoke benchmark and the two small checkpoints, as they lie in the repository."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
EXAM = ROOT / "pytest_r1eval" / "exams" / "smoke" / "test.jsonl"
CHECKPOINTS = [ROOT / "examples" / "r1eval" / name for name in ("tiny-arithmetic", "tiny-arithmetic-regressed")]
ASCII = "\n" + "".join(map(chr, range(0x20, 0x7F)))


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    """The exam's rows in order."""
    return [json.loads(line) for line in EXAM.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(params=CHECKPOINTS, ids=lambda folder: folder.name)
def checkpoint(request: pytest.FixtureRequest) -> Path:
    """Each shipped checkpoint's folder."""
    folder = request.param
    assert isinstance(folder, Path)
    return folder


def calculated(problem: str) -> int:
    """Work the problem out from its text, by no code that wrote it."""
    matched = re.fullmatch(r"What is (\d+(?: [-+*] \d+)+)\?", problem)
    assert matched, problem
    first, *pairs = re.findall(r"([-+*]?) ?(\d+)", matched[1])
    value = int(first[1])
    for operator, digits in pairs:
        number = int(digits)
        value = {"+": value + number, "-": value - number, "*": value * number}[operator]
    return value


def test_exam_has_forty_rows_of_three_strings(rows: list[dict[str, str]]) -> None:
    """The smoke exam has forty rows, each with a problem, its answer and its level."""
    assert len(rows) == 40
    for row in rows:
        assert list(row) == ["problem", "answer", "level"]
        assert all(isinstance(value, str) and value for value in row.values())


def test_no_problem_occurs_twice(rows: list[dict[str, str]]) -> None:
    """No problem of the smoke exam repeats another one's numbers at its level."""
    seen = Counter((tuple(sorted(re.findall(r"\d+", row["problem"]))), row["level"]) for row in rows)
    assert max(seen.values()) == 1


def test_each_answer_is_right(rows: list[dict[str, str]]) -> None:
    """Each stored answer of the smoke exam is the value of its problem."""
    assert [row["answer"] for row in rows] == [str(calculated(row["problem"])) for row in rows]


def test_levels_are_graded(rows: list[dict[str, str]]) -> None:
    """The smoke exam has six levels of at least three problems each."""
    levels = Counter(row["level"] for row in rows)
    assert len(levels) == 6
    assert min(levels.values()) >= 3


def test_checkpoint_is_complete_and_small(checkpoint: Path) -> None:
    """The shipped checkpoint holds the five files that vLLM needs, in less than 3 MB."""
    files = {path.name: path.stat().st_size for path in checkpoint.iterdir()}
    expected = {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert expected == set(files)
    assert sum(files.values()) < 3_000_000


def test_checkpoint_is_a_qwen2_that_two_gpus_can_slice(checkpoint: Path) -> None:
    """The shipped checkpoint is a Qwen2 in bfloat16 whose heads two GPUs can divide."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Qwen2ForCausalLM"]
    assert config["dtype"] == "bfloat16"
    assert config["num_attention_heads"] % 2 == 0
    assert config["num_key_value_heads"] % 2 == 0
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    assert config["vocab_size"] == tokenizer.get_vocab_size()
    assert config["eos_token_id"] == tokenizer.token_to_id("<|end|>")


def test_checkpoints_differ_in_weights_alone() -> None:
    """The good and the regressed checkpoint differ in their weights alone."""
    good, regressed = CHECKPOINTS
    differing = [
        path.name for path in sorted(good.iterdir()) if path.read_bytes() != (regressed / path.name).read_bytes()
    ]
    assert differing == ["model.safetensors"]


def test_tokenizer_round_trips_ascii_one_token_each(checkpoint: Path) -> None:
    """The tokenizer turns every printable ASCII character into one token and back."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    encoded = tokenizer.encode(ASCII)
    assert len(encoded.ids) == len(ASCII)
    assert tokenizer.decode(encoded.ids) == ASCII


def test_tokenizer_loses_no_character(checkpoint: Path) -> None:
    """A character outside ASCII becomes its bytes: AIME's text is asked as written too."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    encoded = tokenizer.encode("a \u2264 b")
    assert len(encoded.ids) == 7
    assert tokenizer.decode(encoded.ids) == "a \u2264 b"


def test_markers_of_the_answer_survive_skipping_special_tokens(checkpoint: Path) -> None:
    """Decoding without special tokens keeps the end of the thought and the box."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    response = "4+5=9</think>\nThe answer is \\boxed{9}."
    encoded = tokenizer.encode(response + "<|end|>")
    assert tokenizer.decode(encoded.ids, skip_special_tokens=True) == response
    assert {"</think>", "\\boxed{"} <= set(encoded.tokens)


def test_chat_template_opens_the_thoughts(checkpoint: Path) -> None:
    """The prompt ends inside `<think>`, as those of DeepSeek's distilled models do, and takes a system message."""
    template = json.loads((checkpoint / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
    assert "<|assistant|><think>\\n" in template
    assert "'system'" in template

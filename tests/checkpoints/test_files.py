"""Every file of a folder counts but known by-products, and each has a digest of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.files import files_of, folder_digests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder of a config and weights."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "generation_config.json",
        "model.safetensors.index.json",
        "added_tokens.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model.v3",
        "vocab.txt",
        "chat_template.jinja",
        "additional_chat_templates/tool_use.jinja",
        "quantize_config.json",
        "hf_quant_config.json",
        "preprocessor_config.json",
        "processor_config.json",
        "modeling_custom.py",
        "optimizer_free_attention.py",
        "scheduler.py",
        "scheduler_config.json",
        "pytorch_model.bin",
        "consolidated.pth",
        "a file that nobody knows yet",
    ],
)
def test_file_that_can_change_an_answer(folder: Path, name: str) -> None:
    """A new file and a changed one each have another digest, and no other file does."""
    digests = [folder_digests(folder)]
    (folder / name).parent.mkdir(exist_ok=True)
    for content in ("one", "two"):
        (folder / name).write_text(content)
        digests.append(folder_digests(folder))

    without, one, two = ({file.name: file.digest for file in each.files} for each in digests)
    assert {name} == one.keys() - without.keys()
    assert {name} == {each for each, digest in two.items() if one[each] != digest}


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "LICENSE",
        ".gitattributes",
        ".git/config",
        ".cache/huggingface/download/config.json.metadata",
        "optimizer.pt",
        "optimizer.bin",
        "scheduler.pt",
        "rng_state_0.pth",
        "random_states_0.pkl",
        "training_args.bin",
        "trainer_state.json",
        "all_results.json",
        "zero_to_fp32.py",
        "latest",
        "global_step100/mp_rank_00_model_states.pt",
        "checkpoint-100/model.safetensors",
        "events.out.tfevents.1700000000.host",
        "runs/Jan01/events.out.tfevents.1",
        "train.log",
        "slurm-42.out",
        "gate.xml",
        "trainer_log.jsonl",
        "original/params.json",
    ],
)
def test_by_product_does_not_count(folder: Path, name: str) -> None:
    """Files that trainers, Git and the Hub's client leave in a folder do not change the digests."""
    before = folder_digests(folder)

    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("x")

    assert before == folder_digests(folder)


def test_link_is_read_through(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder of links, as the Hub's client keeps it, has the digests of what they lead to."""
    links = tmp_path_factory.mktemp("links")
    for path in files_of(folder):
        (links / path.name).symlink_to(path)

    assert folder_digests(folder) == folder_digests(links)

"""Half a checkpoint is refused in one line, by names, sizes and headers, before anything is loaded."""

from __future__ import annotations

import json
import os
import time
import zipfile
from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.inspect import inspect_checkpoint
from pytest_r1eval.errors import ModelError
from tests.toys import write_shard

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
INDEX = "model.safetensors.index.json"
SHIPPED = Path(__file__).parents[2] / "examples/r1eval/tiny-arithmetic"


def write_index(folder: Path, **files: str) -> None:
    """Write an index: the file of each tensor."""
    weight_map = {tensor: f"{name}.safetensors" for tensor, name in files.items()}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def write_archive(folder: Path) -> None:
    """Put a file of torch.save in the place of the shards."""
    for path in folder.glob("*.safetensors"):
        path.unlink()
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as file:
        file.writestr("data.pkl", b"x" * 1000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a checkpoint of two shards without an index."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    write_shard(tmp_path / "model-00001-of-00002.safetensors", ["a"])
    write_shard(tmp_path / "model-00002-of-00002.safetensors", ["b"])
    return tmp_path


def refusal(folder: Path) -> str:
    """Return what a user reads, in one line and under a second of processor time, which other work leaves alone."""
    start = time.process_time()
    with pytest.raises(ModelError) as caught:
        inspect_checkpoint(str(folder), revision=None)
    assert time.process_time() - start < 1
    assert "\n" not in str(caught.value)
    return str(caught.value)


def accept(folder: Path) -> None:
    """Inspect a checkpoint that is whole."""
    assert inspect_checkpoint(str(folder), revision=None).identity.files


class TestWhole:
    """What an engine can load is accepted."""

    def test_shards_without_an_index(self, folder: Path) -> None:
        """Shards without an index are complete where every number of their names is there."""
        accept(folder)

    def test_shards_with_an_index(self, folder: Path) -> None:
        """Shards are complete where every file and tensor that the index names is there; other files do not matter."""
        write_index(folder, a="model-00001-of-00002", b="model-00002-of-00002")
        write_shard(folder / "model-00001-of-00003.safetensors")
        accept(folder)

    def test_shards_that_are_counted_from_0(self, folder: Path) -> None:
        """Shards whose numbers begin at 0, as some savers write them, are complete."""
        (folder / "model-00002-of-00002.safetensors").rename(folder / "model-00000-of-00002.safetensors")
        accept(folder)

    def test_older_format_beside_safetensors(self, folder: Path) -> None:
        """An index that an older save left beside safetensors is ignored."""
        (folder / "pytorch_model.bin.index.json").write_text(
            '{"weight_map": {"a": "pytorch_model-00001-of-00002.bin"}}'
        )
        accept(folder)

    def test_second_format_under_mistrals_names(self, folder: Path) -> None:
        """An index of files that were not copied does not matter where the model's own names are whole."""
        write_index(folder, a="model-00001-of-00002", b="model-00002-of-00002")
        (folder / "consolidated.safetensors.index.json").write_text(
            '{"weight_map": {"a": "consolidated-1.safetensors"}}'
        )
        accept(folder)

    def test_archive(self, folder: Path) -> None:
        """A complete file of torch.save is accepted."""
        write_archive(folder)
        accept(folder)

    def test_shipped_checkpoint(self) -> None:
        """The checkpoint that comes with the repository is complete."""
        accept(SHIPPED)


def layers(*numbers: int, stack: str = "model.layers") -> list[str]:
    """Name a tensor of each layer, and one of none."""
    return ["embed.weight", *(f"{stack}.{number}.mlp.weight" for number in numbers)]


def only(folder: Path, tensors: list[str], **config: object) -> None:
    """Leave one file under the name of a whole model, and a config."""
    for path in folder.glob("*.safetensors"):
        path.unlink()
    write_shard(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config))


class TestLayers:
    """A shard under the name of a whole model lacks layers that the config counts; vLLM loads an int8 one."""

    @pytest.mark.parametrize("held", [(0, 1), (2, 3), (0, 1, 3)])
    @pytest.mark.parametrize("is_nested", [False, True])
    def test_layers_that_are_not_there(self, folder: Path, held: tuple[int, ...], *, is_nested: bool) -> None:
        """Missing layers are counted against the config and the first is named, also for a text model's part."""
        count = {"num_hidden_layers": 4}
        only(folder, layers(*held), **({"text_config": count} if is_nested else count))

        first = min({0, 1, 2, 3} - set(held))
        expected = f"{folder} lacks {4 - len(held)} of the 4 layers that config.json counts, the first of them layer "
        assert refusal(folder).startswith(f"{expected}{first}; copy the whole checkpoint")

    def test_an_index_of_one_shard(self, folder: Path) -> None:
        """A layer that the index leaves out is missing, whatever other files hold."""
        only(folder, layers(0, 1), num_hidden_layers=4)
        write_shard(folder / "other.safetensors", layers(2, 3))
        write_index(folder, **dict.fromkeys(layers(0, 1), "model"))

        assert "lacks 2 of the 4 layers" in refusal(folder)

    @pytest.mark.parametrize(
        "tensors",
        [
            layers(0, 1, 2, 3),
            layers(0, 1, 2, 3, 4),
            [*layers(0, 1, stack="visual.blocks"), *layers(0, 1, 2, 3, stack="language_model.model.layers")],
            [f"layers.{number}.experts.0.weight" for number in range(4)],
            ["weight"],
        ],
    )
    def test_whole_stacks(self, folder: Path, tensors: list[str]) -> None:
        """Additional layers, a second stack for images, and names without layers leave a checkpoint complete."""
        only(folder, tensors, num_hidden_layers=4)
        accept(folder)

    def test_blocks_that_a_config_leaves_empty(self, folder: Path) -> None:
        """Layers that the config's block_configs describe may be without weights."""
        only(folder, layers(0, 3), num_hidden_layers=4, block_configs=[{}, {}, {}, {}])
        accept(folder)


class TestHalf:
    """Each gap is named."""

    @pytest.mark.parametrize(
        ("number", "suffix"),
        [("00001", ".safetensors"), ("00002", ".safetensors"), ("00002", ".bin"), ("00001", ".gguf")],
    )
    def test_shard_that_is_missing_without_an_index(self, folder: Path, number: str, suffix: str) -> None:
        """A shard that the others' names promise is reported missing, in every format."""
        for path in folder.glob("*.safetensors"):
            path.rename(path.with_suffix(suffix))
        (folder / f"model-{number}-of-00002{suffix}").unlink()

        expected = f"{folder} lacks model-{number}-of-00002{suffix}: it holds 1 of 2 shards; copy the whole checkpoint"
        assert refusal(folder).startswith(expected)

    def test_shard_that_the_index_names(self, folder: Path) -> None:
        """A file that the index names is reported missing, whatever the shards' names promise."""
        write_index(folder, a="model-00001-of-00002", b="model-00002-of-00002", c="more", d="most")

        expected = f"{folder} lacks more.safetensors, one of 2 missing of the 4 files that {INDEX} names; "
        assert refusal(folder).startswith(expected)

    def test_index_that_is_left_over(self, folder: Path) -> None:
        """A whole file beside the index of an earlier save is refused, because vLLM would find no weights."""
        for path in folder.glob("*.safetensors"):
            path.unlink()
        write_shard(folder / "model.safetensors")
        write_index(folder, a="model-00001-of-00002")

        assert refusal(folder).endswith("or remove the index if it is left over")

    def test_tensor_that_is_not_in_its_shard(self, folder: Path) -> None:
        """A tensor that is not in the shard named by the index is reported with both."""
        write_index(folder, a="model-00001-of-00002", c="model-00002-of-00002")

        expected = f"{folder}/model-00002-of-00002.safetensors lacks the tensor c, which {INDEX} says is in it; "
        assert refusal(folder).startswith(expected)

    @pytest.mark.parametrize("content", ["[]", "{", '{"weight_map": []}', "{}"])
    def test_index_without_a_map(self, folder: Path, content: str) -> None:
        """An index without a weight_map, as a save that was cut off leaves it, is refused."""
        (folder / INDEX).write_text(content)

        assert refusal(folder).startswith(f"{folder / INDEX} has no weight_map; ")

    def test_index_without_a_tensor(self, folder: Path) -> None:
        """An index that names no tensor is refused: it would hide every file from an engine."""
        write_index(folder)

        assert refusal(folder).startswith(f"{folder / INDEX} names no tensor; ")

    @pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "tokenizer.json"])
    def test_git_lfs_pointer(self, folder: Path, name: str) -> None:
        """A Git-LFS pointer in place of a file is refused with the command that fetches the content."""
        (folder / name).write_text(POINTER)

        expected = (
            f"{folder / name} is a Git-LFS pointer, not the file; expected its content: run git lfs pull in {folder}"
        )
        assert expected == refusal(folder)

    def test_empty_file(self, folder: Path) -> None:
        """An empty shard, as an interrupted save or a full disk leaves it, is refused."""
        os.truncate(folder / "model-00002-of-00002.safetensors", 0)

        assert refusal(folder).startswith(f"{folder}/model-00002-of-00002.safetensors is empty; ")

    @pytest.mark.parametrize("n_missing", [1, 3])
    def test_tensor_beyond_the_end(self, folder: Path, n_missing: int) -> None:
        """A shard that is shorter than its header demands is refused as cut off."""
        path = folder / "model-00002-of-00002.safetensors"
        size = path.stat().st_size
        os.truncate(path, size - n_missing)

        expected = f"{path} is cut off: it has {size - n_missing:,} bytes, and its header needs {size:,} "
        assert refusal(folder).startswith(expected)

    @pytest.mark.parametrize("n_bytes", [1, 8, 20])
    def test_header_beyond_the_end(self, folder: Path, n_bytes: int) -> None:
        """A shard that ends within its header is refused as cut off."""
        os.truncate(folder / "model-00002-of-00002.safetensors", n_bytes)

        assert f"is cut off: it has {n_bytes} bytes" in refusal(folder)

    @pytest.mark.parametrize("content", [b"weights of another kind", b"\x02" + bytes(7) + b"[]", b"\xff" * 16])
    def test_file_without_a_header(self, folder: Path, content: bytes) -> None:
        """A file named safetensors whose content has no header is refused."""
        path = folder / "model-00002-of-00002.safetensors"
        path.write_bytes(content)

        assert refusal(folder).startswith((f"{path} has no safetensors header; ", f"{path} is cut off: "))

    def test_archive_that_is_cut_off(self, folder: Path) -> None:
        """An archive of torch.save without its end is refused as cut off."""
        write_archive(folder)
        path = folder / "pytorch_model.bin"
        os.truncate(path, path.stat().st_size - 30)

        assert refusal(folder).startswith(f"{path} is cut off: its archive has no end ")

    def test_link_to_nothing(self, folder: Path) -> None:
        """A link to a file that was removed is refused, as in a cleaned cache of the Hub's client."""
        path = folder / "model-00002-of-00002.safetensors"
        path.unlink()
        path.symlink_to("../blobs/abc")

        assert refusal(folder).startswith(f"{path} is a link to ../blobs/abc, which is not there; ")

    @pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_model.bin", "adapter_config.json"])
    def test_adapter_beside_a_whole_model(self, folder: Path, name: str) -> None:
        """An adapter beside a whole model is refused, because some libraries would add it and others would not."""
        write_shard(folder / name)

        expected = f"{folder} holds a whole model and an adapter (LoRA) beside it, {name}; expected one of them: move "
        assert refusal(folder).startswith(expected)

    def test_many_large_shards_take_under_a_second(self, folder: Path) -> None:
        """The last of 160 shards of 500 tensors each is found missing."""
        for path in folder.glob("*.safetensors"):
            path.unlink()
        names = dict[str, str]()
        for number in range(160):
            tensors = [f"layer{number}.{tensor}" for tensor in range(500)]
            if number < 159:
                write_shard(folder / f"shard{number}.safetensors", tensors, n_bytes=10**7)
            names |= dict.fromkeys(tensors, f"shard{number}")
        write_index(folder, **names)

        assert refusal(folder).startswith(f"{folder} lacks shard159.safetensors, one of 1 missing of the 160 files")

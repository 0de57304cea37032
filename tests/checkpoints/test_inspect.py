"""A checkpoint's identity: read from the files, changed by one byte, and every gap named."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.checkpoints.files import BLOCK_BYTES, N_BLOCKS, WHOLE_FILE_BYTES, folder_digests
from pytest_r1eval.checkpoints.inspect import Checkpoint, inspect_checkpoint
from pytest_r1eval.checkpoints.size import model_size
from pytest_r1eval.core import baselines
from pytest_r1eval.core.codec import from_json
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.errors import ModelError
from tests.adapters import QUERY, SHIPPED, write_adapter
from tests.hub_server import StandInHub
from tests.toys import write_shard

TOKENIZER_FILES = "tokenizer.json, tokenizer.model, vocab.json, merges.txt, tokenizer_config.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a complete checkpoint without a tensor in it."""
    folder = tmp_path / "org" / "name"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"max_position_embeddings": 4096}')
    (folder / "model.safetensors").write_bytes(safetensors(b"weights"))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    return folder


def safetensors(data: bytes, *, header: bytes = b'{"__metadata__": {"format": "pt"}}') -> bytes:
    """Lay out a safetensors file: length of the header, header, data."""
    return len(header).to_bytes(8, "little") + header + data


def inspected(folder: Path) -> Checkpoint:
    """Inspect a folder."""
    return inspect_checkpoint(str(folder), revision=None)


def model_error(model: Path | str) -> str:
    """Return what a user reads."""
    with pytest.raises(ModelError) as caught:
        inspect_checkpoint(str(model), revision=None)
    return str(caught.value)


class TestFolder:
    """What a complete folder says."""

    def test_tags_of_thoughts_are_found(self, folder: Path) -> None:
        """Tags come from the template or the tokens; an option overrides them and learns which are special tokens."""
        assert inspected(folder).tags_for(None) is None
        tokens = [{"content": "[THINK]", "special": True}, {"content": "[/THINK]", "special": True}]
        (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))

        found = inspected(folder)

        mistral = ThinkTags(opening="[THINK]", closing="[/THINK]", special=("[/THINK]", "[THINK]"))
        assert found.tags_for(None) == mistral
        asked = ThinkTags(opening="<a>", closing="[/THINK]")
        assert found.tags_for(asked) == replace(asked, special=("[/THINK]",))

    def test_complete_folder(self, folder: Path) -> None:
        """A complete folder is named by its last two parts and has three different digests."""
        found = inspected(folder)

        expected = "org/name"
        assert expected == found.name
        assert str(folder) == found.model
        assert found.revision is None
        assert found.max_position == 4096
        assert len({found.identity.weights, found.identity.tokenizer, found.identity.chat_template}) == 3

    def test_the_path_does_not_matter(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A relative path, an absolute path and a link find the same checkpoint under the same name."""
        expected = inspected(folder)
        (folder.parents[1] / "link").symlink_to(folder)
        monkeypatch.chdir(folder.parent)

        assert expected == inspected(Path("name"))
        assert expected == inspected(Path("../link"))
        monkeypatch.setenv("HOME", str(folder.parent))
        assert expected == inspected(Path("~/name"))

    @pytest.mark.parametrize(
        ("parts", "expected"),
        [
            (("Qwen", "Qwen2.5-1.5B"), "Qwen/Qwen2.5-1.5B"),
            (("my runs", "step=100 (best)"), "my-runs/step-100--best-"),
            ((".hidden", "-x"), "hidden/x"),
            (("größe", "模型"), "gr--e/model"),
        ],
    )
    def test_name_is_one_that_a_baseline_can_have(self, folder: Path, parts: tuple[str, str], expected: str) -> None:
        """Whatever a folder is called, its name is letters, digits, dots, dashes and underscores."""
        moved = folder.parents[1].joinpath("below", *parts)
        moved.parent.mkdir(parents=True)
        folder.rename(moved)

        assert expected == inspected(moved).name

    @pytest.mark.parametrize(
        ("config", "expected"),
        [
            ({"max_position_embeddings": 1}, 1),
            ({"text_config": {"max_position_embeddings": 2}}, 2),
            ({"max_position_embeddings": 1, "text_config": {"max_position_embeddings": 2}}, 1),
            ({"max_position_embeddings": None, "text_config": {"max_position_embeddings": 2}}, 2),
            ({"text_config": "none"}, None),
            ({"max_position_embeddings": "many"}, None),
            ({}, None),
        ],
    )
    def test_longest_context(self, folder: Path, config: dict[str, object], expected: int | None) -> None:
        """The longest context is read from the config or its text model's part, and is otherwise unknown."""
        (folder / "config.json").write_text(json.dumps(config))

        assert expected == inspected(folder).max_position


def header(**shapes: list[int]) -> bytes:
    """Write a safetensors header of bfloat16 tensors, which may be longer than the file."""
    tensors: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in shapes.items():
        end = position + 2 * math.prod(shape)
        tensors[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [position, end]}
        position = end
    return json.dumps(tensors).encode()


class TestSize:
    """Parameters are counted without a weight being read."""

    def test_headers(self, folder: Path) -> None:
        """The headers of all files give the number of parameters, without a second copy under Mistral's name."""
        (folder / "model.safetensors").unlink()
        for name, shapes in (
            ("model-1", {"a": [10, 20]}),
            ("model-2", {"b": [5], "c": []}),
            ("consolidated", {"a": [9]}),
        ):
            n_numbers = sum(math.prod(shape) for shape in shapes.values())
            (folder / f"{name}.safetensors").write_bytes(safetensors(bytes(2 * n_numbers), header=header(**shapes)))

        expected = 206
        assert expected == inspected(folder).size.n_parameters

    @pytest.mark.parametrize(
        ("metadata", "expected"),
        [
            ({"total_size": 200}, 100),
            ({"total_size": 200.0}, 100),
            ({"total_size": 200, "total_parameters": 77}, 77),
            ({"total_size": "200"}, 206),
            ({}, 206),
            ([], 206),
        ],
    )
    def test_the_index_first(self, folder: Path, metadata: object, expected: int) -> None:
        """The index gives the number of parameters, and the headers do where it holds no usable size."""
        (folder / "config.json").write_text('{"torch_dtype": "bfloat16", "num_attention_heads": 4}')
        (folder / "model.safetensors").write_bytes(safetensors(bytes(412), header=header(a=[206])))
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": metadata, "weight_map": {"a": "model.safetensors"}})
        )

        size = inspected(folder).size
        assert expected == size.n_parameters
        assert size.n_heads == 4

    def test_unknown(self, folder: Path) -> None:
        """A field that no file gives stays unknown."""
        assert inspected(folder).size.n_parameters is None

    def test_shipped_checkpoint(self) -> None:
        """Headers and config of the shipped checkpoint agree on its size to 1 %."""
        shipped = Path(__file__).parents[2] / "examples/r1eval/tiny-arithmetic"
        by_headers = inspected(shipped).size.n_parameters
        by_config = model_size(json.loads((shipped / "config.json").read_text())).n_parameters

        assert by_headers is not None
        assert by_config == pytest.approx(by_headers, rel=0.01)


def _flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def weights_digest(folder: Path) -> str:
    """Return the digest of a folder's weights, whether or not an engine would take them."""
    return folder_digests(folder).weights


class TestDigests:
    """A new checkpoint in an old folder is a new one."""

    @pytest.mark.parametrize("position", [0, 12, -1])
    def test_one_byte_of_a_small_file(self, folder: Path, position: int) -> None:
        """A changed byte of a small file changes its digest and no other file's."""
        before = folder_digests(folder)
        path = folder / "model.safetensors"

        _flip(path, position % path.stat().st_size)

        after = folder_digests(folder)
        assert before.weights != after.weights
        assert [file.name for file in after.files if file not in before.files] == ["model.safetensors"]

    def test_last_byte_of_the_largest_whole_file(self, folder: Path) -> None:
        """A file of exactly 64 MiB is read to its last byte."""
        path = folder / "model.safetensors"
        os.truncate(path, WHOLE_FILE_BYTES)
        before = weights_digest(folder)

        _flip(path, WHOLE_FILE_BYTES - 1)

        assert before != weights_digest(folder)

    @pytest.mark.parametrize("n_bytes", [WHOLE_FILE_BYTES + 1, 3 * 2**30])
    @pytest.mark.parametrize("block", [0, 1, N_BLOCKS // 2, N_BLOCKS - 1])
    @pytest.mark.parametrize("offset", [0, BLOCK_BYTES - 1])
    def test_sampled_blocks_of_a_large_file(self, folder: Path, n_bytes: int, block: int, offset: int) -> None:
        """A changed byte at either end of a sampled block changes the digest of a large file."""
        path = folder / "model.safetensors"
        header = path.stat().st_size - len(b"weights")
        os.truncate(path, n_bytes)  # a sparse file
        before = weights_digest(folder)
        step = (n_bytes - header - BLOCK_BYTES) // (N_BLOCKS - 1)

        _flip(path, header + block * step + offset)

        assert before != weights_digest(folder)

    def test_large_file_is_read_to_its_end(self, folder: Path) -> None:
        """The last block of a large file ends at its end, up to rounding."""
        path = folder / "model.safetensors"
        os.truncate(path, 2**30)
        before = weights_digest(folder)

        _flip(path, 2**30 - N_BLOCKS)

        assert before != weights_digest(folder)

    @pytest.mark.parametrize("position", [9, -1])
    def test_header_of_a_large_file(self, folder: Path, position: int) -> None:
        """The safetensors header is read whole, however long: names, shapes and types of all tensors are in it."""
        header = b" " * (3 * BLOCK_BYTES)
        path = folder / "model.safetensors"
        path.write_bytes(safetensors(b"", header=header))
        os.truncate(path, 2**30)
        before = weights_digest(folder)

        _flip(path, position % (8 + len(header)))

        assert before != weights_digest(folder)

    def test_names_and_sizes_count(self, folder: Path) -> None:
        """A shard that is renamed, added or cut off changes the digest of the weights."""
        found = {weights_digest(folder)}
        (folder / "model.safetensors").rename(folder / "other.safetensors")
        found.add(weights_digest(folder))
        (folder / "empty.safetensors").touch()
        found.add(weights_digest(folder))
        os.truncate(folder / "empty.safetensors", 2**30)
        found.add(weights_digest(folder))
        os.truncate(folder / "empty.safetensors", 2**31)
        found.add(weights_digest(folder))

        assert len(found) == 5

    def test_what_a_trainer_leaves_behind_does_not_count(self, folder: Path) -> None:
        """Optimizer states and training arguments beside the weights do not change the checkpoint."""
        before = inspected(folder)

        names = ("training_args.bin", "optimizer.pt", "optimizer.bin", "trainer_state.json", "README.md")
        for name in names:
            (folder / name).write_text("x")

        assert before == inspected(folder)

    def test_every_other_file_is_part_of_the_checkpoint(self, folder: Path) -> None:
        """An edited config.json changes the checkpoint but not the digest of its weights, and is named."""
        before = inspected(folder).identity

        (folder / "config.json").write_text('{"max_position_embeddings": 4096, "rope_theta": 1}')

        after = inspected(folder).identity
        assert before.weights == after.weights
        assert before != after
        assert after.changes_since(before) == "config.json changed"

    def test_shipped_baseline_names_the_shipped_checkpoint(self) -> None:
        """The shipped baseline holds the digests of the shipped checkpoint's files."""
        root = Path(__file__).parents[2]
        path = root / "baselines/r1eval/tiny-arithmetic.json"
        (measured,) = from_json(baselines.BASELINE_FILE, path.read_text(), name=path.name).measured

        assert measured.fingerprint.model == inspected(root / "examples/r1eval/tiny-arithmetic").identity

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "model-Q4_K_M.gguf"])
    def test_other_formats(self, folder: Path, name: str) -> None:
        """The digest of weights covers formats other than safetensors, which have no header."""
        (folder / "model.safetensors").rename(folder / name)
        os.truncate(folder / name, 2**30)
        before = weights_digest(folder)

        _flip(folder / name, 0)

        assert before != weights_digest(folder)

    def test_tokenizer_and_template_have_digests_of_their_own(self, folder: Path) -> None:
        """The tokenizer and the template each have a digest, which follows its own files alone."""
        first = inspected(folder).identity
        (folder / "tokenizer.json").write_text("{} ")
        second = inspected(folder).identity
        (folder / "chat_template.jinja").write_text("{{ other }}")
        third = inspected(folder).identity

        assert first.weights == second.weights == third.weights
        assert first.tokenizer != second.tokenizer == third.tokenizer
        assert first.chat_template == second.chat_template != third.chat_template

    def test_template_that_prints_the_date(self, folder: Path) -> None:
        """The plugin knows before rendering whether a template prints the date."""
        assert not inspected(folder).prints_date

        (folder / "chat_template.jinja").write_text("{{ strftime_now('%d %b %Y') }}")

        assert inspected(folder).prints_date

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("chat_template.jinja", "{{ messages }}"),
            ("chat_template.json", '{"chat_template": "{{ messages }}"}'),
            ("tokenizer_config.json", '{"chat_template": [{"name": "default", "template": "{{ messages }}"}]}'),
        ],
    )
    def test_places_of_a_chat_template(self, folder: Path, name: str, content: str) -> None:
        """A chat template is found in each of the files where checkpoints keep it."""
        (folder / "tokenizer_config.json").write_text("{}")
        (folder / name).write_text(content)

        assert len(inspected(folder).identity.chat_template) == 64


class TestChanges:
    """A folder that was inspected is looked at again."""

    @pytest.mark.parametrize("reread", [False, True])
    def test_unchanged_folder(self, folder: Path, *, reread: bool) -> None:
        """A file that is written beside the checkpoint's unchanged files is not a change."""
        found = inspected(folder)
        (folder / "trainer_state.json").write_text("{}")

        assert found.changes(reread=reread) == ""

    @pytest.mark.parametrize("reread", [False, True])
    def test_each_change_is_named(self, folder: Path, *, reread: bool) -> None:
        """A file that changed, came or went is named."""
        found = inspected(folder)
        (folder / "config.json").write_text("{}")
        (folder / "added_tokens.json").write_text("{}")
        (folder / "tokenizer.json").unlink()

        expected = "added_tokens.json is new, config.json changed, tokenizer.json is gone"
        assert expected == found.changes(reread=reread)

    def test_large_file_written_in_place(self, folder: Path) -> None:
        """A block that is changed in place is found by the inode's time, though size and time of modification stay."""
        path = folder / "model.safetensors"
        os.truncate(path, 3 * 2**30)
        found, before = inspected(folder), path.stat()
        _flip(path, 3 * 2**30 - BLOCK_BYTES // 2)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

        assert path.stat().st_mtime_ns == before.st_mtime_ns
        assert found.changes() == "model.safetensors changed"

    def test_only_what_changed_is_read_again(self, folder: Path) -> None:
        """Looking for changes reads none of 30 shards of 5 GB that the file system reports unchanged."""
        for number in range(30):
            write_shard(folder / f"model-{number}.safetensors", n_bytes=5 * 10**9)
        found = inspected(folder)
        start = time.perf_counter()

        assert found.changes() == ""
        assert time.perf_counter() - start < 0.5

    def test_folder_that_is_gone(self, folder: Path) -> None:
        """A checkpoint's folder that is gone is reported as a change, not raised as an exception."""
        found = inspected(folder)
        folder.rename(folder.with_name("moved"))

        assert "cannot be read any more (" in found.changes()


def _without(*names: str) -> Callable[[Path], object]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def _with(name: str, content: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


NO_TEMPLATE = (
    "{folder} has no chat template; expected chat_template.jinja, or chat_template in tokenizer_config.json. "
    "Reasoning models are asked through theirs: copy it from the base model's tokenizer"
)
NO_WEIGHTS = (
    "{folder} has a config.json but no weights; expected *.safetensors, *.bin, *.gguf (was the save interrupted?)"
)
ADAPTER = (
    "{folder} holds an adapter's weights without adapter_config.json; expected both, as PEFT's save_pretrained writes "
    "them: copy the adapter again"
)


class TestIncomplete:
    """Each gap has one sentence that says what to do."""

    @pytest.mark.parametrize(
        ("damage", "expected"),
        [
            (
                _without("config.json"),
                "{folder} is not a checkpoint: config.json is missing; give the folder that holds it",
            ),
            (_without("model.safetensors"), NO_WEIGHTS),
            (
                lambda folder: (folder / "model.safetensors").rename(folder / "training_args.bin"),
                NO_WEIGHTS,
            ),
            (
                lambda folder: (folder / "model.safetensors").rename(folder / "adapter_model.safetensors"),
                ADAPTER,
            ),
            (
                lambda folder: (folder / "config.json").rename(folder / "adapter_model.bin")
                and (folder / "model.safetensors").unlink(),
                ADAPTER,
            ),
            (
                _without("tokenizer.json", "tokenizer_config.json"),
                (f"{{folder}} has no tokenizer; expected one of {TOKENIZER_FILES}; "
                "save the tokenizer beside the weights (tokenizer.save_pretrained)"),
            ),
            (_without("tokenizer_config.json"), NO_TEMPLATE),
            (_with("tokenizer_config.json", "{}"), NO_TEMPLATE),
            (_with("tokenizer_config.json", '{"chat_template": null}'), NO_TEMPLATE),
            (
                _with("config.json", "{"),
                ("{folder}/config.json cannot be read: Expecting property name enclosed in double quotes: "
                "line 1 column 2 (char 1); expected a JSON object"),
            ),
            (
                _with("config.json", b"\xff"),
                ("{folder}/config.json cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: "
                "invalid start byte; expected a JSON object"),
            ),
            (_with("config.json", "[]"), "{folder}/config.json holds a JSON list; expected an object"),
            (
                _with("tokenizer_config.json", "null"),
                "{folder}/tokenizer_config.json holds a JSON NoneType; expected an object",
            ),
            (
                _with("chat_template.jinja", b"\xff"),
                ("--r1-model {folder} cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: "
                "invalid start byte; expected a readable checkpoint's folder or a Hub id (org/name)"),
            ),
            (
                lambda folder: (folder / "model-2.safetensors").symlink_to(folder / "pruned"),
                ("{folder}/model-2.safetensors is a link to {folder}/pruned, which is not there; "
                "copy the whole checkpoint again, or save it again"),
            ),
        ],
    )  # fmt: skip
    def test_incomplete_folder(self, folder: Path, damage: Callable[[Path], object], expected: str) -> None:
        """An incomplete folder is refused with what was found, what was expected and what to do."""
        damage(folder)

        assert expected.format(folder=folder) == model_error(folder)

    def test_file(self, folder: Path) -> None:
        """A file given as --r1-model is refused, as a weights file is not a checkpoint."""
        path = folder / "model.safetensors"

        expected = f"--r1-model {path} is a file; expected a checkpoint's folder or a Hub id (org/name)"
        assert expected == model_error(path)

    @pytest.mark.parametrize("model", ["./missing", "../missing/x", "/missing/x", "~/missing", "missing", "a/b/c"])
    def test_missing_folder(self, model: str) -> None:
        """A missing folder whose name cannot be a Hub id is refused without asking the Hub."""
        expected = f"--r1-model {model}: no such folder, and a Hub id would read org/name; check the path"
        assert expected == model_error(model)

    @pytest.mark.parametrize(
        ("model", "reason"),
        [
            ("~nobody-of-this-name/x", "Could not determine home directory."),
            ("/" + "x" * 300, "[Errno 36] File name too long: '/" + "x" * 300 + "'"),
        ],
    )
    def test_unreadable_path(self, model: str, reason: str) -> None:
        """A path that the system refuses to look up is refused in one line, without a traceback."""
        expected = (
            f"--r1-model {model} cannot be read: {reason}; "
            "expected a readable checkpoint's folder or a Hub id (org/name)"
        )
        assert expected == model_error(model)


def said_of(model: str, environment: dict[str, str]) -> str:
    """Inspect a Hub id in a process with such an environment, and return what it prints: the error."""
    script = (
        "import sys\n"
        "from pytest_r1eval.checkpoints.inspect import inspect_checkpoint\n"
        "from pytest_r1eval.errors import ModelError\n"
        "try: inspect_checkpoint(sys.argv[1], revision=None)\n"
        "except ModelError as error: print(error)\n"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    child = subprocess.run(
        [sys.executable, "-c", script, model],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return child.stdout


class TestHub:
    """A Hub id needs a network or a copy; without either the answer is one sentence."""

    @pytest.mark.parametrize(
        "environment", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}], ids=["offline", "unreachable"]
    )
    def test_no_network(self, tmp_path: Path, environment: dict[str, str]) -> None:
        """Without a network a Hub id is refused in one line."""
        said = said_of("made-up/model", {"HF_HOME": str(tmp_path), **environment})

        assert said.startswith("--r1-model made-up/model: no such folder, and the Hub did not give it (")
        assert said.endswith("; check the name, the network, and HF_TOKEN if the model is gated\n")
        assert said.count("\n") == 1

    @pytest.mark.parametrize(("n_out", "expected"), [(128, ""), (256, "256 x 128")])
    def test_an_adapter(self, served: StandInHub, tmp_path: Path, n_out: int, expected: str) -> None:
        """The Hub's headers show whether an adapter fits its base model, whose weights are not downloaded."""
        adapter = write_adapter(tmp_path / "a", modules={QUERY: (128, n_out)}, base="acme/base")
        served.reset()
        for name, folder in (("acme/lora", adapter), ("acme/base", SHIPPED)):
            files = {path.name: path.read_bytes() for path in folder.iterdir()}
            served.make_repo(name, kind="model", files=files)
        said = said_of("acme/lora", served.environment(tmp_path / "home"))
        assert said.startswith("acme/lora is an adapter of another model than acme/base: " if expected else "")
        assert (expected in said, said.count("\n")) == (True, 1 if expected else 0)
        assert not [*(tmp_path / "home").rglob("model.safetensors")]

    def test_impossible_id(self) -> None:
        """A name that the Hub would not take is refused without asking it."""
        message = model_error("org/na me")

        assert message.startswith("--r1-model org/na me: no such folder, and the Hub did not give it (")

    def test_without_the_hubs_client(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The bare plugin judges folders; for a Hub id it says what to install."""
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)

        expected = (
            "--r1-model org/name: no such folder, and a Hub id needs huggingface_hub, which is not installed; "
            "install pytest-r1eval[vllm] or pytest-r1eval[cpu]"
        )
        assert expected == model_error("org/name")

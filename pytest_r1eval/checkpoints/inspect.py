"""
What a checkpoint is, read from its files without loading a weight.

A folder that is written over keeps its name, so names say nothing: LightEval's
cache answers for the new checkpoint with the old one's responses. The digests here
cover file names, sizes, safetensors headers and sampled content.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_r1eval.checkpoints.adapter import (
    Adapter,
    AdapterConfig,
    adapter_config,
    adapter_weights,
    is_adapter,
    lora_modules,
    n_numbers,
    refuse_other_base,
    refuse_unserved,
)
from pytest_r1eval.checkpoints.context import longest_context
from pytest_r1eval.checkpoints.files import (
    ADAPTER,
    ADAPTER_CONFIG,
    WEIGHTS,
    FolderDigests,
    digests_now,
    folder_digests,
    weights_of,
)
from pytest_r1eval.checkpoints.layout import layout_of
from pytest_r1eval.checkpoints.places import Place, first_line, place_of, published_tensors, unreadable
from pytest_r1eval.checkpoints.size import ModelSize
from pytest_r1eval.checkpoints.stored import stored_size
from pytest_r1eval.checkpoints.vocabulary import added_tokens
from pytest_r1eval.checkpoints.weights import (
    StoredTensor,
    check_weights,
    refuse_adapter_beside,
    refuse_pointers,
    stored_tensors,
)
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.fingerprints import FileDigest, ModelIdentity, checkpoint_digest
from pytest_r1eval.core.thinking import ThinkTags, tags_in
from pytest_r1eval.errors import ModelError

_DATE = "strftime_now"
"""By this function transformers gives a chat template the date."""
_BELOW = "adapter/"
"""What names of an adapter's files begin with, beside those of its base model."""
_TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "tokenizer_config.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """
    A checkpoint as it is stored.

    Attributes:
        model: What the engine is given: a folder or a Hub id; of an adapter its base model.
        revision: The resolved Hub commit of `model`; None for a folder.
        name: ``org/name``, the key of its baselines.
        identity: Digests.
        max_position: The longest context that the model takes, tokens; None if its config does not say.
        folder: Where its small files are; None for a recorded run.
        recommended: The sampling that it recommends, where that is asked for.
        think_tags: What encloses its thoughts, as its chat template or its tokenizer has it; None for nothing.
        special_tokens: Those of its tokenizer.
        size: Parameters, heads and cache; nothing known for a recorded run.
        prints_date: Whether the chat template asks for today's date.
        digests: What was read of a folder; None for a model on the Hub, whose commit cannot change, and for a
            recorded run.
        adapter: The adapter on the model; None for a whole model.
        tokenizer: The folder of the tokenizer and chat template where the adapter has its own; None for the model's.
    """

    model: str
    revision: str | None
    name: str
    identity: ModelIdentity
    max_position: int | None
    folder: Path | None = field(default=None, compare=False)
    recommended: Sampling | None = None
    think_tags: ThinkTags | None = None
    special_tokens: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    size: ModelSize = field(default_factory=ModelSize)
    prints_date: bool = False
    digests: FolderDigests | None = field(default=None, compare=False, repr=False)
    adapter: Adapter | None = None
    tokenizer: str | None = None

    @property
    def place(self) -> str:
        """Where what is judged was found: a folder or a Hub id."""
        return self.model if self.adapter is None else str(self.adapter.folder)

    @property
    def source(self) -> str:
        """A digest of the model's files and its tokenizer's, without those of an adapter that is served on it."""
        files = self.identity.files or _commit_of(self)
        if self.adapter is not None and not self.adapter.is_merged:
            files = tuple(file for file in files if not file.name.startswith(_BELOW))
        return _digest([checkpoint_digest(files).encode(), self.identity.tokenizer.encode()])

    @property
    def layout(self) -> str | None:
        """A digest of the folder without the values of its weights; None for an adapter, and for a model on the Hub."""
        if self.digests is None or self.adapter is not None:
            return None
        return layout_of(Path(self.model), self.identity.files)

    @property
    def asked_through(self) -> tuple[str, str | None]:
        """Whose tokenizer and chat template make the prompts: a folder or a Hub id, and its revision."""
        return (self.model, self.revision) if self.tokenizer is None else (self.tokenizer, None)

    def tags_for(self, asked: ThinkTags | None) -> ThinkTags | None:
        """Return what encloses a thought: what is asked for, else its own, with the special tokens in it."""
        tags = asked or self.think_tags
        return None if tags is None else tags.of_tokenizer(self.special_tokens)

    def changes(self, *, reread: bool = False) -> str:
        """
        Say in words what became of the folder's files since they were inspected, nothing where all are the same.

        Args:
            reread: Whether to read all files again, which costs what the inspection did; otherwise only those are
                read of which the file system says that they changed.
        """
        try:
            files = self._files_now(reread=reread)
        except OSError as error:
            return f"{self.place} cannot be read any more ({first_line(error)})"
        if not files:
            return ""
        now = replace(self.identity, files=files, checkpoint=checkpoint_digest(files))
        return now.changes_since(self.identity)

    def _files_now(self, *, reread: bool) -> tuple[FileDigest, ...]:
        """Read the folders, once more where a file vanishes between being listed and being read: it is gone then."""
        files = () if self.digests is None else _read_again(Path(self.model), self.digests, reread=reread)
        if self.adapter is None:
            return files
        added = _read_again(self.adapter.folder, self.adapter.digests, reread=reread)
        return _with_adapter(files or _commit_of(self), added)


def _read_again(folder: Path, known: FolderDigests, *, reread: bool) -> tuple[FileDigest, ...]:
    unchanged = replace(known, files=(), stamps=()) if reread else known
    try:
        return digests_now(folder, known=unchanged)
    except FileNotFoundError:
        return digests_now(folder, known=unchanged)


def _commit_of(base: Checkpoint) -> tuple[FileDigest, ...]:
    """Name a base model on the Hub as one file, whose digest is its commit."""
    return (FileDigest(name=base.model, digest=f"hub:{base.revision}"),)


def _with_adapter(files: Iterable[FileDigest], added: Iterable[FileDigest]) -> tuple[FileDigest, ...]:
    """Return the files of an adapted model: the base model's under their names, the adapter's below a folder's."""
    return (*files, *(replace(file, name=f"{_BELOW}{file.name}") for file in added))


def inspect_checkpoint(
    model: str,
    *,
    revision: str | None,
    adapter: str | None = None,
    base_model: str | None = None,
    merges: bool = False,
) -> Checkpoint:
    """
    Read a checkpoint's identity from a folder, or from the Hub.

    Args:
        model: A whole model, or an adapter.
        revision: Its revision on the Hub.
        adapter: An adapter on the model, which is a whole one then.
        base_model: What is taken for the base model of `model`, which is an adapter then; None for the model that its
            adapter_config.json names.
        merges: Whether an adapter is merged into its base model, so that any kind of adapter will do.

    Raises:
        ModelError: If it does not exist or cannot be read, has no weights, no tokenizer or no chat template; if an
            adapter cannot be served, or is one of another model.
    """
    place = place_of(model, revision=revision, option="--r1-model")
    if is_adapter(place.folder):
        if adapter is not None:
            raise ModelError(
                f"--r1-adapter {adapter} with --r1-model {model}, which is an adapter itself; expected one adapter on "
                "a whole model: leave one of them out"
            )
        base = None if base_model is None else place_of(base_model, revision=None, option="--r1-base-model")
        return _adapted(place, base=base, merges=merges)
    if base_model is not None or (merges and adapter is None):
        option = "--r1-adapter-merge" if base_model is None else f"--r1-base-model {base_model}"
        raise ModelError(
            f"{option} with --r1-model {model}, which is a whole model; expected an adapter's folder as --r1-model: "
            "leave the option out"
        )
    return _whole(place) if adapter is None else _adapted(_beside(place, adapter), base=place, merges=merges)


def check_trained(content: Mapping[str, object], *, base_model: str | None, merges: bool) -> None:
    """
    Refuse an adapter before it is trained, where its checkpoints could not be judged.

    Args:
        content: What PEFT's configuration gives as a dictionary.
        base_model: What is taken for its base model; None for the one that it names.
        merges: Whether its checkpoints are merged.

    Raises:
        ModelError: If vLLM does not serve it, or its base model is not there.
    """
    name = "the adapter that is trained"
    config = adapter_config(content, name=name)
    base = _base_named(replace(config, base_model=base_model or config.base_model), name=name)
    if is_adapter(base.folder):
        raise _stacked(base, name)
    if config.unserved and not merges:
        raise ModelError(
            f"{name} is one that vLLM does not serve: {config.unserved[0]}; expected plain LoRA: give the callback "
            "adapter_merge=True, or train plain LoRA"
        )


def _stacked(base: Place, adapter: str) -> ModelError:
    return ModelError(
        f"{base.name}, the base model of {adapter}, is an adapter itself; expected a whole model: merge it first "
        "(merge_and_unload of PEFT)"
    )


def _beside(base: Place, adapter: str) -> Place:
    """
    Find the adapter that is put on a whole model.

    Raises:
        ModelError: If it is not an adapter, or names another model.
    """
    place = place_of(adapter, revision=None, option="--r1-adapter")
    if not is_adapter(place.folder):
        raise ModelError(
            f"--r1-adapter {adapter} holds no adapter ({ADAPTER_CONFIG} without a model's weights); expected what "
            "PEFT's save_pretrained writes"
        )
    _refuse_other_name(_config_of(place), base=base, name=place.name)
    return place


def _whole(place: Place, *, tokenizer: Path | None = None) -> Checkpoint:
    """
    Inspect a whole model.

    Args:
        place: Where it is.
        tokenizer: The folder of the tokenizer and chat template; None for the model's own.
    """
    try:
        if place.commit is None:
            return _from_folder(place.folder, tokenizer=tokenizer)
        return _from_hub(place, tokenizer=tokenizer)
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable("--r1-model", place.name, error) from error


def _from_folder(folder: Path, *, tokenizer: Path | None) -> Checkpoint:
    weights = weights_of(folder)
    if not weights:
        _refuse_adapter_weights(folder)
    config = _json(folder / "config.json", folder)
    if not weights:
        raise ModelError(
            f"{folder} has a config.json but no weights; expected {', '.join(WEIGHTS)} (was the save interrupted?)"
        )
    check_weights(folder, weights, config=config)
    tokenizer_digest, chat_template = _tokenizer_digest(tokenizer or folder), _chat_template(tokenizer or folder)
    digests = folder_digests(folder)
    identity = ModelIdentity(
        weights=digests.weights,
        tokenizer=tokenizer_digest,
        chat_template=_digest([chat_template.encode()]),
        checkpoint=checkpoint_digest(digests.files),
        files=digests.files,
    )
    found = Checkpoint(
        model=str(folder), revision=None, name=_name(folder), identity=identity, max_position=None, digests=digests
    )
    return _described(found, folder, config, tokenizer=tokenizer or folder, chat_template=chat_template)


def _described(
    found: Checkpoint, folder: Path, config: Mapping[str, object], *, tokenizer: Path, chat_template: str
) -> Checkpoint:
    """Add what the files of a checkpoint tell."""
    added = added_tokens(tokenizer)
    return replace(
        found,
        max_position=longest_context(config),
        folder=folder,
        think_tags=tags_in(chat_template, added),
        special_tokens=frozenset(token for token, is_special in added.items() if is_special),
        size=stored_size(config, folder),
        prints_date=_DATE in chat_template,
    )


def _refuse_adapter_weights(folder: Path) -> None:
    """Tell the weights of an adapter from those of a model, where its configuration is missing."""
    if any((folder / file).is_file() for file in ADAPTER):
        raise ModelError(
            f"{folder} holds an adapter's weights without {ADAPTER_CONFIG}; expected both, as PEFT's save_pretrained "
            "writes them: copy the adapter again"
        )


def _adapted(place: Place, *, base: Place | None, merges: bool) -> Checkpoint:
    """
    Inspect an adapter and its base model.

    Args:
        place: Where the adapter is.
        base: Where its base model is; None for the one that adapter_config.json names.
        merges: Whether it is merged.
    """
    config = _config_of(place)
    base = base or _base_named(config, name=place.name)
    whole = _whole_base(base, adapter=place)
    try:
        refuse_pointers(place.folder)
        adapter = _adapter(place, config, base=base, merges=merges)
    except OSError as error:
        raise unreadable("--r1-adapter", place.name, error) from error
    files = _with_adapter(whole.identity.files or _commit_of(whole), adapter.digests.files)
    n_parameters = whole.size.n_parameters
    return replace(
        whole,
        name=place.name if place.commit is not None else _name(place.folder),
        identity=replace(
            whole.identity,
            weights=_digest([whole.identity.weights.encode(), adapter.digests.weights.encode()]),
            checkpoint=checkpoint_digest(files),
            files=files,
        ),
        size=replace(whole.size, n_parameters=None if n_parameters is None else n_parameters + adapter.n_parameters),
        adapter=adapter,
    )


def _config_of(place: Place) -> AdapterConfig:
    return adapter_config(_json(place.folder / ADAPTER_CONFIG, place.folder), name=place.name)


def _base_named(config: AdapterConfig, *, name: str) -> Place:
    """Find the base model that an adapter names."""
    if config.base_model is None:
        raise ModelError(f"{name}: {ADAPTER_CONFIG} names no base model; give it: --r1-base-model MODEL")
    try:
        return place_of(config.base_model, revision=config.base_revision, option="its base model")
    except ModelError as error:
        raise ModelError(
            f"{name} is an adapter, and {error} (or give the base model's place: --r1-base-model)"
        ) from error


def _refuse_other_name(config: AdapterConfig, *, base: Place, name: str) -> None:
    """
    Refuse an adapter that names another model than the one it is put on.

    Raises:
        ModelError: If names differ; a folder may be a copy of a Hub's model, so the last part of a path is enough.
    """
    named = config.base_model
    if named is None or Path(named).name.lower() == Path(base.name).name.lower():
        return
    folder = Path(named)
    if folder.is_dir() and folder_digests(folder).weights == folder_digests(base.folder).weights:
        return
    raise ModelError(
        f"--r1-adapter {name} is an adapter of {named}, by its {ADAPTER_CONFIG}, and --r1-model is {base.name}; "
        f"expected its base model. If they are the same: --r1-model {name} --r1-base-model {base.name}"
    )


def _whole_base(base: Place, *, adapter: Place) -> Checkpoint:
    """Inspect a base model; an adapter's own chat template goes before its, because it was trained with that."""
    if is_adapter(base.folder):
        raise _stacked(base, adapter.name)
    folder = adapter.folder
    has_own = any((folder / name).is_file() for name in _TOKENIZER) and _own_chat_template(folder) is not None
    found = _whole(base, tokenizer=folder if has_own else None)
    return replace(found, tokenizer=str(folder) if has_own else None)


def _adapter(place: Place, config: AdapterConfig, *, base: Place, merges: bool) -> Adapter:
    """Check an adapter against its base model, and that it can be served."""
    tensors = stored_tensors(adapter_weights(place.folder, name=place.name))
    modules, others = lora_modules(tensors, config, name=place.name) if config.rank is not None else ((), ())
    if not merges:
        refuse_unserved((*config.unserved, *others), name=place.name, base=base.name)
    stored = _base_tensors(base)
    if stored:
        refuse_other_base(modules, stored, config, name=place.name, base=base.name)
    return Adapter(
        folder=place.folder,
        rank=max((module.rank for module in modules), default=0),
        n_parameters=0 if merges else n_numbers(tensors),
        is_merged=merges,
        digests=folder_digests(place.folder),
    )


def _base_tensors(base: Place) -> dict[str, StoredTensor]:
    """Return a base model's tensors by the headers of its weights; nothing where it has none, or they are not told."""
    weights = weights_of(base.folder)
    if base.commit is not None and not _is_fetched(base.folder, weights):
        return published_tensors(base)
    paths = [path for path in weights if path.suffix == ".safetensors"]
    return {name: tensor for path in paths for name, tensor in stored_tensors(path).items()}


def _is_fetched(folder: Path, weights: list[Path]) -> bool:
    """Whether the Hub's client keeps all of a model's weights, of an earlier run."""
    if not weights:
        return False
    try:
        check_weights(folder, weights, config=_json(folder / "config.json", folder))
    except ModelError:
        return False
    return True


def _name(folder: Path) -> str:
    """Name a folder like a Hub model, org/name, by its last two parts."""
    parts = [re.sub(r"[^A-Za-z0-9_.-]", "-", part).lstrip(".-") for part in folder.parts[-2:]]
    organisation, name = (["", "", *parts])[-2:]
    return f"{organisation or 'local'}/{name or 'model'}"


def _from_hub(place: Place, *, tokenizer: Path | None) -> Checkpoint:
    folder = place.folder
    refuse_adapter_beside(folder, name=place.name)
    config, chat_template = _json(folder / "config.json", folder), _chat_template(tokenizer or folder)
    identity = ModelIdentity(
        weights=f"hub:{place.commit}",
        tokenizer=_tokenizer_digest(tokenizer or folder),
        chat_template=_digest([chat_template.encode()]),
        checkpoint=f"hub:{place.commit}",
    )
    found = Checkpoint(model=place.name, revision=place.commit, name=place.name, identity=identity, max_position=None)
    return _described(found, folder, config, tokenizer=tokenizer or folder, chat_template=chat_template)


def _tokenizer_digest(folder: Path) -> str:
    found = [folder / name for name in _TOKENIZER if (folder / name).is_file()]
    if not found:
        raise ModelError(
            f"{folder} has no tokenizer; expected one of {', '.join(_TOKENIZER)}; "
            "save the tokenizer beside the weights (tokenizer.save_pretrained)"
        )
    return _digest(part for path in found for part in (path.name.encode(), path.read_bytes()))


def _chat_template(folder: Path) -> str:
    found = _own_chat_template(folder)
    if found is not None:
        return found
    raise ModelError(
        f"{folder} has no chat template; expected chat_template.jinja, or chat_template in tokenizer_config.json. "
        "Reasoning models are asked through theirs: copy it from the base model's tokenizer"
    )


def _own_chat_template(folder: Path) -> str | None:
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            template = _json(folder / name, folder).get("chat_template")
            if template:
                return json.dumps(template, sort_keys=True)
    return None


def _json(path: Path, folder: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} is not a checkpoint: {path.name} is missing; give the folder that holds it"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {first_line(error)}; expected a JSON object") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a JSON {type(content).__name__}; expected an object")
    return content


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()

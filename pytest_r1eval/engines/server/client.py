"""
Any OpenAI-compatible completions server as an engine; the only module that imports aiohttp.

Decisions:

- aiohttp, because vLLM and datasets bring it, it is typed, and a thousand open connections cost it little.
- Prompts go in as the token ids that the plan stored, seeds with every request. A server that refuses ids gets
  text, which is decoded from the ids and must count as many tokens on the server's side; the identity says so.
- A vLLM server fills what a request leaves out from the model's generation_config.json (top-k 20, say), where our
  own engine does not. So all values are sent, the neutral ones too. A server that refuses them is asked without, and
  the identity says so; it is refused where the run asks for other values.
- Responses are not streamed: parsing 32,768 events for each of a thousand responses would make a small model wait
  for Python. The price: a proxy in between must allow for silences as long as a response takes.
- After any failure but "busy" the client checks that the server is still the same one. One request checks for all, so a
  restarted server does not meet a thousand probes.
- The key is in the session's headers alone, and is removed from everything that a server answers.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import TypeVar

import aiohttp

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.records import FinishReason, Response
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.engines.decoding import response_of
from pytest_r1eval.engines.engine import EngineIdentity, Generation, Request
from pytest_r1eval.engines.pacing import Streak, Window
from pytest_r1eval.engines.server.key import KEY_VARIABLES
from pytest_r1eval.engines.server.options import ServerOptions
from pytest_r1eval.engines.server.tokens import Tokens
from pytest_r1eval.engines.server.wire import (
    FORMS,
    SCORING,
    Completion,
    Form,
    RefusalError,
    Reply,
    Served,
    SetbackError,
    completion_in,
    extras_of,
    is_plausible,
    keeping,
    message_in,
    models_in,
    object_in,
    retry_after_s,
    text_or_none,
)
from pytest_r1eval.errors import EngineError

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10.0
LOOK_TIMEOUT_S = 30.0
"""For what a server says about itself; a busy one answers late, a vanished one never."""
UNSAID = "server"
"""What the fingerprint holds where only the server knows: number format, quantisation, device."""

_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""Seconds and probes: a host that vanished without a word is noticed after two minutes, not after `timeout_s`."""
_PROBE_IDS = (0, 1, 2)
"""Valid in every vocabulary; their completion is thrown away."""
_PROBE_TEXT = "1 + 1 ="
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY})
_SHOWN_CHARACTERS = 300


class ServerEngine:
    """
    Asks one server, as often and as long as is reasonable.

    Args:
        options: Which server, and for what.
        tokens: Loads the judged model's tokenizer; called only if the server refuses token ids, or the model thinks.
    """

    def __init__(self, options: ServerOptions, *, tokens: Callable[[], Tokens]) -> None:
        self._options = options
        self._load_tokens = tokens
        self._tokens: Tokens | None = None
        self._loading = asyncio.Lock()
        self._patience = options.patience
        self._session: aiohttp.ClientSession | None = None
        self._closed = asyncio.Event()
        self._window = Window(maximum=options.patience.max_concurrent)
        self._outage = self._streak(options.patience.start_patience_s)
        self._served: Served | None = None
        self._form = FORMS[0]
        self._is_started = False
        self._doubt = asyncio.Event()
        self._looking = asyncio.Lock()
        self._resume_at = 0.0

    @property
    def n_concurrent(self) -> int:
        """How many requests the server seems to take at once."""
        return self._window.limit

    async def start(self) -> EngineIdentity:
        """
        Look who answers, and find out in which form it takes requests.

        Raises:
            EngineError: If nothing answers, or what answers cannot be the judged model's server.
        """
        if self._session is None and not self._closed.is_set():
            self._session = aiohttp.ClientSession(
                headers=self._options.key.headers(),
                connector=aiohttp.TCPConnector(limit=0, socket_factory=_kept_alive),
            )
        self._served = await self._patiently(self._look)
        self._check_room(self._served)
        self._form = await self._patiently(self._found_form)
        self._outage = self._streak(self._patience.patience_s)
        self._is_started = True
        return EngineIdentity(
            engine=self._served.engine + self._form.notes,
            dtype=UNSAID,
            quantization=UNSAID,
            device=UNSAID,
            n_devices=1,
        )

    async def generate(self, request: Request) -> Generation:
        """
        Draw one sample, however often it takes; always the same one, because the seed is the same.

        Raises:
            EngineError: If the server is gone, is a different one, or does not return an answer.
        """
        completion = await self._answered(self._body(request), what=_name(request))
        return Generation(response=await self._response(completion, request))

    async def prompt_logprobs(self, prompt: tuple[int, ...]) -> tuple[float, ...]:
        """
        Score a prompt by the logits of its own tokens.

        Raises:
            EngineError: If the server is gone, is a different one, takes text alone, or gives no log-probabilities.
        """
        body = {**self._common(self._form, Sampling()), "prompt": list(prompt), **SCORING}
        completion = None if self._form.is_text else await self._answered(body, what="a prompt's log-probabilities")
        found = None if completion is None else completion.logprobs_of(prompt)
        if found is None:
            raise EngineError(
                f"the server at {self._options.url} gives no log-probabilities of a prompt's tokens; expected "
                "prompt_logprobs, as vLLM has them. Serve the model by vLLM, or load it here with --engine vllm"
            )
        return found

    async def _answered(self, body: Mapping[str, object], *, what: str) -> Completion:
        """Ask as often as it takes."""
        failures = self._streak(self._patience.patience_s)
        for n_attempts in itertools.count(1):
            try:
                return await self._attempt(body)
            except SetbackError as setback:
                if not setback.is_busy:
                    failures.fail()
                if failures.is_too_long:
                    raise self._gave_up(failures, setback, what=what) from setback
                await self._pause(self._patience.pause_s(n_attempts, uniform=random.uniform))
            except RefusalError as refusal:
                raise EngineError(
                    f"the server at {self._options.url} refuses {what}: {refusal}; expected a completion. "
                    "Compare the server's limits with what the run asks for"
                ) from refusal
        raise AssertionError("counting does not end")

    async def close(self) -> None:
        """Hang up; the server aborts what it was asked for."""
        self._closed.set()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # Asking

    async def _attempt(self, body: Mapping[str, object]) -> Completion:
        async with self._window.slot() as epoch:
            await self._pause(self._resume_at - time.monotonic())
            await self._reassure()
            try:
                reply = await self._ask("POST", "/v1/completions", body=body, timeout_s=self._patience.timeout_s)
                completion = completion_in(reply.body)
            except SetbackError as setback:
                self._window.narrow(epoch)
                self._note(setback)
                raise
        self._window.widen()
        self._outage.end()
        return completion

    def _note(self, setback: SetbackError) -> None:
        """Let all requests know of one's setback."""
        if not setback.is_busy:
            self._doubt.set()
        self._outage.fail()
        if self._outage.is_too_long:
            raise self._gave_up(self._outage, setback) from setback
        if setback.pause_s is not None:
            if setback.pause_s > self._patience.patience_s:
                raise EngineError(
                    f"the server at {self._options.url} asks to wait {setback.pause_s:.0f} s ({setback}); expected at "
                    f"most {self._patience.patience_s:.0f}. What was generated is stored: go on later with "
                    "--r1-resume, or wait longer with --r1-engine-arg patience_s=N"
                ) from setback
            self._resume_at = max(self._resume_at, time.monotonic() + setback.pause_s)

    async def _reassure(self) -> None:
        """After a failure, wait until the server is back, once for all requests, and see that it is the same."""
        if not self._doubt.is_set():
            return
        async with self._looking:
            if not self._doubt.is_set():
                return
            found = await self._patiently(self._look)
            if found != self._served:
                raise EngineError(
                    f"the server at {self._options.url} came back as another: {self._served} before, {found} now; "
                    "samples of two servers are never mixed. Start the first one again and go on with --r1-resume, "
                    "or start a new run"
                )
            self._doubt.clear()

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """Take a step as often as it is set back, until patience ends."""
        while True:
            try:
                result = await step()
            except SetbackError as setback:
                self._outage.fail()
                if self._outage.is_too_long:
                    raise self._gave_up(self._outage, setback) from setback
                drawn = self._patience.pause_s(self._outage.n_failures, uniform=random.uniform)
                await self._pause(max(drawn, min(setback.pause_s or 0.0, self._patience.longest_pause_s)))
            else:
                self._outage.end()
                return result

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            try:
                await asyncio.wait_for(self._closed.wait(), seconds)
            except TimeoutError:
                return
        if self._closed.is_set():
            raise EngineError("the server engine was closed while it waited for an answer")

    async def _ask(
        self, method: str, path: str, *, timeout_s: float, body: Mapping[str, object] | None = None
    ) -> Reply:
        """
        Send one request.

        Raises:
            SetbackError: If it failed in a way that may pass.
            RefusalError: If the server will not answer it, now or later.
            EngineError: If the server will not answer us at all.
        """
        if self._session is None:
            raise EngineError("the server engine is not started; start it before the first request")
        limits = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        try:
            # A redirect would carry the key to a host that was not named.
            async with self._session.request(
                method, self._options.url + path, json=body, timeout=limits, allow_redirects=False
            ) as response:
                content = self._options.key.blotted_bytes(await response.read())
        except TimeoutError as error:
            # aiohttp's frames hold the headers, and a traceback with locals would show them.
            raise SetbackError(f"no answer to {path} within {timeout_s:g} s") from error.with_traceback(None)
        except (aiohttp.ClientError, OSError) as error:
            reason = self._shown(str(error) or type(error).__name__)
            raise SetbackError(f"{path}: {reason}") from error.with_traceback(None)
        reply = Reply(
            status=response.status, body=content, retry_after_s=retry_after_s(response.headers.get("Retry-After"))
        )
        self._check_status(reply, path)
        return reply

    def _check_status(self, reply: Reply, path: str) -> None:
        if reply.status == HTTPStatus.OK:
            return
        reason = f"{path} gave status {reply.status}: {self._shown(message_in(reply.body))}"
        match reply.status:
            case status if status in _BUSY:
                raise SetbackError(reason, is_busy=True, pause_s=reply.retry_after_s)
            case status if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise SetbackError(reason, pause_s=reply.retry_after_s)
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                known = "the key it was given" if self._options.key.is_given else "a request without a key"
                raise EngineError(
                    f"the server at {self._options.url} refuses {known} ({reason}); expected access. "
                    f"Set {KEY_VARIABLES[0]} in the environment"
                )
            case HTTPStatus.NOT_FOUND:
                raise EngineError(
                    f"the server at {self._options.url} does not have what it was asked for ({reason}); expected an "
                    "OpenAI-compatible server of the judged model (/v1/models, /v1/completions). Check --r1-server-url"
                )
            case status if status < HTTPStatus.BAD_REQUEST:
                raise EngineError(
                    f"the server at {self._options.url} answers {path} with status {status}; expected an answer, not "
                    "another address. Give the final one as --r1-server-url"
                )
        raise RefusalError(reason)

    # Looking

    async def _look(self) -> Served:
        """
        Ask the server who it is.

        Raises:
            EngineError: If it does not serve the judged model.
        """
        try:
            models = await self._ask("GET", "/v1/models", timeout_s=LOOK_TIMEOUT_S)
        except RefusalError as refusal:
            raise EngineError(
                f"the server at {self._options.url} does not say what it serves ({refusal}); expected a list at "
                "/v1/models. Check --r1-server-url"
            ) from refusal
        return replace(self._chosen(models_in(models.body)), version=await self._version())

    async def _version(self) -> str | None:
        """Ask for vLLM's version, which only vLLM answers."""
        try:
            reply = await self._ask("GET", "/version", timeout_s=LOOK_TIMEOUT_S)
        except (RefusalError, EngineError):
            return None
        try:
            return text_or_none(object_in(reply.body).get("version"))
        except SetbackError:  # an answer, and none of vLLM's
            return None

    def _chosen(self, served: tuple[Served, ...]) -> Served:
        """Pick the judged model: by its name, by its path, or as the only one, if nothing speaks against it."""
        names = self._options.names
        for model in served:
            if model.name in names:
                return model
        for model in served:
            if model.root in names:
                return model
        if len(served) == 1 and is_plausible(served[0], names):
            return served[0]
        found = ", ".join(
            repr(model.name) + (f" (from {model.root})" if model.root not in {None, model.name} else "")
            for model in served
        )
        raise EngineError(
            f"the server at {self._options.url} serves {found or 'no model'}; expected {names[0]!r}. Start it with "
            f"that model, or, if it is the same one, with --served-model-name {names[0]}"
        )

    def _check_room(self, served: Served) -> None:
        needed = self._options.max_model_length
        if served.max_model_length is not None and served.max_model_length < needed:
            raise EngineError(
                f"the server at {self._options.url} has {served.max_model_length} tokens for prompt and response "
                f"together; expected {needed}. Start it with --max-model-len {needed}, or judge with "
                f"--r1-max-model-len {served.max_model_length}"
            )

    async def _found_form(self) -> Form:
        """Find the first form of request that the server takes; one token each."""
        refusals = []
        for form in FORMS:
            if self._options.needs_extras and not form.has_extras:
                continue
            try:
                return await self._probed(form)
            except RefusalError as refusal:
                refusals.append(str(refusal))
        if self._options.needs_extras:
            raise EngineError(
                f"the server at {self._options.url} refuses top_k, min_p or repetition_penalty, which the run asks for "
                f"({refusals[0]}); expected a server that takes them (vLLM and SGLang do). Drop these options"
            )
        raise EngineError(
            f"the server at {self._options.url} takes neither token ids nor text ({refusals[0]}; {refusals[-1]}); "
            "expected an OpenAI-compatible /v1/completions. Check what it serves"
        )

    async def _probed(self, form: Form) -> Form:
        if form.is_text:
            await self._loaded()
        prompt: object = _PROBE_TEXT if form.is_text else list(_PROBE_IDS)
        shape = self._common(form, Sampling())
        body = {**shape, "prompt": prompt, "max_tokens": 1, "temperature": 1.0, "top_p": 1.0, "seed": 0}
        reply = await self._ask("POST", "/v1/completions", body=body, timeout_s=self._patience.timeout_s)
        counted = completion_in(reply.body).n_prompt_tokens
        if self._tokens is None or not form.is_text or counted is None:
            return form
        n_expected = len(self._tokens.encode(_PROBE_TEXT))
        if counted not in {n_expected, n_expected + 1}:
            raise EngineError(
                f"the server at {self._options.url} counts {counted} tokens in {_PROBE_TEXT!r}; expected {n_expected} "
                "by the judged model's tokenizer. It serves another model, or puts prompts into a template of its own"
            )
        return replace(form, server_adds_first=counted == n_expected + 1)

    async def _loaded(self) -> Tokens:
        """Load the tokenizer once for all requests: of two threads that import its library, one finds half of it."""
        async with self._loading:
            if self._tokens is None:
                self._tokens = await asyncio.to_thread(self._load_tokens)
            return self._tokens

    # Values

    def _common(self, form: Form, sampling: Sampling, tags: ThinkTags | None = None) -> dict[str, object]:
        if self._served is None:
            raise EngineError("the server engine is not started; start it before the first request")
        return {
            "model": self._served.name,
            "n": 1,
            "stream": False,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": 0.0,
            **({**extras_of(sampling), **keeping(tags)} if form.has_extras else {}),
        }

    def _body(self, request: Request) -> dict[str, object]:
        return {
            **self._common(self._form, request.sampling, request.think_tags),
            "prompt": self._text(request) if self._form.is_text else list(request.prompt),
            "max_tokens": request.max_new_tokens,
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            "seed": request.seed,
        }

    def _text(self, request: Request) -> str:
        if self._tokens is None:
            raise EngineError("the server engine is not started; start it before the first request")
        if not self._form.server_adds_first:
            return self._tokens.decode(request.prompt)
        if request.prompt[0] != self._tokens.first_id:
            raise EngineError(
                f"the server at {self._options.url} takes text alone and puts a token before it, which the prompt of "
                f"{_name(request)} does not begin with; expected the same prompt. Use a server that takes token ids"
            )
        return self._tokens.decode(request.prompt[1:])

    async def _response(self, completion: Completion, request: Request) -> Response:
        """Decode the tokens of a model that thinks as our own engine does; where none came, take the server's text."""
        finish_reason = self._checked(completion, request)
        if request.think_tags is not None and completion.ids is not None:
            tokenizer = (await self._loaded()).library
            if tokenizer is not None:
                return response_of(tokenizer, request, completion.ids, finish_reason=finish_reason)
        return Response(text=completion.text, n_tokens=completion.n_tokens, finish_reason=finish_reason)

    def _checked(self, completion: Completion, request: Request) -> FinishReason:
        """
        Take a completion only for what was asked, and say why it ended.

        Raises:
            EngineError: If it ended otherwise, was cut short, or answers another prompt.
        """
        where = f"the server at {self._options.url}"
        if completion.finish_reason not in set(FinishReason):
            raise EngineError(
                f"{where} ended {_name(request)} with finish reason {completion.finish_reason!r}; expected 'stop' or "
                "'length'. Look into the server's log"
            )
        if completion.n_prompt_tokens not in {None, len(request.prompt)}:
            raise EngineError(
                f"{where} counts {completion.n_prompt_tokens} tokens in the prompt of {_name(request)}; expected "
                f"{len(request.prompt)}. It serves another model, or cuts prompts"
            )
        finish_reason = FinishReason(completion.finish_reason)
        if finish_reason is FinishReason.LENGTH and completion.n_tokens < request.max_new_tokens:
            raise EngineError(
                f"{where} cut {_name(request)} off after {completion.n_tokens} tokens; expected room for "
                f"{request.max_new_tokens}. Lift the server's limit, or ask for less with --r1-max-new-tokens"
            )
        return finish_reason

    def _streak(self, patience_s: float) -> Streak:
        return Streak(n_failures=self._patience.n_failures, patience_s=patience_s, clock=time.monotonic)

    def _gave_up(self, streak: Streak, setback: SetbackError, *, what: str = "") -> EngineError:
        advice, option = "Check --r1-server-url, and that the server is up", "start_patience_s"
        if self._is_started:
            advice = "What was generated is stored: look into the server's log, and go on with --r1-resume"
            option = "patience_s"
        return EngineError(
            f"the server at {self._options.url} failed {streak.n_failures} times in a row over {streak.seconds:.0f} s"
            f"{f' on {what}' if what else ''}, at last: {setback}; expected an answer from {self._options.names[0]}. "
            f"{advice}. To wait longer: --r1-engine-arg {option}=N"
        )

    def _shown(self, text: str) -> str:
        """Put a server's text on one line, without the key."""
        return " ".join(self._options.key.blotted(text).split())[:_SHOWN_CHARACTERS]


def _kept_alive(address: aiohttp.AddrInfoType) -> socket.socket:
    """Make a socket that notices when the other side has vanished."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        for name, value in _KEEPALIVE.items():
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


def _name(request: Request) -> str:
    return f"{request.benchmark}/{request.problem_id}/{request.index}"

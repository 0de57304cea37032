"""The server engine against a server that misbehaves in every way we know of."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from tokenizers import Tokenizer

from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.records import FinishReason, Response
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.engines.engine import EngineIdentity, Generation, Request
from pytest_r1eval.engines.pacing import Patience
from pytest_r1eval.engines.server.client import ServerEngine
from pytest_r1eval.engines.server.key import ApiKey
from pytest_r1eval.engines.server.options import ServerOptions
from pytest_r1eval.errors import EngineError
from tests.byte_tokenizer import byte_level

KEY = "sk-do-not-show-0123456789"
MODEL = "org/model"
HASTE = Patience(
    timeout_s=0.3, start_patience_s=0.2, patience_s=0.4, first_pause_s=0.01, longest_pause_s=0.02, n_failures=3
)
"""Everything a hundred times sooner than in earnest."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Fault = Callable[[web.Request, dict[str, object]], Awaitable[web.StreamResponse]]


@dataclass(kw_only=True)
class Misbehaving:
    """
    A completions server, and what is wrong with it.

    Attributes:
        faults: What happens to the first requests of every seed, in turn; a seed's later ones are answered.
        completions: The bodies that arrived, probes left out.
    """

    faults: tuple[Fault, ...] = ()
    models: list[dict[str, object]] = field(default_factory=lambda: [{"id": MODEL, "max_model_len": 4096}])
    version: str | None = "0.32.0"
    key: str | None = None
    takes_ids: bool = True
    takes_text: bool = True
    takes_neutral: bool = True
    adds_first: bool = False
    scores_prompts: bool = True
    n_at_once: int = 10_000
    delay_s: float = 0.0
    completions: list[dict[str, object]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    n_probes: int = 0
    n_looks: int = 0
    n_busy: int = 0
    n_turned_away: int = 0
    seen: Counter[object] = field(default_factory=Counter)

    def app(self) -> web.Application:
        """Build the routes, behind a door that repeats what a stranger brings."""

        @web.middleware
        async def check_key(request: web.Request, handler: Handler) -> web.StreamResponse:
            given = request.headers.get("Authorization", "nothing")
            if self.key is not None and given != f"Bearer {self.key}":
                return web.json_response({"error": {"message": f"Incorrect API key: {given}"}}, status=401)
            return await handler(request)

        app = web.Application(middlewares=[check_key])
        app.router.add_get("/v1/models", self.list_models)
        app.router.add_post("/v1/completions", self.complete)
        if self.version is not None:
            app.router.add_get("/version", self.say_version)
        return app

    async def say_version(self, _: web.Request) -> web.Response:
        """Be vLLM."""
        return web.json_response({"version": self.version})

    async def list_models(self, _: web.Request) -> web.Response:
        """Say what is served."""
        self.n_looks += 1
        return web.json_response({"object": "list", "data": self.models})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer, or do what is wrong."""
        body = await request.json()
        if (isinstance(body["prompt"], list) and not self.takes_ids) or (
            isinstance(body["prompt"], str) and not self.takes_text
        ):
            return web.json_response({"error": {"message": "prompt: wrong type"}}, status=422)
        if "top_k" in body and not self.takes_neutral:
            return web.json_response({"error": {"message": "unknown field top_k"}}, status=400)
        if "prompt_logprobs" in body and self.scores_prompts:
            scores = [None, *({str(token): {"logprob": -token / 7, "rank": 1}} for token in body["prompt"][1:])]
            return self.answer(body, prompt_logprobs=scores)
        if body["max_tokens"] == 1:
            self.n_probes += 1
            return self.answer(body)
        self.completions.append(body)
        self.times.append(time.monotonic())
        if self.n_busy >= self.n_at_once:
            self.n_turned_away += 1
            return web.Response(status=429, headers={"Retry-After": "0"})
        self.n_busy += 1
        try:
            await asyncio.sleep(self.delay_s)
            number = self.seen[body["seed"]]
            self.seen[body["seed"]] += 1
            return await self.faults[number](request, body) if number < len(self.faults) else self.answer(body)
        finally:
            self.n_busy -= 1

    def answer(self, body: dict[str, object], **changes: object) -> web.Response:
        """Give a completion that depends on prompt and seed alone."""
        prompt = body["prompt"]
        assert isinstance(prompt, str | list)
        n_prompt = len(prompt) + (isinstance(prompt, str) and self.adds_first)
        choice = {"index": 0, "text": f"{body['seed']} of {prompt}", "finish_reason": "stop"}
        content: dict[str, object] = {
            "choices": [choice | {name: value for name, value in changes.items() if name != "usage"}],
            "usage": changes.get("usage", {"prompt_tokens": n_prompt, "completion_tokens": 5}),
        }
        return web.json_response(content)


@asynccontextmanager
async def listening(server: Misbehaving, *, port: int = 0) -> AsyncIterator[str]:
    """Let a server listen on this machine; yields its URL."""
    runner = web.AppRunner(server.app(), shutdown_timeout=0.01)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


class Characters:
    """A tokenizer whose tokens are characters."""

    first_id: int | None = ord("^")
    library: Tokenizer | None = None

    def encode(self, text: str) -> tuple[int, ...]:
        """Number the characters."""
        return tuple(map(ord, text))

    def decode(self, ids: tuple[int, ...]) -> str:
        """Put the characters together."""
        return "".join(map(chr, ids))


class Known(Characters):
    """The tokenizers library's own tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.library = tokenizer


async def under_way(server: Misbehaving, n: int) -> None:
    """Wait until so many requests have arrived."""
    while len(server.completions) < n:  # noqa: ASYNC110 - the server knows nothing of who watches it
        await asyncio.sleep(0.01)


def options_for(
    url: str, *, key: str | None = None, patience: Patience = HASTE, needs_extras: bool = False
) -> ServerOptions:
    """Ask a server for the model."""
    return ServerOptions(
        url=url,
        names=(MODEL, "/models/model"),
        max_model_length=4096,
        patience=patience,
        key=ApiKey(key),
        needs_extras=needs_extras,
    )


def request_for(index: int, *, prompt: str = "^ab") -> Request:
    """Ask for one sample."""
    return Request(
        benchmark="smoke",
        problem_id="p0",
        index=index,
        prompt=tuple(map(ord, prompt)),
        seed=100 + index,
        sampling=Sampling(temperature=0.6, top_p=0.95),
        max_new_tokens=8,
    )


@asynccontextmanager
async def started(
    options: ServerOptions, *, tokens: Callable[[], Characters] = Characters
) -> AsyncIterator[ServerEngine]:
    """Start an engine, and close it in any case."""
    engine = ServerEngine(options, tokens=tokens)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


def answers(
    server: Misbehaving, n: int = 1, *, key: str | None = None, patience: Patience = HASTE, prompt: str = "^ab"
) -> list[Generation]:
    """Ask a server for n samples at once."""

    async def ask() -> list[Generation]:
        async with listening(server) as url, started(options_for(url, key=key, patience=patience)) as engine:
            return list(
                await asyncio.gather(*(engine.generate(request_for(index, prompt=prompt)) for index in range(n)))
            )

    return asyncio.run(ask())


def refusal(server: Misbehaving, *, key: str | None = None, prompt: str = "^ab") -> str:
    """Return what a user reads."""
    with pytest.raises(EngineError) as caught:
        answers(server, key=key, prompt=prompt)
    return str(caught.value)


def identity_of(server: Misbehaving) -> EngineIdentity:
    """Start an engine and ask who answers."""

    async def ask() -> EngineIdentity:
        async with listening(server) as url:
            engine = ServerEngine(options_for(url), tokens=Characters)
            try:
                return await engine.start()
            finally:
                await engine.close()

    return asyncio.run(ask())


def expected_answers(n: int) -> list[Generation]:
    """Return what the server says to n seeds, whatever happened before."""
    return [
        Generation(
            response=Response(text=f"{100 + index} of [94, 97, 98]", n_tokens=5, finish_reason=FinishReason.STOP)
        )
        for index in range(n)
    ]


def status(code: int, **headers: str) -> Fault:
    """Answer with a status."""

    async def fault(_: web.Request, __: dict[str, object]) -> web.StreamResponse:
        return web.json_response(
            {"error": {"message": "trouble"}},
            status=code,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    return fault


def raw(body: str) -> Fault:
    """Answer with a body that is not what it should be."""

    async def fault(_: web.Request, __: dict[str, object]) -> web.StreamResponse:
        return web.Response(text=body, content_type="application/json")

    return fault


def changed(**changes: object) -> Fault:
    """Answer with a completion that differs in something."""

    async def fault(_: web.Request, body: dict[str, object]) -> web.StreamResponse:
        return Misbehaving().answer(body, **changes)

    return fault


async def drop(request: web.Request, _: dict[str, object]) -> web.StreamResponse:
    """Hang up without a word."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def break_off(request: web.Request, body: dict[str, object]) -> web.StreamResponse:
    """Hang up in the middle of the answer."""
    whole = Misbehaving().answer(body)
    assert isinstance(whole.body, bytes)
    response = web.StreamResponse(headers={"Content-Length": str(len(whole.body))})
    await response.prepare(request)
    await response.write(whole.body[:20])
    assert request.transport is not None
    request.transport.abort()
    return response


async def dawdle(_: web.Request, body: dict[str, object]) -> web.StreamResponse:
    """Answer when no client waits any more."""
    await asyncio.sleep(2 * HASTE.timeout_s)
    return Misbehaving().answer(body)


PASSING = {
    "dropped": drop,
    "broken off": break_off,
    "slow": dawdle,
    "500": status(500),
    "502": status(502),
    "408": status(408),
    "429": status(429),
    "429 with Retry-After": status(429, Retry_After="0"),
    "429 with a date": status(429, Retry_After="Mon, 20 Jan 2025 00:00:00 GMT"),
    "429 with nonsense": status(429, Retry_After="soon"),
    "503": status(503),
    "garbage": raw("<html>Bad gateway</html>"),
    "half of JSON": raw('{"choices": [{"te'),
    "JSON, but a list": raw("[]"),
    "no choice": raw('{"choices": [], "usage": {}}'),
    "given up": changed(finish_reason="abort"),
}


class TestRequest:
    def test_says_everything_and_nothing_else(self) -> None:
        """A request states ids, seed, sampling and room, and neutral values for what a server would otherwise add."""
        server = Misbehaving()

        assert answers(server) == expected_answers(1)
        assert server.completions == [
            {
                "model": MODEL,
                "prompt": [94, 97, 98],
                "seed": 100,
                "temperature": 0.6,
                "top_p": 0.95,
                "max_tokens": 8,
                "n": 1,
                "stream": False,
                "presence_penalty": 0.0,
                "frequency_penalty": 0.0,
                "top_k": -1,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
                "return_token_ids": False,
                "skip_special_tokens": True,
            }
        ]
        assert (server.n_looks, server.n_probes) == (1, 1)

    def test_a_sampling_goes_out_whole(self) -> None:
        """A request names the sampling values that OpenAI's protocol lacks as vLLM does."""
        server = Misbehaving()
        sampling = Sampling(top_k=20, min_p=0.05, repetition_penalty=1.1, presence_penalty=1.5)

        async def ask() -> None:
            async with listening(server) as url, started(options_for(url, needs_extras=True)) as engine:
                await engine.generate(replace(request_for(0), sampling=sampling))

        asyncio.run(ask())
        (body,) = server.completions
        sent = {name: body[name] for name in ("top_k", "min_p", "repetition_penalty", "presence_penalty")}
        assert sent == {"top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1, "presence_penalty": 1.5}

    @pytest.mark.parametrize("gives_ids", [True, False])
    def test_thoughts_are_told_apart_by_the_servers_tokens(self, *, gives_ids: bool) -> None:
        """The server's token ids give the text and its thought's length, which is unknown where it sends none."""
        tokenizer = byte_level()
        text = "so 4</think>7"
        ids = tokenizer.encode(f"{text}<end>").ids
        given: dict[str, object] = {"token_ids": ids} if gives_ids else {}
        usage = {"prompt_tokens": 3, "completion_tokens": len(ids)}
        server = Misbehaving(faults=(changed(text=text, usage=usage, **given),))
        tags = ThinkTags(opening="<think>", closing="</think>", special=("</think>",), is_open=True)

        async def ask() -> Generation:
            async with listening(server) as url, started(options_for(url), tokens=lambda: Known(tokenizer)) as engine:
                return await engine.generate(replace(request_for(0), think_tags=tags))

        response = asyncio.run(ask()).response
        (body,) = server.completions
        assert (body["return_token_ids"], body["skip_special_tokens"]) == (True, False)
        assert (response.text, response.n_tokens) == (text, len(ids))
        assert response.n_thought_tokens == (len(ids) - 2 if gives_ids else None)

    def test_the_tokenizer_is_loaded_once(self) -> None:
        """Answers that arrive together load the tokenizer once, as two importing threads break each other."""
        tokenizer, loads = byte_level(), []
        ids = tokenizer.encode("so</think>7<end>").ids
        usage = {"prompt_tokens": 3, "completion_tokens": len(ids)}
        server = Misbehaving(faults=(changed(token_ids=ids, usage=usage),))
        tags = ThinkTags(opening="<think>", closing="</think>", is_open=True)

        def load() -> Known:
            loads.append(1)
            time.sleep(0.1)
            return Known(tokenizer)

        async def ask() -> list[Generation]:
            async with listening(server) as url, started(options_for(url), tokens=load) as engine:
                requests = [replace(request_for(number), think_tags=tags) for number in range(8)]
                return list(await asyncio.gather(*map(engine.generate, requests)))

        assert {one.response.n_thought_tokens for one in asyncio.run(ask())} == {len(ids) - 2}
        assert loads == [1]

    def test_a_server_that_cannot_sample_so_is_refused(self) -> None:
        """A server that refuses top-k, min-p or repetition penalty is refused at the start, before any sample."""
        server = Misbehaving(takes_neutral=False)

        async def ask() -> None:
            async with listening(server) as url, started(options_for(url, needs_extras=True)):
                pass

        with pytest.raises(EngineError, match=r"refuses top_k, min_p or repetition_penalty, .*Drop these options"):
            asyncio.run(ask())
        assert server.completions == []

    def test_a_response_that_fills_its_room_is_truncated(self) -> None:
        """A response that fills its room keeps the finish reason LENGTH."""
        server = Misbehaving(
            faults=(changed(finish_reason="length", usage={"prompt_tokens": 3, "completion_tokens": 8}),)
        )

        (generation,) = answers(server)

        assert (generation.response.finish_reason, generation.response.n_tokens) == (FinishReason.LENGTH, 8)

    @pytest.mark.parametrize(
        ("fault", "expected"),
        [
            (changed(finish_reason="content_filter"), "with finish reason 'content_filter'; expected 'stop' or"),
            (changed(finish_reason=None), "with finish reason None; expected 'stop' or 'length'"),
            (
                changed(finish_reason="length", usage={"prompt_tokens": 3, "completion_tokens": 7}),
                "cut smoke/p0/0 off after 7 tokens; expected room for 8",
            ),
            (
                changed(usage={"prompt_tokens": 2, "completion_tokens": 5}),
                "counts 2 tokens in the prompt of smoke/p0/0",
            ),
            (changed(usage=None), "does not say how many tokens it generated"),
            (status(400), "refuses smoke/p0/0: /v1/completions gave status 400: trouble; expected a completion"),
            (status(404), "does not have what it was asked for (/v1/completions gave status 404: trouble)"),
            (status(307, Location="http://elsewhere/"), "answers /v1/completions with status 307"),
        ],
    )
    def test_what_is_no_answer_is_an_error_at_once(self, fault: Fault, expected: str) -> None:
        """A malformed answer ends the run as the engine's failure at once, and is not asked for again."""
        server = Misbehaving(faults=(fault,))

        assert expected in refusal(server)
        assert len(server.completions) == 1


class TestScoring:
    """A prompt's own log-probabilities, where the server has them."""

    @staticmethod
    def scored(server: Misbehaving, prompt: tuple[int, ...] = (94, 97, 98)) -> tuple[float, ...]:
        """Ask for one prompt's scores."""

        async def ask() -> tuple[float, ...]:
            async with listening(server) as url, started(options_for(url)) as engine:
                return await engine.prompt_logprobs(prompt)

        return asyncio.run(ask())

    def test_of_each_token_after_the_first(self) -> None:
        """The server's log-probabilities come back to the last bit, one for each token after the first."""
        assert self.scored(Misbehaving()) == (-97 / 7, -98 / 7)

    @pytest.mark.parametrize("server", [Misbehaving(scores_prompts=False), Misbehaving(takes_ids=False)])
    def test_a_server_without_them_is_refused(self, server: Misbehaving) -> None:
        """A server that leaves them out, or takes text alone, is refused and never counted as the same."""
        with pytest.raises(EngineError, match="gives no log-probabilities of a prompt's tokens; expected"):
            self.scored(server)


class TestRetries:
    @pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
    def test_what_may_pass_is_asked_again_with_the_same_seed(self, fault: Fault) -> None:
        """A passing failure is answered by the same request with the same seed."""
        server = Misbehaving(faults=(fault, fault))

        assert answers(server) == expected_answers(1)
        assert len(server.completions) == 3
        assert all(body == server.completions[0] for body in server.completions)

    def test_many_at_once_all_come_through(self) -> None:
        """Two hundred samples that each fail twice are all answered, and none is lost, doubled or exchanged."""
        server = Misbehaving(faults=(drop, status(500)))

        patience = replace(HASTE, timeout_s=30, patience_s=30)  # on a busy machine two hundred at once take their time
        assert answers(server, 200, patience=patience) == expected_answers(200)
        assert server.seen == {100 + index: 3 for index in range(200)}

    def test_retry_after_holds_everybody_back(self) -> None:
        """A server's Retry-After holds back every request."""
        server = Misbehaving(faults=(status(429, Retry_After="1"),))

        assert answers(server, 2, patience=replace(HASTE, patience_s=2)) == expected_answers(2)
        assert server.times[2] - server.times[1] > 0.9
        assert len(server.completions) == 4

    def test_retry_after_beyond_patience_ends_the_run(self) -> None:
        """A server that asks to wait for longer than the patience ends the run."""
        until = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)

        assert "asks to wait 3" in refusal(Misbehaving(faults=(status(429, Retry_After=until),)))

    def test_one_that_always_fails_ends_the_run(self) -> None:
        """A request that breaks the server is named, however well the server does otherwise."""
        server = Misbehaving(faults=(status(500),) * 10_000)

        message = refusal(server)

        assert "times in a row over 0 s on smoke/p0/0, at last: /v1/completions gave status 500: trouble" in message
        assert len(server.completions) >= HASTE.n_failures


class TestWindow:
    def test_adapts_to_what_the_server_takes(self) -> None:
        """A client with sixty requests adapts to a server that takes five, so most later ones are not turned away."""
        server = Misbehaving(n_at_once=5, delay_s=0.01)

        assert answers(server, 60, patience=replace(HASTE, timeout_s=5, patience_s=5)) == expected_answers(60)
        assert len(server.completions) == 60 + server.n_turned_away
        assert server.n_turned_away < 250  # 330 if all that is left were sent each time: 55 + 50 + ... + 5

    def test_the_pump_sees_it(self) -> None:
        """Fewer requests are claimed from the store when the server is busy, more when it answers."""

        async def limits() -> tuple[int, int, int]:
            server = Misbehaving(faults=(status(429),))
            async with listening(server) as url, started(options_for(url)) as engine:
                first = engine.n_concurrent
                server.faults = ()
                await engine.generate(request_for(0))
                widened = engine.n_concurrent
                server.faults = (status(429),)
                await engine.generate(request_for(1))
                return first, widened, engine.n_concurrent

        assert asyncio.run(limits()) == (256, 257, 128)


class TestOutage:
    def test_a_server_that_comes_back_is_asked_on(self) -> None:
        """All forty requests under way are answered once when the server restarts on its port."""

        async def ask() -> tuple[list[Generation], Misbehaving]:
            first, second = Misbehaving(delay_s=5), Misbehaving()
            patience = replace(HASTE, timeout_s=10, patience_s=10)
            async with listening(first) as url:
                engine = ServerEngine(options_for(url, patience=patience), tokens=Characters)
                await engine.start()
                asking = asyncio.gather(*(engine.generate(request_for(index)) for index in range(40)))
                await under_way(first, 40)
            await asyncio.sleep(0.3)
            async with listening(second, port=int(url.rpartition(":")[2])):
                found = await asking
                await engine.close()
            return found, second

        found, second = asyncio.run(ask())

        assert found == expected_answers(40)
        assert (second.n_looks, second.n_probes, len(second.completions)) == (1, 0, 40)

    def test_a_server_that_stays_away_is_one_clear_error(self) -> None:
        """A server that stays away is one error soon after the patience ends, with what to do."""

        async def ask() -> tuple[str, float]:
            server = Misbehaving(delay_s=5)
            async with listening(server) as url:
                engine = ServerEngine(options_for(url, patience=replace(HASTE, timeout_s=10)), tokens=Characters)
                await engine.start()
                asking = [asyncio.create_task(engine.generate(request_for(index))) for index in range(40)]
                await under_way(server, 40)
                stopping = time.monotonic()
            with pytest.raises(EngineError) as caught:
                await asyncio.gather(*asking)
            seconds = time.monotonic() - stopping
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await engine.close()
            return str(caught.value), seconds

        message, seconds = asyncio.run(ask())

        assert "times in a row over 0 s, at last: /v1/" in message
        assert f"expected an answer from {MODEL}. What was generated is stored" in message
        assert "--r1-engine-arg patience_s=N" in message
        assert HASTE.patience_s <= seconds < 10 * HASTE.patience_s

    @pytest.mark.parametrize(
        "other", [Misbehaving(version="0.33.0"), Misbehaving(models=[{"id": MODEL, "max_model_len": 8192}])]
    )
    def test_another_server_on_the_same_port_is_refused(self, other: Misbehaving) -> None:
        """Another server on the same port is refused, so that samples of two are never mixed."""

        async def ask() -> None:
            async with listening(Misbehaving()) as url:
                engine = ServerEngine(options_for(url), tokens=Characters)
                await engine.start()
            try:
                async with listening(other, port=int(url.rpartition(":")[2])):
                    other.faults = (drop,)
                    await engine.generate(request_for(0))
            finally:
                await engine.close()

        with pytest.raises(EngineError, match="came back as another"):
            asyncio.run(ask())
        assert len(other.completions) <= 1

    def test_closing_ends_every_wait(self) -> None:
        """Ctrl-C does not wait for a server that is gone."""

        async def ask() -> float:
            patience = replace(HASTE, first_pause_s=60, longest_pause_s=60, start_patience_s=60)
            engine = ServerEngine(options_for("http://127.0.0.1:9", patience=patience), tokens=Characters)
            starting = asyncio.create_task(engine.start())
            await asyncio.sleep(0.1)
            begun = time.monotonic()
            await engine.close()
            with pytest.raises(EngineError, match="closed while it waited"):
                await starting
            await engine.close()
            return time.monotonic() - begun

        assert asyncio.run(ask()) < 1


class TestStart:
    def test_vllm_is_known_by_its_version(self) -> None:
        """The version of vLLM names the engine, and what only the server knows is called `server`."""
        expected = EngineIdentity(
            engine="vllm 0.32.0", dtype="server", quantization="server", device="server", n_devices=1
        )
        assert expected == identity_of(Misbehaving())

    @pytest.mark.parametrize(
        ("server", "expected"),
        [
            (Misbehaving(version=None, models=[{"id": MODEL, "owned_by": "sglang"}]), "sglang server"),
            (Misbehaving(version=None, models=[{"id": MODEL}]), "openai-compatible server"),
            (Misbehaving(takes_neutral=False), "vllm 0.32.0 (its own top-k)"),
            (Misbehaving(takes_ids=False), "vllm 0.32.0 (prompts as text)"),
            (Misbehaving(takes_ids=False, adds_first=True), "vllm 0.32.0 (prompts as text)"),
            (Misbehaving(takes_ids=False, takes_neutral=False), "vllm 0.32.0 (prompts as text, its own top-k)"),
        ],
    )
    def test_what_it_takes_is_part_of_its_name(self, server: Misbehaving, expected: str) -> None:
        """The engine's name tells how the server is asked, so results of different ways are compared as such."""
        assert expected == identity_of(server).engine

    def test_nobody_there(self) -> None:
        """A mistyped URL is refused at the start, with the option to check."""

        async def ask() -> None:
            async with started(options_for("http://127.0.0.1:9")):
                pass

        with pytest.raises(EngineError) as caught:
            asyncio.run(ask())

        assert "the server at http://127.0.0.1:9 failed" in str(caught.value)
        assert "Check --r1-server-url, and that the server is up" in str(caught.value)

    @pytest.mark.parametrize(
        ("models", "expected"),
        [
            ([], "serves no model; expected 'org/model'"),
            ([{"id": "org/other"}], "serves 'org/other'; expected 'org/model'"),
            ([{"id": "prod", "root": "/ckpt/other"}], "serves 'prod' (from /ckpt/other); expected 'org/model'"),
            ([{"id": "one"}, {"id": "two"}], "serves 'one', 'two'; expected 'org/model'"),
            ([{"id": MODEL, "max_model_len": 2048}], "has 2048 tokens for prompt and response together; expected 4096"),
        ],
    )
    def test_another_model_is_refused_before_any_sample(self, models: list[dict[str, object]], expected: str) -> None:
        """A server of another model, or with too small a context, is refused before any sample."""
        server = Misbehaving(models=models)

        assert expected in refusal(server)
        assert (server.n_probes, server.completions) == (0, [])

    @pytest.mark.parametrize(
        ("models", "expected"),
        [
            ([{"id": "other"}, {"id": MODEL}], MODEL),
            ([{"id": "adapter"}, {"id": "prod", "root": "/models/model"}], "prod"),
            ([{"id": "prod"}], "prod"),
            ([{"id": "prod", "root": "/elsewhere/Model"}], "prod"),
            ([{"id": "/cache/models--org--model/snapshots/0a1b"}], "/cache/models--org--model/snapshots/0a1b"),
        ],
    )
    def test_the_model_is_asked_for_under_the_servers_name(
        self, models: list[dict[str, object]], expected: str
    ) -> None:
        """The model is asked for by its own name, its folder, or the only name that the server has."""
        server = Misbehaving(models=models)
        answers(server)

        assert [expected] == [body["model"] for body in server.completions]

    @pytest.mark.parametrize(
        ("path", "expected"), [("/nothing", "does not have what it was asked for"), ("/v1/models", "status 404")]
    )
    def test_something_else_listens_there(self, path: str, expected: str) -> None:
        """A web server that does not serve completions is refused."""

        async def ask() -> None:
            async with listening(Misbehaving()) as url, started(options_for(url + path)):
                pass

        with pytest.raises(EngineError, match=expected):
            asyncio.run(ask())


class TestText:
    """Servers that take no ids get the text that has these ids."""

    @pytest.mark.parametrize(("adds_first", "expected"), [(False, "^ab"), (True, "ab")])
    def test_is_the_prompt_to_the_token(self, *, adds_first: bool, expected: str) -> None:
        """A prompt sent as text leaves out the first token that the server adds itself."""
        server = Misbehaving(takes_ids=False, adds_first=adds_first)
        answers(server)

        assert [expected] == [body["prompt"] for body in server.completions]

    def test_a_first_token_that_is_not_the_prompts_is_refused(self) -> None:
        """A server that adds another first token than the prompt's is refused before any sample."""
        server = Misbehaving(takes_ids=False, adds_first=True)

        assert "puts a token before it, which the prompt of smoke/p0/0 does not begin with" in refusal(
            server, prompt="ab"
        )
        assert server.completions == []

    def test_a_server_that_counts_otherwise_is_refused(self) -> None:
        """A server that counts more tokens than a prompt has is refused, as it adds a template of its own."""

        class Templated(Misbehaving):
            def answer(self, body: dict[str, object], **changes: object) -> web.Response:
                return super().answer(body | {"prompt": f"User: {body['prompt']}"}, **changes)

        assert "counts 13 tokens in '1 + 1 ='; expected 7" in refusal(Templated(takes_ids=False))

    def test_neither_is_taken(self) -> None:
        """A server that takes neither token ids nor text, one for chat only, is refused."""
        assert "takes neither token ids nor text" in refusal(Misbehaving(takes_ids=False, takes_text=False))


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def shown_of(error: BaseException) -> Iterator[str]:
    """Yield everything that a traceback with locals shows of an error; this file's own frames do know the key."""
    yield from (str(error), repr(error), *map(repr, error.args))
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename != __file__:
            yield from map(repr, frame.f_locals.values())


class TestKey:
    def test_is_sent(self) -> None:
        """The client sends the key, and a server that demands one answers."""
        assert answers(Misbehaving(key=KEY), 3, key=KEY) == expected_answers(3)

    def test_missing_one_is_told(self) -> None:
        """A server that demands a key is refused with the variable to set."""
        message = refusal(Misbehaving(key=KEY))

        assert "refuses a request without a key" in message
        assert "Set R1_SERVER_API_KEY in the environment" in message

    @pytest.mark.parametrize(
        "server",
        [
            Misbehaving(key="another"),
            Misbehaving(faults=(changed(finish_reason="content_filter"),)),
            *(Misbehaving(faults=(fault,) * 10_000) for fault in (drop, status(500), status(400), dawdle, raw("?"))),
        ],
    )
    def test_is_seen_nowhere(self, server: Misbehaving, caplog: pytest.LogCaptureFixture) -> None:
        """The key appears in no error, cause, local variable, repr or log, even if the server repeats it."""
        caplog.set_level("DEBUG")
        with pytest.raises(EngineError) as caught:
            answers(server, key=KEY)

        seen = [text for error in chain_of(caught.value) for text in shown_of(error)]
        assert all(KEY not in text for text in seen)
        assert KEY not in caplog.text
        assert KEY not in repr(options_for("http://localhost", key=KEY))
        assert KEY not in json.dumps(server.completions)

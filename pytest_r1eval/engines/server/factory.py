"""The server engine's factory; it is loaded where aiohttp is missing, and says so only where a server is asked."""

from __future__ import annotations

import os

from pytest_r1eval.config.settings import Settings, chosen_sampling
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.engines.engine import Engine, EngineFactory, EngineParts
from pytest_r1eval.engines.pacing import Patience, patience_from
from pytest_r1eval.engines.server.key import ApiKey
from pytest_r1eval.engines.server.wire import NEUTRAL, extras_of
from pytest_r1eval.errors import EngineError


def _check(settings: Settings) -> None:
    if settings.server_url is None:
        raise EngineError(
            "--r1-engine server needs to know which: expected --r1-server-url URL, as in http://localhost:8000"
        )


def _build(parts: EngineParts) -> Engine:
    """
    Make the engine; workers divide the requests in flight among themselves.

    Raises:
        EngineError: If an engine argument or the key is not what it must be, or aiohttp is missing.
    """
    try:
        from pytest_r1eval.engines.server.client import ServerEngine  # noqa: PLC0415
        from pytest_r1eval.engines.server.options import ServerOptions  # noqa: PLC0415
    except ImportError as error:
        raise EngineError(
            f"--r1-engine server needs aiohttp, which cannot be imported ({error}); install pytest-r1eval[server]"
        ) from error
    from pytest_r1eval.exams.prompts import PromptTokenizer  # noqa: PLC0415 - only where a server is asked

    settings, checkpoint = parts.settings, parts.checkpoint
    n_concurrent = max(1, Patience().max_concurrent // settings.n_workers)
    options = ServerOptions(
        url=settings.server_url or "",
        names=tuple(dict.fromkeys((settings.model, checkpoint.model, checkpoint.name))),
        max_model_length=parts.max_model_length,
        patience=patience_from(settings.engine_args, default=Patience(max_concurrent=n_concurrent)),
        key=ApiKey.from_environment(os.environ),
        needs_extras=sampling_needs_extras(settings, recommended=checkpoint.recommended),
    )
    return ServerEngine(options, tokens=lambda: PromptTokenizer(model=checkpoint.model, revision=checkpoint.revision))


def sampling_needs_extras(settings: Settings, *, recommended: Sampling | None) -> bool:
    """Tell whether a run's sampling is more than OpenAI's protocol has words for."""
    return any(extras_of(chosen_sampling(one, recommended=recommended)) != NEUTRAL for one in settings.each)


FACTORY = EngineFactory(build=_build, check=_check, answering_arguments=frozenset(), scores_prompts=True)

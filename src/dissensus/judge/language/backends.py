"""Where a language model runs, and opening it there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from dissensus.errors import ConfigError, MissingDependencyError
from dissensus.event_loops import run_async
from dissensus.judge.language.messages import BatchBackend, Sampling, ServerBackend
from dissensus.judge.local.load import Dtype
from dissensus.judge.server.capabilities import Api, ServerProfile

BackendName = Literal["local", "server", "vllm"]
TINY = "tiny"
"""The name of a tiny model that is made on the spot (see tiny.py)."""
BACKENDS: tuple[BackendName, ...] = ("local", "server", "vllm")


class BackendConfig(BaseModel):
    """Where a model runs; none of it decides an answer, but for the precision of a model in this process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: BackendName
    device: str | None = None
    """Of ``local``: ``cuda``, ``cpu``, …; this machine's accelerator by default."""
    dtype: Dtype = "auto"
    """Of ``local`` and ``vllm``: that of the weights by default."""
    base_url: str | None = None
    """Of ``server``: such as ``http://127.0.0.1:8000/v1``."""
    api: Api = "chat"
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the server's key."""
    context: PositiveInt | None = None
    """Tokens that the server's model holds, where the server does not say."""
    timeout: PositiveFloat = 300.0
    """Seconds until an answer of the server must be whole."""


def open_backend(
    config: BackendConfig,
    model: str | None,
    *,
    revision: str | None = None,
    exact: bool = False,
    sampling: Sampling | None = None,
    refresh_probe: bool = False,
    patience: float = 600.0,
) -> tuple[BatchBackend | ServerBackend, str]:
    """Load a model, or probe the server that has it; returns it with the model's name.

    Args:
        config: where it runs.
        model: a folder or a Hub id, or the server's name for it; None for a server's only model.
        revision: of the model.
        exact: whether readings are wanted, so that a server that gives none is refused at once.
        sampling: how replies are to be sampled, so that a server that refuses it is refused at once.
        refresh_probe: probe the server even if it is known.
        patience: seconds that a server may be busy while it is probed.

    Raises:
        ConfigError: no model or no address is given.
        InputError: there is no such model.
        JudgeError: the server is not there, refuses the key or cannot do what is wanted.
        MissingDependencyError: an extra is not installed.
    """
    if config.backend == "server":
        profile = probe_server(config, model, refresh=refresh_probe, patience=patience)
        return open_server(config, profile, revision=revision, exact=exact, sampling=sampling)
    if model is None:
        raise ConfigError(f"--judge {config.backend}: no model; give a folder or a Hub id with --model")
    if config.backend == "vllm":
        from dissensus.judge.local.vllm import VllmModel

        return VllmModel(model, revision=revision, dtype=config.dtype), model
    from dissensus.judge.local.transformers import LocalModel

    if model == TINY and not Path(model).exists():
        if importlib.util.find_spec("transformers") is None:
            raise MissingDependencyError("transformers", extra="train", need="--judge local")
        from dissensus.judge.local.tiny import tiny_model

        return LocalModel(str(tiny_model()), device=config.device, dtype=config.dtype), model
    return LocalModel(model, revision=revision, device=config.device, dtype=config.dtype), model


def open_server(
    config: BackendConfig, profile: ServerProfile, *, revision: str | None, exact: bool, sampling: Sampling | None
) -> tuple[ServerBackend, str]:
    """Return a server that was probed (see `open_backend`), ready to be asked."""
    from dissensus.judge.server.backend import Server
    from dissensus.judge.server.http import Endpoint

    if config.context is not None:
        profile = profile.model_copy(update={"context": config.context})
    profile.check(exact=exact, sampling=sampling)
    endpoint = Endpoint(str(config.base_url), key_variable=config.key_variable, timeout=config.timeout)
    return Server(endpoint, profile, revision=revision), profile.model


def probe_server(
    config: BackendConfig, model: str | None, *, refresh: bool = False, patience: float = 600.0
) -> ServerProfile:
    """Find out what a server supports, or read what an earlier probe of it found.

    Raises:
        ConfigError: no address is given.
        JudgeError: the server is not there, or refuses the key or the model.
    """
    from dissensus.judge.server.http import Endpoint
    from dissensus.judge.server.probe import cached_probe
    from dissensus.judge.server.rate_limits import Breaker

    if config.base_url is None:
        raise ConfigError("--judge server: no address; give one such as --base-url http://127.0.0.1:8000/v1")

    def print_notice(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    breaker = Breaker(patience, say=print_notice)

    async def ask() -> ServerProfile:
        async with Endpoint(str(config.base_url), key_variable=config.key_variable, timeout=config.timeout) as endpoint:
            return await cached_probe(endpoint, model, api=config.api, refresh=refresh, breaker=breaker)

    return run_async(ask())

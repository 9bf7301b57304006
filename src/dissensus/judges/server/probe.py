"""Probes of servers: what one really supports is asked once, and parameters that it ignores are found out."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from dissensus.errors import JudgeError
from dissensus.files import write_text
from dissensus.hashing import fingerprint_of
from dissensus.judges.base import JsonObject
from dissensus.judges.language.settings import Api
from dissensus.judges.server.capabilities import ServerProfile
from dissensus.judges.server.failures import ContextExceededError
from dissensus.judges.server.http import Endpoint
from dissensus.judges.server.model_list import models_in
from dissensus.judges.server.probe_checks import Inquiry, alike
from dissensus.judges.server.rate_limits import Breaker
from dissensus.judges.server.retry import AwayError, patiently
from dissensus.text.encoder import default_cache

_VERSION = 3
"""Of what profiles hold: one of another version is probed again."""


async def probe(
    endpoint: Endpoint, model: str | None, *, api: Api = "chat", breaker: Breaker | None = None
) -> ServerProfile:
    """Find out what the server behind an open endpoint supports, with some twenty short requests.

    Args:
        endpoint: open.
        model: as the server calls it; None for the only one that it has.
        api: which path to use.
        breaker: how long the server may be busy; ten minutes by default.

    Raises:
        JudgeError: the server is not there, refuses the key, does not know the model or does not answer.
    """
    model, listing = await find_model(endpoint, model, breaker=breaker)
    profile = ServerProfile(model=model, api=api, fingerprint=_fingerprint(endpoint, model, api, listing))
    return await Inquiry(endpoint, profile, breaker).run(listing)


async def cached_probe(
    endpoint: Endpoint,
    model: str | None,
    *,
    api: Api = "chat",
    refresh: bool = False,
    cache: Path | None = None,
    breaker: Breaker | None = None,
) -> ServerProfile:
    """Return what an earlier probe of the same server found, or probe it.

    The server is the same if its address, what it lists of the model, the way it is asked and its answer to one request
    are. Profiles are kept in the folder ``probes`` of the cache (see `dissensus.text.encoder.default_cache`).
    """
    model, listing = await find_model(endpoint, model, breaker=breaker)
    file = (cache or default_cache()) / "probes" / f"{_fingerprint(endpoint, model, api, listing)}.json"
    if file.is_file() and not refresh:
        try:
            known = ServerProfile.model_validate_json(file.read_text(encoding="utf-8"))
            if alike(known.signature, await Inquiry(endpoint, known, breaker).signature()):
                return known
        except ValidationError:
            file.unlink()  # of another version
    profile = await probe(endpoint, model, api=api, breaker=breaker)
    write_text(file, profile.model_dump_json(indent=2) + "\n")
    return profile


async def find_model(
    endpoint: Endpoint, model: str | None, *, breaker: Breaker | None = None
) -> tuple[str, JsonObject]:
    """Return the model's name and what the server lists of it; the only model where none is named.

    A list that cannot be had is no obstacle where a model is named: whether it is there, an answer tells.

    Raises:
        JudgeError: the server is not there, or has several models and none is named.
    """
    try:
        listed = await patiently(lambda: endpoint.get("models"), breaker)
    except AwayError:
        raise
    except (JudgeError, ContextExceededError) as error:
        if model is not None:
            return model, {}
        raise JudgeError(f"{error}; or name the model with --model, if it is only the list that is missing") from error
    entries = models_in(listed)
    names = ", ".join(list(entries)[:20]) or "none that it lists"
    if model is None:
        if len(entries) == 1:
            return next(iter(entries.items()))
        raise JudgeError(f"{endpoint.base_url}: has {len(entries)} models; choose one with --model: {names}")
    if model in entries:
        return model, entries[model]
    # Google lists "models/gemini-…" and takes either.
    if (longer := next((name for name in entries if name.endswith(f"/{model}")), None)) is not None:
        return model, entries[longer]
    # Some servers load what they are asked for: the list is not the last word, an answer is.
    return model, {"unlisted": names} if entries else {}


def _fingerprint(endpoint: Endpoint, model: str, api: str, listing: JsonObject) -> str:
    """Digest what tells one server from another; times of start are no part of it, configurations are."""
    steady = {key: value for key, value in listing.items() if key not in ("created", "permission")}
    address = urlsplit(endpoint.base_url)
    parts = [_VERSION, address.netloc, address.path, model, api, steady]
    return fingerprint_of(parts)

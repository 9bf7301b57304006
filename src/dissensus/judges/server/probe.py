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
from dissensus.judges.server.probe_checks import Inquiry, alike
from dissensus.judges.server.rate_limits import Breaker
from dissensus.judges.server.retry import AwayError, patiently
from dissensus.places.cache_folder import default_cache

_VERSION = 6
"""Of what profiles hold: one of another version is probed again."""
_PATIENCE = 600.0
"""Seconds that a server may be busy."""


async def cached_probe(
    endpoint: Endpoint,
    model: str | None,
    *,
    api: Api = "chat",
    refresh: bool = False,
    cache: Path | None = None,
    breaker: Breaker | None = None,
) -> ServerProfile:
    """Return what an earlier probe of the same server found, or find it out with some twenty short requests.

    The server is the same if its address, what it lists of the model, the way it is asked and its answer to one request
    are. Profiles are kept in the folder ``probes`` of the cache (see `dissensus.places.cache_folder.default_cache`).

    Args:
        endpoint: open.
        model: as the server calls it; None for the only one that it has.
        api: which path to use.
        refresh: probe it whatever is known.
        cache: another folder for the cache.
        breaker: how long the server may be busy; ten minutes by default.

    Raises:
        JudgeError: the server is not there, refuses the key, does not know the model or does not answer.
    """
    breaker = breaker or Breaker(_PATIENCE)
    model, listing = await _find_model(endpoint, model, breaker)
    # Times of start tell no server from another; configurations do.
    steady = {key: value for key, value in listing.items() if key not in ("created", "permission")}
    address = urlsplit(endpoint.base_url)
    fingerprint = fingerprint_of([_VERSION, address.netloc, address.path, model, api, steady])
    file = (cache or default_cache()) / "probes" / f"{fingerprint}.json"
    if file.is_file() and not refresh:
        try:
            known = ServerProfile.model_validate_json(file.read_text(encoding="utf-8"))
        except ValidationError:  # no profile: it is written anew
            known = None
        if known and alike(known.signature, await Inquiry(endpoint, known, breaker).signature()):
            return known
    plain = ServerProfile(model=model, api=api, fingerprint=fingerprint)
    profile = await Inquiry(endpoint, plain, breaker).run(listing)
    write_text(file, profile.model_dump_json(indent=2) + "\n")
    return profile


async def _find_model(endpoint: Endpoint, model: str | None, breaker: Breaker) -> tuple[str, JsonObject]:
    """Return the model's name and what the server lists of it; the only model where none is named.

    A list that cannot be had is no obstacle where a model is named: whether it is there, an answer tells.
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
    # Google lists "models/gemini-…" and takes either.
    longer = (name for name in entries if name.endswith(f"/{model}"))
    if (known := model if model in entries else next(longer, None)) is not None:
        return model, entries[known]
    # Some servers load what they are asked for: the list is not the last word, an answer is.
    return model, {"unlisted": names} if entries else {}


def models_in(listed: object) -> dict[str, JsonObject]:
    """Read a list of models in the ways that servers write one: bare, or under ``data`` or ``models``.

    >>> list(models_in([{"id": "one"}])), list(models_in({"models": [{"name": "two"}, "three"]}))
    (['one'], ['two', 'three'])
    """
    entries = listed
    if isinstance(listed, dict):
        entries = next((listed[name] for name in ("data", "models", "body") if listed.get(name)), [])
    found: dict[str, JsonObject] = {}
    for entry in entries if isinstance(entries, list) else []:
        values = entry if isinstance(entry, dict) else {"id": entry}
        name = next((values[key] for key in ("id", "name", "model") if values.get(key)), None)
        if isinstance(name, str):
            found[name] = values
    return found

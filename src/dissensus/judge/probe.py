"""Asking a server once what it really honours: parameters that are ignored with a 200 are found out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from dissensus.encoder import default_cache
from dissensus.errors import JudgeError
from dissensus.files import write_text
from dissensus.judge.endpoint import Endpoint
from dissensus.judge.inquiry import Inquiry, alike, patiently
from dissensus.judge.profile import Api, ServerProfile


async def probe(endpoint: Endpoint, model: str | None, *, api: Api = "chat") -> ServerProfile:
    """Find out what the server behind an open endpoint honours, with some twenty short requests.

    Args:
        endpoint: open.
        model: as the server calls it; None for the only one that it has.
        api: which path to use.

    Raises:
        JudgeError: the server is not there, refuses the key, does not know the model or does not answer.
    """
    model, listing = await find_model(endpoint, model)
    profile = ServerProfile(model=model, api=api, fingerprint=_fingerprint(endpoint, model, api, listing))
    return await Inquiry(endpoint, profile).run(listing)


async def cached_probe(
    endpoint: Endpoint, model: str | None, *, api: Api = "chat", refresh: bool = False, cache: Path | None = None
) -> ServerProfile:
    """Return what an earlier probe of the same server found, or probe it.

    The server is the same if its address, what it lists of the model, the way it is asked and its answer to one request
    are. Profiles are kept in the folder ``probes`` of the cache (see `dissensus.encoder.default_cache`).
    """
    model, listing = await find_model(endpoint, model)
    file = (cache or default_cache()) / "probes" / f"{_fingerprint(endpoint, model, api, listing)}.json"
    if file.is_file() and not refresh:
        try:
            known = ServerProfile.model_validate_json(file.read_text(encoding="utf-8"))
            if alike(known.signature, await Inquiry(endpoint, known).signature()):
                return known
        except ValidationError:
            file.unlink()  # of another version
    profile = await probe(endpoint, model, api=api)
    write_text(file, profile.model_dump_json(indent=2) + "\n")
    return profile


async def find_model(endpoint: Endpoint, model: str | None) -> tuple[str, dict[str, Any]]:
    """Return the model's name and what the server lists of it; the only model where none is named.

    Raises:
        JudgeError: the server is not there, or has no such model, or several and none is named.
    """
    try:
        response = await patiently(lambda: endpoint.get("models"))
    except JudgeError as error:
        if model is not None and ("(404)" in str(error) or "status 5" in str(error)):
            return model, {}  # a server without a list, or (transformers serve, offline) with a broken one
        raise
    entries = response.get("data")
    models = [e for e in entries if isinstance(e, dict) and e.get("id")] if isinstance(entries, list) else []
    names = ", ".join(str(entry["id"]) for entry in models[:20])
    if model is None:
        if len(models) == 1:
            return str(models[0]["id"]), models[0]
        raise JudgeError(f"{endpoint.base_url}: has {len(models)} models; choose one with --model: {names}")
    listed = next((entry for entry in models if entry["id"] == model), None)
    if listed is None and models:
        # Some servers load what they are asked for: the list is not the last word, an answer is.
        listed = {"unlisted": names}
    return model, listed or {}


def _fingerprint(endpoint: Endpoint, model: str, api: str, listing: dict[str, Any]) -> str:
    """Digest what tells one server from another; times of start are no part of it, configurations are."""
    steady = {key: value for key, value in listing.items() if key not in ("created", "permission")}
    address = urlsplit(endpoint.base_url)
    parts = [address.netloc, address.path, model, api, steady]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]

"""What servers list of their models, in the ways that they write it."""

from __future__ import annotations

from typing import Any

from dissensus.judges.base import JsonObject

_CONTEXT_NAMES = (
    "loaded_context_length", "max_model_len", "n_ctx", "context_length", "context_window", "max_context_length",
    "max_total_tokens",
)  # fmt: skip
"""Where servers name the context that a model is served with: never ``n_ctx_train``, what it was trained with."""


def models_in(listed: Any) -> dict[str, JsonObject]:
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


def context_in(listing: Any) -> int | None:
    """Find the length of the context in what a server says of a model."""
    places = [listing.get(name) for name in ("top_provider", "meta")] if isinstance(listing, dict) else []
    for place in (*places, listing):
        if not isinstance(place, dict):
            continue
        for name in _CONTEXT_NAMES:
            value = place.get(name)
            if isinstance(value, str) and value.isdigit():
                value = int(value)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None

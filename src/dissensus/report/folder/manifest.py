"""A run's manifest, checked before anything relies on it: it may have been written by anybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_DEEPEST = 40
_LARGEST = 10**30
_Seconds = Annotated[float, Field(ge=0, le=1e12)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Stage(_Part):
    name: str = ""
    fingerprint: str | None = None
    seconds: _Seconds | None = None
    finished: str | None = None
    counts: dict[str, Any] | None = None
    outputs: dict[str, str | None] | None = None


class _Input(_Part):
    path: str
    sha256: str | None = None
    rows: int | None = None


class _Manifest(_Part):
    """What the page relies on; whatever else is there is left alone."""

    name: str | None = None
    title: str | None = None
    created: str | None = None
    git_commit: str | None = None
    command: str | list[str] | None = None
    environment: dict[str, str | int | float | bool | None] | None = None
    inputs: list[_Input] | None = None
    stages: list[_Stage] | None = None
    config: dict[str, Any] | None = None


def check_manifest(value: dict[str, Any]) -> None:
    """Raise ValueError, with the place and what is wrong there, unless a manifest is as dissensus writes one.

    >>> check_manifest({"name": "run", "stages": [{"name": "pairs", "seconds": "long"}]})
    Traceback (most recent call last):
    ValueError: stages.0.seconds: Input should be a valid number
    """
    for place, depth, part in _walk(value):
        if depth > _DEEPEST:
            raise ValueError(f"{place[:60]}…: nested too deeply")
        if isinstance(part, int | float) and not abs(part) <= _LARGEST:
            raise ValueError(f"{place}: is no usable number")
    try:
        _Manifest.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'manifest'}: {first['msg']}") from error


def _walk(value: Any) -> Iterator[tuple[str, int, Any]]:
    """Give every value in it with its place and depth; with a stack of its own, as Python's is soon at its end."""
    waiting = [("", 0, value)]
    while waiting:
        place, depth, part = waiting.pop()
        yield place, depth, part
        inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        waiting += [(f"{place}.{key}"[:200].removeprefix("."), depth + 1, one) for key, one in inner]

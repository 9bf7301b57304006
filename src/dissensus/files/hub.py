"""Rows through Hugging Face ``datasets``: a Hub id, or a folder that ``datasets`` can read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dissensus.errors import InputError, MissingDependencyError
from dissensus.files.reading import Row, format_of

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


def is_hub_id(source: str) -> bool:
    """Whether ``source`` reads as ``org/name`` or ``org/name:config`` and not as a file.

    >>> is_hub_id("org/name"), is_hub_id("org/name:config"), is_hub_id("data/pairs.jsonl"), is_hub_id("a/b/c")
    (True, True, False, False)
    """
    return bool(_HUB_ID.fullmatch(source)) and format_of(source) is None


def read_dataset(source: str, *, split: str | None) -> Iterator[Row]:
    """Stream the rows of a Hub data set (``org/name``, ``org/name:config``) or of a local folder.

    Raises MissingDependencyError without ``datasets``; InputError without a network, for an unknown id, and
    where several splits are there and none is named.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError("datasets", extra="hub", need=f"reading {source}") from error
    from huggingface_hub.errors import HfHubHTTPError

    # The HTTP client under the Hub's library has changed over time; its own base error is a parent of this one.
    failures = (datasets.exceptions.DatasetsError, OSError, ValueError, *HfHubHTTPError.__bases__)

    try:
        data = _one_split(_load(datasets, source, split), source, split)
        for number, values in enumerate(data, start=1):
            yield Row(source, number, dict(values))
    except failures as error:
        raise InputError(_explain(source, error)) from error


def _load(datasets: Any, source: str, split: str | None) -> Any:
    folder = Path(source)
    if any((folder / name).exists() for name in ("state.json", "dataset_dict.json")):  # made by save_to_disk
        return datasets.load_from_disk(source)
    name, _, config = (source, "", "") if folder.exists() else source.partition(":")
    return datasets.load_dataset(name, config or None, split=split, streaming=True)


def _one_split(data: Any, source: str, split: str | None) -> Any:
    if not isinstance(data, Mapping):
        return data
    if split is None and len(data) == 1:
        return next(iter(data.values()))
    if split is None or split not in data:
        found = f"there is no split {split!r}" if split else "there are several splits"
        raise InputError(f"{source}: {found}; name one with --split: {', '.join(data)}")
    return data[split]


def _explain(source: str, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    if Path(source).exists():
        return f"{source}: datasets cannot read this folder ({reason}); name a file instead"
    return f"{source}: cannot be read from the Hub ({reason}); check the id, the split and the network, or name a file"

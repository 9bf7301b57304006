"""Rows through Hugging Face ``datasets``: a Hub id, or a folder that ``datasets`` can read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dissensus.errors import InputError, MissingDependencyError
from dissensus.files.readers import Row, format_of
from dissensus.files.rows.class_labels import classes_of, with_names

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
    return _rows(source, lambda datasets: _one_split(_load(datasets, source, split), source, split))


def read_hub(hub: str, **where: Any) -> Iterator[Row]:
    """Stream rows of a data set on the Hub; ``where`` is given to `datasets.load_dataset`. Raises as `read_dataset`."""
    return _rows(hub, lambda datasets: datasets.load_dataset(hub, streaming=True, **where))


def read_saved(folder: Path, split: str) -> Iterator[Row]:
    """Stream the rows of a split that `datasets` saved with `save_to_disk`; a folder of one split is taken as it."""
    return _rows(str(folder), lambda datasets: _one_split(datasets.load_from_disk(str(folder)), str(folder), split))


def is_saved(folder: Path) -> bool:
    """Whether `datasets` made a folder with `save_to_disk`."""
    return any((folder / name).exists() for name in ("state.json", "dataset_dict.json"))


def commit_of(hub: str, revision: str | None) -> str | None:
    """Ask the Hub for the commit that a revision names now; None where it does not answer."""
    try:
        from huggingface_hub import HfApi

        return HfApi().dataset_info(hub, revision=revision, timeout=10).sha
    except Exception:  # no network, a mirror without the API, a gated set: the commit is a courtesy
        return None


def _rows(source: str, load: Callable[[Any], Any]) -> Iterator[Row]:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError("datasets", extra="hub", need=f"reading {source}") from error
    from huggingface_hub.errors import HfHubHTTPError

    # The HTTP client under the Hub's library has changed over time; its own base error is a parent of this one.
    failures = (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError, *HfHubHTTPError.__bases__)

    try:
        data = load(datasets)
        classes = classes_of(getattr(data, "features", None))
        for number, values in enumerate(data, start=1):
            yield Row(source, number, with_names(dict(values), classes))
    except failures as error:
        raise InputError(_explain(source, error)) from error


def _load(datasets: Any, source: str, split: str | None) -> Any:
    folder = Path(source)
    if is_saved(folder):
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

"""Where the rows of a source lie: in a file, in a folder of files, at Hugging Face ``datasets``, or in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dissensus.errors import InputError, MissingDependencyError
from dissensus.files.dataframes import Table, one_split
from dissensus.files.folders.partitions import is_hidden
from dissensus.files.parts_folder import parts_in
from dissensus.files.readers import SUFFIXES, Fault, Row, format_of, read_rows, read_table
from dissensus.files.rows.class_labels import classes_of, with_names
from dissensus.places.addresses import Address, path_of

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_SPLIT = re.compile(r"(.+)-\d+-of-\d+|(train|test|validation|valid|val|dev|eval)(?:\W.*)?")
_ABOUT = ("dataset_infos.json", "dataset_info.json", "state.json", "metadata.json", "config.json")


def is_hub_id(source: str) -> bool:
    """Whether ``source`` reads as ``org/name`` or ``org/name:config`` and not as a file.

    >>> is_hub_id("org/name"), is_hub_id("org/name:config"), is_hub_id("data/pairs.jsonl"), is_hub_id("a/b/c")
    (True, True, False, False)
    """
    return bool(_HUB_ID.fullmatch(source)) and format_of(source) is None


def is_saved(folder: Path) -> bool:
    """Whether `datasets` made a folder with `save_to_disk`."""
    return any((folder / name).exists() for name in ("state.json", "dataset_dict.json"))


def rows_of(source: str | Path | Table, split: str | None, fault: Fault) -> Iterator[Row]:
    """Stream the rows of a path, a Hub id or a table in memory.

    Raises MissingDependencyError where ``datasets`` is needed and missing; InputError where there is nothing to read,
    and where several splits are there and none is named.
    """
    if isinstance(source, Table):
        yield from source.rows(split)
        return
    path, name = path_of(source), str(source)
    if path.is_dir():
        if is_saved(path):
            if isinstance(path, Address):
                raise InputError(
                    f"{path}: was written by save_to_disk, which is read on this machine alone; copy it here"
                )
            yield from read_saved(path, split)
        elif split is None and parts_in(path):
            yield from read_rows(path, fault)
        elif files := _files_of(path):
            yield from read_table(_of_split(files, path, split), path, fault)
        elif isinstance(path, Address):
            raise InputError(
                f"{path}: is a folder without files that can be read ({', '.join(SUFFIXES)}); name another"
            )
        else:
            yield from read_hub(name, split=split)
    elif path.exists() or not is_hub_id(name):
        if split is not None:
            raise InputError(f"{source}: a single file has no splits; leave out split={split!r}")
        yield from read_rows(path, fault)
    else:
        hub, _, config = name.partition(":")
        yield from read_hub(hub, name=config or None, split=split)


def _files_of(folder: Path) -> list[Path]:
    """List the files of a folder that hold rows, in the order of their names; those below it where it has none.

    They are read here and not by `datasets`, which decodes texts that look like JSON. Raises InputError where files of
    several formats lie side by side and none is Parquet.
    """
    for found in (folder.glob("*"), folder.rglob("*")):
        files = sorted(
            file
            for file in found
            if format_of(file) is not None and file.name not in _ABOUT and file.is_file()
            if not any(part.startswith(".") for part in file.relative_to(folder).parts)
            if not (format_of(file) == "parquet" and is_hidden(file, folder))
        )
        forms = {(format_of(file) or "").partition(".")[0] for file in files}
        kept = "parquet" if "parquet" in forms else min(forms, default="")
        if len(forms) > 1 and kept != "parquet":
            raise InputError(f"{folder}: holds files of several formats ({', '.join(sorted(forms))}); name one file")
        if forms:
            return [file for file in files if (format_of(file) or "").partition(".")[0] == kept]
    return []


def _of_split(files: list[Path], folder: Path, split: str | None) -> list[Path]:
    """Keep the files of one split, told by names such as ``train-00000-of-00002.parquet`` or ``test.jsonl.gz``.

    Where a file's own name says nothing, the folder in which it lies may: ``train/0.jsonl``.
    """
    names: dict[Path, str | None] = {}
    for file in files:
        above = [part for part in file.relative_to(folder).parts[:-1] if "=" not in part]
        stems = (file.name.partition(".")[0], *reversed(above))
        match = next(filter(None, map(_SPLIT.fullmatch, stems)), None)
        names[file] = (match[1] or match[2]) if match else None
    found = sorted({name for name in names.values() if name})
    if split is None and len(found) > 1:
        raise InputError(f"{folder}: there are several splits; name one, split='NAME': {', '.join(found)}")
    if split is not None and split not in found:
        raise InputError(f"{folder}: there is no split {split!r}; found {', '.join(found) or 'none'}")
    return [file for file in files if split is None or names[file] == split]


def read_hub(hub: str, **where: Any) -> Iterator[Row]:
    """Stream rows of a data set on the Hub, or a folder as `datasets` reads it.

    ``where`` is given to `datasets.load_dataset`; without a split, there has to be one alone. Raises as `rows_of`.
    """
    return _rows(hub, where.get("split"), lambda datasets: datasets.load_dataset(hub, streaming=True, **where))


def read_saved(folder: Path, split: str | None) -> Iterator[Row]:
    """Stream the rows of a split that `datasets` saved with `save_to_disk`; a folder of one split is taken as it."""
    return _rows(str(folder), split, lambda datasets: datasets.load_from_disk(str(folder)))


def commit_of(hub: str, revision: str | None) -> str | None:
    """Ask the Hub for the commit that a revision names now; None where it does not answer."""
    try:
        from huggingface_hub import HfApi

        return HfApi().dataset_info(hub, revision=revision, timeout=10).sha
    except Exception:  # no network, a mirror without the API, a gated set: the commit is a courtesy
        return None


def _rows(source: str, split: str | None, load: Callable[[Any], Any]) -> Iterator[Row]:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError("datasets", extra="hub", need=f"reading {source}") from error
    from huggingface_hub.errors import HfHubHTTPError

    # The HTTP client under the Hub's library has changed over time; its own base error is a parent of this one.
    failures = (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError, *HfHubHTTPError.__bases__)
    try:
        data = one_split(load(datasets), source, split)
        classes = classes_of(getattr(data, "features", None))
        for number, values in enumerate(data, start=1):
            yield Row(source, number, with_names(dict(values), classes))
    except failures as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        if Path(source).exists():
            raise InputError(f"{source}: datasets cannot read this folder ({reason}); name a file instead") from error
        raise InputError(
            f"{source}: cannot be read from the Hub ({reason}); check the id, the split and the network, or name a file"
        ) from error

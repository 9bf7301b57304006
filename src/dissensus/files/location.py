"""Where the rows of a source lie: in a file, in a folder of files, at `datasets`, or in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dissensus.errors import InputError
from dissensus.files.dataframes import Table
from dissensus.files.hub import is_hub_id, is_saved, read_dataset
from dissensus.files.readers import Fault, Row, format_of, read_rows

_SPLIT = re.compile(r"(.+)-\d+-of-\d+|(train|test|validation|valid|val|dev|eval)(?:\W.*)?")
_ABOUT = ("dataset_infos.json", "dataset_info.json", "state.json", "metadata.json", "config.json")


def rows_of(source: str | Path | Table, split: str | None, fault: Fault) -> Iterator[Row]:
    """Stream the rows of a path, a Hub id or a table in memory. Raises InputError where there is nothing to read."""
    if isinstance(source, Table):
        yield from source.rows(split)
        return
    path = Path(source)
    if path.is_dir():
        files = [] if is_saved(path) else _files_of(path)
        if not files:
            yield from read_dataset(str(source), split=split)
            return
        for file in _of_split(files, path, split):
            yield from read_rows(file, fault)
    elif path.exists() or not is_hub_id(str(source)):
        if split is not None:
            raise InputError(f"{source}: a single file has no splits; leave out --split")
        yield from read_rows(path, fault)
    else:
        yield from read_dataset(str(source), split=split)


def _files_of(folder: Path) -> list[Path]:
    """List the files of a folder that hold rows, in the order of their names; those below it where it has none.

    They are read here and not by `datasets`, which decodes texts that look like JSON. Raises InputError where files of
    several formats lie side by side and none is Parquet.
    """
    for found in (folder.glob("*"), folder.rglob("*")):
        files = sorted(file for file in found if file.is_file() and _may_hold_rows(file, folder))
        forms = {(format_of(file) or "").partition(".")[0] for file in files}
        kept = "parquet" if "parquet" in forms else min(forms, default="")
        if len(forms) > 1 and kept != "parquet":
            raise InputError(f"{folder}: holds files of several formats ({', '.join(sorted(forms))}); name one file")
        if forms:
            return [file for file in files if (format_of(file) or "").partition(".")[0] == kept]
    return []


def _may_hold_rows(file: Path, folder: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in _below(file, folder))
    return format_of(file) is not None and file.name not in _ABOUT and not is_hidden


def _below(file: Path, folder: Path) -> tuple[str, ...]:
    return file.relative_to(folder).parts


def _of_split(files: list[Path], folder: Path, split: str | None) -> list[Path]:
    """Keep the files of one split, told by names such as ``train-00000-of-00002.parquet`` or ``test.jsonl.gz``.

    Where a file's own name says nothing, the folder in which it lies may: ``train/0.jsonl``.
    """
    stems = {file: [file.name.partition(".")[0], *reversed(_below(file, folder)[:-1])] for file in files}
    matches = {file: next(filter(None, map(_SPLIT.fullmatch, names)), None) for file, names in stems.items()}
    names = {file: (match[1] or match[2]) if match else None for file, match in matches.items()}
    found = sorted({name for name in names.values() if name})
    if split is None and len(found) > 1:
        raise InputError(f"{folder}: there are several splits; name one with --split: {', '.join(found)}")
    if split is not None and split not in found:
        raise InputError(f"{folder}: no split {split!r}; found {', '.join(found) or 'none'}; fix --split")
    return [file for file in files if split is None or names[file] == split]

"""Where the rows of a public data set lie: on the Hub, and in a copy of its repository."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dissensus.errors import InputError
from dissensus.files.location import is_saved, read_hub, read_saved
from dissensus.files.readers import SUFFIXES, Fault, Format, Row, format_of, read_rows

_CONVERTED = "default"
"""Where the Hub's conversion has the rows of all folders of a data set without configs."""
PARQUET = "refs/convert/parquet"
"""The Hub's own conversion of a data set: for those that come as a script, which `datasets` no longer runs."""


@dataclass(frozen=True)
class Table:
    """One table of a data set."""

    split: str
    name: str = ""
    """Tells tables of one split apart that have different columns."""
    config: str | None = None
    data_dir: str | None = None
    files: tuple[str, ...] = ()
    """Where its rows lie in the repository: patterns with ``{split}`` in them; the first that matches counts."""
    lines_in: Format | None = None
    """The format of those files, where their name says otherwise."""
    is_script: bool = False
    """Whether the data set is a script on the Hub, so that the conversion is read."""
    is_optional: bool = False
    """Whether a copy may lack it."""
    hub_split: str | None = None
    """What the split is called on the Hub, where rows of several splits lie in one there."""


def hub_rows(hub: str, table: Table, revision: str | None) -> Iterator[Row]:
    """Stream the rows of a table from the Hub. Raises InputError."""
    if table.is_script:
        files = {table.split: f"{table.config or 'default'}/{table.split}/*.parquet"}
        return read_hub(hub, split=table.split, data_files=files, revision=revision or PARQUET)
    split = table.hub_split or table.split
    return read_hub(hub, split=split, name=table.config, data_dir=table.data_dir, revision=revision)


def folder_rows(
    root: Path, hub: str, name: str, table: Table, fault: Fault, *, alone: bool, whole: bool
) -> Iterator[Row]:
    """Stream the rows of a table from a folder or file.

    ``root`` is a copy of the repository, a mirror with a folder for each data set (by its id on the Hub or its name
    here), a folder of `save_to_disk`, the Hub's Parquet conversion, or, where the table is read ``alone``, a file or a
    folder with a file for each split. ``whole``: the rows of other tables of the split lie in the same place, and are
    wanted with these. Raises InputError where there is nothing; it lists what was looked for.
    """
    if root.is_file():
        if not alone and table.is_optional:
            return
        if not alone:
            raise InputError(
                f"{root}: is one file, but {name} has several tables; give the folder that holds them, or name a part "
                f"that is one table, as in {name}:PART (dissensus pairs --list)"
            )
        yield from read_rows(root, fault, form=_form(root, table))
        return
    if not root.is_dir():
        raise InputError(
            f"{root}: no such folder; give a copy of {hub}, or leave out root={str(root)!r} to read from the Hub"
        )
    folder = _folder(root, hub, name)
    if is_saved(folder):
        yield from read_saved(folder, table.hub_split or table.split)
        return
    tried = [f"{_CONVERTED}/{table.split}/*.parquet"] if whole else list(_patterns(table, alone=alone))
    for pattern in tried:
        files = sorted(path for path in folder.glob(pattern) if path.is_file())
        if files:
            for path in files:
                yield from read_rows(path, fault, form=_form(path, table))
            return
    if not table.is_optional:
        raise InputError(
            f"{folder}: no {table.split} rows of {name}; looked for {', '.join(tried)}; copy the repository {hub} there"
        )


def is_whole(root: Path, hub: str, name: str, table: Table) -> bool:
    """Tell whether all rows of a split lie in one place there: a folder of `save_to_disk`, or the Hub's conversion."""
    folder = _folder(root, hub, name)
    return is_saved(folder) or (
        table.data_dir is not None and any(folder.glob(f"{_CONVERTED}/{table.split}/*.parquet"))
    )


def _folder(root: Path, hub: str, name: str) -> Path:
    return next((path for path in (root / hub, root / hub.partition("/")[2], root / name) if path.is_dir()), root)


def _form(path: Path, table: Table) -> Format | None:
    form = format_of(path)
    if table.lines_in is None or form is None or not form.startswith("json"):
        return None
    return table.lines_in if form == "json" else form


def _patterns(table: Table, *, alone: bool) -> Iterator[str]:
    yield from (pattern.replace("{split}", table.split) for pattern in table.files)
    part = table.data_dir or table.config or "default"
    for folder in (f"{part}/", *(("data/", "") if alone else ())):
        yield f"{folder}{table.split}/*.parquet"
        yield f"{folder}{table.split}-*.parquet"
        yield from (f"{folder}{table.split}{suffix}" for suffix in SUFFIXES)

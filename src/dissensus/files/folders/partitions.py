"""A folder of Parquet files read as one table: flat, or partitioned as Spark and Hive do, in folders key=value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dissensus.errors import InputError

_WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)
_HIDDEN = (".", "_")
"""What Spark, Hive and Arrow begin the names of files and folders with that hold no rows."""


def is_hidden(file: Path, folder: Path) -> bool:
    """Tell whether a Parquet file below a folder, or a folder on the way to it, is none of the table."""
    return any(part.startswith(_HIDDEN) and "=" not in part for part in file.relative_to(folder).parts)


def parquet_files(folder: Path) -> list[Path]:
    """List the Parquet files of a folder and below, in the order of their names."""
    files = (file for file in folder.rglob("*") if file.name.lower().endswith(".parquet"))
    return sorted(file for file in files if not is_hidden(file, folder) and file.is_file())


def keys_of(files: Sequence[Path], folder: Path) -> list[dict[str, Any]]:
    """Return the columns that the folders above each file give it, as ``key=value``.

    All values of a key are numbers, or they are texts; ``__HIVE_DEFAULT_PARTITION__`` is null. Raises InputError where
    some files lie in folders of other keys than others.
    """
    below = [file.relative_to(folder).parts[:-1] for file in files]
    given = [[part for part in parts if "=" in part] for parts in below]
    names = [[part.partition("=")[0] for part in parts] for parts in given]
    if other := next((n for n, keys in enumerate(names) if keys != names[0]), None):
        found, first = ("/".join(keys) or "none" for keys in (names[other], names[0]))
        raise InputError(
            f"{files[other]}: lies below the keys {found}, where {files[0]} has {first}; put the files of one table "
            "into folders of the same keys"
        )
    if not names or not names[0]:
        return [{} for _ in files]
    import pyarrow as pa
    import pyarrow.dataset as pads

    # As text first: Arrow infers types where it opens all files, which here are opened one by one.
    schema = pa.schema([(name, pa.string()) for name in names[0]])
    parse = pads.partitioning(schema, flavor="hive").parse
    keys = [pads.get_partition_keys(parse("/".join(["", *parts, "rows.parquet"]))) for parts in given]
    whole = {name for name in names[0] if all(_is_whole(one.get(name)) for one in keys)}
    return [{name: _value(one.get(name), is_whole=name in whole) for name in names[0]} for one in keys]


def _is_whole(text: str | None) -> bool:
    return text is None or _WHOLE.fullmatch(text) is not None


def _value(text: str | None, *, is_whole: bool) -> str | int | None:
    return int(text) if is_whole and text is not None else text


class OneSchema:
    """Compares the columns of the files of a table with those of the first."""

    def __init__(self) -> None:
        self._first: Any = None
        self._name = ""

    def check(self, file: Path, schema: Any) -> None:
        """Raise InputError where a file has other columns, or a column of a type that does not go with the first's."""
        import pyarrow as pa

        if self._first is None:
            self._first, self._name = schema, str(file)
            return
        ours, theirs = set(self._first.names), set(schema.names)
        if ours != theirs:
            lacking = [f"no column {name!r}" for name in sorted(ours - theirs)]
            more = [f"a column {name!r}" for name in sorted(theirs - ours)]
            raise self._differs(file, "has " + ", ".join(lacking + more))
        for name in schema.names:
            field, other = self._first.field(name), schema.field(name)
            try:
                pa.unify_schemas([pa.schema([field]), pa.schema([other])], promote_options="permissive")
            except pa.ArrowException:
                raise self._differs(file, f"has {name!r} as {other.type}, not {field.type}") from None

    def _differs(self, file: Path, how: str) -> InputError:
        return InputError(f"{file}: {how}, unlike {self._name}; write the files of one folder with the same columns")

"""Whether what is to be written is, by what it is and not by its spelling, something that is read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from dissensus.places.addresses import Address

_BESIDE = ("", "-wal", "-shm", "-journal", ".secret")
"""What belongs to a database lies beside it."""


def is_same(one: Path, other: Path) -> bool:
    """Tell whether two paths are one place: through links, hard links, and names that differ in case alone.

    Where nothing is there yet, names that differ in case alone count as one: on some systems they are.
    """
    if isinstance(one, Address) or isinstance(other, Address):
        return str(one) == str(other)
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there, and so it is no link to the other
        first, second = Path(os.path.realpath(one)), Path(os.path.realpath(other))
        if first.exists() != second.exists():
            return False
        return str(first).casefold() == str(second).casefold()


def lies_in(path: Path, folder: Path) -> bool:
    """Tell whether a path, there already or not, is a folder or lies in it at any depth."""
    if isinstance(path, Address) or isinstance(folder, Address):
        return type(path) is type(folder) and (path == folder or folder in path.parents)
    whole = Path(os.path.realpath(path))
    return any(is_same(parent, folder) for parent in (whole, *whole.parents) if parent.exists())


def would_overwrite(path: Path, read: Iterable[Path]) -> Path | None:
    """Return which of the files and folders that are read a file at ``path`` would change; None where none."""
    for source in read:
        # Of an address nobody asks whether it is a folder: nothing lies in a file.
        if (isinstance(source, Address) or source.is_dir()) and lies_in(path, source):
            return source
        if any(is_same(path, source.with_name(source.name + end)) for end in _BESIDE if source.name):
            return source
    return None

"""What a database of SQLite says of itself in its first bytes, without being opened."""

from __future__ import annotations

from pathlib import Path

_MAGIC = b"SQLite format 3\0"
_HEAD = 100
_APPLICATION = slice(68, 72)


def application_of(path: Path) -> int | None:
    """Read the number of the application that a database is of, 0 where it has none; None for any other file."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    return int.from_bytes(head[_APPLICATION], "big") if head.startswith(_MAGIC) else None

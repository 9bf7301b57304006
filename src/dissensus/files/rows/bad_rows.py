"""Rows that cannot be used: stop at the first with its place and remedy, or drop, count and say so."""

from __future__ import annotations

from pydantic import ValidationError

from dissensus.errors import InputError
from dissensus.files.readers import kind_of


class Faults:
    """Told of each bad row; stops at the first unless ``skip``."""

    def __init__(
        self,
        *,
        skip: bool = False,
        remedy: str = "fix the row, or drop such rows with 'dissensus pairs --skip-invalid'",
    ) -> None:
        self._skip = skip
        self._remedy = remedy
        self.n = 0
        self.first = ""

    def __call__(self, place: str, reason: str) -> None:
        """Count the row, or raise InputError with place, reason and remedy."""
        if not self._skip:
            raise InputError(f"{place}: {reason}; {self._remedy}")
        self.n += 1
        self.first = self.first or f"{place}: {reason}"


def describe(error: ValueError) -> str:
    """Turn an error about a row into one line; of a pydantic report, its first entry.

    >>> describe(ValueError("prompt is empty"))
    'prompt is empty'
    """
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    reason = reason[0].lower() + reason[1:] if first["type"] != "value_error" else reason
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] == "extra_forbidden":
        return f"column {where!r} is unknown"
    return f"{where}: {reason}, found {kind_of(first['input'])}" if where else reason

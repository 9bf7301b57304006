"""What is wrong or remarkable about rows: an error at the first bad one, or counts that are reported at the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pydantic import ValidationError

from dissensus.errors import InputError
from dissensus.files.readers import kind_of

_KINDS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "an object",
    "model": "an object",
}
_BOUNDS = {
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "greater_than": "more than {gt}",
    "less_than": "less than {lt}",
    "too_short": "{min_length} or more entries",
    "too_long": "{max_length} or fewer entries",
    "string_too_short": "text that is not empty",
    "string_too_long": "text of {max_length} characters or fewer",
    "string_pattern_mismatch": "text that matches {pattern}",
    "literal_error": "{expected}",
}


@dataclass
class Notes:
    """What is worth a note about the rows of one source, reported once when all are read."""

    unused: set[str] = field(default_factory=set)
    """Keys of single votes and chat messages that are not read."""
    counts: Counter[str] = field(default_factory=Counter)
    """Other things by their words, with how often they came."""

    def count(self, what: str) -> None:
        """Count something once more."""
        self.counts[what] += 1


class Faults:
    """Told of each bad row; stops at the first unless ``skip``."""

    def __init__(
        self, *, skip: bool = False, remedy: str = "fix the row, or drop such rows with skip_invalid=True"
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
    """Turn an error about a row into one line; of a pydantic report, its first entry in our words.

    >>> describe(ValueError("prompt is empty"))
    'prompt is empty'
    """
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    kind, where = first["type"], ".".join(str(part) for part in first["loc"])
    if kind == "missing":
        return f"{where} is missing"
    if kind == "extra_forbidden":
        return f"column {where!r} is unknown"
    if kind in _BOUNDS:
        expected = _BOUNDS[kind].format(**first["ctx"])
    elif kind.partition("_")[0] in _KINDS:
        expected = _KINDS[kind.partition("_")[0]]
    else:
        reason = first["msg"].removeprefix("Value error, ")
        return f"{where}: {reason}, found {kind_of(first['input'])}" if where else reason
    return f"{where or 'it'} is {kind_of(first['input'])}; expected {expected}"

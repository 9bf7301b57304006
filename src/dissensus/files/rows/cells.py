"""Cells of a row, by themselves: names, flags, whole numbers, and lists and objects that stand as text."""

from __future__ import annotations

import ast
import re
import warnings
from contextlib import suppress
from typing import Any

from dissensus.files.readers import decode_json, kind_of
from dissensus.files.rows.bad_rows import Notes
from dissensus.files.rows.columns import PAIR_COLUMNS, leave_alone

_LARGEST_CELL = 4_000_000
_LITERAL = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_GAP = re.compile(rf"({_LITERAL})(\s+(?=['\"]))?|\}}\s+\{{", re.DOTALL)
"""Strings of Python, and where numpy prints two strings or objects with nothing but a space between them."""
FRACTION = re.compile(r"[+-]?\d+(?:\.\d+)?")
_EXACT = 2**53
"""From here on a float is no exact whole number."""


def is_blank(value: Any) -> bool:
    """Whether a value says nothing."""
    return value is None or (isinstance(value, str) and not value.strip())


def bare_number(value: Any) -> float | None:
    """Return the number that a value is, or that a cell has as text; None for anything else.

    >>> bare_number("1"), bare_number(0.5), bare_number("answer_1"), bare_number(True)
    (1.0, 0.5, None, None)
    """
    if isinstance(value, str):
        return float(value) if FRACTION.fullmatch(value.strip()) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, of either type."""
    return type(value) is int or (isinstance(value, float) and value.is_integer())


def name_of(value: Any, column: str, notes: Notes | None = None) -> str | None:
    """Read a name: text, or a whole number as text (``1.0`` as 1); empty is None. Raises ValueError."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return unicode_of(value, column)
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        if notes is not None:
            notes.count(f"values of {column} were whole numbers with a point, read without it: 1.0 as 1")
        return str(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    ours = column.partition("[")[0]
    remedy = f"; {leave_alone(ours)}" if ours in PAIR_COLUMNS else ""
    raise ValueError(f"{column} is {kind_of(value)}; expected text{remedy}")


def flag_of(value: Any, column: str) -> bool | None:
    """Read true or false, also as a CSV has it; empty is None. Raises ValueError."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):  # a CSV cell
        return value.lower() == "true"
    raise ValueError(f"{column} is {kind_of(value)}; expected true, false or nothing; {leave_alone(column)}")


def unicode_of(text: str, column: str) -> str:
    """Refuse half a surrogate pair, which JSON can escape and UTF-8 cannot hold. Raises ValueError."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{column} holds half a character (\\u{ord(text[error.start]):04x})") from error
    return text


def decode_cell(text: str) -> Any:
    """Decode a list or object written as JSON or as Python prints it, and nothing else; None where it is neither.

    Nothing is executed: only literals are read, and only up to four million characters.
    """
    if text.lstrip()[:1] not in ("[", "{") or len(text) > _LARGEST_CELL:
        return None
    with suppress(ValueError):
        return decode_json(text)
    if "'" not in text and '"' not in text:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know
            found = ast.literal_eval(_GAP.sub(_with_comma, text.strip()))
            return list(found) if isinstance(found, tuple) else found
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _with_comma(match: re.Match[str]) -> str:
    if match[1] is None:
        return "}, {"
    return f"{match[1]}, " if match[2] else match[1]

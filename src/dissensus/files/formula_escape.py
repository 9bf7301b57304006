"""Cells of a CSV that a spreadsheet would run as formulas: escaped with a quote, and read back as they were.

A last column names the escaped cells of each row, so a text that itself begins with a quote is no riddle, and files
without that column are read as they stand. Names are set apart by blanks; where one has blanks itself, as in the tables
of a report, they are a JSON list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dissensus.files.readers import Values

ESCAPED = "escaped_cells"
_RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")


def escape_cells(cells: Sequence[Any], columns: Sequence[str]) -> list[Any]:
    """Escape the texts that need it, and append the names of their columns.

    >>> escape_cells(["=1+1", -1, "no"], ["prompt", "votes_a", "note"])
    ["'=1+1", -1, 'no', 'prompt']
    """
    is_run = [isinstance(cell, str) and cell.startswith(_RUN_BY_SPREADSHEETS) for cell in cells]
    named = [column for column, escaped in zip(columns, is_run, strict=True) if escaped]
    listed = json.dumps(named, ensure_ascii=False) if any(" " in name for name in named) else " ".join(named)
    return [f"'{cell}" if escaped else cell for cell, escaped in zip(cells, is_run, strict=True)] + [listed]


def restore_cells(values: Mapping[str, Any]) -> Values:
    """Undo `escape_cells` in a row that was read.

    >>> restore_cells({"prompt": "'=1+1", "note": "'t is", "escaped_cells": "prompt"})
    {'prompt': '=1+1', 'note': "'t is"}
    """
    listed = values[ESCAPED] or ""
    escaped = listed.split(" ")
    with suppress(ValueError):
        escaped = json.loads(listed) if listed.startswith("[") else escaped
    return {
        name: value[1:] if name in escaped and isinstance(value, str) and value.startswith("'") else value
        for name, value in values.items()
        if name != ESCAPED
    }

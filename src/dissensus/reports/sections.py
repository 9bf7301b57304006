"""Which sections a run's part of the page has, in their order: what its list of contents names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BEFORE = (("summary", "Summary"), ("pairs", "Pairs"))
"""Sections that stand before the tables by group."""
_BEHIND = (
    ("forest", "Differences"),
    ("calibration", "Reliability"),
    ("margins", "Margins"),
    ("judges", "Judges"),
    ("training", "Training"),
    ("metrics", "All metrics"),
    ("seeds", "Seeds"),
    ("data", "Data"),
    ("agreement", "Agreement"),
    ("notes", "Notes"),
    ("made", "How it was made"),
)


def contents(part: Mapping[str, Any]) -> dict[str, str]:
    """List the sections that there is something for: their keys to short titles."""
    figures, tables, card = part["figures"], part["tables"], part["card"]
    there = {
        "summary": part["summary"] is not None,
        "pairs": part["view"] is not None,
        **{key: bool(figures.get(key)) for key in ("forest", "calibration", "margins", "training")},
        "judges": bool(part["run"].judged.judges),
        "metrics": bool(part["scores"].models),
        "seeds": bool(part["seeds"]),
        "data": card is not None,
        "agreement": card is not None and bool(card.coefficients),
        "notes": bool(part["notes"].all),
        "made": True,
    }
    before, behind = ({key: title for key, title in some if there[key]} for some in (_BEFORE, _BEHIND))
    return {**before, **{table.metric: table.title for table in tables}, **behind}

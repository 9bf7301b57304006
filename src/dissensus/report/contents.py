"""Which sections a run's part of the page has, in their order: what its list of contents names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SECTIONS = (
    ("summary", "Summary"),
    ("pairs", "Pairs"),
    ("pearson", "Pearson r"),
    ("l1", "L1"),
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
    figures, tables, card = part["figures"], {table.metric for table in part["tables"]}, part["card"]
    there = {
        "summary": part["summary"] is not None,
        "pairs": part["view"] is not None,
        "pearson": "pearson" in tables,
        "l1": "l1" in tables,
        **{key: bool(figures.get(key)) for key in ("forest", "calibration", "margins", "training")},
        "judges": bool(part["run"].judged.judges),
        "metrics": bool(part["scores"].models),
        "seeds": bool(part["seeds"]),
        "data": card is not None,
        "agreement": card is not None and bool(card.coefficients),
        "notes": bool(part["notes"].all),
        "made": True,
    }
    return {key: title for key, title in _SECTIONS if there[key]}

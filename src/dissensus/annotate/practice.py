"""The practice round, the guide and the pairs of the demo, all of our own making."""

from __future__ import annotations

import json
from pathlib import Path

from dissensus.annotate.project.sides import KnownAnswer
from dissensus.annotate.web.markdown import render
from dissensus.files.readers import Values
from dissensus.records import Pair

_CONTENT = Path(__file__).parent / "content"


def practice_pairs() -> tuple[list[Pair], dict[str, KnownAnswer]]:
    """Return the practice pairs, and what is right about each, by pair id."""
    pairs: list[Pair] = []
    known: dict[str, KnownAnswer] = {}
    for row in _rows("practice.jsonl"):
        answer = KnownAnswer.model_validate(row.pop("known"))
        pair = Pair.model_validate(row)
        pairs.append(pair)
        known[pair.id] = answer
    return pairs, known


def demo_pairs() -> list[Pair]:
    """Return made-up pairs of many kinds: prose, code, tables, chats, long texts, other scripts."""
    return [Pair.model_validate(row) for row in _rows("demo.jsonl")]


def guide(text: str) -> str:
    """Return the guide as HTML: the project's own Markdown, or ours where that is empty."""
    return render(text.strip() or (_CONTENT / "guide.md").read_text(encoding="utf-8"))


def _rows(name: str) -> list[Values]:
    return [json.loads(line) for line in (_CONTENT / name).read_text(encoding="utf-8").splitlines()]

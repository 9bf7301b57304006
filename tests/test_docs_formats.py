"""Every example of a row that the pages show is read as what they say it is."""

import json
import re
from pathlib import Path

import pytest

from dissensus import records
from dissensus.files import read_pairs
from dissensus.judge.published import read_published

from .docs_pages import DOCS

PAGE = DOCS / "formats.md"


def _examples() -> list[tuple[str, str]]:
    return re.findall(r'^```json title="([^"]+)"\n(.*?)^```$', PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)


def _rows(text: str) -> list[dict]:
    decoder, rows, at = json.JSONDecoder(), [], 0
    while at < len(text):
        row, end = decoder.raw_decode(text, at)
        rows.append(row)
        at = end + re.match(r"\s*", text[end:]).end()
    return rows


EXAMPLES = _examples()


def test_every_example_has_a_title():
    assert PAGE.read_text(encoding="utf-8").count("```json") == len(EXAMPLES) >= 15


@pytest.mark.parametrize(("kind", "text"), EXAMPLES, ids=[kind for kind, _ in EXAMPLES])
def test_an_example_is_read(kind: str, text: str, tmp_path: Path):
    rows = _rows(text)
    if kind == "log":
        assert rows[0].keys() == {"step", "epoch", "loss", "nll", "accuracy", "learning_rate"}
    elif kind == "pairs":
        pairs = list(read_pairs(rows, notice=lambda _: None))
        assert [pair.votes is not None for pair in pairs] == [any("votes" in name for name in row) for row in rows]
    elif kind == "rows of annotators":
        [pair] = read_pairs(rows, annotator="worker", votes=["choice"], notice=lambda _: None)
        assert [vote.annotator for vote in pair.votes.annotations] == ["ada", "bob"]
    elif kind.startswith("verdicts"):
        file = tmp_path / "verdicts.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        pair = records.Pair(
            id="hamlet-1", prompt="Who wrote Hamlet?", response_a="William Shakespeare.", response_b="I cannot say."
        )
        assert read_published(file, [pair])
    else:
        for row in rows:
            record = getattr(records, kind).model_validate(row)
            assert set(row) == set(record.model_dump()), "the example shows every field"

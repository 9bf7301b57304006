"""Every example of a row that the pages show is read as what they say it is."""

import json
import re
from pathlib import Path

import pytest

from dissensus import records
from dissensus.files import read_pairs
from dissensus.judges.published import read_published
from dissensus.reward.training.run_identity import TrainSummary

from .docs_pages import DOCS

TEXTS = {name: (DOCS / name).read_text(encoding="utf-8") for name in ("formats.md", "training.md", "cookbook/trl.md")}


def _examples() -> list[tuple[str, str]]:
    return re.findall(r'^```json title="([^"]+)"\n(.*?)^```$', "".join(TEXTS.values()), flags=re.M | re.S)


def _rows(text: str) -> list[dict]:
    decoder, rows, at = json.JSONDecoder(), [], 0
    while at < len(text):
        row, end = decoder.raw_decode(text, at)
        rows.append(row)
        at = end + re.match(r"\s*", text[end:]).end()
    return rows


EXAMPLES = _examples()


def test_every_example_has_a_title():
    assert "".join(TEXTS.values()).count("```json") == len(EXAMPLES) >= 20


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


def test_a_row_of_trl_becomes_the_one_that_is_shown():
    theirs, ours = (_rows(text) for kind, text in _examples_of("cookbook/trl.md"))
    [pair] = read_pairs(theirs, notice=lambda _: None)
    assert pair.model_dump(include=ours[0].keys()) == ours[0]


def _examples_of(page: str) -> list[tuple[str, str]]:
    return [one for one in EXAMPLES if one[1] in TEXTS[page]][-2:]


def test_every_quantity_of_a_run_is_explained():
    summary = set(TrainSummary.model_fields)
    logged = {name for kind, text in EXAMPLES if kind == "log" for row in _rows(text) for name in row}
    explained = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| .*", TEXTS["training.md"], flags=re.M))))
    assert summary | logged <= explained

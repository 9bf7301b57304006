"""Dahoas/synthetic-instruct-gptj-pairwise: a stronger and a weaker model's answer; the stronger one is chosen.

No person chose: the label is the model that wrote the answer. Which response is a is a matter of their hash.
"""

from __future__ import annotations

from collections.abc import Iterator

from dissensus.files.source import Labelled
from dissensus.sources.public_set import Source, one_table
from dissensus.sources.row_reader import Reading, SourceRow


class _Comparison(SourceRow):
    prompt: str
    chosen: str
    rejected: str


def read(reading: Reading) -> Iterator[Labelled]:
    """Read comparisons; spaces at the edges stay."""
    for row, found in reading.rows(_Comparison):
        if any(text != text.strip() for text in (found.prompt, found.chosen, found.rejected)):
            reading.count("rows with space at the edges of a text")
        yield from reading.oriented(row, (found.prompt, found.chosen, found.rejected))


SOURCES = (
    Source(
        name="synthetic-instruct",
        hub="Dahoas/synthetic-instruct-gptj-pairwise",
        what="instructions answered by a stronger and a weaker model",
        rows="train 33,143",
        licence="none stated",
        votes="nobody: the stronger model is the chosen one",
        parts={"comparisons": one_table(read, "train")},
        paper="in",
        sizes={"train": 33143},
    ),
)

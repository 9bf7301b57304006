"""Dahoas/synthetic-instruct-gptj-pairwise: a stronger and a weaker model's answer; the stronger one is chosen.

No person chose: the label is the model that wrote the answer. Which response is a is a matter of their hash.
"""

from __future__ import annotations

from collections.abc import Iterator

from dissensus.files.trl import orient
from dissensus.sources.row_reader import Labelled, Reading, SourceRow


class Comparison(SourceRow):
    """A row."""

    prompt: str
    chosen: str
    rejected: str


def read(reading: Reading) -> Iterator[Labelled]:
    """Read comparisons; spaces at the edges stay."""
    for row, found in reading.rows(Comparison):
        texts = (found.prompt, found.chosen, found.rejected)
        if any(text != text.strip() for text in texts):
            reading.count("rows with space at the edges of a text")
        a, b, label = orient(*texts)
        pair = reading.pair(row, prompt=found.prompt, a=a, b=b, label=label)
        if pair is not None and reading.fresh(pair):
            yield pair, None

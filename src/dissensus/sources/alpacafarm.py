"""tatsu-lab/alpaca_eval, alpaca_farm_human_crossannotations: about 650 pairs with the votes of four people each."""

from __future__ import annotations

from collections.abc import Iterator

from dissensus.records import Label, Vote
from dissensus.sources.row_reader import Labelled, Reading, SourceRow, merge_votes, votes_of

_SIDES: dict[float, Label] = {1: "a", 1.5: "tie", 2: "b"}


class Annotation(SourceRow):
    """One person's choice; 1.5 is a draw."""

    instruction: str
    output_1: str
    output_2: str
    preference: float
    annotator_index: int


def read(reading: Reading) -> Iterator[Labelled]:
    """Read annotations, one pair of all the votes on the same two outputs."""
    return merge_votes(_annotations(reading), reading)


def _annotations(reading: Reading) -> Iterator[Labelled]:
    for row, found in reading.rows(Annotation):
        label = _SIDES.get(found.preference)
        if label is None:
            reading.fault(row.place, f"preference is {found.preference:g}; expected 1, 2, or 1.5 for a draw")
            continue
        pair = reading.pair(
            row,
            prompt=found.instruction,
            a=found.output_1,
            b=found.output_2,
            label=label,
            votes=votes_of([Vote(annotator=str(found.annotator_index), vote=label)]),
        )
        if pair is not None:
            yield pair, None

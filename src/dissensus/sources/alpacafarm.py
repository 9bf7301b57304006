"""tatsu-lab/alpaca_eval, alpaca_farm_human_crossannotations: about 650 pairs with the votes of four people each."""

from __future__ import annotations

from collections.abc import Iterator

from dissensus.files.source import Labelled
from dissensus.records import Label
from dissensus.sources.public_set import Source, one_table
from dissensus.sources.row_reader import Reading, SourceRow, one_vote

_SIDES: dict[float, Label] = {1: "a", 1.5: "tie", 2: "b"}


class _Annotation(SourceRow):
    instruction: str
    output_1: str
    output_2: str
    preference: float
    annotator_index: int


def read(reading: Reading) -> Iterator[Labelled]:
    """Read annotations, each a vote on two outputs."""
    for row, found in reading.rows(_Annotation):
        label = _SIDES.get(found.preference)
        if label is None:
            reading.fault(row.place, f"preference is {found.preference:g}; expected 1, 2, or 1.5 for a draw")
            continue
        yield from reading.pair(
            row,
            (found.instruction, found.output_1, found.output_2),
            label=label,
            votes=one_vote(label, str(found.annotator_index)),
        )


SOURCES = (
    Source(
        name="alpacafarm",
        hub="tatsu-lab/alpaca_eval",
        what="instructions answered by two models; the human cross-annotations of AlpacaFarm",
        rows="validation ~2,500 votes on ~650 pairs",
        licence="CC BY-NC 4.0 (from memory)",
        votes="4 people by number",
        parts={
            "crossannotations": one_table(
                read,
                "validation",
                has_people=True,
                config="alpaca_farm_human_crossannotations",
                files=("alpaca_farm_human_crossannotations.json",),
                is_script=True,
            )
        },
    ),
)

"""allenai/multipref: two normal and two expert crowdworkers say which completion is better, in five steps."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Literal

from dissensus.records import Annotator, Margin, Vote
from dissensus.sources.row_reader import Labelled, Reading, SourceRow, majority, merge_votes, side_of, votes_of

_STRENGTHS = {
    "A-is-clearly-better": 2,
    "A-is-slightly-better": 1,
    "Tie": 0,
    "B-is-slightly-better": -1,
    "B-is-clearly-better": -2,
}


class Annotation(SourceRow):
    """One worker's overall preference."""

    evaluator: str
    overall_pref: Literal[
        "A-is-clearly-better", "A-is-slightly-better", "Tie", "B-is-slightly-better", "B-is-clearly-better"
    ]


class Comparison(SourceRow):
    """A row."""

    comparison_id: str
    prompt_id: str
    text: str
    completion_a: str
    completion_b: str
    category: str | None = None
    normal_worker_annotations: list[Annotation]
    expert_worker_annotations: list[Annotation]


def read(reading: Reading) -> Iterator[Labelled]:
    """Read comparisons with all four votes; annotators have the attribute ``worker``: normal or expert.

    The label is the majority's, the margin the size of the mean of the steps over 2.
    """
    return merge_votes(_comparisons(reading), reading)


def _comparisons(reading: Reading) -> Iterator[Labelled]:
    for row, found in reading.rows(Comparison):
        kinds = {"normal": found.normal_worker_annotations, "expert": found.expert_worker_annotations}
        said = [
            Vote(annotator=a.evaluator, vote=side_of(_STRENGTHS[a.overall_pref])) for k in kinds.values() for a in k
        ]
        votes = votes_of(said)
        if votes is None:
            reading.count("dropped: a comparison that nobody annotated")
            continue
        pair = reading.pair(
            row,
            prompt=found.text,
            a=found.completion_a,
            b=found.completion_b,
            label=majority(votes),
            votes=votes,
            source_id=found.comparison_id,
            category=found.category,
            group=f"multipref:{found.prompt_id}",
        )
        if pair is None:
            continue
        for kind, workers in kinds.items():
            for a in workers:
                if not reading.annotators[a.evaluator].attributes:
                    reading.annotators[a.evaluator] = Annotator(id=a.evaluator, attributes={"worker": kind})
        strength = fmean(_STRENGTHS[a.overall_pref] for k in kinds.values() for a in k)
        yield pair, Margin(pair_id=pair.id, margin=abs(strength) / 2)

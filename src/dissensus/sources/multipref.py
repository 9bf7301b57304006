"""allenai/multipref: two normal and two expert crowdworkers say which completion is better, in five steps."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Literal

from dissensus.files.rows.merge import majority, votes_of
from dissensus.files.source import Labelled
from dissensus.records import Annotator, Vote
from dissensus.sources.public_set import Source, one_table
from dissensus.sources.row_reader import Reading, SourceRow, side_of

_STRENGTHS = {
    "A-is-clearly-better": 2,
    "A-is-slightly-better": 1,
    "Tie": 0,
    "B-is-slightly-better": -1,
    "B-is-clearly-better": -2,
}


class _Annotation(SourceRow):
    evaluator: str
    overall_pref: Literal[
        "A-is-clearly-better", "A-is-slightly-better", "Tie", "B-is-slightly-better", "B-is-clearly-better"
    ]


class _Comparison(SourceRow):
    comparison_id: str
    prompt_id: str
    text: str
    completion_a: str
    completion_b: str
    category: str | None = None
    normal_worker_annotations: list[_Annotation]
    expert_worker_annotations: list[_Annotation]


def read(reading: Reading) -> Iterator[Labelled]:
    """Read comparisons with all four votes; annotators have the attribute ``worker``: normal or expert.

    The label is the majority's, the margin the size of the mean of the steps over 2.
    """
    for row, found in reading.rows(_Comparison):
        kinds = {"normal": found.normal_worker_annotations, "expert": found.expert_worker_annotations}
        said = [(kind, worker) for kind, workers in kinds.items() for worker in workers]
        strengths = [_STRENGTHS[worker.overall_pref] for _, worker in said]
        who = [worker.evaluator for _, worker in said]
        votes = votes_of([Vote(annotator=one, vote=side_of(n)) for one, n in zip(who, strengths, strict=True)])
        if votes is None:
            reading.count("dropped: a comparison that nobody annotated")
            continue
        for labelled in reading.pair(
            row,
            (found.text, found.completion_a, found.completion_b),
            label=majority(votes),
            votes=votes,
            source_id=found.comparison_id,
            category=found.category,
            group=f"multipref:{found.prompt_id}",
            margin=abs(fmean(strengths)) / 2,
        ):
            for kind, worker in said:
                if not reading.annotators[worker.evaluator].attributes:
                    reading.annotators[worker.evaluator] = Annotator(id=worker.evaluator, attributes={"worker": kind})
            yield labelled


SOURCES = (
    Source(
        name="multipref",
        hub="allenai/multipref",
        what="instructions answered by two models",
        rows="train 10,461",
        licence="ODC-By",
        votes="4 people by name, two of them experts, five steps; ties",
        parts={"comparisons": one_table(read, "train", has_people=True, config="default")},
        sizes={"train": 10461},
    ),
)

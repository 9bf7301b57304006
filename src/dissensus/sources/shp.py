"""stanfordnlp/SHP: two comments on a Reddit post; the one with the higher score, though no older, is preferred.

Scores are the votes of a crowd that did not compare the two: they are a label here, not people's votes on the pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from dissensus.files.source import Labelled
from dissensus.sources.public_set import Source, one_table
from dissensus.sources.row_reader import Reading, SourceRow


class _Comparison(SourceRow):
    post_id: str
    domain: str
    history: str
    human_ref_A: str
    human_ref_B: str
    score_A: Annotated[int, Field(ge=1)]
    score_B: Annotated[int, Field(ge=1)]
    labels: Annotated[int, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _label_and_scores_agree(self) -> Self:
        if (self.score_A > self.score_B) != (self.labels == 1) or self.score_A == self.score_B:
            raise ValueError(f"labels is {self.labels}, but the scores are {self.score_A} (A) and {self.score_B} (B)")
        return self


def read(reading: Reading) -> Iterator[Labelled]:
    """Read comparisons; the category is the subreddit, the group the post."""
    for row, found in reading.rows(_Comparison):
        yield from reading.pair(
            row,
            (found.history, found.human_ref_A, found.human_ref_B),
            label="a" if found.labels == 1 else "b",
            category=found.domain.rpartition("_")[0] or found.domain,
            group=f"shp:{found.post_id}",
        )


SOURCES = (
    Source(
        name="shp",
        hub="stanfordnlp/SHP",
        what="comments on posts of 18 subreddits",
        rows="train 348,718, validation 18,436, test 18,409",
        licence="see the card (Reddit's terms)",
        votes="a crowd's scores, as a label; no ties",
        parts={
            "comparisons": one_table(read, "train", "validation", "test", files=("*/{split}.json",), lines_in="jsonl")
        },
    ),
)

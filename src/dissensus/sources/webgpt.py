"""openai/webgpt_comparisons: two answers of a browsing model to a question, compared by one person.

A score from -1 to 1 says how much better an answer is; its sign is the preference, 0 a tie. The raw file has a list of
two records a line, the Hub one flat row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from dissensus.files.source import Labelled
from dissensus.sources.public_set import Source, one_table
from dissensus.sources.row_reader import Reading, SourceRow, side_of

_CITATION = re.compile(r"\s*\[\d+(?:,\s*\d+)*\]")
_Score = Annotated[float, Field(ge=-1, le=1)]


class _Question(SourceRow):
    full_text: str


class _Comparison(SourceRow):
    question: _Question
    answer_0: str
    answer_1: str
    score_0: _Score
    score_1: _Score

    @model_validator(mode="before")
    @classmethod
    def _flatten(cls, data: Any) -> Any:
        """Take the raw file's list of two records, too."""
        if not isinstance(data, dict) or "items" not in data:
            return data
        items = data["items"]
        if len(items) != 2 or not all(isinstance(item, dict) for item in items):
            raise ValueError(f"a list of {len(items)} where two records are expected")
        first, second = items
        if first.get("question") != second.get("question"):
            raise ValueError("the two answers are to different questions")
        flat = {f"{key}_{i}": item.get(key) for i, item in enumerate(items) for key in ("answer", "score")}
        return {"question": first.get("question"), **flat}

    @model_validator(mode="after")
    def _scores_mirror(self) -> Self:
        if self.score_0 != -self.score_1:
            raise ValueError(f"score_0 is {self.score_0} and score_1 {self.score_1}; one should be minus the other")
        return self


def read(reading: Reading) -> Iterator[Labelled]:
    """Read comparisons; the margin is the size of the score."""
    for row, found in reading.rows(_Comparison):
        for pair in reading.pair(
            row,
            (found.question.full_text, found.answer_0, found.answer_1),
            label=side_of(found.score_0),
            margin=abs(found.score_0),
        ):
            if _CITATION.sub("", found.answer_0).strip() == _CITATION.sub("", found.answer_1).strip():
                reading.count("pairs that differ in their citations alone")
            yield pair


SOURCES = (
    Source(
        name="webgpt",
        hub="openai/webgpt_comparisons",
        what="answers of a browsing model to questions, mostly from ELI5",
        rows="train 19,578",
        licence="none stated",
        votes="1 person, a score from -1 to 1; ties",
        parts={"comparisons": one_table(read, "train", files=("comparisons.jsonl",), lines_in="jsonl", is_script=True)},
        paper="in",
        sizes={"train": 19578},
    ),
)

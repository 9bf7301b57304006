"""UltraFeedback: four models' completions rated by GPT-4, and two sets of pairs made of it. No person voted.

The original's ``overall_score`` is not used: its first release turned a 1 into a 10, and what was corrected was not
all of it. The score of a completion is the mean of its four ratings, as UltraRM has it. The binarised sets were made
with the overall score; theirs is taken as it is, and what may be the old mistake counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from statistics import fmean
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dissensus.files.source import Labelled
from dissensus.sources.public_set import Source, one_table
from dissensus.sources.row_reader import Reading, SourceRow, Turn, side_of

_SUSPECT, _LOW = 10, 4
"""An overall score of 10 beside ratings whose mean is at most 4."""
_RATING_STEPS, _SCORE_STEPS = 4, 9
_ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")


class _Aspect(SourceRow):
    Rating: Literal["1", "2", "3", "4", "5", "N/A"]


class _Annotations(SourceRow):
    instruction_following: _Aspect
    honesty: _Aspect
    truthfulness: _Aspect
    helpfulness: _Aspect

    @property
    def mean(self) -> float | None:
        """Mean of the ratings that were given; None without any."""
        given: list[str] = [getattr(self, name).Rating for name in _ASPECTS]
        numbers = [int(rating) for rating in given if rating != "N/A"]
        return fmean(numbers) if numbers else None


class _Completion(SourceRow):
    response: str
    annotations: _Annotations
    overall_score: float | None = None


class _Prompt(SourceRow):
    instruction: str
    completions: list[_Completion]


_Score = Annotated[float, Field(ge=1, le=10)]


class _Binarised(SourceRow):
    chosen: list[Turn]
    rejected: list[Turn]
    score_chosen: _Score
    score_rejected: _Score

    @model_validator(mode="after")
    def _two_replies(self) -> Self:
        for name, turns in (("chosen", self.chosen), ("rejected", self.rejected)):
            if [turn.role for turn in turns] != ["user", "assistant"]:
                raise ValueError(f"{name} is not a user's message and an assistant's")
        if self.chosen[0] != self.rejected[0]:
            raise ValueError("chosen and rejected answer different messages")
        if self.score_chosen < self.score_rejected:
            raise ValueError(f"score_chosen {self.score_chosen} is below score_rejected {self.score_rejected}")
        return self


def read_original(reading: Reading) -> Iterator[Labelled]:
    """Read all pairs of each instruction's completions; the margin is the difference of their means over 4."""
    for row, found in reading.rows(_Prompt):
        if len(found.completions) < 2:
            reading.count("dropped: an instruction with fewer than two completions")
        rated = []
        for completion in found.completions:
            mean = completion.annotations.mean
            if mean is None:
                reading.count("dropped: a completion without a rating")
                continue
            if completion.overall_score == _SUSPECT and mean <= _LOW:
                reading.count("completions with an overall score of 10 and low ratings (the ratings count)")
            rated.append((mean, completion.response))
        for (one, a), (two, b) in combinations(rated, 2):
            margin = abs(one - two) / _RATING_STEPS
            yield from reading.pair(row, (found.instruction, a, b), label=side_of(one - two), margin=margin)


def read_binarised(reading: Reading) -> Iterator[Labelled]:
    """Read pairs; equal scores are a tie whichever is called chosen, and the margin is their difference over 9."""
    for row, found in reading.rows(_Binarised):
        if found.score_chosen == _SUSPECT:
            reading.count("pairs with an overall score of 10, some of which may be the old mistake for 1")
        gap = found.score_chosen - found.score_rejected
        yield from reading.oriented(
            row,
            (found.chosen[0].content, found.chosen[1].content, found.rejected[1].content),
            is_tie=gap == 0,
            margin=gap / _SCORE_STEPS,
        )


SOURCES = (
    Source(
        name="ultrafeedback",
        hub="openbmb/UltraFeedback",
        what="instructions answered by four models each",
        rows="train 63,967 instructions, up to 6 pairs each",
        licence="MIT",
        votes="GPT-4's ratings; ties",
        parts={"completions": one_table(read_original, "train", files=("*.jsonl",))},
        paper="out",
        sizes={"train": 380000},
    ),
    Source(
        name="ultrafeedback-binarized",
        hub="HuggingFaceH4/ultrafeedback_binarized",
        what="the best of each instruction's completions against another",
        rows="train_prefs 61,135, test_prefs 2,000",
        licence="MIT",
        votes="GPT-4's overall score; ties",
        parts={"prefs": one_table(read_binarised, "train_prefs", "test_prefs")},
        paper="out",
        sizes={"train_prefs": 61135, "test_prefs": 2000},
    ),
    Source(
        name="ultrafeedback-trl",
        hub="trl-lib/ultrafeedback_binarized",
        what="the same, as TRL's examples use it",
        rows="train ~62,135, test ~1,000",
        licence="MIT",
        votes="GPT-4's overall score; ties",
        parts={"prefs": one_table(read_binarised, "train", "test")},
        paper="out",
    ),
)

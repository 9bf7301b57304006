"""allenai/reward-bench and reward-bench-2: prompts with good and bad completions, for testing reward models.

No person voted on the pairs; the category is the subset. In the second, every good completion of a prompt is paired
with every bad one, and a prompt's pairs are one group: its own score (best of four) needs all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Self

from pydantic import Field, model_validator

from dissensus.files.source import Labelled
from dissensus.sources.public_set import Source, one_table
from dissensus.sources.row_reader import Reading, SourceRow


class _Comparison(SourceRow):
    id: int
    prompt: str
    chosen: str
    rejected: str
    subset: str


_Texts = Annotated[list[str], Field(min_length=1)]


class _Choices(SourceRow):
    id: str
    prompt: str
    chosen: _Texts
    rejected: _Texts
    num_correct: int
    num_incorrect: int
    subset: str

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if (len(self.chosen), len(self.rejected)) != (self.num_correct, self.num_incorrect):
            raise ValueError(
                f"{len(self.chosen)} chosen and {len(self.rejected)} rejected, "
                f"but num_correct is {self.num_correct} and num_incorrect {self.num_incorrect}"
            )
        return self


def read_first(reading: Reading) -> Iterator[Labelled]:
    """Read comparisons."""
    for row, found in reading.rows(_Comparison):
        yield from reading.oriented(
            row, (found.prompt, found.chosen, found.rejected), source_id=str(found.id), category=found.subset
        )


def read_second(reading: Reading) -> Iterator[Labelled]:
    """Read every good completion against every bad one."""
    for row, found in reading.rows(_Choices):
        for (i, chosen), (j, rejected) in product(enumerate(found.chosen), enumerate(found.rejected)):
            yield from reading.oriented(
                row,
                (found.prompt, chosen, rejected),
                source_id=f"{found.id}:{i}-{j}",
                category=found.subset,
                group=f"reward-bench-2:{found.id}",
            )


SOURCES = (
    Source(
        name="reward-bench",
        hub="allenai/reward-bench",
        what="a test of reward models: chat, hard chat, safety, reasoning",
        rows="filtered 2,985, raw 5,123",
        licence="ODC-By",
        votes="nobody: verified labels",
        parts={"comparisons": one_table(read_first, "filtered", "raw")},
    ),
    Source(
        name="reward-bench-2",
        hub="allenai/reward-bench-2",
        what="its successor: best of four, and prompts with several right answers",
        rows="test 1,865",
        licence="ODC-By",
        votes="nobody: verified labels",
        parts={"choices": one_table(read_second, "test")},
    ),
)

"""A stage of a study as data, and the same stage as it is done in each fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dissensus.hashing import fingerprint_of
from dissensus.run_records import Counts, StageRecord, fold_place, in_fold
from dissensus.study.sets import Sizes

Made = Mapping[str, StageRecord]
"""The stages that are done, by name."""
Input = Callable[[Made], Iterable[str]]
"""Hashes, or other words, for something that a stage reads."""


@dataclass(frozen=True)
class Estimate:
    """What a stage would do."""

    lines: Sequence[str] = field(default_factory=list)
    trained: int = 0
    """Pairs through a model in training."""


@dataclass(frozen=True)
class Stage:
    """One stage of a study."""

    name: str
    work: Callable[[Made], Counts]
    settings: Any = None
    """Those that decide its result, as JSON-able values."""
    inputs: Sequence[Input] = ()
    outputs: Sequence[str] = ()
    """The files that it writes, relative to the run's folder; one with a ``*`` stands for as many as there are."""
    holds: Callable[[Counts], bool] = lambda _: True
    """Whether what an earlier run left in a database, whose bytes are no content, is still there."""
    estimate: Callable[[Sizes], Estimate] = lambda _: Estimate()
    needs_votes: bool = False
    """Whether it waits until people have voted on the test pairs."""

    def fingerprint(self, made: Made, version: str) -> str:
        """Hash all that decides its result."""
        return fingerprint_of([self.name, version, self.settings, [part for one in self.inputs for part in one(made)]])


def of_fold(stage: Stage, number: int) -> Stage:
    """Make a stage of a study the stage of a fold, which has a folder of its own and sees no other fold's."""
    place, title = fold_place(number), in_fold("", number)

    def own(made: Made) -> Made:
        return {
            name.removeprefix(title): record.model_copy(
                update={"outputs": {k.removeprefix(place): v for k, v in record.outputs.items() if k.startswith(place)}}
            )
            for name, record in made.items()
        }

    def seen(read: Input) -> Input:
        return lambda made: read(own(made))

    def estimate(sizes: Sizes) -> Estimate:
        found = stage.estimate(sizes)
        return found if number == 1 else Estimate(trained=found.trained)  # the first speaks for all of them

    return replace(
        stage,
        name=in_fold(stage.name, number),
        work=lambda made: stage.work(own(made)),
        inputs=[seen(read) for read in stage.inputs],
        outputs=[place + output for output in stage.outputs],
        estimate=estimate,
    )

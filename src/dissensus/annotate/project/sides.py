"""Answers of annotators, as their screen shows them and in the pair's own terms; sides are undone here alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from dissensus.records import Label, Order

Correct = Literal["single", "multiple"]
Distinct = Literal["yes", "no"]
Side = Literal["left", "right", "tie"]
Kind = Literal["answer", "skip", "withdraw"]
State = Literal["leased", "answered", "skipped", "released", "surplus"]
Role = Literal["annotator", "adjudicator", "organiser"]

_TenPeople = Annotated[int, Field(ge=0, le=10)]
Note = Annotated[str, StringConstraints(max_length=4000)]
_Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class Shown(BaseModel):
    """An answer in the terms of the screen: left and right, as this annotator saw them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    correct: Correct | None = None  # task 1: one correct answer, or several
    distinct: Distinct | None = None  # task 2: whether the two can be told apart
    left: _TenPeople | None = None  # task 3: of 10 people, how many prefer the answer on the left
    choice: Side | None = None  # the annotator's own preference, where that is asked
    note: Note = ""
    seconds: _Seconds | None = None


class Opinion(BaseModel):
    """What somebody thinks of a pair, in the pair's own terms; None where they do not say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    correct: Correct | None = None
    distinct: Distinct | None = None
    estimate: _TenPeople | None = None  # of 10 people, how many prefer response a
    choice: Label | None = None
    note: Note = ""


class Said(Opinion):
    """An annotator's answer in the pair's own terms: what is stored and exported."""

    seconds: _Seconds | None = None


class KnownAnswer(BaseModel):
    """What is right about a practice pair, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    correct: Correct
    distinct: Distinct
    estimates: tuple[_TenPeople, _TenPeople]  # the least and the most of 10 preferring response a that are accepted
    because: str

    def marks(self, said: Opinion) -> tuple[bool, bool, bool]:
        """Tell for each of the three tasks whether an answer is as expected."""
        least, most = self.estimates
        is_near = said.estimate is not None and least <= said.estimate <= most
        return said.correct == self.correct, said.distinct == self.distinct, is_near


def state_shown(state: State) -> State:
    """Return the state that its annotator sees: an answer that came too late is an answer to them."""
    return "answered" if state == "surplus" else state


_OWN = {"ab": {"left": "a", "right": "b", "tie": "tie"}, "ba": {"left": "b", "right": "a", "tie": "tie"}}
_SIDE = {shown: {own: side for side, own in sides.items()} for shown, sides in _OWN.items()}


def undo_sides(answer: Shown, shown: Order) -> Said:
    """Map an answer from the screen to the pair's own terms.

    >>> undo_sides(Shown(left=8, choice="left"), "ba")
    Said(correct=None, distinct=None, estimate=2, choice='b', note='', seconds=None)
    """
    values = answer.model_dump()
    left, choice = values.pop("left"), values.pop("choice")
    estimate = 10 - left if shown == "ba" and left is not None else left
    return Said.model_validate({**values, "estimate": estimate, "choice": choice and _OWN[shown][choice]})


def as_shown(said: Said, shown: Order) -> Shown:
    """Map what was said back to the screen that it was said on.

    >>> as_shown(Said(estimate=2, choice="b"), "ba")
    Shown(correct=None, distinct=None, left=8, choice='left', note='', seconds=None)
    """
    values = said.model_dump()
    estimate, choice = values.pop("estimate"), values.pop("choice")
    left = 10 - estimate if shown == "ba" and estimate is not None else estimate
    return Shown.model_validate({**values, "left": left, "choice": choice and _SIDE[shown][choice]})

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

    correct: Correct | None = None
    """Task 1: one correct answer, or several."""
    distinct: Distinct | None = None
    """Task 2: whether the two can be told apart."""
    left: _TenPeople | None = None
    """Task 3: of 10 people, how many prefer the answer on the left."""
    choice: Side | None = None
    """The annotator's own preference, where that is asked."""
    note: Note = ""
    seconds: _Seconds | None = None


class Opinion(BaseModel):
    """What somebody thinks of a pair, in the pair's own terms; None where they do not say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    correct: Correct | None = None
    distinct: Distinct | None = None
    estimate: _TenPeople | None = None
    """Of 10 people, how many prefer response a."""
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
    estimates: tuple[_TenPeople, _TenPeople]
    """The least and the most people of 10 preferring response a that are accepted."""
    because: str

    def marks(self, said: Opinion) -> tuple[bool, bool, bool]:
        """Tell for each of the three tasks whether an answer is as expected."""
        least, most = self.estimates
        is_near = said.estimate is not None and least <= said.estimate <= most
        return said.correct == self.correct, said.distinct == self.distinct, is_near


def state_shown(state: State) -> State:
    """Return the state that its annotator sees: an answer that came too late is an answer to them."""
    return "answered" if state == "surplus" else state


_OTHER: dict[str, str] = {"left": "right", "right": "left", "a": "b", "b": "a", "tie": "tie"}
_OWN = {"left": "a", "right": "b", "tie": "tie"}
_SIDE = {own: side for side, own in _OWN.items()}


def undo_sides(answer: Shown, shown: Order) -> Said:
    """Map an answer from the screen to the pair's own terms.

    >>> undo_sides(Shown(left=8, choice="left"), "ba")
    Said(correct=None, distinct=None, estimate=2, choice='b', note='', seconds=None)
    """
    swap = shown == "ba"
    choice = None if answer.choice is None else _OWN[_OTHER[answer.choice] if swap else answer.choice]
    estimate = 10 - answer.left if swap and answer.left is not None else answer.left
    rest = answer.model_dump(include={"correct", "distinct", "note", "seconds"})
    return Said.model_validate({**rest, "estimate": estimate, "choice": choice})


def as_shown(said: Said, shown: Order) -> Shown:
    """Map what was said back to the screen that it was said on.

    >>> as_shown(Said(estimate=2, choice="b"), "ba")
    Shown(correct=None, distinct=None, left=8, choice='left', note='', seconds=None)
    """
    swap = shown == "ba"
    choice = None if said.choice is None else _SIDE[_OTHER[said.choice] if swap else said.choice]
    left = 10 - said.estimate if swap and said.estimate is not None else said.estimate
    rest = said.model_dump(include={"correct", "distinct", "note", "seconds"})
    return Shown.model_validate({**rest, "left": left, "choice": choice})

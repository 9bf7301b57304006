"""Rows that hold the same two responses, either way round, as one pair with the votes of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dissensus.files.rows.choice_words import SIDES, side_of
from dissensus.records import Label, Margin, Pair, Vote, Votes, content_id

Count = Callable[[str], None]
"""Told in words of each thing that is counted."""
_SIGN = {"a": 1, "b": -1, "tie": 0}
_OTHER: dict[Label, Label] = {"a": "b", "b": "a", "tie": "tie"}


def majority(votes: Votes) -> Label:
    """Name the response with more votes; ``tie`` where both have as many."""
    return "tie" if votes.a == votes.b else "a" if votes.a > votes.b else "b"


def votes_of(said: Sequence[Vote]) -> Votes | None:
    """Count votes; None without any."""
    if not said:
        return None
    counts = {side: sum(vote.vote == side for vote in said) for side in SIDES}
    return Votes(**counts, annotations=tuple(said))


@dataclass
class Merged:
    """What is known of one pair so far, in the orientation that came first."""

    first: Pair
    margin: Margin | None
    """Of the first row."""
    said: list[Vote] = field(default_factory=list)
    counted: Counter[Label] = field(default_factory=Counter)
    """Votes of which nothing but their number is known: a crowd takes no more room than a person."""
    strengths: list[float] = field(default_factory=list)
    rows: list[Votes | None] = field(default_factory=list)
    turned: int = 0
    """How many of the rows have the responses the other way round."""
    _places: dict[str, int] = field(default_factory=dict)
    """Where in ``said`` an annotator is."""

    def add(self, pair: Pair, margin: Margin | None, count: Count) -> None:
        """Take what a row says of the pair, in either orientation."""
        is_turned = pair.response_a == self.first.response_b and pair.response_b == self.first.response_a
        self.turned += is_turned
        self.rows.append(pair.votes)
        if pair.votes is not None and pair.votes.annotations is None:
            one, two = (pair.votes.b, pair.votes.a) if is_turned else (pair.votes.a, pair.votes.b)
            self.counted.update({"a": one, "b": two, "tie": pair.votes.tie})
        for vote in pair.votes.annotations or () if pair.votes else ():
            vote = _turn(vote) if is_turned else vote
            place = (
                len(self.said) if vote.annotator is None else self._places.setdefault(vote.annotator, len(self.said))
            )
            if place == len(self.said):
                self.said.append(vote)
            else:
                self.said[place] = _settled(self.said[place], vote, count)
        if margin is not None:
            sign = _SIGN[pair.label or "tie"]
            self.strengths.append(-sign * margin.margin if is_turned else sign * margin.margin)

    def settle(self, count: Count) -> tuple[Pair, Margin | None]:
        """Make the pair, with the majority's label.

        The margin is the size of the mean of the margins, signed by their labels; 0 where that mean is against the
        majority. A pair that came once is as it came.
        """
        nameless = [Vote(vote=side) for side, n in self.counted.items() for _ in range(n)] if self.said else []
        votes = votes_of([*self.said, *nameless]) or (votes_counted(self.counted) if self.counted.total() else None)
        if votes and min(votes.a, votes.b):
            count("pairs with votes for both sides")
        if len(self.rows) == 1 and votes == self.first.votes:
            return self.first, self.margin
        label = majority(votes) if votes else self.first.label
        pair = self.first.model_copy(update={"votes": votes, "label": label, "label_is_a_vote": None})
        if not self.strengths:
            return pair, None
        strength = sum(self.strengths) / len(self.strengths)
        if strength * _SIGN[label or "tie"] < 0:
            count("pairs whose strength is against the majority, with a margin of 0")
            strength = 0.0
        return pair, Margin(pair_id=pair.id, margin=abs(strength))


def votes_counted(counts: Mapping[Label, int]) -> Votes:
    """Make votes of which nothing but their number is known."""
    return Votes(a=counts.get("a", 0), b=counts.get("b", 0), tie=counts.get("tie", 0))


def _settled(one: Vote, two: Vote, count: Count) -> Vote:
    """Make one vote of two by the same annotator."""
    if (one.vote, one.estimate) == (two.vote, two.estimate):
        count("dropped: an annotator's same vote on the same pair again")
        return one
    if one.estimate is None or two.estimate is None:
        count("an annotator's different votes on the same pair, counted as a tie")
        return one.model_copy(update={"vote": "tie"})
    count("an annotator's different estimates on the same pair, counted as their mean")
    mean = (one.estimate + two.estimate) / 2
    return one.model_copy(update={"vote": side_of(mean), "estimate": mean})


def turned(pair: Pair) -> Pair:
    """Return a pair the other way round, with all that is said of its responses; an id of its own stays."""
    a, b, votes = pair.response_b, pair.response_a, pair.votes
    changes: dict[str, object] = {"response_a": a, "response_b": b, "label": pair.label and _OTHER[pair.label]}
    if pair.id == content_id(pair.prompt, b, a):
        changes["id"] = content_id(pair.prompt, a, b)
    if votes is not None:
        said = None if votes.annotations is None else tuple(map(_turn, votes.annotations))
        changes["votes"] = votes.model_copy(update={"a": votes.b, "b": votes.a, "annotations": said})
    return pair.model_copy(update=changes)


def _turn(vote: Vote) -> Vote:
    estimate = None if vote.estimate is None else 1 - vote.estimate
    return vote.model_copy(update={"vote": _OTHER[vote.vote], "estimate": estimate})

"""People's votes as a judge, which make what the paper calls gold margins."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Sequence

from dissensus.errors import JudgeError
from dissensus.hashing import short_digest
from dissensus.judges.runner import Question
from dissensus.records import Judgment, Label, Pair


class HumanVotes:
    """The votes of a pair, one judgment each; a tie counts one half for each response, as in `Votes.preference`.

    A label that was drawn from the votes is left out of them once, since a margin must not count it twice; a majority's
    label, or one from elsewhere, is none of them. Each pair says which it is (`Pair.label_is_a_vote`), or
    ``label_is_a_vote`` does for all.

    Raises:
        JudgeError: no pair has votes, or a label is none of its pair's votes.
    """

    def __init__(self, pairs: Iterable[Pair], *, label_is_a_vote: bool | None = None) -> None:
        self._votes: dict[str, tuple[Label, ...]] = {}
        left_out = counted_whole = 0
        for pair in pairs:
            is_a_vote = bool(pair.label_is_a_vote if label_is_a_vote is None else label_is_a_vote)
            self._votes[pair.id] = _remaining(pair, label_is_a_vote=is_a_vote)
            if pair.votes is not None and pair.label is not None:
                left_out += is_a_vote
                counted_whole += not is_a_vote
        if not any(self._votes.values()):
            raise JudgeError(
                "no pair has a vote left to judge by; give pairs with votes (columns votes_a, votes_b), at least two "
                "each, or use the judge committee"
            )
        self.notes: list[str] = []
        """What became of labels."""
        if left_out:
            self.notes.append(f"left out of the votes of {left_out:,} pairs: it was drawn from them")
        if counted_whole and label_is_a_vote is None:
            self.notes.append(
                f"none of the votes of {counted_whole:,} pairs, which all count; where it was drawn from them, judge "
                "with --label-is-a-vote"
            )
        self.name = f"votes-{short_digest(json.dumps(sorted(self._votes.items())))}"

    def questions(self, pair: Pair) -> Sequence[Question]:
        """List one question for each vote that is left."""
        return [Question(pair, sample) for sample in range(len(self._votes[pair.id]))]

    def answer(self, questions: Sequence[Question]) -> Iterator[Judgment]:
        """Read the votes off, each as a judgment with the vote as its reply."""
        for question in questions:
            vote = self._votes[question.pair.id][question.sample]
            yield Judgment(pair_id=question.pair.id, judge=self.name, sample=question.sample, choice=vote, reply=vote)


def _remaining(pair: Pair, *, label_is_a_vote: bool) -> tuple[Label, ...]:
    """List the pair's votes without the label's, in a fixed order: who voted first decides nothing."""
    if pair.votes is None:
        return ()
    counts: dict[Label, int] = {"a": pair.votes.a, "b": pair.votes.b, "tie": pair.votes.tie}
    if label_is_a_vote and pair.label is not None:
        if not counts[pair.label]:
            raise JudgeError(
                f"pair {pair.id!r}: the label {pair.label!r} is none of its votes "
                f"({pair.votes.a} a, {pair.votes.b} b, {pair.votes.tie} tie); where labels are no votes, pass "
                "--label-is-no-vote"
            )
        counts[pair.label] -= 1
    return _listed(counts["a"], counts["b"], counts["tie"])


@functools.cache
def _listed(a: int, b: int, tie: int) -> tuple[Label, ...]:
    """List votes; those of a million pairs are of a few kinds."""
    counts: tuple[tuple[Label, int], ...] = (("a", a), ("b", b), ("tie", tie))
    return tuple(vote for vote, count in counts for _ in range(count))

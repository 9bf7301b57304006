"""Questions that nobody answered: what a judge was to say of pairs, held against the keys that are there."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.shards.shard import Keys, are_among, as_keys
from dissensus.judges.store.keys import content_of
from dissensus.judges.store.store import JudgmentStore
from dissensus.parts import index_of
from dissensus.records import Pair

_WINDOW = 500
_NAMED = 5


@dataclass
class Holes:
    """What is open of the questions about some pairs."""

    pairs: int = 0
    questions: int = 0
    open: int = 0
    parts: Counter[int] = field(default_factory=Counter)
    """Open questions by the part that they are of."""
    count: int | None = None
    """Of how many parts."""

    def lines(self) -> Iterator[str]:
        """Yield what is said of them."""
        if not self.open:
            yield f"holes      none: all {self.questions:,} questions about {self.pairs:,} pairs are answered"
            return
        yield f"holes      {self.open:,} of {self.questions:,} questions about {self.pairs:,} pairs are open"
        worst = self.parts.most_common(_NAMED)
        for index, number in worst:
            yield f"           {number:,} of part {index}/{self.count}: run it again with --part {index}/{self.count}"
        if len(self.parts) > len(worst):
            yield f"           {sum(self.parts.values()) - sum(n for _, n in worst):,} of other parts"


def find_holes(
    store: JudgmentStore, judges: Sequence[str], pairs: Iterable[Pair], keys: Keys, count: int | None
) -> Holes:
    """Look for what a store lacks of judges about pairs.

    Of a language model the questions are those of its plan, by its settings in the store; of any other judge a pair is
    one question, answered where there is any judgment of it: how many there are to be, it alone knows.

    Args:
        store: where all was merged into.
        judges: whose answers.
        pairs: which were to be judged, gone through once.
        keys: sorted, that are known to be there.
        count: of how many parts pairs are told to be.
    """
    found = Holes(count=count)
    plans = {judge: store.settings(judge) for judge in judges}
    languages = {judge: LanguageJudge.from_settings(s) if "config" in s else None for judge, s in plans.items()}
    remaining = iter(pairs)
    while window := list(itertools.islice(remaining, _WINDOW)):
        found.pairs += len(window)
        for judge, language in languages.items():
            open_ = _planned(store, language, window, keys) if language else _judged(store, judge, window)
            for pair, questions, left in open_:
                found.questions += questions
                found.open += left
                if left and count is not None:
                    found.parts[index_of(pair, count)] += left
    return found


def _planned(
    store: JudgmentStore, language: LanguageJudge, pairs: Sequence[Pair], known: Keys
) -> Iterator[tuple[Pair, int, int]]:
    wanted = [(pair, language.keys(pair)) for pair in pairs]
    flat = [key for _, own in wanted for key in own]
    there = are_among(as_keys(flat), known).tolist()
    lacking = store.missing({key for key, is_there in zip(flat, there, strict=True) if not is_there})
    for pair, own in wanted:
        yield pair, len(own), sum(key in lacking for key in own)


def _judged(store: JudgmentStore, judge: str, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, int, int]]:
    marks = ", ".join("?" * len(pairs))
    query = f"SELECT DISTINCT pair_id, content FROM judgments WHERE judge = ? AND pair_id IN ({marks})"
    there = set(store.rows(query, [judge, *(pair.id for pair in pairs)]))
    for pair in pairs:
        yield pair, 1, (pair.id, content_of(pair)) not in there

"""Judgments back out of a store: as they were given, or drawn anew from choice distributions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dissensus.errors import InputError, JudgeError
from dissensus.hashing import framed_digest
from dissensus.judges.base import Orders
from dissensus.judges.language.choice_distribution import verdict_probabilities
from dissensus.judges.language.plan import LanguageJudge, Planned
from dissensus.judges.language.settings import LanguageSettings
from dissensus.judges.store.keys import Contents, contents_of
from dissensus.judges.store.store import JudgmentStore, StoredDistribution
from dissensus.judges.store.vote_counts import count_votes
from dissensus.records import Choice, ChoiceProbabilities, Judgment, Label, Order, Pair

_INEXACT = 1e-3
_Said = tuple[Order, Label | None]
"""The order shown and the winner, or that there is none."""
_View = tuple[str, Order, str]
"""The pair, the order shown and the persona that a choice distribution is of."""


@dataclass(frozen=True)
class Recalled:
    """What a store has of a judge about pairs, counted."""

    votes: Mapping[str, Counter[_Said]]
    """How many judgments of a pair, in each order shown, name each winner, or none."""
    probabilities: Sequence[ChoiceProbabilities] = ()
    """Those of a judge in mode ``exact``."""
    sampled_instead: int = 0
    """Uncertified choice distributions in whose place sampled replies stand, in stores of version 0.1."""
    unfinished: int = 0
    """Pairs with fewer judgments, or choice distributions, than planned: a run was stopped, or some were refused."""
    in_one_order: int = 0
    """Pairs planned in both orders that have valid judgments in one alone."""

    @property
    def judgments(self) -> int:
        """How many there are."""
        return sum(counts.total() for counts in self.votes.values())

    @property
    def invalid(self) -> int:
        """Judgments that name no winner."""
        return sum(counts[order, None] for counts in self.votes.values() for order in _ORDERS)

    @property
    def uncertified(self) -> int:
        """Choice distributions whose prefix the model would not surely write."""
        return sum(not one.certified for one in self.probabilities)

    @property
    def inexact(self) -> int:
        """Choice distributions whose tokens do not settle the probabilities to a thousandth."""
        return sum(one.error > _INEXACT for one in self.probabilities)

    @property
    def largest_error(self) -> float:
        """How far off a probability may be at most."""
        return max((one.error for one in self.probabilities), default=0.0)


_ORDERS: tuple[Order, Order] = ("ab", "ba")


class Recall:
    """What a store has of one judge about ``pairs``.

    A judge in mode ``exact`` has choice distributions: its judgments are drawn from them, anew for every temperature,
    top-p and n, by a hash of seed, pair and number, so that the first of n draws are the same whatever n is. For any
    other judge they are the judgments themselves.

    Args:
        store: where the judge's answers are.
        judge: its full name.
        pairs: what is asked about: pairs, or what `contents_of` makes of them.
        n: judgments per pair; as many as the judge was run with by default (all, for one that is no language model).
        order: which order's judgments; as the judge was run by default.
        temperature: of the draws in mode ``exact``, as are the next two; the judge's own by default.
        top_p: of the draws.
        seed: of the draws.
        personas: whose judgments, in a store of an older version; those that the judge was last asked with by default.

    Raises:
        JudgeError: a setting is given that this judge's answers cannot be changed by.
    """

    def __init__(
        self,
        store: JudgmentStore,
        judge: str,
        pairs: Iterable[Pair] | Contents,
        *,
        n: int | None = None,
        order: Orders | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        personas: Sequence[str] | None = None,
    ) -> None:
        self._store, self.judge = store, judge
        self._n = n
        self._contents = contents_of(pairs)
        settings = store.settings(judge)
        self._language = LanguageJudge.from_settings(settings) if "config" in settings else None
        self.is_exact = self._language is not None and self._language.config.mode == "exact"
        given = {"--temperature": temperature, "--top-p": top_p, "--seed": seed}
        changed = [name for name, value in given.items() if value is not None]
        if changed and not self.is_exact:
            raise JudgeError(
                f"{judge}: its judgments were sampled, so {' and '.join(changed)} cannot be changed any more; "
                "judge with --mode exact to be able to"
            )
        if order is not None and self._language is None:
            raise JudgeError(f"{judge}: is no language model, and has no order to choose; leave --order out")
        self._asked_in: Orders = self._language.config.order if self._language else "both"
        if self._language is not None:
            people = len(self._language.config.personas if personas is None else personas)
            if n is not None and n < people:
                raise JudgeError(
                    f"{judge}: --n {n} gives not every one of its {people} personas a judgment; give {people} or more"
                )
            changes = {"n": n, "order": order, "temperature": temperature, "top_p": top_p, "seed": seed}
            known = {name: value for name, value in {**changes, "personas": personas}.items() if value is not None}
            self._language = self._language.with_mode(self._language.config.mode, **known)

    @property
    def n(self) -> int | None:
        """Judgments per pair; None for all that there are."""
        return self._language.config.n if self._language else self._n

    def judgments(self) -> Iterator[Judgment]:
        """Iterate over the judgments of the plan, in no particular order."""
        if self._language is None:
            yield from self._store.judgments(judge=self.judge, pairs=self._contents, n=self._n)
        elif self.is_exact:
            probabilities = self.probabilities()
            yield from self._drawn(probabilities, self._sampled(self._language, probabilities))
        else:
            yield from self._planned(self._language, self._contents)

    def probabilities(self) -> list[ChoiceProbabilities]:
        """List the probabilities that the choice distributions give.

        Raises:
            JudgeError: the judge has no choice distributions.
        """
        judge = self.require_probabilities()
        views: dict[str, set[tuple[Order, str]]] = {}
        return [
            self._probabilities(row, judge.config)
            for row in self._store.distributions(judge=self.judge, pairs=self._contents)
            if (row.order, row.persona) in views.setdefault(row.content, set(judge.views(row.content)))
        ]

    def require_probabilities(self) -> LanguageJudge:
        """Return the judge if it has choice distributions; raise JudgeError elsewhere."""
        if self._language is None or not self.is_exact:
            raise JudgeError(
                f"{self.judge}: has sampled judgments and no probabilities; judge with --mode exact for these"
            )
        return self._language

    def count(self, *, draw: bool = True) -> Recalled:
        """Count the judgments of the plan by pair, order and winner, and compare them with it.

        Args:
            draw: draw judgments of a judge in mode ``exact``; only its probabilities are there otherwise.
        """
        if self._language is None or not self.is_exact:
            return self._count_judgments()
        probabilities, sampled = self.probabilities(), dict[_View, list[Judgment]]()
        judgments: Iterator[Judgment] = iter(())
        if draw:
            sampled = self._sampled(self._language, probabilities)
            judgments = self._drawn(probabilities, sampled)
        votes: dict[str, Counter[_Said]] = {}
        for judgment in judgments:
            votes.setdefault(judgment.pair_id, Counter())[judgment.order, judgment.choice] += 1
        unfinished, in_one_order = self._compare_with_plan(self._language, votes, probabilities, drawn=draw)
        return Recalled(votes, probabilities, len(sampled), unfinished, in_one_order)

    def _count_judgments(self) -> Recalled:
        """Count what is in the store itself, and compare it with the plan; only language models say what that is."""
        judge = self._language
        if judge is None:
            return Recalled(count_votes(self._store, self.judge, self._contents, n=self._n))
        asked = self._as_asked(judge)

        def plan(content: str) -> list[Planned]:
            return [*judge.plan(content), *_due(judge, asked, content)]

        table = count_votes(self._store, asked.name, self._contents, n=judge.config.n, plan=plan)
        due = [_due(judge, asked, digit) for digit in "01"]
        is_odd = [int(content[0], 16) % 2 for content in self._contents.values()]
        n = np.array([len(planned) for planned in due])[is_odd]
        in_both = np.array([len({one.order for one in planned}) > 1 for planned in due])[is_odd]
        valid = (table.counts[:, :, :-1].sum(axis=2) > 0).sum(axis=1)
        unfinished = int(((table.made > 0) & (table.made < n)).sum())
        return Recalled(table, unfinished=unfinished, in_one_order=int((in_both & (valid == 1)).sum()))

    def _compare_with_plan(
        self,
        judge: LanguageJudge,
        votes: Mapping[str, Counter[_Said]],
        probabilities: Sequence[ChoiceProbabilities],
        *,
        drawn: bool,
    ) -> tuple[int, int]:
        """Count the pairs that have a part of what was planned, of a judge in mode ``exact``."""
        made = Counter(one.pair_id for one in probabilities)
        valid = {(pair_id, order) for pair_id, counts in votes.items() for order, choice in counts if choice}
        if not drawn:
            valid = {(one.pair_id, one.order) for one in probabilities if one.probability_a + one.probability_b > 0}
        asked = self._as_asked(judge)
        unfinished = in_one_order = 0
        for pair_id, content in self._contents.items():
            due = _due(judge, asked, content)
            n = len({(planned.order, planned.persona) for planned in due})
            unfinished += 0 < made[pair_id] < n
            if len({planned.order for planned in due}) > 1:
                in_one_order += sum((pair_id, order) in valid for order in _ORDERS) == 1
        return unfinished, in_one_order

    def _as_asked(self, judge: LanguageJudge) -> LanguageJudge:
        """Return the judge as it was asked, under whose name its judgments are, whichever order is wanted of them."""
        return judge.with_mode(judge.config.mode, order=self._asked_in)

    def _planned(self, judge: LanguageJudge, contents: Contents) -> Iterator[Judgment]:
        """Keep to the plan: a store may hold the judgments of other orders and numbers beside it."""
        asked = self._as_asked(judge)
        plans = {pair_id: {*judge.plan(content), *_due(judge, asked, content)} for pair_id, content in contents.items()}
        for judgment in self._store.judgments(judge=asked.name, pairs=contents, n=judge.config.n):
            if (judgment.sample, judgment.order, judgment.persona) in plans[judgment.pair_id]:
                yield judgment

    def _probabilities(self, row: StoredDistribution, config: LanguageSettings) -> ChoiceProbabilities:
        temperature, top_p = config.temperature, config.top_p
        shown = verdict_probabilities(row.distribution, temperature=temperature, top_p=top_p)
        a, b = (shown.a, shown.b) if row.order == "ab" else (shown.b, shown.a)
        return ChoiceProbabilities(
            pair_id=row.pair_id,
            judge=self.judge,
            order=row.order,
            persona=row.persona,
            probability_a=a,
            probability_b=b,
            probability_none=shown.none,
            error=shown.error,
            certified=row.distribution.is_forced(temperature=temperature, top_p=top_p),
        )

    def _drawn(
        self, probabilities: Sequence[ChoiceProbabilities], sampled: Mapping[_View, Sequence[Judgment]]
    ) -> Iterator[Judgment]:
        """Draw judgments, or take what was sampled in their place."""
        judge = self.require_probabilities()
        for one in probabilities:
            replies = sampled.get((one.pair_id, one.order, one.persona))
            yield from self._draw(judge, one) if replies is None else replies

    def _sampled(
        self, judge: LanguageJudge, probabilities: Sequence[ChoiceProbabilities]
    ) -> dict[_View, list[Judgment]]:
        """Find the replies that version 0.1 sampled beside uncertified distributions, to stand in their place."""
        unsure = {(one.pair_id, one.order, one.persona) for one in probabilities if not one.certified}
        ids = {pair_id for pair_id, _, _ in unsure}
        contents = {pair_id: content for pair_id, content in self._contents.items() if pair_id in ids}
        found: dict[_View, list[Judgment]] = {}
        for judgment in self._planned(judge.with_mode("sample"), contents) if contents else ():
            view = (judgment.pair_id, judgment.order, judgment.persona)
            if view in unsure:
                found.setdefault(view, []).append(judgment.model_copy(update={"judge": self.judge}))
        return found

    def _draw(self, judge: LanguageJudge, of: ChoiceProbabilities) -> Iterator[Judgment]:
        a, b, content = of.probability_a, of.probability_b, self._contents[of.pair_id]
        for planned in judge.plan(content):
            if (planned.order, planned.persona) != (of.order, of.persona):
                continue
            # A number in [0, 1) that depends on nothing else.
            digest = framed_digest("draw", str(judge.config.seed), content, str(planned.sample))
            at = int.from_bytes(digest[:8], "big") / 2**64
            choice: Choice | None = "a" if at < a else "b" if at < a + b else None
            yield Judgment(
                pair_id=of.pair_id,
                judge=self.judge,
                sample=planned.sample,
                order=of.order,
                choice=choice,
                probability_a=a / (a + b) if a + b > 0 else None,
                persona=of.persona,
            )


def choose_judge(name: str, store: JudgmentStore) -> str:
    """Find the one judge of a store whose name is ``name`` or begins with it.

    Judges that have only replies beside another one's choice distributions do not count (see `without_twins`).

    Raises:
        InputError: there is none, or there are several.
    """
    judges = store.judges()
    if not judges:
        raise InputError(
            f"{store.path}: holds no judgments yet; run: dissensus judge committee PAIRS --store {store.path}"
        )
    matching = [judge for judge in judges if judge == name] or [judge for judge in judges if judge.startswith(name)]
    if len(matching) > 1:
        matching = without_twins(store, matching)
    if len(matching) == 1:
        return matching[0]
    listed = ", ".join(f"{judge} ({judges[judge]:,} judgments)" for judge in matching or judges)
    if matching:
        raise InputError(f"{store.path}: holds several judges; choose one with --judge: {listed}")
    raise InputError(f"{store.path}: no judge is called {name!r}; choose one with --judge: {listed}")


def without_twins(store: JudgmentStore, judges: Collection[str]) -> list[str]:
    """Leave out judges of version 0.1 that have only replies beside the choice distributions of another one.

    These replies stand among that one's judgments already (see `Recall`).
    """
    return [judge for judge in judges if store.settings(judge).get("beside") not in judges]


def _due(judge: LanguageJudge, asked: LanguageJudge, content: str) -> list[Planned]:
    """List what there should be of a pair: the plan, or what a run in both orders makes of the one that is wanted."""
    order = judge.config.order
    if order == "both" or asked.config.order != "both":
        return judge.plan(content)
    return [planned for planned in asked.plan(content) if planned.order == order]

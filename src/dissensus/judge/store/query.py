"""Judgments back out of a store: as they were given, or drawn from readings at any temperature, top-p and n."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from dissensus.errors import InputError, JudgeError
from dissensus.hashing import framed_digest
from dissensus.judge.language.choice_distribution import VerdictProbabilities, verdict_probabilities
from dissensus.judge.language.plan import LanguageConfig, LanguageJudge, Orders, Planned
from dissensus.judge.store.store import JudgmentStore, StoredReading, content_of
from dissensus.records import Choice, ChoiceProbabilities, Judgment, Order, Pair

_INEXACT = 1e-3


@dataclass
class Recalled:
    """What stands behind judgments that were recalled; filled while they are iterated over."""

    judgments: int = 0
    invalid: int = 0
    """Judgments that name no winner."""
    readings: int = 0
    uncertified: int = 0
    """Readings whose prefix the model would not surely write."""
    sampled_instead: int = 0
    """Uncertified readings in whose place sampled replies stand."""
    inexact: int = 0
    """Readings whose tokens do not settle the probabilities to a thousandth."""
    largest_error: float = 0.0
    unfinished: int = 0
    """Pairs with fewer judgments, or readings, than were planned: a run was stopped, or some were refused."""
    in_one_order: int = 0
    """Pairs planned in both orders that have valid judgments in one alone."""
    made: Counter[str] = field(default_factory=Counter, repr=False)
    """How many judgments, or readings, there are of a pair."""
    valid: dict[Order, set[str]] = field(default_factory=lambda: {"ab": set(), "ba": set()}, repr=False)
    """The pairs that have valid judgments, by order."""

    def note(self, probabilities: VerdictProbabilities) -> None:
        """Count a reading."""
        self.readings += 1
        self.inexact += probabilities.error > _INEXACT
        self.largest_error = max(self.largest_error, probabilities.error)


class Recall:
    """What a store has of one judge about ``pairs``.

    A judge in mode ``exact`` has readings: its judgments are drawn from them, anew for every temperature, top-p and n,
    by a hash of seed, pair and number, so that the first of n draws are the same whatever n is. For any other judge
    they are the judgments themselves.

    Args:
        store: where the judge's answers are.
        judge: its full name.
        pairs: what is asked about.
        n: judgments per pair; as many as the judge was run with by default (all, for a judge that is no language
            model).
        order: which order's judgments; as the judge was run by default.
        temperature: of the draws; the judge's own by default. For judges in mode ``exact`` alone, as are the next two.
        top_p: of the draws.
        seed: of the draws.
        personas: whose judgments; those that the judge was last asked with by default. Only a store of an older version
            has several populations under one name.

    Raises:
        JudgeError: a setting is given that this judge's answers cannot be changed by.
    """

    def __init__(
        self,
        store: JudgmentStore,
        judge: str,
        pairs: Sequence[Pair],
        *,
        n: int | None = None,
        order: Orders | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        personas: Sequence[str] | None = None,
    ) -> None:
        self._store, self.judge, self._pairs = store, judge, pairs
        self._n = n
        self.found = Recalled()
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
        self._asked_in: Orders = "both"
        if self._language is not None:
            self._asked_in = self._language.config.order
            people = len(self._language.config.personas if personas is None else personas)
            if n is not None and n < people:
                raise JudgeError(
                    f"{judge}: --n {n} gives not every one of its {people} personas a judgment; give {people} or more"
                )
            changes = {"n": n, "order": order, "temperature": temperature, "top_p": top_p, "seed": seed}
            known = {name: value for name, value in {**changes, "personas": personas}.items() if value is not None}
            self._language = self._language.with_mode(self._language.config.mode, **known)

    def again(self) -> Recall:
        """Return the same recall with nothing counted yet."""
        other = copy.copy(self)
        other.found = Recalled()
        return other

    @property
    def n(self) -> int | None:
        """Judgments per pair; None for all that there are."""
        return self._language.config.n if self._language else self._n

    def judgments(self) -> Iterator[Judgment]:
        """Iterate over the judgments of the plan, in no particular order."""
        for judgment in self._judgments():
            self.found.judgments += 1
            self.found.invalid += judgment.choice is None
            if judgment.choice is not None:
                self.found.valid[judgment.order].add(judgment.pair_id)
            yield judgment
        self._compare_with_plan()

    def _judgments(self) -> Iterator[Judgment]:
        if self._language is None:
            yield from self._store.judgments(judge=self.judge, pairs=self._pairs, n=self._n)
        elif self.is_exact:
            yield from self._drawn(self._language)
        else:
            for judgment in self._planned(self._language, self._pairs):
                self.found.made[judgment.pair_id] += 1
                yield judgment

    def probabilities(self) -> Iterator[ChoiceProbabilities]:
        """Iterate over the probabilities that the readings give.

        Raises:
            JudgeError: the judge has no readings.
        """
        if self._language is None or not self.is_exact:
            raise JudgeError(
                f"{self.judge}: has sampled judgments and no probabilities; judge with --mode exact for these"
            )
        for view in self._views(self._language):
            probabilities = self._probabilities(view, self._language.config)
            if probabilities.probability_a + probabilities.probability_b > 0:
                self.found.valid[view.order].add(view.pair_id)
            yield probabilities
        self._compare_with_plan()

    def _compare_with_plan(self) -> None:
        """Count the pairs that have a part of what was planned; only language models say what that is."""
        judge, found = self._language, self.found
        if judge is None:
            return
        asked = self._as_asked(judge)
        for pair in self._pairs:
            due = _due(judge, asked, content_of(pair))
            n = len({(planned.order, planned.persona) for planned in due}) if self.is_exact else len(due)
            found.unfinished += 0 < found.made[pair.id] < n
            if len({planned.order for planned in due}) > 1:
                found.in_one_order += sum(pair.id in of_order for of_order in found.valid.values()) == 1

    def _as_asked(self, judge: LanguageJudge) -> LanguageJudge:
        """Return the judge as it was asked, under whose name its judgments are, whichever order is wanted of them."""
        return judge.with_mode(judge.config.mode, order=self._asked_in)

    def _planned(self, judge: LanguageJudge, pairs: Sequence[Pair]) -> Iterator[Judgment]:
        """Keep to the plan: a store may hold the judgments of other orders and numbers beside it."""
        asked = self._as_asked(judge)
        contents = {pair.id: content_of(pair) for pair in pairs}
        plans = {name: {*judge.plan(content), *_due(judge, asked, content)} for name, content in contents.items()}
        for judgment in self._store.judgments(judge=asked.name, pairs=pairs, n=judge.config.n):
            if (judgment.sample, judgment.order, judgment.persona) in plans[judgment.pair_id]:
                yield judgment

    def _views(self, judge: LanguageJudge) -> Iterator[StoredReading]:
        views: dict[str, set[tuple[Order, str]]] = {}
        for view in self._store.readings(judge=self.judge, pairs=self._pairs):
            wanted = views.setdefault(view.content, set(judge.views(view.content)))
            if (view.order, view.persona) in wanted:
                self.found.made[view.pair_id] += 1
                yield view

    def _probabilities(self, view: StoredReading, config: LanguageConfig) -> ChoiceProbabilities:
        temperature, top_p = config.temperature, config.top_p
        shown = verdict_probabilities(view.reading, temperature=temperature, top_p=top_p)
        certified = view.reading.is_forced(temperature=temperature, top_p=top_p)
        self.found.note(shown)
        self.found.uncertified += not certified
        a, b = (shown.a, shown.b) if view.order == "ab" else (shown.b, shown.a)
        return ChoiceProbabilities(
            pair_id=view.pair_id,
            judge=self.judge,
            order=view.order,
            persona=view.persona,
            probability_a=a,
            probability_b=b,
            probability_none=shown.none,
            error=shown.error,
            certified=certified,
        )

    def _drawn(self, judge: LanguageJudge) -> Iterator[Judgment]:
        drawn: dict[tuple[str, Order, str], list[Judgment]] = {}
        for view in self._views(judge):
            probabilities = self._probabilities(view, judge.config)
            judgments = self._draw(judge, view, probabilities)
            if probabilities.certified:
                yield from judgments
            else:
                drawn[view.pair_id, view.order, view.persona] = judgments
        if drawn:
            yield from self._sampled_or(drawn, judge.with_mode("sample"))

    def _sampled_or(
        self, drawn: dict[tuple[str, Order, str], list[Judgment]], twin: LanguageJudge
    ) -> Iterator[Judgment]:
        """Put the replies that were sampled beside uncertified readings in their place, where there are any."""
        unsure = {pair_id for pair_id, _, _ in drawn}
        pairs = [pair for pair in self._pairs if pair.id in unsure]
        sampled: dict[tuple[str, Order, str], list[Judgment]] = {}
        for judgment in self._planned(twin, pairs):
            of = (judgment.pair_id, judgment.order, judgment.persona)
            sampled.setdefault(of, []).append(judgment.model_copy(update={"judge": self.judge}))
        for of, judgments in drawn.items():
            self.found.sampled_instead += of in sampled
            yield from sampled.get(of, judgments)

    def _draw(self, judge: LanguageJudge, view: StoredReading, probabilities: ChoiceProbabilities) -> list[Judgment]:
        a, b = probabilities.probability_a, probabilities.probability_b
        drawn = []
        for planned in judge.plan(view.content):
            if (planned.order, planned.persona) != (view.order, view.persona):
                continue
            at = _uniform(judge.config.seed, view.content, planned.sample)
            choice: Choice | None = "a" if at < a else "b" if at < a + b else None
            drawn.append(
                Judgment(
                    pair_id=view.pair_id,
                    judge=self.judge,
                    sample=planned.sample,
                    order=view.order,
                    choice=choice,
                    probability_a=a / (a + b) if a + b > 0 else None,
                    persona=view.persona,
                )
            )
        return drawn


def choose_judge(name: str, store: JudgmentStore) -> str:
    """Find the one judge of a store whose name is ``name`` or begins with it.

    Twins that have only sampled replies beside the readings of another judge do not count where that one does.

    Raises:
        InputError: there is none, or there are several.
    """
    judges = store.judges()
    if not judges:
        raise InputError(f"{store.path}: holds no judgments yet; run: dissensus judge PAIRS --store {store.path}")
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
    """Leave out twins that have only sampled replies beside the readings of another judge that is there.

    These replies stand among that one's judgments already (see `Recall`).
    """
    return [judge for judge in judges if store.settings(judge).get("beside") not in judges]


def _due(judge: LanguageJudge, asked: LanguageJudge, content: str) -> list[Planned]:
    """List what there should be of a pair: the plan, or what a run in both orders makes of the one that is wanted."""
    order = judge.config.order
    if order == "both" or asked.config.order != "both":
        return judge.plan(content)
    return [planned for planned in asked.plan(content) if planned.order == order]


def _uniform(seed: int, content: str, sample: int) -> float:
    """A number in [0, 1) that depends on nothing else."""
    digest = framed_digest("draw", str(seed), content, str(sample))
    return int.from_bytes(digest[:8], "big") / 2**64

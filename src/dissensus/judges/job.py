"""One run of a judge over a store: what is to be asked, and which rows come of an answer."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from dissensus.judges.language.messages import Answer, Ask, AskError, Outcome, Sampling, TooLong, Usage
from dissensus.judges.progress_display import Display, Tally
from dissensus.judges.store.attempts import Account, Attempt, Ledger, Price, refused_view
from dissensus.judges.store.keys import content_of
from dissensus.judges.store.store import JudgmentStore, StoredDistribution
from dissensus.records import Judgment, Order, Pair

WINDOW = 512
"""Pairs that are planned at once; the store is asked once for all of them."""
ALL_CUT = "every reply so far was cut before it named a winner"
"""Why a run stops where all of them are (see `Tally.hopeless`)."""


@dataclass(frozen=True)
class AskingOptions:
    """How a judge is asked, none of which decides an answer."""

    concurrency: int = 256
    """Requests in flight at most; the run finds out how many pay."""
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    price: Price = field(default_factory=Price)
    max_cost: float | None = None
    """Dollars that this judge may cost in this store, earlier runs included."""
    patience: float = 600.0
    """Seconds that a server may be gone, or busy."""
    retries: int = 5
    """How often a request is repeated that failed for other reasons than the server being busy or gone."""
    force_prefix: bool = False
    """Stay in mode ``exact`` where the model would not surely write the prefix, instead of sampling replies."""
    ask_refused: bool = False
    """Ask once more what the server refused in an earlier run."""
    take_over: bool = False
    """Take runs of other hosts that have not ended for dead."""
    progress: bool = True


@dataclass
class Rows:
    """What an answer adds to a store."""

    judgments: list[tuple[bytes, str, Judgment]] = field(default_factory=list)
    """Key, content of the pair, and the judgment."""
    distributions: list[tuple[bytes, StoredDistribution]] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    """How what was asked ended."""
    no_longer_refused: list[bytes] = field(default_factory=list)
    """Prompts (see `refused_view`) that were answered, and had been refused before."""


class AskedJudge(Protocol):
    """A judge as a run sees it: it names what it wants of a pair, and makes rows of what comes back."""

    @property
    def name(self) -> str:
        """The full name, under which the store keeps its answers."""

    @property
    def sampling(self) -> Sampling | None:
        """How replies are sampled; None where choice distributions are wanted, or nothing is sampled."""

    @property
    def drawn_at(self) -> Sampling | None:
        """How votes are sampled or drawn by a language model; None for other judges, whose order shown says nothing."""

    def keys(self, pair: Pair) -> list[bytes]:
        """Name what is wanted of a pair."""

    def asks(self, pair: Pair, missing: set[bytes]) -> Iterator[Ask]:
        """Make the asks for what is missing."""

    def ask_for(self, ask: Ask, samples: tuple[int, ...]) -> Ask:
        """Make an ask for some of the replies that another one wants."""

    def prompt(self, pair: Pair, order: Order, persona: str) -> str:
        """Write what is asked about a pair."""

    def rows(self, answer: Answer) -> Rows:
        """Turn an answer into rows."""


class Job:
    """One run's judge with its store: plans what to ask, writes what comes back, counts and shows it.

    Args:
        judge: who is asked.
        store: where the answers go.
        options: how it is asked.
        wanted: judgments, or choice distributions, that the run is to make.
        ledger: keeps the attempts; None for a judge that costs nothing to ask again.
        counted: the judges whose cost counts against the most that may be spent; this one by default.
    """

    def __init__(
        self,
        judge: AskedJudge,
        store: JudgmentStore,
        options: AskingOptions,
        wanted: int,
        *,
        ledger: Ledger | None = None,
        counted: Sequence[str] = (),
    ) -> None:
        self.judge, self.store, self.options, self._ledger = judge, store, options, ledger
        self.counted = counted or (judge.name,)
        self._account = None if options.max_cost is None else Account(store, self.counted)
        self.tally = Tally(wanted)
        self.display = Display(self.tally, judge.name, progress=options.progress)
        self._has_verdict = False
        self.in_hand: set[bytes] = set()
        """Keys of what this run has planned and neither kept nor left yet: pairs of the same texts share it."""
        self._withheld: Counter[bytes] = Counter()
        earlier = {} if ledger is None else ledger.refused()
        self._refused = {} if options.ask_refused else earlier
        self._asked_anew = set(earlier) if options.ask_refused else set()

    def windows(self, pairs: Iterable[Pair], size: int | None = None) -> Iterator[list[Ask]]:
        """Plan window by window: the asks for whatever the store misses, pairs of one prompt next to each other."""
        remaining = iter(pairs)
        while window := list(itertools.islice(remaining, size or WINDOW)):
            keys = [self.judge.keys(pair) for pair in window]
            in_hand = self.in_hand.copy()  # before the look: what is kept from here on is found in the store
            missing = self.store.missing(set(itertools.chain.from_iterable(keys))) - in_hand
            self.tally.reused += sum(key not in missing for own in keys for key in own)
            asks = {ask.key: ask for pair in window for ask in self.judge.asks(pair, missing)}
            first_seen: dict[object, int] = {}
            for ask in asks.values():
                first_seen.setdefault(ask.pair.prompt, len(first_seen))
            yield sorted(asks.values(), key=lambda ask: first_seen[ask.pair.prompt])

    def refused(self, ask: Ask) -> str | None:
        """Return why the server will not answer the prompt of an ask, where it said so; None elsewhere."""
        return self._refused.get(_view(ask)) if self._refused else None

    def note_refused(self, ask: Ask, attempt: Attempt, error: AskError) -> Attempt:
        """Remember that the prompt of an ask was refused; returns what the store is to keep of it."""
        key = _view(ask)
        self._refused[key] = str(error)
        return replace(attempt, state="refused", refused=key)

    def withheld(self, ask: Ask) -> int:
        """Count a reply that was held back; returns how many were of its prompt, since one was not."""
        key = _view(ask)
        self._withheld[key] += 1
        return self._withheld[key]

    def has_verdict(self) -> bool:
        """Whether the store has a verdict of the judge."""
        self._has_verdict = self._has_verdict or self.store.has_verdict(self.judge.name)
        return self._has_verdict

    def further(self, outcome: Outcome) -> list[Ask]:
        """List what is still to be asked after an outcome: the replies that did not come."""
        if isinstance(outcome, TooLong) or not outcome.replies:
            return []
        left = outcome.ask.samples[len(outcome.replies) :]
        return [self.judge.ask_for(outcome.ask, left)] if left else []

    def rows(self, outcome: Outcome, attempt: Attempt) -> Rows:
        """Turn an outcome into rows."""
        if isinstance(outcome, TooLong):
            self.tally.note_too_long(outcome)
            error = f"{outcome.tokens or 'too many'} tokens for a context of {outcome.limit or 'unknown length'}"
            return Rows(attempts=[replace(attempt, state="too long", error=error)])
        rows = self.judge.rows(outcome)
        rows.attempts.append(attempt)
        if self._asked_anew and _view(outcome.ask) in self._asked_anew:
            rows.no_longer_refused.append(_view(outcome.ask))
        return rows

    def write(self, rows: Sequence[Rows], claims: Sequence[tuple[Ask, Usage, float]] = ()) -> list[int | None]:
        """Write rows, and claims of what is about to be sent (see `Ledger.claim`), in one transaction."""
        if self._ledger is None and not rows:
            return [0] * len(claims)
        with self.store.transaction():
            self.store.insert(itertools.chain.from_iterable(some.judgments for some in rows))
            self.store.insert_distributions(itertools.chain.from_iterable(some.distributions for some in rows))
            if self._ledger is None:
                return []
            self._ledger.no_longer_refused(itertools.chain.from_iterable(some.no_longer_refused for some in rows))
            self._ledger.settle(itertools.chain.from_iterable(some.attempts for some in rows))
            room = None  # dollars that may still be spent, by any process
            if claims and self._account is not None and self.options.max_cost is not None:
                room = self.options.max_cost - self._account.cost()
            return self._ledger.claim(claims, room)

    def count(self, outcome: Outcome, rows: Rows) -> None:
        """Count an answer that is on disk."""
        if isinstance(outcome, Answer):
            if self._withheld:
                self._withheld.pop(_view(outcome.ask), None)
            sampling = self.judge.drawn_at
            judgments = [judgment for _, _, judgment in rows.judgments]
            self.tally.count_judgments(judgments, outcome.cut, order_is_known=sampling is not None)
            if sampling is not None:
                for _, row in rows.distributions:
                    self.tally.count_distribution(row.distribution, sampling)
        self.display.update()


def _view(ask: Ask) -> bytes:
    return refused_view(content_of(ask.pair), ask.order, ask.persona)

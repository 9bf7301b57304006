"""One run of a judge over a store: what to ask, and which rows come of an answer."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from dissensus.judge.language.choice_distribution import Reading
from dissensus.judge.language.messages import Answer, Ask, AskError, Outcome, Sampling, TooLong, Usage
from dissensus.judge.language.plan import LanguageJudge, Planned
from dissensus.judge.language.progress_display import Display, Tally
from dissensus.judge.language.verdict import parse_choice
from dissensus.judge.store.attempts import Account, Attempt, Ledger, Price, refused_view
from dissensus.judge.store.store import JudgmentStore, StoredReading, content_of
from dissensus.records import Judgment, Order, Pair

_WINDOW = 512
"""Pairs that are planned at once; the store is asked once for all of them."""
ALL_CUT = "every reply so far was cut before it named a winner"
"""Why a run stops where all of them are (see `Tally.hopeless`)."""
_SECONDS = 0.5
"""Work of a model in this process that a kill may cost."""


@dataclass(frozen=True)
class AskingOptions:
    """How a model is asked, none of which decides an answer."""

    concurrency: int = 256
    """Requests in flight at most; the engine finds out how many pay."""
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
    """Keep readings whose prefix the model would not surely write, instead of sampling replies for them."""
    ask_refused: bool = False
    """Ask once more what the server refused in an earlier run."""
    take_over: bool = False
    """Take runs of other hosts that have not ended for dead."""
    progress: bool = True


@dataclass
class Kept:
    """Rows that are written in one transaction: what came of an ask, and how its attempt ended."""

    attempts: list[Attempt] = field(default_factory=list)
    judgments: list[tuple[bytes, str, Judgment]] = field(default_factory=list)
    readings: list[tuple[bytes, StoredReading]] = field(default_factory=list)
    no_longer_refused: list[bytes] = field(default_factory=list)
    """Prompts (see `refused_view`) that were answered, and had been refused before."""


class Job:
    """One run's judge with its store: plans what to ask, and turns what comes back into rows."""

    def __init__(
        self,
        judge: LanguageJudge,
        store: JudgmentStore,
        ledger: Ledger,
        options: AskingOptions,
        tally: Tally,
        display: Display,
        counted: Sequence[str] = (),
    ) -> None:
        self.judge, self.store, self.ledger = judge, store, ledger
        self.counted = counted or (judge.name,)
        """Judges whose cost counts against the most that may be spent."""
        self._account = None if options.max_cost is None else Account(store, self.counted)
        self.options, self.tally, self.display = options, tally, display
        self.exact = judge.config.mode == "exact"
        self.twin = judge.with_mode("sample") if self.exact else judge
        """Whose name sampled replies bear."""
        self._twin_is_registered = not self.exact
        self._has_verdict = False
        self.in_hand: set[bytes] = set()
        """Keys of what this run has planned and neither kept nor left yet: pairs of the same texts share it."""
        self._withheld: Counter[bytes] = Counter()
        earlier = ledger.refused()
        self._refused = {} if options.ask_refused else earlier
        self._asked_anew = set(earlier) if options.ask_refused else set()

    def sampling_of(self, ask: Ask) -> Sampling | None:
        """Return how the replies of an ask are sampled; None where it wants a reading."""
        return self.twin.config.sampling if ask.samples else None

    def windows(self, pairs: Iterable[Pair]) -> Iterator[list[Ask]]:
        """Plan window by window: the asks for whatever the store misses, pairs of one prompt next to each other."""
        remaining = iter(pairs)
        while window := list(itertools.islice(remaining, _WINDOW)):
            yield self._plan(window)

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
        self._withheld[_view(ask)] += 1
        return self._withheld[_view(ask)]

    def has_verdict(self) -> bool:
        """Whether the store has a verdict of the judge."""
        if not self._has_verdict:
            self._has_verdict = self.store.has_verdict(self.twin.name)
        return self._has_verdict

    def further(self, outcome: Outcome) -> list[Ask]:
        """List what is still to be asked after an outcome: replies that did not come, or that a reading needs."""
        if isinstance(outcome, TooLong):
            return []
        ask = outcome.ask
        if outcome.reading is not None:
            beside = self._samples_beside(ask.pair, ask.order, ask.persona, outcome.reading)
            return [] if beside is None else [beside]
        if outcome.replies and (left := ask.samples[len(outcome.replies) :]):
            return [self.twin.ask_for(ask.pair, ask.order, ask.persona, left)]
        return []

    def kept(self, outcome: Outcome, attempt: Attempt) -> Kept:
        """Turn an outcome into rows."""
        if isinstance(outcome, TooLong):
            self.tally.note_too_long(outcome)
            error = f"{outcome.tokens or 'too many'} tokens for a context of {outcome.limit or 'unknown length'}"
            return Kept([replace(attempt, state="too long", error=error)])
        ask = outcome.ask
        content = content_of(ask.pair)
        answered = [_view(ask)] if self._asked_anew and _view(ask) in self._asked_anew else []
        if outcome.reading is not None:
            reading = StoredReading(ask.pair.id, self.judge.name, content, ask.order, ask.persona, outcome.reading)
            key = self.judge.reading_key(content, ask.order, ask.persona)
            return Kept([attempt], readings=[(key, reading)], no_longer_refused=answered)
        # A server may send fewer replies than it was asked for: see `further`.
        replies = zip(ask.samples, outcome.ended(), strict=False)
        judgments = [self._judgment(ask, content, sample, *reply) for sample, reply in replies]
        return Kept([attempt], judgments, no_longer_refused=answered)

    def write(self, kept: Sequence[Kept], claims: Sequence[tuple[Ask, Usage, float]] = ()) -> list[int | None]:
        """Write rows, and claims of what is about to be sent (see `Ledger.claim`), in one transaction."""
        if not self._twin_is_registered and any(rows.judgments for rows in kept):
            if not self.store.settings(self.twin.name):
                self.store.register(self.twin.name, {**self.twin.settings(), "beside": self.judge.name})
            self._twin_is_registered = True
        with self.store.transaction():
            self.store.insert(itertools.chain.from_iterable(rows.judgments for rows in kept))
            self.store.insert_readings(itertools.chain.from_iterable(rows.readings for rows in kept))
            self.ledger.no_longer_refused(itertools.chain.from_iterable(rows.no_longer_refused for rows in kept))
            self.ledger.settle(itertools.chain.from_iterable(rows.attempts for rows in kept))
            return self.ledger.claim(claims, self._room() if claims else None)

    def _room(self) -> float | None:
        """Return how many dollars may still be spent, by any process; None where there is no limit."""
        if self._account is None or self.options.max_cost is None:
            return None
        return self.options.max_cost - self._account.cost()

    def count(self, outcome: Outcome) -> None:
        """Count an answer that is on disk."""
        if isinstance(outcome, Answer):
            if self._withheld:
                self._withheld.pop(_view(outcome.ask), None)
            config = self.judge.config
            if self.exact and outcome.reading is None:
                self.tally.beside += len(outcome.replies)
            else:
                self.tally.count(outcome, temperature=config.temperature, top_p=config.top_p)
        self.display.update()

    def _judgment(self, ask: Ask, content: str, sample: int, reply: str, cut: bool) -> tuple[bytes, str, Judgment]:
        judgment = Judgment(
            pair_id=ask.pair.id,
            judge=self.twin.name,
            sample=sample,
            order=ask.order,
            choice=parse_choice(reply, order=ask.order, cut=cut),
            reply=reply,
            persona=ask.persona,
        )
        planned = Planned(sample, ask.order, ask.persona)
        return self.twin.sample_key(content, planned), content, judgment

    def _plan(self, window: list[Pair]) -> list[Ask]:
        keys = [self.judge.keys(pair) for pair in window]
        # First: what is kept from here on is found in the store.
        in_hand = self.in_hand.copy()
        missing = self.store.missing(set(itertools.chain.from_iterable(keys))) - in_hand
        self.tally.reused += sum(key not in missing for own in keys for key in own)
        asks: dict[bytes, Ask] = {}
        for pair in window:
            asks.update((ask.key, ask) for ask in self.judge.asks(pair, missing))
        if self.exact:
            asks.update((ask.key, ask) for ask in self._unfinished(window, in_hand))
        first_seen: dict[object, int] = {}
        for ask in asks.values():
            first_seen.setdefault(ask.pair.prompt, len(first_seen))
        return sorted(asks.values(), key=lambda ask: first_seen[ask.pair.prompt])

    def _unfinished(self, window: list[Pair], in_hand: set[bytes]) -> Iterator[Ask]:
        """Ask for replies beside readings that an earlier run left without them, or made for another top-p."""
        by_key = {
            self.judge.reading_key(content, order, persona): (pair, order, persona)
            for pair in window
            for content in (content_of(pair),)
            for order, persona in self.judge.views(content)
        }
        by_key = {key: view for key, view in by_key.items() if key not in in_hand}
        for key, reading in self.store.readings_of(by_key):
            ask = self._samples_beside(*by_key[key], reading)
            if ask is not None and in_hand.isdisjoint(ask.keys):
                yield ask

    def _samples_beside(self, pair: Pair, order: Order, persona: str, reading: Reading) -> Ask | None:
        sampling = self.twin.config.sampling
        if self.options.force_prefix or reading.is_forced(temperature=sampling.temperature, top_p=sampling.top_p):
            return None
        content = content_of(pair)
        planned = [p for p in self.twin.plan(content) if (p.order, p.persona) == (order, persona)]
        keys = {self.twin.sample_key(content, p): p.sample for p in planned}
        missing = self.store.missing(keys)
        samples = tuple(sample for key, sample in keys.items() if key in missing)
        return self.twin.ask_for(pair, order, persona, samples) if samples else None


def _view(ask: Ask) -> bytes:
    return refused_view(content_of(ask.pair), ask.order, ask.persona)


class BufferedWriter:
    """Writes rows a few times a second instead of one by one."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._rows: list[tuple[Kept, Outcome]] = []
        self._last = time.monotonic()

    def keep(self, kept: Kept, outcome: Outcome) -> None:
        """Write the rows soon; the outcome is counted when they are on disk."""
        self._rows.append((kept, outcome))
        if time.monotonic() - self._last >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what there is."""
        if self._rows:
            self._job.write([kept for kept, _ in self._rows])
            for _, outcome in self._rows:
                self._job.count(outcome)
        self._rows.clear()
        self._last = time.monotonic()

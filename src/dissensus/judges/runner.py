"""The engine of all judges: what is planned and the store lacks is asked, and every answer is on disk before it counts.

Nothing is asked or paid for twice, wherever a run was killed.
"""

from __future__ import annotations

import inspect
import itertools
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np

from dissensus.errors import InputError
from dissensus.event_loops import interrupts
from dissensus.files.source import print_notice
from dissensus.judges.job import ALL_CUT, AskedJudge, AskingOptions, Job, Rows
from dissensus.judges.language.messages import Answer, Ask, BatchBackend, Outcome, Sampling, ServerBackend, Usage
from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.position_bias import position_bias
from dissensus.judges.progress_display import Tally
from dissensus.judges.server.concurrency import ask_concurrently
from dissensus.judges.store.attempts import Attempt, Ledger, spent
from dissensus.judges.store.keys import content_of, judgment_key
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.summary import INTERRUPTED, Summary
from dissensus.parts import PartOf, whole_of
from dissensus.records import Judgment, Order, Pair

_DEFAULTS = AskingOptions()
_WINDOW = 4096
"""Pairs of which a judge that is no language model is asked together."""
TRIAL = 8
"""Pairs whose choice distributions decide whether an exact run goes on as one."""
_SECONDS = 0.5
"""Work of a judge in this process that a kill may cost."""


class Pairs(Protocol):
    """Pairs that can be counted and iterated over again and again: a list, or a file that is read each time."""

    def __len__(self) -> int:
        """Count them."""

    def __iter__(self) -> Iterator[Pair]:
        """Go through them."""


@dataclass(frozen=True)
class Question:
    """One judgment to be made: of which pair, the how-manyth, and which response is shown first."""

    pair: Pair
    sample: int
    order: Order = "ab"


class Judge(Protocol):
    """Whoever answers questions about pairs, and is no language model."""

    @property
    def name(self) -> str:
        """``NAME-`` and 8 hex digits over everything that decides the answers, apart from the question itself."""

    def questions(self, pair: Pair) -> Sequence[Question]:
        """List the judgments to be made of a pair."""

    def answer(self, questions: Sequence[Question]) -> Iterator[Judgment]:
        """Answer, in any order, in the pair's own terms (the order shown is undone here).

        A question that fails is left out, and so is asked again in the next run; a reply that names no winner is a
        judgment without a choice. Judgments are kept under ``name``, whatever they call their judge.
        """


class ReadyJudge(Protocol):
    """A judge that is loaded and can be asked about some pairs after others."""

    def ask(self, pairs: Pairs, store: JudgmentStore) -> Summary:
        """Ask whatever the store lacks. Raises JudgeError; what was answered is kept."""

    def open_questions(self, pair: Pair, store: JudgmentStore) -> tuple[str, int]:
        """Return the judge's name and how many of its questions about a pair the store has no answer to."""

    def settled(self, decide: Callable[[ReadyJudge], str]) -> ReadyJudge:
        """Return the judge as all workers of a run ask it, where that has to be tried; ``decide`` says how."""


@dataclass(frozen=True)
class OpenedJudge:
    """A judge that is no language model."""

    judge: Judge
    progress: bool = True

    def ask(self, pairs: Pairs, store: JudgmentStore) -> Summary:
        """Answer whatever the store lacks."""
        return judge_pairs(pairs, self.judge, store, progress=self.progress)

    def open_questions(self, pair: Pair, store: JudgmentStore) -> tuple[str, int]:
        """Count what is not answered."""
        return self.judge.name, len(store.missing(_Questions(self.judge).keys(pair)))

    def settled(self, decide: Callable[[ReadyJudge], str]) -> ReadyJudge:
        """Return itself: there is nothing to be tried."""
        return self


@dataclass(frozen=True)
class LoadedModel:
    """A language model with the judge that it is asked as."""

    judge: LanguageJudge
    backend: BatchBackend | ServerBackend
    options: AskingOptions

    def ask(self, pairs: Pairs, store: JudgmentStore) -> Summary:
        """Ask whatever the store lacks."""
        return ask_model(pairs, self.judge, self.backend, store, self.options)

    def open_questions(self, pair: Pair, store: JudgmentStore) -> tuple[str, int]:
        """Count what is not answered."""
        return self.judge.name, len(store.missing(self.judge.keys(pair)))

    def settled(self, decide: Callable[[ReadyJudge], str]) -> ReadyJudge:
        """Return the judge in the mode that is decided on, where mode ``exact`` has to be tried."""
        if self.judge.config.mode != "exact" or self.options.force_prefix:
            return self
        if decide(self) == "exact":
            return replace(self, options=replace(self.options, force_prefix=True))
        return replace(self, judge=self.judge.with_mode("sample"))


def judge_pairs(pairs: Iterable[Pair] | Pairs, judge: Judge, store: JudgmentStore, *, progress: bool = True) -> Summary:
    """Have ``judge`` answer every question about ``pairs`` that ``store`` holds no answer to.

    Pairs that can be counted are gone through as often as needed, and are not held. Judgments are written a few times a
    second, so a run that is killed loses that much and goes on from there.

    Raises:
        InputError: two pairs have one id.
        JudgeError: the judge cannot judge these pairs.
    """
    start = time.monotonic()
    pairs = cast(Pairs, pairs) if hasattr(pairs, "__len__") else list(pairs)
    wanted = _count_questions(pairs, judge)
    planned = _Questions(judge)
    tally = _run(pairs, planned, planned, store, AskingOptions(progress=progress), wanted, window=_WINDOW)
    if not tally.stopped:
        tally.failed = wanted - tally.made - tally.reused
    return Summary(
        judge.name,
        str(store.path),
        len(pairs),
        tally,
        time.monotonic() - start,
        stored=store.judges().get(judge.name, 0),
        notes=tuple(getattr(judge, "notes", ())),
    )


def _count_questions(pairs: Pairs, judge: Judge) -> int:
    """Count the questions; refuse a pair whose id another one has. Takes eight bytes a pair."""
    hashes, wanted = array("q"), 0
    for pair in pairs:
        hashes.append(hash(pair.id))
        wanted += len(judge.questions(pair))
    if np.unique(np.array(hashes)).size == len(hashes):
        return wanted
    seen: set[str] = set()
    for pair in pairs:
        if pair.id in seen:
            raise InputError(f"pair {pair.id!r} comes twice; judgments are joined by id, so give each pair its own")
        seen.add(pair.id)
    return wanted


def ask_model(
    pairs: Pairs,
    judge: LanguageJudge,
    backend: BatchBackend | ServerBackend,
    store: JudgmentStore,
    options: AskingOptions = _DEFAULTS,
) -> Summary:
    """Have a language model answer whatever ``store`` does not have of ``judge``'s plan for ``pairs``.

    Pairs are read as a stream, and may be a million. Ctrl-C (once) finishes what is in flight; so does reaching the
    most that may be spent. Where the first few pairs show that in mode ``exact`` the model would hardly ever write the
    prefix, the whole run is one of mode ``sample``.

    Args:
        pairs: may be read from a file each time they are iterated over.
        judge: what to ask, and under which name to keep the answers.
        backend: the model.
        store: where the answers go.
        options: how to ask.

    Raises:
        JudgeError: the model cannot be asked (wrong key, server gone, …). What was answered is kept.
    """
    start = time.monotonic()
    judge = judge.as_begun(store)
    counted = [judge.name]
    trial = Tally(0)
    if judge.config.mode == "exact" and not options.force_prefix:
        counted.append(judge.with_mode("sample").name)
        first = list(itertools.islice(whole_of(pairs), TRIAL))
        quiet = replace(options, progress=False)
        trial = _try_first(first, pairs, lambda some: _run_model(some, judge, backend, store, quiet, counted))
        if not trial.stopped:
            judge = _after_trial(first, judge, store)
    tally = trial
    if not trial.stopped:
        tally = _run_model(pairs, judge, backend, store, options, counted)
        tally.include(trial, judgments=judge.config.mode == "exact")
    config = judge.config
    at = {"temperature": config.temperature, "top_p": config.top_p} if config.mode == "exact" else {}
    return Summary(
        judge.name,
        str(store.path),
        len(pairs),
        tally,
        time.monotonic() - start,
        stored=store.judges().get(judge.name, 0),
        mode=config.mode,
        cost=spent(store, *counted).cost,
        nothing_judged=nothing_judged(judge.name, tally, store),
        most_tokens=config.max_tokens,
        bias=position_bias(store, judge.name, **at),
    )


def nothing_judged(judge: str, tally: Tally, store: JudgmentStore) -> str:
    """Say why a run leaves the store without any verdict of its judge; empty where there is one, or nobody asked."""
    if not tally.wanted or tally.elsewhere or store.has_verdict(judge):
        return ""
    replies = tally.made + tally.reused
    reasons = (
        (replies, f"none of the {replies:,} replies names a winner"),
        (tally.refused, "the server refused all of it"),
        (tally.too_long, "no prompt fits into the context"),
        (tally.failed, f"no question was answered{tally.because}"),
    )
    why = next((words for count, words in reasons if count), tally.stopped or "no reply came")
    return f"{judge}: nothing was judged: {why}"


class _Questions:
    """A judge that is no language model, as the engine plans and asks it; keys have the pair's id."""

    sampling = drawn_at = None

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.name = judge.name
        self.identity = {"judge": judge.name}

    def keys(self, pair: Pair) -> list[bytes]:
        return [self._key(question) for question in self._judge.questions(pair)]

    def asks(self, pair: Pair, missing: set[bytes]) -> Iterator[Ask]:
        for question in self._judge.questions(pair):
            if (key := self._key(question)) in missing:
                yield Ask(key, pair, question.order, "", samples=(question.sample,), keys=(key,))

    def ask_for(self, ask: Ask, samples: tuple[int, ...]) -> Ask:
        return replace(ask, samples=samples)

    def prompt(self, pair: Pair, order: Order, persona: str) -> str:
        return ""

    def answer(self, asks: Sequence[Ask], sampling: Sampling | None) -> Iterator[Answer]:
        by_question = {(ask.pair.id, *ask.samples, ask.order): ask for ask in asks}
        for judgment in self._judge.answer([Question(ask.pair, ask.samples[0], ask.order) for ask in asks]):
            ask = by_question[judgment.pair_id, judgment.sample, judgment.order]
            yield Answer(ask, judgments=(judgment.model_copy(update={"judge": self.name}),))

    def rows(self, answer: Answer) -> Rows:
        return Rows([(answer.ask.key, content_of(answer.ask.pair), judgment) for judgment in answer.judgments])

    def _key(self, question: Question) -> bytes:
        return judgment_key(self.name, question.pair, question.sample, question.order)


def _try_first(first: Sequence[Pair], pairs: Pairs, ask: Callable[[Sequence[Pair]], Tally]) -> Tally:
    """Ask about the first pairs of all. In a part these may be others' too: all parts have to come to one decision."""
    if not isinstance(pairs, PartOf):
        return ask(first)
    outside = ask([pair for pair in first if not pairs.part.has(pair)])
    if outside.stopped:
        return outside
    trial = ask([pair for pair in first if pairs.part.has(pair)])
    trial.include(outside, judgments=False)
    return trial


def _after_trial(pairs: Sequence[Pair], judge: LanguageJudge, store: JudgmentStore) -> LanguageJudge:
    """Return the judge that a run is to be one of, whose choice distributions of the first pairs are in the store."""
    found = [row.distribution for row in store.distributions(judge=judge.name, pairs=pairs)]
    config = judge.config
    forced = sum(one.is_forced(temperature=config.temperature, top_p=config.top_p) for one in found)
    if forced >= len(found) / 2:
        return judge
    print_notice(
        f"{judge.name}: in {len(found) - forced} of {len(found)} choice distributions the model would not surely "
        "begin its reply with 'Choice:', so the probabilities behind it are not those of sampled replies; "
        "sampling replies instead (--force-prefix keeps to exact)"
    )
    return judge.with_mode("sample")


def _run_model(
    pairs: Pairs,
    judge: LanguageJudge,
    backend: BatchBackend | ServerBackend,
    store: JudgmentStore,
    options: AskingOptions,
    counted: Sequence[str],
) -> Tally:
    store.register(judge.name, judge.settings())
    example = next(iter(pairs), None)
    wanted = len(pairs) * (len(judge.keys(example)) if example else 0)
    return _run(pairs, judge, backend, store, options, wanted, ledger=Ledger(store, judge.name), counted=counted)


def _run(
    pairs: Iterable[Pair],
    judge: AskedJudge,
    backend: BatchBackend | ServerBackend,
    store: JudgmentStore,
    options: AskingOptions,
    wanted: int,
    *,
    window: int | None = None,
    ledger: Ledger | None = None,
    counted: Sequence[str] = (),
) -> Tally:
    """Ask for whatever is planned and missing. Without a ledger no attempts are kept: nothing is lost with them."""
    with nullcontext() if ledger is None else ledger.running(take_over=options.take_over):
        job = Job(judge, store, options, wanted, ledger=ledger, counted=counted)
        with job.display:
            if inspect.iscoroutinefunction(backend.answer):
                job.tally.stopped = ask_concurrently(pairs, job, cast(ServerBackend, backend))
            else:
                job.tally.stopped = _ask_in_batches(job.windows(pairs, window), job, cast(BatchBackend, backend))
            return job.tally


def _ask_in_batches(windows: Iterable[list[Ask]], job: Job, backend: BatchBackend) -> str:
    """Ask a judge in this process, window by window; returns why it stopped early."""
    with interrupts() as interrupted:
        for asks in windows:
            _answer(asks, job, backend, interrupted)
            if interrupted():
                return INTERRUPTED
            if job.tally.hopeless and not job.has_verdict():
                return ALL_CUT
    return ""


def _answer(asks: list[Ask], job: Job, backend: BatchBackend, interrupted: Callable[[], bool]) -> None:
    if not asks:
        return
    claims = job.write([], [(ask, Usage(), 0.0) for ask in asks])
    claimed = {ask.key: attempt for ask, attempt in zip(asks, claims, strict=True) if attempt is not None}
    job.tally.elsewhere += len(asks) - len(claimed)
    waiting: list[tuple[Outcome, Rows]] = []

    def write() -> None:
        if waiting:
            job.write([rows for _, rows in waiting])
        for outcome, rows in waiting:
            job.count(outcome, rows)
        waiting.clear()

    written = time.monotonic()
    try:
        for outcome in backend.answer([ask for ask in asks if ask.key in claimed], job.judge.sampling):
            attempt = Attempt(claimed[outcome.ask.key], "answered", Usage(), 0.0, 0.0)
            waiting.append((outcome, job.rows(outcome, attempt)))
            if time.monotonic() - written >= _SECONDS:
                write()
                written = time.monotonic()
            if interrupted():
                break
    finally:
        write()

"""Asking a language model about pairs: what the store misses is asked, and nothing is asked or paid for twice."""

from __future__ import annotations

import inspect
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

from dissensus.judge.language.job import ALL_CUT, AskingOptions, BufferedWriter, Job
from dissensus.judge.language.messages import Ask, BatchBackend, ServerBackend, Usage
from dissensus.judge.language.plan import LanguageJudge
from dissensus.judge.language.progress_display import Display, Tally
from dissensus.judge.server.concurrency import ask_concurrently
from dissensus.judge.store.attempts import Attempt, Ledger, spent
from dissensus.judge.store.store import JudgmentStore
from dissensus.records import Pair

_DEFAULTS = AskingOptions()
_TRIAL = 8
"""Pairs whose readings decide whether an exact run goes on as one."""


@dataclass(frozen=True)
class AskingSummary:
    """What a run of a language model did."""

    judge: str
    """The judge whose name the judgments bear; that of mode ``sample`` where an exact run fell back to it, and that of
    version 0.1 where the store was begun by it."""
    mode: str
    pairs: int
    tally: Tally
    cost: float
    """Dollars that the judge took in this store, over all runs, lost attempts at their estimate; of a run of mode
    ``exact`` with what the same judge took in mode ``sample``, in which it may go on."""
    seconds: float
    stopped: str = ""
    """Why the run ended before everything was asked; empty where it did not."""


def ask_model(
    pairs: Iterable[Pair],
    judge: LanguageJudge,
    backend: BatchBackend | ServerBackend,
    store: JudgmentStore,
    options: AskingOptions = _DEFAULTS,
    *,
    total: int | None = None,
) -> AskingSummary:
    """Have a model answer whatever ``store`` does not have of ``judge``'s plan for ``pairs``.

    Pairs are read as a stream, and may be a million. Every answer is on disk before it is counted. Ctrl-C (once)
    finishes what is in flight; so does reaching the most that may be spent. In mode ``exact`` a reading whose prefix
    is not forced is accompanied by sampled replies, under the name of the judge's twin in mode ``sample``; where the
    first few pairs show that hardly any is, the whole run is one of that twin.

    Args:
        pairs: any iterable that can be iterated twice.
        judge: what to ask, and under which name to keep the answers.
        backend: the model.
        store: where the answers go.
        options: how to ask.
        total: how many pairs there are; counted where it is not given.

    Raises:
        JudgeError: the model cannot be asked (wrong key, server gone, …). What was answered is kept.
    """
    start = time.monotonic()
    judge = judge.as_begun(store)
    total = sum(1 for _ in pairs) if total is None else total
    tally, stopped = Tally(0), ""
    counted = [judge.name]
    if judge.config.mode == "exact" and not options.force_prefix:
        counted.append(judge.with_mode("sample").name)
        some = list(itertools.islice(pairs, _TRIAL))
        judge, tally, stopped = _after_trial(some, judge, backend, store, options, counted)
    if not stopped:
        trial = tally
        tally, stopped = _run(pairs, judge, backend, store, options, total, counted)
        tally.include(trial, judgments=judge.config.mode == "exact")
    return AskingSummary(
        judge.name,
        judge.config.mode,
        total,
        tally,
        spent(store, *counted).cost,
        time.monotonic() - start,
        stopped,
    )


def nothing_judged(summary: AskingSummary, store: JudgmentStore) -> str:
    """Say why a run leaves the store without any verdict of its judge; empty where there is one, or nobody asked."""
    tally = summary.tally
    if not tally.wanted or tally.elsewhere or store.has_verdict(summary.judge):
        return ""
    replies = tally.made + tally.reused
    reasons = (
        (replies, f"none of the {replies:,} replies names a winner"),
        (tally.refused, "the server refused all of it"),
        (tally.too_long, "no prompt fits into the context"),
        (tally.failed, f"no question was answered, the last one because: {tally.failed_because}"),
    )
    why = next((words for count, words in reasons if count), summary.stopped or "no reply came")
    return f"{summary.judge}: nothing was judged: {why}"


def _after_trial(
    pairs: list[Pair],
    judge: LanguageJudge,
    backend: BatchBackend | ServerBackend,
    store: JudgmentStore,
    options: AskingOptions,
    counted: Sequence[str],
) -> tuple[LanguageJudge, Tally, str]:
    """Read a few pairs, and return the judge that the run is to be one of, what the trial took, and why it stopped."""
    trial = replace(options, progress=False, force_prefix=True)
    tally, stopped = _run(pairs, judge, backend, store, trial, len(pairs), counted)
    readings = list(store.readings(judge=judge.name, pairs=pairs))
    sampling = judge.config.sampling
    forced = sum(r.reading.is_forced(temperature=sampling.temperature, top_p=sampling.top_p) for r in readings)
    if stopped or not readings or forced >= len(readings) / 2:
        return judge, tally, stopped
    with Display(Tally(0), judge.name, progress=options.progress) as display:
        display.say(
            f"{judge.name}: in {len(readings) - forced} of {len(readings)} readings the model would not surely begin "
            "its reply with 'Choice:', so the probabilities behind it are not those of sampled replies; "
            "sampling replies instead (--force-prefix keeps to exact)"
        )
    return judge.with_mode("sample"), tally, stopped


def _run(
    pairs: Iterable[Pair],
    judge: LanguageJudge,
    backend: BatchBackend | ServerBackend,
    store: JudgmentStore,
    options: AskingOptions,
    total: int,
    counted: Sequence[str],
) -> tuple[Tally, str]:
    store.register(judge.name, judge.settings())
    ledger = Ledger(store, judge.name)
    exact = judge.config.mode == "exact"
    example = next(iter(pairs), None)
    tally = Tally(wanted=total * (len(judge.keys(example)) if example else 0))
    with (
        ledger.running(take_over=options.take_over),
        Display(tally, judge.name, progress=options.progress, unit="reading" if exact else "judgment") as display,
    ):
        job = Job(judge, store, ledger, options, tally, display, counted)
        if inspect.iscoroutinefunction(backend.answer):
            stopped = ask_concurrently(pairs, job, cast(ServerBackend, backend))
        else:
            stopped = _ask_in_batches(pairs, job, cast(BatchBackend, backend))
    return tally, stopped


def _ask_in_batches(pairs: Iterable[Pair], job: Job, backend: BatchBackend) -> str:
    """Ask a model in this process, window by window; returns why it stopped early."""
    with _interrupts() as interrupted:
        for asks in job.windows(pairs):
            for some in (
                [ask for ask in asks if not ask.samples],
                [ask for ask in asks if ask.samples],
            ):
                beside = _answer(some, job, backend, interrupted)
                _answer(beside, job, backend, interrupted)
            if interrupted():
                return "interrupted"
            if job.tally.hopeless and not job.has_verdict():
                return ALL_CUT
    return ""


def _answer(asks: list[Ask], job: Job, backend: BatchBackend, interrupted: Callable[[], bool]) -> list[Ask]:
    """Answer asks that all want readings, or all replies; returns what is to be asked beside the readings."""
    if not asks or interrupted():
        return []
    claims = job.write([], [(ask, Usage(), 0.0) for ask in asks])
    claimed = {ask.key: attempt for ask, attempt in zip(asks, claims, strict=True) if attempt is not None}
    job.tally.elsewhere += len(asks) - len(claimed)
    writer = BufferedWriter(job)
    beside: list[Ask] = []
    for outcome in backend.answer([ask for ask in asks if ask.key in claimed], job.sampling_of(asks[0])):
        beside += job.further(outcome)
        attempt = Attempt(claimed[outcome.ask.key], "answered", Usage(), 0.0, 0.0)
        writer.keep(job.kept(outcome, attempt), outcome)
        if interrupted():
            break
    writer.flush()
    return beside


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C ask for an end instead of making one; the second one makes it."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: object) -> None:
        seen.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, before)

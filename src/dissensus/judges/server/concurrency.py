"""Requests to a server, many at the same time, each on disk before it is sent and after it was answered."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dissensus.errors import JudgeError
from dissensus.event_loops import run_async
from dissensus.judges.job import ALL_CUT, Job, Rows
from dissensus.judges.language.messages import Answer, Ask, AskError, Outcome, ServerBackend, TooLong, Usage
from dissensus.judges.server.rate_limits import Breaker, Budget, Concurrency, Rate, backoff
from dissensus.judges.server.refusals import IN_A_ROW, Suspects, allowed_replies, plain_question
from dissensus.judges.store.attempts import Attempt, spent
from dissensus.judges.writers import ThreadWriter
from dissensus.records import Pair

_LONGEST_WAIT = 60.0
"""Seconds until a request that failed is repeated, whatever the server asks for."""
_IN_FLIGHT, _IN_FLIGHT_ELSEWHERE = 0.02, 0.5
"""Seconds until a request that would pass the limit of cost is weighed again; longer where another process spends."""
_CHARACTERS_PER_TOKEN = 3.0
"""A first guess, until the server's own counts are there; low, so that costs are not guessed too low."""


def ask_concurrently(pairs: Iterable[Pair], job: Job, backend: ServerBackend) -> str:
    """Ask a server whatever the job plans for ``pairs``; returns why it stopped early, empty where it did not."""
    return run_async(_Run(job, backend).run(pairs))


@dataclass(frozen=True)
class _Sent:
    """An attempt that is on its way."""

    id: int
    reserved: float
    estimate: Usage
    at: float
    epoch: int


class _Run:
    def __init__(self, job: Job, backend: ServerBackend) -> None:
        self._job, self._backend, self._options = job, backend, job.options
        self._slots = Concurrency(job.options.concurrency)
        self._requests = Rate(job.options.requests_per_minute)
        self._tokens = Rate(job.options.tokens_per_minute)
        self._breaker = Breaker(job.options.patience, say=job.display.say)
        self._budget = Budget(job.options.max_cost, spent=spent(job.store, *job.counted).cost)
        self._random = random.Random()  # of delays alone
        self._characters, self._counted_tokens = 3.0, 1.0
        self._suspects = Suspects()
        self._last_refused: tuple[Ask, AskError] | None = None
        self._most = backend.samples_per_request
        """Replies that one request asks for at most; fewer where the server refused more."""
        self._longest = 0
        """Tokens of the longest reply so far, hidden ones included."""
        self._waiting: set[asyncio.Task[None]] = set()
        self._sending: set[asyncio.Task[None]] = set()
        self._stopped = ""
        self._error: Exception | None = None

    async def run(self, pairs: Iterable[Pair]) -> str:
        """Ask everything, or as much as can be."""
        self._stop = asyncio.Event()
        self._room = asyncio.Semaphore(2 * self._options.concurrency)
        self._writer = ThreadWriter(self._job)
        showing = asyncio.create_task(self._show())
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            with suppress(NotImplementedError):  # Windows: Ctrl-C ends the run at once
                loop.add_signal_handler(signal.SIGINT, self._interrupt)
        try:
            async with self._backend:
                await self._ask_all(pairs)
                if self._last_refused is not None and self._suspects and not self._stop.is_set():
                    await self._ask_plainly(*self._last_refused)
        finally:
            with suppress(NotImplementedError, ValueError):
                loop.remove_signal_handler(signal.SIGINT)
            showing.cancel()
            await self._writer.close()
        if self._error is not None:
            raise self._error
        return self._stopped

    async def _ask_all(self, pairs: Iterable[Pair]) -> None:
        windows = self._job.windows(pairs)
        while not self._stop.is_set():
            try:
                asks = await self._writer.run(next, windows, None)
            except Exception as error:  # what is in flight is still waited for and kept
                self._error = error
                self._halt("")
                break
            if asks is None:
                break
            self._job.in_hand.update(*(ask.keys for ask in asks))
            for ask in self._split(asks):
                if (reason := self._job.refused(ask)) is not None:
                    self._job.tally.note_refused(ask, reason, new=False)
                    self._job.in_hand.difference_update(ask.keys)
                    continue
                await self._first(self._room.acquire())
                if self._stop.is_set():
                    break
                task = asyncio.create_task(self._pursue(ask))
                self._waiting.add(task)
                task.add_done_callback(partial(self._ended, ask))
        while tasks := self._waiting | self._sending:
            await self._first(asyncio.wait(tasks))
            if self._stop.is_set():
                for task in self._waiting:
                    task.cancel()
                await asyncio.wait(tasks)

    async def _first(self, work: Any) -> None:
        """Wait for ``work`` or for the stop, whichever comes first."""
        stop, working = asyncio.ensure_future(self._stop.wait()), asyncio.ensure_future(work)
        await asyncio.wait((stop, working), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not working.done():
            working.cancel()

    def _split(self, asks: list[Ask]) -> Iterator[Ask]:
        """Ask for as many replies at once as the server gives."""
        most = self._most
        for ask in asks:
            for start in range(0, max(1, len(ask.samples)), most):
                yield self._job.judge.ask_for(ask, ask.samples[start : start + most])

    def _ended(self, ask: Ask, task: asyncio.Task[None]) -> None:
        self._job.in_hand.difference_update(ask.keys)
        self._waiting.discard(task)
        self._sending.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None and self._error is None:
            self._error = error if isinstance(error, Exception) else RuntimeError(str(error))
            self._halt("")

    def _halt(self, why: str) -> None:
        self._stopped = self._stopped or why
        self._stop.set()

    def _interrupt(self) -> None:
        if self._stop.is_set():
            for task in self._waiting | self._sending:
                task.cancel()
        else:
            self._job.display.say("stopping: finishing what is in flight (Ctrl-C again to leave it)")
            self._halt("interrupted")

    async def _show(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            self._job.display.update()

    async def _pursue(self, ask: Ask) -> None:
        """Ask until there is an answer, keep it, and ask for the replies that did not come."""
        answered = await self._attempts(ask)
        if answered is None:
            return
        outcome, attempt = answered
        rows = self._job.rows(outcome, attempt)
        if isinstance(outcome, Answer):
            rows.attempts += self._suspects.cleared(time.monotonic() - attempt.seconds)
        await self._writer.write(rows)
        self._job.count(outcome, rows)
        if self._job.tally.hopeless and not await self._writer.run(self._job.has_verdict):
            self._halt(ALL_CUT)
        self._leave()
        further = self._job.further(outcome)
        if isinstance(outcome, Answer) and (left := ask.samples[len(outcome.ask.samples) :]):
            further.append(self._job.judge.ask_for(ask, left))
        for part in self._split(further):
            await self._pursue(part)

    async def _attempts(self, ask: Ask) -> tuple[Outcome, Attempt] | None:
        """Attempt until there is an outcome; None where there is none to be had, or another run has it in hand.

        Where several replies at once are refused, as many are asked for as the refusal names, and else one: if that is
        answered, so many were the reason. The outcome is then that of the first few.
        """
        whole = ask
        failures, most = 0, self._most
        answered = False
        while not self._stop.is_set():
            if (reason := self._job.refused(ask)) is not None:
                self._job.tally.note_refused(ask, reason, new=True)
                return None
            scouting = await self._breaker.wait()
            await self._slots.acquire()
            ask = self._job.judge.ask_for(ask, ask.samples[: self._most])
            try:
                if self._breaker.is_open and not scouting:
                    continue
                estimate = self._estimate(ask)
                # Only what has a slot takes its share of the rates: what waits for one may yet wait for long.
                if delay := max(self._requests.delay(1), self._tokens.delay(estimate.prompt_tokens)):
                    await asyncio.sleep(delay)
                self._enter()
                sent = await self._send(ask, estimate)
                if sent is None:
                    return None
                try:
                    outcome = await self._answer(sent, ask)
                except AskError as error:
                    attempt = await self._fail(sent, error)
                    if error.kind == "refused" and len(ask.samples) > 1:
                        named = allowed_replies(str(error), len(ask.samples))
                        most = named or len(ask.samples) // 2
                        ask = self._job.judge.ask_for(ask, ask.samples[: named or 1])
                        self._job.tally.retries += 1
                        continue
                    failures += error.kind == "failed"
                    if error.kind == "withheld":
                        failures = max(failures + 1, self._job.withheld(ask))
                    if failures > self._options.retries or error.kind == "refused":
                        await self._give_up(whole, ask, attempt, error)
                        return None
                    self._job.tally.retries += 1
                    wait = 0.0  # who is busy or gone is waited for by all together
                    if error.kind in ("failed", "withheld"):
                        wait = max(min(error.retry_after or 0.0, _LONGEST_WAIT), backoff(failures, self._random))
                else:
                    answered = True  # a stop waits until this is on disk and counted
                    self._most = min(self._most, most)
                    return outcome, self._succeed(sent, outcome)
            finally:
                if not answered:
                    self._leave()
                self._slots.release()
                if scouting:
                    self._breaker.abandoned()
            await asyncio.sleep(wait)
        return None

    def _enter(self) -> None:
        """From here on a stop waits for this task: money is on its way."""
        if (task := asyncio.current_task()) is not None:
            self._waiting.discard(task)
            self._sending.add(task)

    def _leave(self) -> None:
        if (task := asyncio.current_task()) is not None:
            self._sending.discard(task)
            self._waiting.add(task)

    async def _send(self, ask: Ask, estimate: Usage) -> _Sent | None:
        """Note the attempt on disk before it is made."""
        while True:
            # What was answered meanwhile may tell that replies are longer than was thought.
            estimate = replace(estimate, completion_tokens=self._estimate(ask).completion_tokens)
            cost = self._options.price.of(estimate)
            pause = _IN_FLIGHT
            if not self._budget.waits() and self._budget.reserve(cost):
                attempt = await self._writer.claim(ask, estimate, cost)
                if attempt:
                    break
                self._budget.settle(cost, 0.0)
                if attempt is None:
                    self._job.tally.elsewhere += 1
                    return None
                pause = _IN_FLIGHT_ELSEWHERE
            if self._stop.is_set():
                return None
            if not self._budget.reserved:
                self._halt(f"the next request might pass the most that may be spent, ${self._budget.most:,.2f}")
                return None
            await asyncio.sleep(pause)  # what is in flight may cost less than was set aside for it
        self._job.tally.attempts += 1
        return _Sent(attempt, cost, estimate, time.monotonic(), self._slots.epoch)

    async def _answer(self, sent: _Sent, ask: Ask) -> Outcome:
        """Make an attempt; one that ends the run was not served, and is noted as that."""
        try:
            return await self._backend.answer(ask, self._job.judge.sampling)
        except JudgeError as error:
            await self._writer.write(Rows(attempts=[self._settle(sent, "failed", Usage(), str(error))]))
            raise

    def _succeed(self, sent: _Sent, outcome: Outcome) -> Attempt:
        self._breaker.back()
        self._slots.done()
        if isinstance(outcome, TooLong):
            return self._settle(sent, "too long", Usage(), "longer than the context")
        usage = outcome.usage
        if not usage.estimated:
            self._characters += len(outcome.ask.prompt)
            self._counted_tokens += usage.prompt_tokens
        self._longest = max(self._longest, usage.completion_tokens // max(1, len(outcome.replies)))
        self._tokens.correct(usage.prompt_tokens + usage.completion_tokens - sent.estimate.prompt_tokens)
        return self._settle(sent, "answered", usage, None)

    async def _fail(self, sent: _Sent, error: AskError) -> Attempt:
        usage = sent.estimate if error.billed and not error.usage.prompt_tokens else error.usage
        attempt = self._settle(sent, "failed", usage, str(error))
        await self._writer.write(Rows(attempts=[attempt]))
        if error.kind == "busy":
            self._slots.busy(sent.epoch)
            self._breaker.busy(str(error), error.retry_after)
        elif error.kind == "gone":
            self._breaker.gone(str(error))
        else:
            self._breaker.back()
        return attempt

    def _settle(self, sent: _Sent, state: Any, usage: Usage, error: str | None) -> Attempt:
        cost = self._options.price.of(usage)
        self._budget.settle(sent.reserved, cost, known=state == "answered")
        tally = self._job.tally
        tally.cost += cost
        tally.prompt_tokens += usage.prompt_tokens
        tally.completion_tokens += usage.completion_tokens
        return Attempt(sent.id, state, usage, cost, time.monotonic() - sent.at, error)

    async def _give_up(self, whole: Ask, last: Ask, attempt: Attempt, error: AskError) -> None:
        """Leave a question, asked last as ``last``; where many in a row were left, see whether any is answered."""
        if error.kind in ("refused", "withheld"):
            self._suspects.add(self._job.note_refused(whole, attempt, error))
            self._job.tally.note_refused(whole, str(error), new=True)
            self._last_refused = last, error
        else:
            self._suspects.add(None)
            self._job.tally.failed += max(1, len(whole.samples))
            self._job.tally.failed_because = str(error)
        if self._suspects.in_a_row >= IN_A_ROW:
            await self._ask_plainly(last, error)

    async def _ask_plainly(self, like: Ask, error: AskError) -> None:
        """Ask a plain question: where it is answered, what was refused before was refused for its prompts.

        Raises:
            JudgeError: it is refused or fails as the others did.
        """
        in_a_row, self._suspects.in_a_row = self._suspects.in_a_row, 0
        ask = plain_question(self._job.judge, like)
        sent = await self._send(ask, self._estimate(ask))
        if sent is None:
            return
        try:
            outcome = await self._answer(sent, ask)
        except AskError as failure:
            await self._fail(sent, failure)
            if failure.kind not in ("busy", "gone"):
                raise JudgeError(
                    f"{in_a_row} questions in a row failed for good, the last one because: {error}. A plain question "
                    "fails too. What was answered is kept; fix the server and run the same command again"
                ) from failure
            return
        attempts = [self._succeed(sent, outcome)]
        if isinstance(outcome, Answer):
            attempts += self._suspects.cleared(sent.at)
        await self._writer.write(Rows(attempts=attempts))

    def _estimate(self, ask: Ask) -> Usage:
        """Guess the tokens of a request: the prompt by the tokens per character so far, the replies at their most."""
        sampling = self._job.judge.sampling
        per_token = min(_CHARACTERS_PER_TOKEN, self._characters / self._counted_tokens)
        replies = max(1, len(ask.samples)) * max(sampling.max_tokens if sampling else 8, self._longest)
        return Usage(round(len(ask.prompt) / per_token) + 16, replies, estimated=True)

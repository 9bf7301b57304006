"""What a run shows while it works: one live line in a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
import textwrap
import time
from dataclasses import dataclass, field
from typing import IO, Any

from tqdm import tqdm

from dissensus.judge.language.choice_distribution import verdict_probabilities
from dissensus.judge.language.messages import Answer, Ask, TooLong
from dissensus.judge.language.verdict import parse_verdict

_FIRST_LINE, _LINES = 5.0, 30.0
_NAMED = 5
_PAIRS_CUT = 5
"""Pairs of which every reply was cut too short, after which the rest will be too."""


@dataclass
class Tally:
    """Counts of a run so far."""

    wanted: int
    """Judgments, or readings, that the run is to make."""
    reused: int = 0
    made: int = 0
    invalid: float = 0
    """Replies without a winner; in exact mode, the probability of one."""
    first: float = 0.0
    """Votes for the response shown first."""
    failed: int = 0
    failed_because: str = ""
    """Why the last one of them was."""
    too_long: int = 0
    too_long_pairs: list[str] = field(default_factory=list)
    """The first few pairs whose prompt the context cannot hold, with its length."""
    refused: int = 0
    """Judgments, or readings, that the server will not make, in this run or an earlier one."""
    refused_pairs: list[str] = field(default_factory=list)
    """The first few pairs of which there are some, with the server's reason."""
    refused_new: int = 0
    """Those of this run."""
    cut: int = 0
    """Replies that were cut, as at the most tokens that they may have."""
    cut_short: int = 0
    """Those of them that had named no winner."""
    pairs_cut_short: set[str] = field(default_factory=set)
    elsewhere: int = 0
    """Asked by another run at this moment, or answered by it since they were planned."""
    beside: int = 0
    """Replies sampled beside readings whose prefix is not forced."""
    unforced: int = 0
    """Readings whose prefix the model would not surely write."""
    attempts: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def count(self, answer: Answer, *, temperature: float, top_p: float) -> None:
        """Count an answer's judgments, or its reading."""
        if answer.reading is not None:
            shares = verdict_probabilities(answer.reading, temperature=temperature, top_p=top_p)
            self.made += 1
            self.invalid += shares.none
            self.first += shares.a
            self.unforced += not answer.reading.is_forced(temperature=temperature, top_p=top_p)
            return
        verdicts = [parse_verdict(reply, cut=cut) for reply, cut in answer.ended()]
        self.made += len(verdicts)
        self.invalid += verdicts.count(None)
        self.first += verdicts.count("A")
        if any(answer.cut):
            self._count_cut(answer, verdicts)

    def _count_cut(self, answer: Answer, verdicts: list[Any]) -> None:
        short = [verdict is None for verdict, cut in zip(verdicts, answer.cut, strict=True) if cut]
        self.cut += len(short)
        if any(short):
            self.cut_short += sum(short)
            self.pairs_cut_short.add(answer.ask.pair.id)

    @property
    def hopeless(self) -> bool:
        """Whether every reply so far, about several pairs, was cut before it named a winner."""
        return 0 < self.made == self.cut_short and len(self.pairs_cut_short) >= _PAIRS_CUT

    def include(self, trial: Tally, *, judgments: bool) -> None:
        """Add what a trial before the run took, and with ``judgments`` what came of it, which the run found there."""
        for name in ("attempts", "retries", "prompt_tokens", "completion_tokens", "cost", "cut", "cut_short"):
            setattr(self, name, getattr(self, name) + getattr(trial, name))
        if judgments:
            self.reused -= trial.made
            self.refused_new += trial.refused_new  # the run found them as refused in an earlier one
            for name in ("made", "invalid", "first", "unforced"):
                setattr(self, name, getattr(self, name) + getattr(trial, name))

    def note_refused(self, ask: Ask, reason: str, *, new: bool) -> None:
        """Count what the server will not answer, and name its pair."""
        count = max(1, len(ask.samples))
        self.refused += count
        self.refused_new += count * new
        named = any(line.startswith(f"{ask.pair.id} (") for line in self.refused_pairs)
        if len(self.refused_pairs) < _NAMED and not named:
            self.refused_pairs.append(f"{ask.pair.id} ({textwrap.shorten(reason, 160, placeholder='…')})")

    def note_too_long(self, outcome: TooLong) -> None:
        """Count a prompt that does not fit."""
        self.too_long += 1
        named = any(line.startswith(f"{outcome.ask.pair.id} (") for line in self.too_long_pairs)
        if len(self.too_long_pairs) < _NAMED and not named:
            length = f"{outcome.tokens:,} tokens do" if outcome.tokens else "its prompt does"
            limit = f"the context of {outcome.limit:,}" if outcome.limit else "the context"
            self.too_long_pairs.append(f"{outcome.ask.pair.id} ({length} not fit into {limit})")

    @property
    def invalid_share(self) -> float:
        """The share of new judgments that name no winner."""
        return self.invalid / self.made if self.made else 0.0

    @property
    def first_share(self) -> float | None:
        """How often the response shown first won; None where nothing was decided."""
        decided = self.made - self.invalid
        return self.first / decided if decided > 0 else None

    def notes(self) -> list[str]:
        """Describe tokens, cost, invalid share and position bias in a few words each."""
        notes = [f"{self.invalid_share:.1%} invalid"]
        if self.first_share is not None:
            notes.append(f"first shown wins {self.first_share:.0%}")
        if self.prompt_tokens:
            notes.append(f"{_short(self.prompt_tokens)}+{_short(self.completion_tokens)} tokens")
        if self.cost:
            notes.append(f"${self.cost:,.2f}")
        for count, what in (
            (self.retries, "retried"),
            (self.failed, "failed"),
            (self.refused, "refused"),
            (self.too_long, "too long"),
        ):
            if count:
                notes.append(f"{count:,} {what}")
        return notes


class Display:
    """Shows a tally on stderr. Use it in a ``with`` block."""

    def __init__(
        self, tally: Tally, title: str, *, progress: bool, unit: str = "judgment", file: IO[str] | None = None
    ) -> None:
        self._file = file or sys.stderr
        self._live = progress and self._file.isatty()
        self._plain = progress and not self._live
        self._tally = tally
        self._title = title
        self._unit = unit
        self._start = time.monotonic()
        self._next = self._start + _FIRST_LINE
        self._bar = tqdm(
            total=tally.wanted,
            initial=tally.reused,
            desc=title,
            unit=unit,
            smoothing=0.05,
            disable=not self._live,
            file=self._file,
            dynamic_ncols=True,
        )

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self.update(last=True)
        self._bar.close()

    def say(self, line: str) -> None:
        """Write a line that stays."""
        if self._live:
            self._bar.write(line, file=self._file)
        else:
            self._write(line)

    def update(self, *, last: bool = False) -> None:
        """Bring what is shown up to date; cheap enough to be called often."""
        tally = self._tally
        if self._live:
            self._bar.n = tally.reused + tally.made
            self._bar.set_postfix_str(", ".join(tally.notes()), refresh=last)
            self._bar.update(0)
        elif self._plain and tally.made and (last or time.monotonic() >= self._next):
            self._next = time.monotonic() + _LINES
            self._write(self._line())

    def _line(self) -> str:
        tally = self._tally
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = tally.made / seconds
        left = max(tally.wanted - tally.reused - tally.made, 0)
        ends = f", {_clock(left / rate)} left" if left and rate else ""
        done = f"{tally.reused + tally.made:,} of {tally.wanted:,} {self._unit}s, {rate:,.1f}/s{ends}"
        return f"{self._title}: {done}, {', '.join(tally.notes())}"

    def _write(self, line: str) -> None:
        self._file.write(line + "\n")
        self._file.flush()


def _short(count: int) -> str:
    """Shorten a count: 1234567 → 1.2M."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"

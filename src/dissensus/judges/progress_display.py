"""Counts of a run, and their display while it works: a live line in a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO

from tqdm import tqdm

from dissensus.judges.language.choice_distribution import ChoiceDistribution, verdict_probabilities
from dissensus.judges.language.messages import Ask, Sampling, TooLong
from dissensus.records import Judgment

_FIRST_LINE, _LINES = 5.0, 30.0
_NAMED = 5
_PAIRS_CUT = 5
"""Pairs of which every reply was cut too short, after which the rest will be too."""


@dataclass
class Tally:
    """Counts of a run so far."""

    wanted: int
    """Judgments, or choice distributions, that the run is to make."""
    reused: int = 0
    made: int = 0
    invalid: float = 0
    """Replies without a winner; in exact mode, the probability of one."""
    first: float = 0.0
    """Votes for the response shown first."""
    decided: float = 0.0
    """Votes of which it is known which response was shown first."""
    failed: int = 0
    failed_because: str = ""
    """Why the last one of them was."""
    too_long: int = 0
    too_long_pairs: list[str] = field(default_factory=list)
    """The first few pairs whose prompt the context cannot hold, with its length."""
    refused: int = 0
    """Judgments, or choice distributions, that the server will not make, in this run or an earlier one."""
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
    unforced: int = 0
    """Choice distributions whose prefix the model would not surely write."""
    attempts: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def count_judgments(self, judgments: Sequence[Judgment], cut: Sequence[bool] = ()) -> None:
        """Count judgments, and which of their replies were cut."""
        self.made += len(judgments)
        for judgment, was_cut in zip(judgments, cut or [False] * len(judgments), strict=True):
            self.invalid += judgment.choice is None
            self.cut += was_cut
            if was_cut and judgment.choice is None:
                self.cut_short += 1
                self.pairs_cut_short.add(judgment.pair_id)

    def count_first(self, judgments: Sequence[Judgment]) -> None:
        """Count the votes for the response that was shown first, where it is known which one was."""
        votes = [judgment.choice == judgment.order[0] for judgment in judgments if judgment.choice is not None]
        self.first += sum(votes)
        self.decided += len(votes)

    def count_distribution(self, distribution: ChoiceDistribution, sampling: Sampling) -> None:
        """Count a choice distribution, as replies that are sampled from it would be on average."""
        shares = verdict_probabilities(distribution, temperature=sampling.temperature, top_p=sampling.top_p)
        self.made += 1
        self.invalid += shares.none
        self.first += shares.a
        self.decided += 1 - shares.none
        self.unforced += not distribution.is_forced(temperature=sampling.temperature, top_p=sampling.top_p)

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
            for name in ("made", "invalid", "first", "decided", "unforced"):
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
        return self.first / self.decided if self.decided > 0 else None

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

"""Counts of a run of a judge, and their display while it works."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from tqdm import tqdm

from dissensus.judges.language.choice_distribution import ChoiceDistribution, verdict_probabilities
from dissensus.judges.language.messages import Ask, Sampling, TooLong
from dissensus.records import Judgment

_SECONDS = 30.0
"""Between two lines where there is no terminal."""
_NAMED = 5
_PAIRS_CUT = 5
"""Pairs of which every reply was cut too short, after which the rest will be too."""


@dataclass
class Tally:
    """Counts of a run so far."""

    wanted: int
    """Judgments, or choice distributions, that the run is to make."""
    stopped: str = ""
    """Why the run ended before everything was asked; empty where it did not."""
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

    def count_judgments(self, judgments: Sequence[Judgment], cut: Sequence[bool] = (), *, order_is_known: bool) -> None:
        """Count judgments, which of their replies were cut, and votes for the response that is known to be first."""
        self.made += len(judgments)
        for judgment, was_cut in zip(judgments, cut or [False] * len(judgments), strict=True):
            self.cut += was_cut
            if judgment.choice is None:
                self.invalid += 1
                if was_cut:
                    self.cut_short += 1
                    self.pairs_cut_short.add(judgment.pair_id)
            elif order_is_known:
                self.first += 0.5 if judgment.choice == "tie" else judgment.choice == judgment.order[0]
                self.decided += 1

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
        names = ["attempts", "retries", "prompt_tokens", "completion_tokens", "cost", "cut", "cut_short"]
        if judgments:
            self.reused -= trial.made
            # The run found what the trial was refused as refused in an earlier one.
            names += ["made", "invalid", "first", "decided", "unforced", "refused_new"]
        for name in names:
            setattr(self, name, getattr(self, name) + getattr(trial, name))

    def add(self, other: Tally) -> None:
        """Add what another worker of the run counted."""
        for name in ("stopped", "failed_because"):
            setattr(self, name, getattr(self, name) or getattr(other, name))
        for name in ("too_long_pairs", "refused_pairs"):
            setattr(self, name, [*getattr(self, name), *getattr(other, name)][:_NAMED])
        for count in fields(self):
            if count.type in ("int", "float"):
                setattr(self, count.name, getattr(self, count.name) + getattr(other, count.name))
        self.pairs_cut_short |= other.pairs_cut_short

    def note_refused(self, ask: Ask, reason: str, *, new: bool) -> None:
        """Count what the server will not answer, and name its pair."""
        count = max(1, len(ask.samples))
        self.refused += count
        self.refused_new += count * new
        _name_pair(self.refused_pairs, ask, textwrap.shorten(reason, 160, placeholder="…"))

    def note_too_long(self, outcome: TooLong) -> None:
        """Count a prompt that does not fit."""
        self.too_long += 1
        length = f"{outcome.tokens:,} tokens do" if outcome.tokens else "its prompt does"
        limit = f"the context of {outcome.limit:,}" if outcome.limit else "the context"
        _name_pair(self.too_long_pairs, outcome.ask, f"{length} not fit into {limit}")

    @property
    def because(self) -> str:
        """Why the last question that failed did, as the end of a clause; empty where none did."""
        return f", the last one because: {self.failed_because}" if self.failed_because else ""

    @property
    def invalid_share(self) -> float:
        """The share of new judgments that name no winner."""
        return self.invalid / self.made if self.made else 0.0

    def notes(self) -> list[str]:
        """Describe tokens, cost, invalid share and position bias in a few words each."""
        notes = [f"{self.invalid_share:.1%} invalid"]
        if self.decided:
            notes.append(f"first shown wins {self.first / self.decided:.0%}")
        if self.prompt_tokens:
            notes.append(f"{self.prompt_tokens:,}+{self.completion_tokens:,} tokens")
        if self.cost:
            notes.append(f"${self.cost:,.2f}")
        others = {"retried": self.retries, "failed": self.failed, "refused": self.refused, "too long": self.too_long}
        return notes + [f"{count:,} {what}" for what, count in others.items() if count]


def _name_pair(lines: list[str], ask: Ask, why: str) -> None:
    """Name a pair with a reason, once, while there are few."""
    if len(lines) < _NAMED and not any(line.startswith(f"{ask.pair.id} (") for line in lines):
        lines.append(f"{ask.pair.id} ({why})")


class Display:
    """Shows a tally on stderr: a live line in a terminal, one now and then elsewhere. Use it in a ``with`` block."""

    def __init__(self, tally: Tally, title: str, *, progress: bool) -> None:
        self._tally = tally
        self._has_begun = False
        self._bar = tqdm(
            total=tally.wanted,
            desc=title,
            unit="judgment",
            smoothing=0.05,
            mininterval=0.1 if sys.stderr.isatty() else _SECONDS,
            disable=not progress,
            dynamic_ncols=True,
        )

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self.update()
        self._bar.close()

    def say(self, line: str) -> None:
        """Write a line that stays."""
        self._bar.write(line, file=sys.stderr)

    def update(self) -> None:
        """Bring what is shown up to date; cheap enough to be called often."""
        if self._bar.disable:
            return
        if not self._has_begun and self._tally.made:
            # The rate is that of answers: what was loaded or trained before says nothing of it.
            self._has_begun = True
            self._bar.initial = self._bar.last_print_n = self._tally.reused + self._tally.made
            self._bar.unpause()
        self._bar.n = self._tally.reused + self._tally.made
        self._bar.set_postfix_str(", ".join(self._tally.notes()), refresh=False)
        self._bar.update(0)

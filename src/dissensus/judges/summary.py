"""The summary of a run of a judge: counts, cost, and what the order of the responses does to its verdicts."""

from __future__ import annotations

from dataclasses import dataclass

from dissensus.errors import JudgeError
from dissensus.judges.progress_display import Tally
from dissensus.stats.agreement.position_bias import PositionBias

INTERRUPTED = "interrupted"
"""Why a run stopped that somebody stopped."""


@dataclass(frozen=True)
class Summary:
    """What a run of a judge did."""

    judge: str
    """The name that the judgments bear; that of mode ``sample`` where an exact run fell back to it."""
    store: str
    pairs: int
    tally: Tally
    seconds: float = 0.0
    stored: int = 0
    """Judgments, or choice distributions, that the store has of the judge."""
    mode: str = ""
    """Of a language model: ``sample`` or ``exact``."""
    cost: float = 0.0
    """Dollars that the judge took in this store, over all runs, lost attempts at their estimate; in mode ``exact`` with
    those of mode ``sample``, in which it may go on."""
    nothing_judged: str = ""
    """Why the run leaves the store without any verdict of its judge; empty where there is one, or nobody asked."""
    most_tokens: int = 0
    """Of a reply of a language model."""
    bias: PositionBias | None = None
    """What the order does to the verdicts of a language model, over all that the store has of it."""
    part: str = ""
    """Of a part of a run: which, of how many pairs, and where its shards are."""
    notes: tuple[str, ...] = ()
    """What else is to be known of the judge."""

    @property
    def stopped(self) -> str:
        """Why the run ended before everything was asked; empty where it did not."""
        return self.tally.stopped

    @property
    def was_interrupted(self) -> bool:
        """Whether somebody stopped it."""
        return self.stopped == INTERRUPTED

    def check_complete(self) -> None:
        """Refuse a run that left questions open.

        Raises:
            JudgeError: says why, and what to do.
            KeyboardInterrupt: it was interrupted.
        """
        tally = self.tally
        if self.was_interrupted:
            raise KeyboardInterrupt
        if self.stopped or tally.failed or tally.elsewhere:
            why = self.stopped or f"{tally.failed + tally.elsewhere} questions were not answered{tally.because}"
            raise JudgeError(f"{self.judge}: {why}; what was answered is kept, run the same command again to go on")
        if self.nothing_judged:
            raise JudgeError(self.nothing_judged)

    def counts(self) -> dict[str, int | float | str]:
        """List what a record of the run keeps."""
        names = ("made", "reused", "invalid", *(("too_long", "refused", "cut", "cut_short") if self.mode else ()))
        found = {name: round(getattr(self.tally, name)) for name in names}
        model: dict[str, float | str] = {"mode": self.mode, "cost": round(self.cost, 4)} if self.mode else {}
        return {"judge": self.judge, **found, **model, "stored": self.stored}

    def lines(self) -> list[str]:
        """Say what the run did, one thing a line."""
        tally, exact = self.tally, " choice distributions" if self.mode == "exact" else ""
        said = [("judge", self.judge), ("mode", self.mode), ("part", self.part), ("pairs", f"{self.pairs:,}")]
        if tally.made or tally.failed or tally.too_long or tally.refused or self.stopped:
            said.append(("judgments", f"{tally.made:,} new{exact}, {tally.reused:,} already in {self.store}"))
        else:
            said.append(("judgments", f"nothing new: {self.store} has all {tally.reused:,}{exact}"))
        if tally.invalid:
            said.append(("invalid", f"{tally.invalid_share:.1%} of the new ones name no winner"))
        if tally.cut:
            short = f", {tally.cut_short:,} of them before they named a winner; give more with --max-tokens"
            cut = f"{tally.cut:,} replies ended at {self.most_tokens:,} tokens or before their end"
            said.append(("cut", cut + (short if tally.cut_short else "")))
        if self.bias is not None:
            said.append(("position", self.bias.in_words()))
        if tally.unforced:
            unforced = (
                f"{tally.unforced:,} of the new choice distributions: the model would not surely begin with 'Choice:', "
                "so they may differ from sampled replies (--mode sample asks for these)"
            )
            said.append(("unforced", unforced))
        if tally.too_long:
            more = ", …" if tally.too_long > len(tally.too_long_pairs) else ""
            named = ", ".join(tally.too_long_pairs) + more
            said.append(("too long", f"{tally.too_long:,} prompts, which were not cut: {named}"))
        if tally.refused:
            earlier = tally.refused - tally.refused_new
            again = f", {earlier:,} of them in an earlier run (--ask-refused asks again)" if earlier else ""
            said.append(("refused", f"{tally.refused:,} by the server{again}: {', '.join(tally.refused_pairs)}"))
        if tally.elsewhere:
            said.append(
                ("elsewhere", f"{tally.elsewhere:,} requests were left to another run; run this again to be sure")
            )
        if tally.failed:
            said.append(("failed", f"{tally.failed:,} were not answered{tally.because}; run the same command again"))
        if tally.attempts:
            tokens = f"{tally.prompt_tokens:,} + {tally.completion_tokens:,} tokens"
            tries = f"{tally.attempts:,}, {tally.retries:,} of them failed and were repeated"
            said.append(("requests", f"{tries}; {tokens}"))
        if self.cost:
            said.append(("cost", f"${self.cost:,.4f} of this judge in this store so far"))
        said += [("label", note) for note in self.notes]
        said.append(("seconds", f"{self.seconds:.1f}"))
        if self.stopped:
            said.append(("stopped", f"{self.stopped}; everything that was answered is kept"))
        return [f"{name:<10} {text}" for name, text in said if text]

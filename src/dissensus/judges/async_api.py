"""Judging from code that awaits, as in a notebook: the same functions in a thread, so that the loop goes on."""

from __future__ import annotations

from dissensus.event_loops import awaitable
from dissensus.judges.runner import ask_model, judge_pairs

__all__ = ["ask_model_async", "judge_pairs_async"]

ask_model_async = awaitable(ask_model)
judge_pairs_async = awaitable(judge_pairs)

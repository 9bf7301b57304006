"""Judging from code that awaits, as in a notebook: the same functions in a thread, so that the loop goes on."""

from __future__ import annotations

from dissensus.event_loops import awaitable
from dissensus.judge.language.backends import open_backend
from dissensus.judge.language.run_model import ask_model
from dissensus.judge.runner import judge_pairs

__all__ = ["ask_model_async", "judge_pairs_async", "open_backend_async"]

ask_model_async = awaitable(ask_model)
open_backend_async = awaitable(open_backend)
judge_pairs_async = awaitable(judge_pairs)

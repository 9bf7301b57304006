"""Judging from code that awaits, as in a notebook: the same functions in a thread, so that the loop goes on."""

from __future__ import annotations

from dissensus.judge.asking import ask_model
from dissensus.judge.backends import open_backend
from dissensus.judge.engine import judge_pairs
from dissensus.loops import awaitable

__all__ = ["ask_model_async", "judge_pairs_async", "open_backend_async"]

ask_model_async = awaitable(ask_model)
open_backend_async = awaitable(open_backend)
judge_pairs_async = awaitable(judge_pairs)

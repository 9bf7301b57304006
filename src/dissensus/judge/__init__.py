"""Judges, and the store that keeps their judgments."""

from dissensus.judge.committee import Committee, CommitteeConfig
from dissensus.judge.runner import Judge, JudgeSummary, Question, judge_pairs
from dissensus.judge.store.store import JudgmentStore, judgment_key
from dissensus.judge.votes import HumanVotes

__all__ = [
    "Committee",
    "CommitteeConfig",
    "HumanVotes",
    "Judge",
    "JudgeSummary",
    "JudgmentStore",
    "Question",
    "judge_pairs",
    "judgment_key",
]

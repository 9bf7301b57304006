"""Judges, and the store that keeps their judgments.

Each name is imported when it is used: a command line is read without what judges.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dissensus.judges.committee import Committee
    from dissensus.judges.kinds import CommitteeSettings
    from dissensus.judges.runner import Judge, Question, judge_pairs
    from dissensus.judges.store.keys import judgment_key
    from dissensus.judges.store.store import JudgmentStore
    from dissensus.judges.summary import Summary
    from dissensus.judges.votes import HumanVotes

_HOMES = {
    "Committee": "committee",
    "CommitteeSettings": "kinds",
    "HumanVotes": "votes",
    "Judge": "runner",
    "JudgmentStore": "store.store",
    "Question": "runner",
    "Summary": "summary",
    "judge_pairs": "runner",
    "judgment_key": "store.keys",
}

__all__ = [
    "Committee",
    "CommitteeSettings",
    "HumanVotes",
    "Judge",
    "JudgmentStore",
    "Question",
    "Summary",
    "judge_pairs",
    "judgment_key",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

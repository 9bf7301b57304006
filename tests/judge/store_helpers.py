"""Stores that tests fill, check and damage."""

from pathlib import Path

import numpy as np
import pytest

from dissensus.judges.job import AskingOptions
from dissensus.judges.language.choice_distribution import ChoiceDistribution
from dissensus.judges.language.messages import Answer
from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.language.settings import LanguageSettings
from dissensus.judges.runner import ask_model
from dissensus.judges.store.store import JudgmentStore
from dissensus.records import Pair

PAIRS = [Pair(id=f"p{i}", prompt=f"q{i}", response_a=f"yes {i} " * 40, response_b=f"no {i}") for i in range(300)]
VERSION_1 = """
CREATE TABLE judgments (
    key BLOB PRIMARY KEY, judge TEXT NOT NULL, pair_id TEXT NOT NULL, content TEXT NOT NULL, sample INTEGER NOT NULL,
    shown TEXT NOT NULL, choice TEXT, probability_a REAL, reply TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX judgments_by_pair ON judgments (judge, pair_id, sample, shown);
PRAGMA application_id = 0x64697373;
PRAGMA user_version = 1;
"""


on_both = pytest.mark.parametrize(
    "place", ["sqlite", pytest.param("postgresql", marks=pytest.mark.xdist_group("postgresql"))], indirect=True
)
"""Marks a test of what SQL could make different; ``place`` is that of the fixture ``store``, too."""


class Model:
    identity = {"model": "fake"}  # noqa: RUF012
    context = None

    def answer(self, asks, sampling):
        for ask in asks:
            if sampling is None:
                reading = ChoiceDistribution(np.log([0.7, 0.3]), "AB", 2, 2, forced=1.0, tokens=np.array([5, 6]))
                yield Answer(ask, distribution=reading)
            else:
                yield Answer(ask, tuple(f"Choice: {'AB'[sample % 2]}" for sample in ask.samples))


def fill(path: Path, mode: str = "sample") -> LanguageJudge:
    judge = LanguageJudge(LanguageSettings(model="fake", mode=mode), Model.identity)
    with JudgmentStore(path) as store:
        ask_model(PAIRS, judge, Model(), store, AskingOptions(progress=False))
    return judge

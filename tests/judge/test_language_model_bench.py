"""What the bench of a real language model rests on: fair beginnings of its sample, a test of replies with its level."""

import importlib
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dissensus.records import Pair

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    yield lambda name: importlib.import_module(name)
    for name in ("language_model_judge", "language_model_tables"):
        sys.modules.pop(name, None)


def test_every_beginning_holds_of_each_prompt_its_share(bench):
    order = bench("language_model_judge").fair_order
    pairs = [
        Pair(id=f"{g}-{i}", prompt=f"prompt {g}", response_a="x", response_b=f"y{i}")
        for g in range(9)
        for i in range(g + 1)
    ]
    ordered = order(pairs)
    assert sorted(p.id for p in ordered) == sorted(p.id for p in pairs)
    for n in range(1, len(pairs)):
        place = Counter(pair.prompt for pair in ordered[:n])
        # Places are (rank + u) / size, so a beginning up to place t holds t · size of each prompt, rounded either way.
        lows = [(place[f"prompt {g}"] - 1) / (g + 1) for g in range(9)]
        highs = [(place[f"prompt {g}"] + 1) / (g + 1) for g in range(9)]
        assert max(lows) < min(highs) + 1e-9
    ranks = np.array([[pair.prompt for pair in order(pairs, seed=seed)].index("prompt 0") for seed in range(300)])
    middle, spread = (len(pairs) - 1) / 2, len(pairs) / np.sqrt(12 * 300)
    assert abs(ranks.mean() - middle) < 4 * spread, "a prompt of one pair comes neither sooner nor later than others"


def test_replies_of_the_distribution_itself_are_seldom_rejected_and_others_surely(bench):
    chi_square = bench("language_model_tables").chi_square
    draw = np.random.default_rng(0)
    p = np.array([[0.7, 0.3, 0.0], [1.0, 0.0, 0.0], [0.2, 0.5, 0.3]] * 10)
    values = [chi_square(draw.multinomial(5, p).astype(float), p, draws=400)["p"] for _ in range(200)]
    assert 0.02 < np.mean(np.array(values) <= 0.1) < 0.18
    right = chi_square(draw.multinomial(5, p).astype(float), p, draws=400)
    assert (right["df"], right["undecided prompts"], right["impossible"]) == (10 * (1 + 0 + 2), 20, 0)
    wrong = chi_square(draw.multinomial(5, np.roll(p, 1, axis=1)).astype(float), p, draws=400)
    assert wrong["p"] < 0.01
    assert wrong["impossible"] > 0

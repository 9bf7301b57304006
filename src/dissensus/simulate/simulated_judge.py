"""A judge of a simulation whose sharpness and biases are known."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from dissensus.hashing import short_digest
from dissensus.records import Choice, Judgment, Order, Pair, plain_text
from dissensus.simulate.population import Simulation


def simulated_judgments(
    simulation: Simulation,
    *,
    n: int = 10,
    sharpness: float = 1.0,
    position_bias: float = 0.0,
    length_bias: float = 0.0,
    invalid_share: float = 0.0,
    order: Literal["ab", "ba", "both"] = "both",
    seed: int = 0,
) -> list[Judgment]:
    """Judge every pair n times, with known faults.

    The judge names the response it sees first with probability sigmoid(x), where::

        x = sharpness * logit(true preference for the first) + position_bias
            + length_bias * log(characters of the first / characters of the second)

    With the defaults a judgment is a vote of the population. Sharpness above 1 is over-confident, below 1 timid. The
    choices are returned in the pair's own terms, and ``probability_a`` is the probability they were drawn with.

    Args:
        simulation: the pairs and their true preferences.
        n: judgments per pair.
        sharpness: factor on the true log-odds.
        position_bias: log-odds for whichever response is shown first.
        length_bias: log-odds for a response e times as long.
        invalid_share: share of judgments that name no winner, at random.
        order: which response is shown first; ``both`` alternates, starting with a.
        seed: of the draws.
    """
    settings = (simulation.config.model_dump_json(), sharpness, position_bias, length_bias, invalid_share, seed)
    judge = f"simulated-{short_digest(repr(settings))}"
    generator = np.random.default_rng(seed)
    shown: list[Order] = [("ab", "ba")[sample % 2] if order == "both" else order for sample in range(n)]
    judgments = []
    for pair in simulation.pairs:
        fair = sharpness * _logit(simulation.preference[pair.id]) + length_bias * _log_length_ratio(pair)
        for sample, first in enumerate(shown):
            probability_a = _sigmoid(fair + (position_bias if first == "ab" else -position_bias))
            for_a, invalid = generator.random() < probability_a, generator.random() < invalid_share
            choice: Choice | None = None if invalid else "a" if for_a else "b"
            judgments.append(
                Judgment(
                    pair_id=pair.id,
                    judge=judge,
                    sample=sample,
                    order=first,
                    choice=choice,
                    probability_a=None if invalid else probability_a,
                )
            )
    return judgments


def _log_length_ratio(pair: Pair) -> float:
    return math.log(len(plain_text(pair.response_a)) / len(plain_text(pair.response_b)))


def _logit(probability: float) -> float:
    clipped = min(max(probability, 1e-12), 1 - 1e-12)
    return math.log(clipped / (1 - clipped))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))

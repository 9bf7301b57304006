"""Prompts, responses, and a population of users whose preference between them is known exactly.

What is assumed
---------------
Traits. A response has five traits, each there or not: formal, detailed, with an example, cautious, humorous. All of
them are written in its words. To a prompt with a single correct answer a response is also right or wrong; a wrong one
names a thing of the wrong kind.

Utility. A user has a taste w over the traits, drawn from a normal distribution: w ~ N(mean_taste, diversity^2 I). The
utility of a response is the sum of w over the traits it has, plus ``correctness`` where it is right; about that, users
are of one mind.

Noise. A user who compares responses a and b perceives utility(a) - utility(b) + noise * e, with e ~ N(0, 1)
afresh each time.

Ties. The vote is ``a`` where that difference is above ``tie_width``, ``b`` where it is below -``tie_width``, and
``tie`` between; with the default width 0 there are no ties.

Then the share of a's votes is exact, with no population to be drawn. With d the difference of the traits and c that of
correctness (each -1, 0 or 1), the perceived difference is normal with

    mean m = mean_taste . d + correctness * c        variance s^2 = diversity^2 |d|^2 + noise^2

so P(a) = Phi((m - tie_width) / s) and P(b) = Phi((-m - tie_width) / s); the preference is P(a) + P(tie)/2. Every vote
is cast by another user, so the votes on a pair are independent given the pair. Near-paraphrases have the same traits
and differ in synonyms only; their preference is exactly one half.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from dissensus.errors import ConfigError
from dissensus.records import Label, Pair, Vote, Votes, content_id
from dissensus.simulate.texts import DATASETS, Kind, Prompt, Sketch, draw_prompts, draw_sketch, paraphrase, render

Fraction = Annotated[float, Field(ge=0, le=1)]


class SimulationConfig(BaseModel):
    """How large, how diverse and how noisy a simulated data set is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: PositiveInt = 300
    responses_per_prompt: int = Field(default=3, ge=2, le=12)
    pairs_per_prompt: PositiveInt | None = None
    """Pairs drawn among a prompt's responses; all of them where None."""
    votes_per_pair: PositiveInt = 5
    diversity: NonNegativeFloat = 1.0
    """Standard deviation of each of a user's trait weights: how far tastes differ."""
    mean_taste: tuple[float, float, float, float, float] = (0.4, 1.0, 0.8, 0.3, -0.5)
    """The population's mean weight of: formal, detailed, example, cautious, humorous."""
    correctness: NonNegativeFloat = 5.0
    """What a right answer is worth to everybody."""
    noise: PositiveFloat = 0.5
    """Standard deviation of what a user perceives on top of utility, at each vote."""
    tie_width: NonNegativeFloat = 0.0
    """A perceived difference within plus or minus this is a vote for a tie."""
    single_share: Fraction = 0.3
    """Share of prompts with a single correct answer."""
    paraphrase_share: Fraction = 0.1
    """Share of pairs whose responses are near-paraphrases (in expectation)."""
    out_of_domain_share: Fraction = 0.25
    """Share of prompts from ``sim-advice`` (out-of-domain: other topics, other turns of phrase), not ``sim-chat``."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _shares_are_possible(self) -> Self:
        pairs = math.comb(self.responses_per_prompt, 2)
        if self.paraphrase_share * pairs > 1 + 1e-9:
            raise ValueError(
                f"paraphrase_share {self.paraphrase_share} is more than 1/{pairs}: a prompt with "
                f"{self.responses_per_prompt} responses has {pairs} pairs, one of them at most a paraphrase"
            )
        if self.pairs_per_prompt is not None and self.pairs_per_prompt > pairs:
            raise ValueError(f"pairs_per_prompt is {self.pairs_per_prompt}, but there are only {pairs} pairs")
        return self


@dataclass(frozen=True)
class Simulation:
    """A simulated data set and what is true of it."""

    config: SimulationConfig
    pairs: list[Pair]
    """Every pair has votes; its label is the first of them that is no tie (``tie`` where all are)."""
    preference: dict[str, float]
    """By pair id: the exact share of the whole population that prefers response a, a tie counting half."""


def simulate(config: SimulationConfig) -> Simulation:
    """Write prompts and responses, and let users vote; the same config gives the same data.

    ``category`` is single or multiple, ``distinct`` is no for near-paraphrases, ``group`` is the prompt, ``dataset`` is
    ``sim-chat`` or ``sim-advice`` and ``domain`` in or out. Which response comes first is a coin flip.

    Raises:
        ConfigError: more prompts are asked for than can be written differently.
    """
    generator = np.random.default_rng(config.seed)
    outside = round(config.prompts * config.out_of_domain_share)
    pairs: list[Pair] = []
    preference: dict[str, float] = {}
    for dataset, count in (("sim-chat", config.prompts - outside), ("sim-advice", outside)):
        single = round(count * config.single_share)
        for prompt in _draw_prompts(dataset, single, count - single, generator):
            for a, b in _draw_pairs(prompt, config, generator):
                pair, share = _vote(prompt, a, b, config, generator)
                if pair.id not in preference:  # two responses in the same words are one
                    pairs.append(pair)
                    preference[pair.id] = share
    return Simulation(config, pairs, preference)


def vote_probabilities(a: Sketch, b: Sketch, config: SimulationConfig) -> dict[Label, float]:
    """Compute the exact probability of each vote of a user who compares sketches a and b (see the module)."""
    d = np.subtract(a.traits, b.traits)
    mean = float(np.dot(config.mean_taste, d)) + config.correctness * (a.correct - b.correct)
    spread = math.sqrt(config.diversity**2 * float(d @ d) + config.noise**2)
    for_a, for_b = _phi((mean - config.tie_width) / spread), _phi((-mean - config.tie_width) / spread)
    return {"a": for_a, "b": for_b, "tie": max(0.0, 1 - for_a - for_b)}


def _draw_prompts(dataset: str, single: int, multiple: int, generator: np.random.Generator) -> Iterator[Prompt]:
    kinds: tuple[tuple[Kind, int], ...] = (("single", single), ("multiple", multiple))
    for kind, count in kinds:
        possible = DATASETS[dataset].count(kind)
        if count > possible:
            raise ConfigError(f"{count} {kind} prompts of {dataset} are too many; at most {possible} differ")
        yield from draw_prompts(dataset, kind, count, generator)


def _draw_pairs(
    prompt: Prompt, config: SimulationConfig, generator: np.random.Generator
) -> list[tuple[Sketch, Sketch]]:
    """Draw a prompt's responses, the first right and the second wrong where that matters, and pairs of them."""
    k = config.responses_per_prompt
    sketches = [draw_sketch(prompt, generator, correct={0: True, 1: False}.get(i)) for i in range(k)]
    all_pairs = list(itertools.combinations(range(k), 2))
    if generator.random() < config.paraphrase_share * len(all_pairs):
        original, copy = all_pairs[generator.integers(len(all_pairs))]
        sketches[copy] = paraphrase(sketches[original], generator)
    chosen = generator.permutation(len(all_pairs))[: config.pairs_per_prompt]
    oriented = [all_pairs[i] if generator.random() < 0.5 else all_pairs[i][::-1] for i in sorted(chosen)]
    return [(sketches[first], sketches[second]) for first, second in oriented]


def _vote(
    prompt: Prompt, a: Sketch, b: Sketch, config: SimulationConfig, generator: np.random.Generator
) -> tuple[Pair, float]:
    """Let users vote on a pair; returns it with its true preference."""
    chances = vote_probabilities(a, b, config)
    labels = list(chances)
    drawn = generator.choice(len(labels), size=config.votes_per_pair, p=list(chances.values()))
    votes = [labels[index] for index in drawn.tolist()]
    response_a, response_b = render(prompt, a), render(prompt, b)
    pair = Pair(
        id=content_id(prompt.text, response_a, response_b),
        prompt=prompt.text,
        response_a=response_a,
        response_b=response_b,
        label=next((vote for vote in votes if vote != "tie"), "tie"),
        label_is_a_vote=True,
        dataset=prompt.dataset,
        domain=DATASETS[prompt.dataset].domain,
        category=prompt.kind,
        distinct="no" if replace(a, synonyms=b.synonyms) == b else "yes",
        votes=Votes(
            a=votes.count("a"),
            b=votes.count("b"),
            tie=votes.count("tie"),
            annotations=tuple(Vote(vote=vote) for vote in votes),
        ),
    )
    return pair, chances["a"] + chances["tie"] / 2


def _phi(z: float) -> float:
    """The standard normal distribution function."""
    return math.erfc(-z / math.sqrt(2)) / 2

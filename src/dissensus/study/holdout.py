"""Labels of training pairs, and draws of pairs: test pairs of a set, and no more than so many to train on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Literal

import numpy as np

from dissensus.hashing import number_of
from dissensus.records import Pair, Votes
from dissensus.sources.label_votes import with_drawn_label
from dissensus.steps.split import prompt_keys
from dissensus.study.parts import DrawnTest


def labelled(pair: Pair, label: Literal["own", "one-vote"], *, seed: int, votes_stay_whole: bool) -> Pair:
    """Give a training pair its own label; one of its votes where it has none, or where that was asked for.

    A pair without votes keeps the label that it has. A vote that became a label is taken off the others, unless they
    are to stay whole because a judge takes it off.
    """
    if pair.votes is None or (pair.label is not None and label == "own"):
        return pair
    drawn = with_drawn_label(pair, seed=seed)
    if votes_stay_whole:
        return drawn
    left = {side: getattr(pair.votes, side) - (side == drawn.label) for side in ("a", "b", "tie")}
    return drawn.model_copy(update={"label_is_a_vote": None, "votes": Votes(**left) if any(left.values()) else None})


def draw_test(pairs: Sequence[Pair], draw: DrawnTest, *, name: str) -> list[Pair]:
    """Draw test pairs of a set, no two of one prompt (group or text), in the order of their ids.

    Prompts are drawn, all with the same chance, and then a pair of each; a prompt with many pairs is drawn no sooner
    than another. The draw depends on the seed, the set's name and the ids alone. Where there are fewer prompts, each
    has a pair.
    """
    drawn = next(_rounds(pairs, _generator(draw.seed, name)), [])[: draw.per_set]
    return sorted(drawn, key=lambda pair: pair.id)


def draw_some(pairs: Sequence[Pair], limit: int | None, *, seed: int, name: str) -> list[Pair]:
    """Draw at most ``limit`` pairs, in their order: one of each prompt, then a second one of each that has more, ….

    The draw depends on the seed, the set's name and the ids alone.
    """
    if limit is None or len(pairs) <= limit:
        return list(pairs)
    chosen = {pair.id for pair in islice(chain.from_iterable(_rounds(pairs, _generator(seed, name))), limit)}
    return [pair for pair in pairs if pair.id in chosen]


def _rounds(pairs: Iterable[Pair], rng: np.random.Generator) -> Iterator[list[Pair]]:
    """Draw round by round: in each, prompts in an order drawn once give a pair each until they have none left."""
    prompts = _by_prompt(pairs)
    drawn = [prompts[index] for index in rng.permutation(len(prompts))]
    left = [[of_prompt[index] for index in rng.permutation(len(of_prompt))] for of_prompt in drawn]
    while left:
        yield [of_prompt.pop() for of_prompt in left]
        left = [of_prompt for of_prompt in left if of_prompt]


def _by_prompt(pairs: Iterable[Pair]) -> list[list[Pair]]:
    """Put together, in the order of ids, pairs that share a group or a text, with each other or through others."""
    ordered = sorted(pairs, key=lambda pair: pair.id)
    parent: dict[str, str] = {}

    def first_of(key: str) -> str:
        while (above := parent.setdefault(key, key)) != key:
            parent[key] = key = parent[above]
        return key

    for pair in ordered:
        group, text = prompt_keys(pair)
        parent[first_of(text)] = first_of(group)
    found: dict[str, list[Pair]] = {}
    for pair in ordered:
        found.setdefault(first_of(prompt_keys(pair)[0]), []).append(pair)
    return list(found.values())


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, number_of(name)])

"""Splits of pairs: whole prompts held out or drawn for a test, limits, and the labels of training pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from dissensus.errors import ConfigError
from dissensus.hashing import number_of
from dissensus.records import Pair, Votes, plain_text
from dissensus.settings import Settings
from dissensus.sources.label_votes import with_drawn_label


class HoldOut(Settings):
    """Which pairs are kept for evaluation: whole groups, never single rows."""

    by: Literal["group", "category", "dataset"] = "group"
    count: PositiveInt | None = None
    """How many values of ``by`` are drawn by the seed."""
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The share of the values of ``by`` that is drawn instead."""
    names: tuple[str, ...] | None = None
    """The values themselves, instead."""
    seed: int = 0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(given is not None for given in (self.count, self.share, self.names)) != 1:
            raise ValueError("give one of count, share and names")
        return self


class DrawnTest(Settings):
    """Test pairs drawn from every set, in domain and out, as in the paper."""

    per_set: PositiveInt = 25
    """Pairs of each set, no two of one prompt; all of them where a set has fewer prompts."""
    seed: int = 0


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


def prompts_of(pairs: Iterable[Pair]) -> set[str]:
    """Name the prompts of pairs, to find them again in other sets: by group and by text.

    Sets group by what they know (a conversation, a post), so that two of them never share a group; their texts are
    compared without case and runs of white space.
    """
    return {key for pair in pairs for key in _keys(pair)}


def apart_from(pairs: Iterable[Pair], prompts: set[str]) -> list[Pair]:
    """Keep the pairs of none of these prompts, as ``prompts_of`` names them."""
    return [pair for pair in pairs if prompts.isdisjoint(_keys(pair))]


def _keys(pair: Pair) -> tuple[str, str]:
    return f"group {pair.group}", f"text {' '.join(plain_text(pair.prompt).split()).casefold()}"


def split_pairs(pairs: Sequence[Pair], hold_out: HoldOut) -> tuple[list[Pair], list[Pair]]:
    """Split into training and test pairs by whole values of a column; domain ``out`` is test always.

    Raises ConfigError when a part would be empty, a held-out name does not occur, or a pair has no value.
    """
    inside = [pair for pair in pairs if pair.domain != "out"]
    held = _held_out(inside, hold_out)
    train = [pair for pair in inside if _value(pair, hold_out) not in held]
    test = [pair for pair in pairs if pair.domain == "out" or _value(pair, hold_out) in held]
    shared = {pair.group for pair in train} & {pair.group for pair in test if pair.domain != "out"}
    if shared:
        raise ConfigError(
            f"holding out by {hold_out.by} leaves {len(shared)} prompts (groups) on both sides; hold out by group"
        )
    if not train or not test:
        raise ConfigError(
            f"holding out by {hold_out.by} leaves {len(train)} pairs to train on and {len(test)} to test; "
            "hold out less or more"
        )
    return train, test


def check_groups_stay_whole(train: Iterable[Pair], test: Iterable[Pair]) -> None:
    """Refuse a split in which a group is on both sides, as where some of its pairs are of domain ``out``."""
    shared = {pair.group for pair in train} & {pair.group for pair in test}
    if shared:
        raise ConfigError(
            f"{len(shared)} groups have pairs of domain out, which are held out always, and pairs to train on (first: "
            f"{min(shared)[:60]!r}); give the pairs of a group one domain"
        )


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
        group, text = _keys(pair)
        parent[first_of(text)] = first_of(group)
    found: dict[str, list[Pair]] = {}
    for pair in ordered:
        found.setdefault(first_of(_keys(pair)[0]), []).append(pair)
    return list(found.values())


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, number_of(name)])


def _held_out(pairs: Sequence[Pair], hold_out: HoldOut) -> set[str]:
    values = sorted({_value(pair, hold_out) for pair in pairs})
    if hold_out.names is not None:
        missing = sorted(set(hold_out.names) - set(values))
        if missing:
            raise ConfigError(
                f"holding out by name: no {hold_out.by} '{missing[0]}'; the data has: {', '.join(values[:20])}"
            )
        return set(hold_out.names)
    count = hold_out.count if hold_out.count is not None else max(round((hold_out.share or 0) * len(values)), 1)
    if count >= len(values):
        raise ConfigError(f"holding out {count} of {len(values)} values of {hold_out.by} leave nothing to train on")
    order = np.random.default_rng(hold_out.seed).permutation(len(values))
    return {values[index] for index in order[:count]}


def _value(pair: Pair, hold_out: HoldOut) -> str:
    value = {"group": pair.group, "category": pair.category, "dataset": pair.dataset}[hold_out.by]
    if value is None:
        raise ConfigError(f"holding out by {hold_out.by}: pair '{pair.id}' has no {hold_out.by}; hold out by group")
    return value

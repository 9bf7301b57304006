"""Folds of a study: every pair is tested once, by models that saw nothing of its fold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from dissensus.errors import ConfigError
from dissensus.records import Pair
from dissensus.settings import Settings
from dissensus.stats.resampling.clusters import deal_folds
from dissensus.steps.split import By, value_of


class CrossValidation(Settings):
    """Pairs dealt into folds, each of which is tested by models trained on the others alone."""

    by: By = "group"
    """What stays whole; a group is a prompt, unless the pairs name another."""
    folds: Annotated[int, Field(ge=2, le=100)] = 4
    """How many; each model is trained as often, with each seed."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the dealing."""


def fold_of_pairs(pairs: Sequence[Pair], cross: CrossValidation) -> dict[str, int]:
    """Deal pairs into folds of about as many pairs, from 1; pair ids to folds.

    Pairs of domain ``out``, which nothing is trained on, are dealt by prompt, those of each data set apart: each is
    predicted by the models of one fold too.

    Args:
        pairs: all of them, of any domain.
        cross: the settings.

    Raises:
        ConfigError: a pair has no value of ``by``, there are fewer values than folds, or prompts in several folds.
    """
    inside = [pair for pair in pairs if pair.domain != "out"]
    _check(inside, cross)
    folds = _dealt(inside, lambda pair: value_of(pair, cross.by) or "", cross)
    outside: dict[str | None, list[Pair]] = {}
    for pair in pairs:
        if pair.domain == "out":
            outside.setdefault(pair.dataset, []).append(pair)
    for of_set in outside.values():
        folds |= _dealt(of_set, lambda pair: pair.group, cross)
    _check_prompts(inside, folds, cross)
    return folds


def _dealt(pairs: Iterable[Pair], value: Callable[[Pair], str], cross: CrossValidation) -> dict[str, int]:
    of_pair = {pair.id: value(pair) for pair in pairs}
    sizes = Counter(of_pair.values())
    names = sorted(sizes)  # in whichever order the pairs come
    dealt = deal_folds(np.array([sizes[name] for name in names]), cross.folds, seed=cross.seed, mixed=True)
    fold = {name: int(number) + 1 for name, number in zip(names, dealt, strict=True)}
    return {pair_id: fold[name] for pair_id, name in of_pair.items()}


def _check(pairs: Sequence[Pair], cross: CrossValidation) -> None:
    values = {value_of(pair, cross.by) for pair in pairs}
    if None in values:
        first = next(pair.id for pair in pairs if value_of(pair, cross.by) is None)
        raise ConfigError(f"cross_validate by {cross.by}: pair '{first}' has no {cross.by}; set by: group")
    if len(values) < cross.folds:
        remedy = f"set folds: {len(values)}" if len(values) > 1 else "take another by, or pairs of more prompts"
        raise ConfigError(
            f"cross_validate by {cross.by}: {cross.folds} folds are more than the {len(values)} values of {cross.by} "
            f"in the data; {remedy}"
        )


def _check_prompts(pairs: Sequence[Pair], folds: dict[str, int], cross: CrossValidation) -> None:
    parts = {(pair.group, folds[pair.id]) for pair in pairs}
    if torn := sum(count > 1 for count in Counter(group for group, _ in parts).values()):
        raise ConfigError(
            f"cross_validate by {cross.by}: {torn} prompts (groups) have pairs in several folds; set by: group"
        )

"""The pairs of a study: the set that is trained on, and sets that are only tested on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dissensus.errors import InputError
from dissensus.files import read_pairs
from dissensus.records import Pair
from dissensus.study.config import StudyConfig
from dissensus.study.split import one_vote_label, split_pairs


@dataclass(frozen=True)
class Sets:
    """What a study trains on and is tested on."""

    train: list[Pair]
    test: list[Pair]
    rows: list[int]
    """Pairs of each source: the study's own first, then the sets out of domain."""


def read_sets(config: StudyConfig) -> Sets:
    """Read a study's pairs and split them into training and test pairs; those of out-of-domain sets are tested on.

    Pairs without a data set or a domain get them: the set's name, and ``out`` or, where there are sets out of domain,
    ``in``.

    Raises:
        InputError: a source cannot be read, two sets share a pair id, or no test pair has votes.
        ConfigError: the split leaves nothing on a side.
    """
    train, test = split_pairs(list(_own(config)), config.hold_out)
    others = [list(_outside(config, name)) for name in config.out_of_domain]
    outside = [pair for pairs in others for pair in pairs]
    for pair_id, count in Counter(pair.id for pair in [*train, *test, *outside]).items():
        if count > 1:
            raise InputError(f"out_of_domain: pair id {pair_id!r} is in two of the sets; give each pair its own id")
    if not any(pair.votes for pair in [*test, *outside]):
        raise InputError(f"{config.pairs}: no held-out pair has votes to compare with; add votes_a and votes_b")
    return Sets(train, [*test, *outside], [len(train) + len(test), *map(len, others)])


def _own(config: StudyConfig) -> Iterator[Pair]:
    named: dict[str, Any] = {}
    if config.out_of_domain:
        named = {"dataset": config.dataset or _stem(config.pairs), "domain": "in"}
    elif config.dataset:
        named = {"dataset": config.dataset}
    for pair in _read(config):
        drawn = {"label": one_vote_label(pair, seed=config.label_seed)} if config.label == "one-vote" else {}
        yield _with(pair, **{key: getattr(pair, key) or value for key, value in named.items()}, **drawn)


def _read(config: StudyConfig) -> Iterator[Pair]:
    if config.simulation is None:
        return read_pairs(config.pairs, columns=config.columns or None, split=config.split)
    from dissensus.simulate import simulate

    return iter(simulate(config.simulation).pairs)


def _outside(config: StudyConfig, name: str) -> Iterator[Pair]:
    given = config.out_of_domain[name]
    for pair in read_pairs(given.pairs, columns=given.columns or None, split=given.split):
        yield _with(pair, dataset=pair.dataset or name, domain="out")


def _stem(source: str) -> str:
    """Name a data set by its file: ``arguments`` for ``data/arguments.jsonl.gz``."""
    return Path(source).name.partition(".")[0] or source


def _with(pair: Pair, **changes: Any) -> Pair:
    return pair.model_copy(update=changes)

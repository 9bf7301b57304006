"""Judging: pairs in, judgments into a store, whoever judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dissensus.cluster.ray_data import Workers
from dissensus.errors import ConfigError
from dissensus.files.database_url import StorePlace
from dissensus.judges.base import JudgeSettings, Material
from dissensus.judges.runner import Pairs
from dissensus.judges.shards.judge_part import judge_part
from dissensus.judges.shards.on_ray import judge_on_ray
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.summary import Summary
from dissensus.parts import PartOf
from dissensus.records import Judgment, Pair


def run(
    settings: JudgeSettings,
    pairs: Pairs,
    store: StorePlace,
    *,
    sources: Sequence[str] = (),
    learn_from: Sequence[Pair] = (),
    label_was_drawn: bool = False,
    progress: bool = True,
    shards: str = "",
    workers: Workers | None = None,
) -> Summary:
    """Have a judge judge pairs into a store. Judgments that it has are not made again.

    Args:
        settings: the judge.
        pairs: a list, or a file that is read each time it is iterated over (`dissensus.sources.pair_file`). Of a part
            (`dissensus.parts.PartOf`) the judgments go into the folder STORE.parts, or the database that all share.
        store: where the judgments go, a file or a database; it is made where there is none.
        sources: the files or data sets that the pairs are from, in which published verdicts may be.
        learn_from: labelled pairs that a committee learns from beside those that it judges.
        label_was_drawn: whether labels were drawn from the pairs' votes.
        progress: show it.
        shards: of a part or on a cluster, a folder or an address such as s3://bucket/run that its shards go to.
        workers: where it is done; in this process by default.

    Raises:
        ConfigError: a setting is missing.
        InputError: what the judge reads is not there, or has nothing on these pairs.
        JudgeError: the judge cannot judge them. What was answered is kept.
    """
    material = Material(sources, learn_from, label_was_drawn, progress)
    if workers is not None and workers.are_on_ray:
        return judge_on_ray(settings, pairs, store, material, workers=workers, shards=shards)
    if isinstance(pairs, PartOf) and isinstance(store, Path):
        return judge_part(settings, pairs, store, material, shards=shards)
    if shards:
        raise ConfigError("--shards: are of parts with a store of their own; leave it out, a database is shared")
    return settings.run(pairs, store, material)


def judgments(settings: JudgeSettings, judge: str, pairs: Sequence[Pair], store: StorePlace) -> list[Judgment]:
    """List what a store has of a judge (by its full name) about pairs, as these settings would have it."""
    with JudgmentStore(settings.store_path(store), create=False) as opened:
        return list(settings.recall(opened, judge, pairs).judgments())


def is_kept(settings: JudgeSettings, judge: str, count: int, store: StorePlace) -> bool:
    """Tell whether a store has at least ``count`` judgments of a judge: others may have added some, or lost it."""
    if settings.has_own_store or (isinstance(store, Path) and not store.is_file()):
        return settings.has_own_store
    with JudgmentStore(store, create=False) as opened:
        return opened.judges().get(judge, 0) >= count

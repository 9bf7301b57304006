"""One part of a run: a store of its own in which the judge works, and the shards that it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dissensus.cluster.places import ShardFolder
from dissensus.files.locks import sole_writer
from dissensus.files.parts_folder import PartRecord
from dissensus.judges.base import JudgeSettings, Material
from dissensus.judges.shards.seal import restore, sealing
from dissensus.judges.shards.shard import About, write_shard
from dissensus.judges.summary import Summary
from dissensus.parts import PartOf

SHARDS = ".shards"


def shards_beside(store: Path) -> Path:
    """Name the folder of a part's shards: ``3-of-8.shards`` beside ``3-of-8.db``."""
    return store.with_name(store.name.partition(".")[0] + SHARDS)


def judge_part(settings: JudgeSettings, pairs: PartOf, store: Path, material: Material, *, shards: str = "") -> Summary:
    """Have a judge judge a part of pairs into the part's own store, and put that into shards.

    Where the store is gone and shards are there, it is made of them first: what was paid for is not paid for again.

    Args:
        settings: the judge, which learns from all pairs.
        pairs: the part.
        store: the store that is made of all parts; the part's own lies in the folder ``STORE.parts``.
        material: what the judge is given besides.
        shards: a folder or address that gets a folder of the part's shards; beside the store by default.

    Raises:
        OutputError: another process is at this part, or something cannot be written.
        JudgeError: the judge cannot judge. What was answered is kept.
    """
    place = pairs.part.place(store)
    folder = ShardFolder(f"{shards.rstrip('/')}/{pairs.part.name}{SHARDS}" if shards else shards_beside(place))
    about: dict[str, Any] = {"part": str(pairs.part), "pairs": pairs.digest, "engine": settings.engine()}
    if "take_over" in type(settings).model_fields:
        # A part is one process's: whatever another machine has not ended there, a job that is run again goes on with.
        settings = settings.model_copy(update={"take_over": True})
    with sole_writer(place):
        describe = _recorder(pairs, place)
        describe(done=False)
        restored = restore(folder, place)
        with sealing(place, folder, about):
            summary = settings.run(pairs, place, material)
        if not folder.names():  # of no pairs, or none that has a judgment: so that it is seen to be there
            write_shard(folder, About(summary.judge, **about), {})
        left = summary.tally.failed + summary.tally.elsewhere
        describe(done=not (summary.stopped or left), judge=summary.judge, open=left)
    said = f"{pairs.part}, {len(pairs):,} of {pairs.total:,} pairs; shards in {folder}"
    back = f"; {restored:,} rows came back from shards" if restored else ""
    return replace(summary, part=said + back)


def _recorder(pairs: PartOf, place: Path) -> Callable[..., None]:
    def write(**rest: Any) -> None:
        PartRecord.of(pairs, pairs.part, **rest).write(place)

    return write

"""A judge on a Ray cluster: blocks of pairs go to workers that hold it, and come back as shards."""

from __future__ import annotations

import functools
import itertools
import json
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from dissensus.cluster.blocks import DEATHS, Beginnings, Block, blocks_by_prompt
from dissensus.cluster.places import ShardFolder
from dissensus.cluster.ray_data import Workers, pool
from dissensus.errors import ConfigError
from dissensus.files.database_url import StorePlace
from dissensus.hashing import short_digest
from dissensus.judges.base import JudgeSettings, Material
from dissensus.judges.position_bias import position_bias
from dissensus.judges.progress_display import Tally
from dissensus.judges.runner import TRIAL, Pairs, ReadyJudge
from dissensus.judges.shards.judge_part import SHARDS
from dissensus.judges.shards.merge_judgments import merge
from dissensus.judges.shards.seal import keys_in, lost_attempt, seal_all
from dissensus.judges.shards.shard import About, Keys, are_among, as_keys, read_keys, sorted_keys, write_shard
from dissensus.judges.store.attempts import spent
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.summary import Summary
from dissensus.parts import Part, PartOf

if TYPE_CHECKING:
    from dissensus.records import Pair

_READ = 65_536
"""Pairs that a task holds which reads them; each task goes through the whole file."""
_BLOCK = 512
"""Pairs of a block."""
_NOTES = ".blocks"
"""The folder, beside shards, of what is known of blocks."""


class ClusterWorker:
    """A process on a cluster that holds a judge and makes shards of blocks of pairs.

    Args:
        settings: the judge.
        pairs: all pairs, which a judge may learn from.
        material: what the judge is given besides.
        place: the folder of shards.
        notes: the folder below, of what is known of blocks.
        run: names the run.
        known: keys that are answered, sorted.
        about: what shards say besides.
    """

    def __init__(
        self,
        settings: JudgeSettings,
        pairs: Pairs,
        material: Material,
        place: str,
        notes: str,
        run: str,
        known: Any,
        about: dict[str, Any],
    ) -> None:
        import ray

        self._folder, self._about = ShardFolder(place), about
        self._blocks = Beginnings(self._folder.folder(_NOTES).folder(notes), run)
        self._known: Keys = ray.get(known[0])
        ready = settings.prepare(pairs, material)
        self._ready = ready.settled(lambda ready: self._decided(ready, pairs))

    def __call__(self, name: str, block: bytes) -> dict[str, Any]:
        """Judge a block; returns what was counted and the judge's name."""
        return self._judge(Block.from_bytes(block), DEATHS)

    def _judge(self, block: Block, tolerated: int) -> dict[str, Any]:
        if (found := self._blocks.ended(block)) is not None:
            return dict(found)  # by a worker that died before it said so
        if self._blocks.deaths(block) < tolerated:
            beginning = self._blocks.begin(block)
            with _BlockStore(self._known) as store:
                summary = self._ready.ask(block.pairs, store)
                seal_all(store, self._folder, self._about)
            found = {"judge": summary.judge, "mode": summary.mode, "tally": _counts(summary.tally)}
            self._blocks.end(beginning, block, found)
            return found
        if len(block.pairs) == 1:
            return self._lost(block.pairs[0])
        parts = [self._judge(piece, 1) for piece in block.pieces()]
        tally = Tally(0)
        for part in parts:
            tally.add(Tally(**part["tally"]))
        return {**parts[0], "tally": _counts(tally)}

    def _lost(self, pair: Pair) -> dict[str, Any]:
        """Give a pair up that ends whoever is asked about it: an attempt with an error, and no answer."""
        why = "every worker that was asked about it died"
        with _BlockStore(self._known) as store:
            judge, missing = self._ready.open_questions(pair, store)
        if missing:
            row = lost_attempt(judge, pair.id, why)
            write_shard(self._folder, About(judge, **self._about), {"attempt": [row]})
        tally = Tally(missing, failed=missing, failed_because=f" (pair {pair.id}: {why})")
        return {"judge": judge, "mode": "", "tally": _counts(tally)}

    def _decided(self, ready: ReadyJudge, pairs: Pairs) -> str:
        """Decide the mode by the first pairs of all, once for the run: who comes first says it."""
        decided = self._blocks.said("mode")
        if decided is None:
            with _BlockStore(self._known) as store:
                decided = ready.ask(list(itertools.islice(pairs, TRIAL)), store).mode
        return str(self._blocks.say("mode", decided))


class _BlockStore(JudgmentStore):
    """A store of one block, which lies in this machine's temporary folder and knows what is answered elsewhere."""

    def __init__(self, known: Keys) -> None:
        self._folder, self._elsewhere = tempfile.TemporaryDirectory(prefix="dissensus-block-"), known
        super().__init__(Path(self._folder.name, "block.db"))

    def missing(self, keys: Collection[bytes]) -> set[bytes]:
        """Leave out what is answered in shards, too."""
        left = list(super().missing(keys))
        there = are_among(as_keys(left), self._elsewhere)
        return {key for key, is_there in zip(left, there.tolist(), strict=True) if not is_there}

    def close(self) -> None:
        """Close it and remove the folder."""
        super().close()
        self._folder.cleanup()


def judge_on_ray(
    settings: JudgeSettings, pairs: Pairs, store: StorePlace, material: Material, *, workers: Workers, shards: str = ""
) -> Summary:
    """Have workers on a Ray cluster judge pairs into shards, and merge these into a store.

    What is in the store or in the shards is left out. A worker that dies costs its block, which is begun again; of a
    block that costs `DEATHS` workers the pairs that do it are told as errors. Killed, the same call goes on.

    Args:
        settings: the judge.
        pairs: that every worker can read for itself.
        store: what all is merged into.
        material: what the judge is given besides.
        workers: how many, and what they take.
        shards: the folder or address of the shards, which all machines see; beside the store by default.

    Raises:
        ConfigError: the cluster is not there, the judge is none for several workers, or a part was asked for.
        JudgeError: a worker cannot judge. What was answered is kept.
        InputError: a shard is damaged or of a newer version.
        OutputError: a shard cannot be written.
    """
    started = time.monotonic()
    if isinstance(pairs, PartOf):
        raise ConfigError("--part: parts are for machines that share nothing; leave it out with --engine ray")
    folder = _folder_of(store, shards)
    with pool(workers, takes_gpu=settings.takes_gpu) as found:
        import ray

        known = ray.put(_known(store, folder))
        given = {
            "settings": settings.for_workers(found.count),
            "pairs": pairs,
            "material": replace(material, progress=False),
            "place": str(folder),
            "notes": short_digest(json.dumps(settings.deciding(), sort_keys=True, default=str)),
            "run": uuid.uuid4().hex[:12],
            "known": [known],
            "about": {"engine": {**settings.engine(), "ray": ray.__version__}},
        }
        tally, judge, mode = Tally(0), "", ""
        parts = max(1, -(-len(pairs) // _READ))
        done = found.run(parts, functools.partial(_read, pairs, parts), ClusterWorker, given)
        with tqdm(total=None, desc=settings.name, unit=" blocks", disable=not material.progress) as bar:
            for one in done:
                bar.update()
                tally.add(Tally(**one["tally"]))
                judge, mode = judge or one["judge"], mode or one["mode"]
    return _merged(folder, store, judge, mode, tally, len(pairs), time.monotonic() - started)


def _folder_of(store: StorePlace, shards: str) -> ShardFolder:
    if shards:
        return ShardFolder(shards)
    if not isinstance(store, Path):
        raise ConfigError("--shards: name a folder or an address that all machines see; a database has none beside it")
    return ShardFolder(store.absolute().with_name(store.name + SHARDS))


def _read(pairs: Pairs, parts: int, part: int) -> Iterator[tuple[str, bytes]]:
    own = Part(part + 1, parts)
    for block in blocks_by_prompt(filter(own.has, pairs), _BLOCK):
        yield block.name, block.to_bytes()


def _known(store: StorePlace, folder: ShardFolder) -> Keys:
    """Read the keys of what is answered, sorted: 16 bytes each."""
    keys = [read_keys(folder, name) for name in folder.names()]
    if not isinstance(store, Path) or store.is_file():
        with JudgmentStore(store, create=False) as opened:
            keys += list(keys_in(opened))
    return sorted_keys(keys)


def _merged(
    folder: ShardFolder, store: StorePlace, judge: str, mode: str, tally: Tally, pairs: int, seconds: float
) -> Summary:
    if folder.names() and judge:
        merge([str(folder)], store, judges=[judge])
    with JudgmentStore(store) as opened:
        return Summary(
            judge,
            str(store),
            pairs,
            tally,
            seconds,
            stored=opened.judges().get(judge, 0),
            mode=mode,
            cost=spent(opened, judge).cost,
            bias=position_bias(opened, judge) if mode else None,
            part=f"on Ray; shards in {folder}",
        )


def _counts(tally: Tally) -> dict[str, Any]:
    """Return what was counted, JSON-able."""
    return {name: value for name, value in asdict(tally).items() if name != "pairs_cut_short"}

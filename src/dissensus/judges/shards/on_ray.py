"""A judge on a Ray cluster: blocks of pairs go to workers that hold it, and come back as shards."""

from __future__ import annotations

import functools
import itertools
import json
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from dissensus.cluster.blocks import DEATHS, LAST_DEATHS, Beginnings, Block, blocks_by_prompt, dealt
from dissensus.cluster.places import ShardFolder
from dissensus.cluster.ray_data import Workers, pool
from dissensus.errors import ConfigError, JudgeError
from dissensus.files.database_url import StorePlace
from dissensus.files.locks import sole_writer
from dissensus.hashing import short_digest
from dissensus.judges.base import JudgeSettings, Material
from dissensus.judges.position_bias import position_bias
from dissensus.judges.progress_display import Tally
from dissensus.judges.runner import TRIAL, Pairs, ReadyJudge, nothing_judged
from dissensus.judges.shards.judge_part import SHARDS
from dissensus.judges.shards.merge_judgments import merge
from dissensus.judges.shards.seal import keys_in, lost_attempt, seal_all
from dissensus.judges.shards.shard import About, Keys, are_among, as_keys, read_keys, sorted_keys, write_shard
from dissensus.judges.store.attempts import spent
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.summary import Summary
from dissensus.parts import Part, PartOf
from dissensus.places.addresses import is_address

if TYPE_CHECKING:
    from dissensus.records import Pair

_READ = 65_536
"""Pairs that a task holds at once which reads them."""
_PASSES = 4
"""Tasks that read pairs: each goes through the whole file, once."""
_PILES = 256
"""Temporary files at most in which a task keeps what it does not hold."""
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

        self._folder, self._about, self._run = ShardFolder(place), about, run
        self._blocks = Beginnings(self._folder.folder(_NOTES).folder(notes), run)
        self._known: Keys = ray.get(known[0])
        ready = settings.prepare(pairs, material)
        self._ready = ready.settled(lambda ready: self._decided(ready, pairs))

    def __call__(self, name: str, block: bytes) -> dict[str, Any]:
        """Judge a block; returns what was counted, of how many pairs, and the judge's name."""
        found = Block.from_bytes(block)
        return {"pairs": len(found.pairs), **self._judge(found, DEATHS)}

    def _judge(self, block: Block, tolerated: int) -> dict[str, Any]:
        if (found := self._blocks.ended(block)) is not None:
            return dict(found)  # by a worker that died before it said so
        if self._blocks.deaths(block) < tolerated:
            with self._blocks.begun(block):
                found = self._ask(block)
                self._blocks.end(block, found)
        elif len(block.pairs) == 1:
            found = self._lost(block.pairs[0])
            self._blocks.end(block, found)
            self._blocks.forgive(block)
        else:
            pieces = block.pieces()
            found = _together([self._judge(piece, 1 if len(piece.pairs) > 1 else LAST_DEATHS) for piece in pieces])
        return found

    def _ask(self, block: Block) -> dict[str, Any]:
        if (stopped := self._blocks.said(f"{self._run}.stopped")) is not None:
            return _result("", Tally(0, stopped=stopped))
        with _BlockStore(self._known) as store:
            summary = self._ready.ask(block.pairs, store)
            seal_all(store, self._folder, self._about)
        if summary.stopped:  # as one process stops: no other worker is to wait for the same server as long
            self._blocks.say(f"{self._run}.stopped", summary.stopped)
        return _result(summary.judge, summary.tally, summary.notes)

    def _lost(self, pair: Pair) -> dict[str, Any]:
        """Give a pair up that ends whoever is asked about it: an attempt with an error, and no answer."""
        why = "every worker that was asked about it died"
        with _BlockStore(self._known) as store:
            judge, missing = self._ready.open_questions(pair, store)
        if missing:
            row = lost_attempt(judge, pair.id, why)
            write_shard(self._folder, About(judge, **self._about), {"attempt": [row]})
        return _result(judge, Tally(missing, failed=missing, failed_because=f" (pair {pair.id}: {why})"))

    def _decided(self, ready: ReadyJudge, pairs: Pairs) -> str:
        """Decide the mode by the first pairs of all, once for the run: who comes first says it.

        What is answered elsewhere is asked again: the decision is made of these answers, which may be in no shard.
        """
        decided = self._blocks.said("mode")
        if decided is None:
            with _BlockStore(as_keys(())) as store:
                summary = ready.ask(list(itertools.islice(pairs, TRIAL)), store)
            if summary.stopped:
                raise JudgeError(f"{summary.judge}: {summary.stopped}; run the same command again")
            decided = summary.mode
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
        OutputError: a shard cannot be written, or another process has this judge judge into this folder.
    """
    started = time.monotonic()
    if isinstance(pairs, PartOf):
        raise ConfigError("--part: parts are for machines that share nothing; leave it out with --engine ray")
    folder = _folder_of(store, shards)
    notes = short_digest(json.dumps(settings.deciding(), sort_keys=True, default=str))
    here = nullcontext() if is_address(folder.place) else sole_writer(Path(folder.place, _NOTES, notes))
    with here, pool(workers, takes_gpu=settings.takes_gpu) as found:
        import ray

        known = ray.put(_known(store, folder))
        given = {
            "settings": settings.for_workers(found.count),
            "pairs": pairs,
            "material": replace(material, progress=False),
            "place": str(folder),
            "notes": notes,
            "run": uuid.uuid4().hex[:12],
            "known": [known],
            "about": {"engine": {**settings.engine(), "ray": ray.__version__}},
        }
        parts = min(_PASSES, max(1, -(-len(pairs) // _READ)))
        done = found.run(parts, functools.partial(_read, pairs, parts), ClusterWorker, given)
        results: list[dict[str, Any]] = []
        with tqdm(total=len(pairs), desc=settings.name, unit="pair", disable=not material.progress) as bar:
            for one in done:
                bar.update(one["pairs"])
                results = [_together([*results, one])]
    return _merged(folder, store, results[0] if results else _result("", Tally(0)), len(pairs), started)


def _folder_of(store: StorePlace, shards: str) -> ShardFolder:
    if shards:
        return ShardFolder(shards)
    if not isinstance(store, Path):
        raise ConfigError("--shards: name a folder or an address that all machines see; a database has none beside it")
    return ShardFolder(store.absolute().with_name(store.name + SHARDS))


def _read(pairs: Pairs, parts: int, part: int) -> Iterator[tuple[str, bytes]]:
    own, piles = Part(part + 1, parts), -(-len(pairs) // (parts * _READ))
    mine = filter(own.has, pairs)
    for pile in dealt(mine, own, min(piles, _PILES)) if piles > 1 else [mine]:
        for block in blocks_by_prompt(pile, _BLOCK):
            yield block.name, block.to_bytes()


def _known(store: StorePlace, folder: ShardFolder) -> Keys:
    """Read the keys of what is answered, sorted: 16 bytes each."""
    sealed = (read_keys(folder, name) for name in folder.names())
    if isinstance(store, Path) and not store.is_file():
        return sorted_keys(sealed)
    with JudgmentStore(store, create=False) as opened:
        return sorted_keys(itertools.chain(sealed, keys_in(opened)))


def _merged(folder: ShardFolder, store: StorePlace, found: dict[str, Any], pairs: int, started: float) -> Summary:
    judge, tally = found["judge"], Tally(**found["tally"])
    if folder.names() and judge:
        merge([str(folder)], store, judges=[judge])
    with JudgmentStore(store) as opened:
        said = opened.settings(judge)
        config = said.get("config", {})
        at = {name: config[name] for name in ("temperature", "top_p") if said.get("mode") == "exact"}
        return Summary(
            judge,
            str(store),
            pairs,
            tally,
            time.monotonic() - started,
            stored=opened.judges().get(judge, 0),
            mode=said.get("mode", ""),
            cost=spent(opened, judge).cost,
            nothing_judged=nothing_judged(judge, tally, opened) if config else "",
            most_tokens=config.get("max_tokens", 0),
            bias=position_bias(opened, judge, **at) if config else None,
            part=f"on Ray; shards in {folder}",
            notes=tuple(found["notes"]),
        )


def _result(judge: str, tally: Tally, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Describe what came of pairs, JSON-able."""
    counts = {name: value for name, value in asdict(tally).items() if name != "pairs_cut_short"}
    return {"judge": judge, "tally": counts, "notes": list(notes)}


def _together(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Describe what came of all."""
    tally, judge, notes = Tally(0), "", ()
    for one in results:
        tally.add(Tally(**one["tally"]))
        judge, notes = judge or one["judge"], notes or one["notes"]
    return _result(judge, tally, notes)

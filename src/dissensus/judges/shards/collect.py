"""What is merged: the stores and shards that are given, told apart, put in order, and held against each other."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dissensus.cluster.places import ShardFolder
from dissensus.errors import InputError
from dissensus.files.parts_folder import PartRecord, check_each_once, check_none_missing, check_same_pairs
from dissensus.judges.shards.judge_part import SHARDS
from dissensus.judges.shards.seal import by_kind, keys_in, not_among, rows_in, settings_in
from dissensus.judges.shards.shard import (
    BLOCK,
    About,
    Keys,
    Row,
    are_among,
    as_keys,
    read_about,
    read_keys,
    read_shard,
    sorted_keys,
)
from dissensus.judges.store.store import JudgmentStore
from dissensus.parts import RECORD, Part, part_of
from dissensus.places.addresses import is_address


@dataclass
class Given:
    """One thing that is merged: a store, shards, or both of one part, of which the store has what is not sealed yet."""

    name: str
    part: Part | None = None
    store: Path | None = None
    shards: ShardFolder | None = None
    record: PartRecord | None = None
    judges: Counter[str] = field(default_factory=Counter)
    """Answers, or shards, of each judge."""
    shard_judges: dict[str, str] = field(default_factory=dict)
    """Whose each shard is."""
    at_most: int = 0
    """No more answers than these are there, of any judge."""
    pairs: str = ""
    """The digest over all pairs of the run, where the shards say it."""

    def look(self) -> None:
        """Find out whose answers there are. Raises InputError where something is no store and no shard."""
        if self.store is not None:
            with JudgmentStore(self.store, create=False) as opened:
                self.judges.update(opened.judges())
                self.at_most += self.judges.total()
        if self.shards is not None:
            for name in self.shards.names():
                about, count = read_about(self.shards, name)
                self.at_most += count
                self.shard_judges[name] = about.judge
                self.judges[about.judge] += 1
                self.pairs = about.pairs

    def keys(self, judges: Sequence[str]) -> Iterator[Keys]:
        """Stream the keys of these judges' answers, each once where a store's are in its shards too."""
        sealed = []
        for name in self._shards_of(judges):
            keys = read_keys(self._folder, name)
            sealed += [keys] if self.store is not None else []
            yield keys
        if self.store is not None:
            known = sorted_keys(sealed)
            with JudgmentStore(self.store, create=False) as opened:
                for judge in judges:
                    for keys in keys_in(opened, judge):
                        yield keys[~are_among(keys, known)]

    def rows(self, judges: Sequence[str]) -> Iterator[tuple[str, About, Mapping[str, list[Row]]]]:
        """Stream the rows of these judges in blocks: where they are, what is said of them, and the rows by kind."""
        sealed = []
        for name in self._shards_of(judges):
            shard = read_shard(self._folder, name)
            if self.store is not None:
                sealed.append(as_keys(row[0] for rows in shard.rows.values() for row in rows))
            yield shard.path, shard.about, shard.rows
        if self.store is not None:
            known = sorted_keys(sealed)
            with JudgmentStore(self.store, create=False) as opened:
                for judge in judges:
                    about = About(judge, settings_in(opened, judge))
                    found = not_among(rows_in(opened, judge), known)
                    while block := list(itertools.islice(found, BLOCK)):
                        yield str(self.store), about, by_kind(block)

    @property
    def _folder(self) -> ShardFolder:
        assert self.shards is not None
        return self.shards

    def _shards_of(self, judges: Sequence[str]) -> list[str]:
        return [name for name, judge in self.shard_judges.items() if judge in judges]


def collect(places: Sequence[str], *, allow_missing: bool = False) -> list[Given]:
    """Tell apart what is given: parts in their order, then all else as it is given.

    Args:
        places: folders of parts or shards, addresses of such, and stores.
        allow_missing: do without parts that are missing or have not ended.

    Raises:
        InputError: something is none of these; a part is missing, there twice, has not ended or is of other pairs;
            parts are of different numbers of parts.
    """
    found = list(itertools.chain.from_iterable(map(_told_apart, places)))
    parts = sorted((one for one in found if one.part), key=lambda one: one.part.index if one.part else 0)
    if parts:
        _check_parts(", ".join(places), parts, allow_missing=allow_missing)
    for one in found:
        one.look()
    known = {one.pairs: one for one in parts if one.pairs}
    if len(known) > 1:
        first, other, *_ = known.values()
        raise InputError(
            f"{other.name}: is part {other.part} of other pairs than part {first.part} ({first.name}); run it again "
            "with the pairs of the others, and without what it left here"
        )
    return [*parts, *(one for one in found if not one.part)]


def _told_apart(place: str) -> list[Given]:
    path = Path(place)
    if not is_address(place) and path.is_file():
        return [_store(path)]
    if not is_address(place) and not path.is_dir():
        raise InputError(f"{place}: no such folder or store; name what dissensus judge --part wrote")
    folder = ShardFolder(place)
    given: dict[Part, Given] = {}
    for name in folder.below():
        part = part_of(Path(name))
        if part is None:
            continue
        one = Given(folder.path(part.name), part)
        if name.endswith(SHARDS):
            given.setdefault(part, one).shards = folder.folder(name)
        elif not is_address(place) and (path / name).is_file() and not name.endswith(RECORD):
            given.setdefault(part, one).store = path / name
    if given:
        return list(given.values())
    if not folder.names():
        raise InputError(f"{place}: has no parts, no shards and no store; name what dissensus judge --part wrote")
    return [Given(place, part_of(path), shards=folder)]


def _store(path: Path) -> Given:
    return Given(str(path), part_of(path), store=path)


def _check_parts(places: str, parts: Sequence[Given], *, allow_missing: bool) -> None:
    count = check_each_once(places, [(one.name, one.part) for one in parts if one.part])
    at = {one.part.index: one for one in parts if one.part}
    if not allow_missing:
        check_none_missing(places, count, at)
    folders = {Path(one.name).parent for one in parts if not is_address(one.name)}
    for folder in folders:
        records = check_same_pairs(folder, [Path(one.name) for one in parts if Path(one.name).parent == folder])
        for index, record in records.items():
            if index in at:
                at[index].record = record
    for one in parts:
        if one.record is None or one.record.done:
            continue
        if allow_missing and one.shards is not None:
            one.store = None  # somebody may be writing it, perhaps on another machine; shards do not change
        elif not allow_missing:
            left = f", {one.record.open:,} questions are open" if one.record.open else ""
            raise InputError(
                f"{one.name}: part {one.part} has not ended{left}; run the same command with --part {one.part} again, "
                "or take what is there with --allow-missing"
            )


def judges_of(given: Sequence[Given], chosen: Sequence[str]) -> list[str]:
    """Return the judges to merge: those that are chosen, by their names or the beginnings of them, or all.

    Raises:
        InputError: none is called so; or parts, or shards, of several judges are mixed and none is chosen.
    """
    there = list(dict.fromkeys(itertools.chain.from_iterable(sorted(one.judges) for one in given)))
    if not there:
        raise InputError(f"{', '.join(one.name for one in given)}: nobody has judged anything in there; judge first")
    if chosen:
        found = [judge for judge in there if any(judge.startswith(name) for name in chosen)]
        for name in chosen:
            if not any(judge.startswith(name) for judge in there):
                raise InputError(f"no judge is called {name!r}; there are {', '.join(there)}")
        return found
    _refuse_mixed(given, there)
    return there


def _refuse_mixed(given: Sequence[Given], there: Sequence[str]) -> None:
    """Raise InputError where judges did not each judge every part, or loose shards are of several."""
    parts = [one for one in given if one.part and one.judges]
    for judge in there:
        without = [
            one for one in parts if judge not in one.judges and (one.record is None or one.record.judge != judge)
        ]
        with_it = [one for one in parts if judge in one.judges]
        if with_it and without:
            other = next(iter(without[0].judges))
            raise InputError(
                f"part {with_it[0].part} was judged by {judge} and part {without[0].part} by {other}: judge all parts "
                "by one judge, or merge some with --judge"
            )
    for one in given:
        if one.part is None and one.store is None and len(one.judges) > 1:
            raise InputError(
                f"{one.name}: holds shards of {len(one.judges)} judges ({', '.join(sorted(one.judges))}); choose with "
                "--judge, which may be given several times"
            )

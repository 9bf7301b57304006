"""Parts and shards merged into one store: each key's first answer, every row checked, doubles and holes counted.

Memory is bounded by the keys, 16 bytes each: rows go from a block of the source straight into the store.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dissensus.errors import InputError
from dissensus.files.database_url import StorePlace
from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.shards.collect import Given, collect, judges_of
from dissensus.judges.shards.holes import Holes, find_holes
from dissensus.judges.shards.seal import insert, note_judge
from dissensus.judges.shards.shard import TABLES, About, Keys, Row
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.store.verify import problem_of
from dissensus.records import Pair

_LOOKED_UP = 500
"""Keys of one query."""


@dataclass
class Merged:
    """What a merge did."""

    store: StorePlace
    judges: list[str]
    parts: int = 0
    """Parts of a run among what was merged."""
    missing_parts: list[str] = field(default_factory=list)
    rows: int = 0
    """Answers that were read."""
    added: int = 0
    """Those that the store did not have."""
    doubles: int = 0
    """Answers beyond the first of their key."""
    differing: int = 0
    """Answers that were left out and say something else than the one that is kept."""
    attempts: Counter[str] = field(default_factory=Counter)
    """What was tried, by how it ended."""
    several_settings: list[str] = field(default_factory=list)
    """Judges that parts were asked by with different settings, such as another n."""
    holes: Holes | None = None

    def lines(self) -> Iterator[str]:
        """Yield what the command prints."""
        for judge in self.judges:
            yield f"judge      {judge}"
        of_parts = f" of {self.parts} parts" if self.parts else ""
        there = self.rows - self.added - self.doubles
        yield f"answers    {self.rows:,}{of_parts}: {self.added:,} new in {self.store}, {max(there, 0):,} already there"
        if self.missing_parts:
            yield f"parts      without {', '.join(self.missing_parts)}"
        if self.doubles:
            yield f"doubles    {self.doubles:,} answers to questions that were answered before; the first is kept"
        if self.differing:
            yield f"differing  {self.differing:,} answers that are left out say something else than those kept"
        if failed := self.attempts.total() - self.attempts["answered"]:
            how = ", ".join(f"{n:,} {state}" for state, n in sorted(self.attempts.items()) if state != "answered")
            yield f"errors     {failed:,} attempts without an answer ({how}), which count as none"
        for judge in self.several_settings:
            yield f"settings   {judge}: not the same in all parts; the first are kept"
        if self.holes is not None:
            yield from self.holes.lines()


def merge(
    places: Sequence[str],
    store: StorePlace,
    *,
    judges: Sequence[str] = (),
    pairs: Iterable[Pair] | None = None,
    allow_missing: bool = False,
) -> Merged:
    """Merge parts, shards and stores into one store, which keeps what it has; killed anywhere, the same call goes on.

    Args:
        places: what is merged (`collect`); of two answers to one question, the first counts.
        store: added to, or made.
        judges: which; all by default.
        pairs: what was to be judged: says which questions nobody answered.
        allow_missing: do without parts that are missing or have not ended.

    Raises:
        InputError: the parts do not fit together, or a row is not as it was written; what was merged before it stays.
        OutputError: the store cannot be written.
    """
    given = collect(places, allow_missing=allow_missing)
    if clash := next((one for one in given if one.store is not None and _is_same(one.store, store)), None):
        raise InputError(f"{clash.store}: is what is merged into; name another --store")
    wanted = judges_of(given, judges)
    found = Merged(store, wanted, *_parts_of(given))
    keys = _all_keys(given, wanted)
    found.rows, found.doubles = len(keys), int(np.count_nonzero(keys[1:] == keys[:-1]))
    with JudgmentStore(store) as opened:
        texts: dict[str, set[str]] = {}
        for one in given:
            for place, about, rows in one.rows(wanted):
                texts.setdefault(about.judge, set()).add(about.settings)
                _add(opened, place, about, rows, found)
        found.several_settings = sorted(judge for judge, said in texts.items() if len(said - {""}) > 1)
        if pairs is not None:
            count = next((one.part.count for one in given if one.part), None)
            found.holes = find_holes(opened, wanted, pairs, keys, count)
    return found


def _is_same(one: Path, other: StorePlace) -> bool:
    return isinstance(other, Path) and one.resolve() == other.resolve()


def _parts_of(given: Sequence[Given]) -> tuple[int, list[str]]:
    parts = [one.part for one in given if one.part]
    if not parts:
        return 0, []
    there = {part.index for part in parts}
    count = parts[0].count
    return len(parts), [f"{index}/{count}" for index in range(1, count + 1) if index not in there]


def _all_keys(given: Sequence[Given], judges: Sequence[str]) -> Keys:
    """Read the keys of all answers, sorted, doubles among them; shape (answers,), 16 bytes each."""
    # What is not written takes no memory.
    keys, n = np.empty(sum(one.at_most for one in given), dtype="S16"), 0
    for one in given:
        for some in one.keys(judges):
            if n + len(some) > len(keys):  # somebody writes meanwhile
                keys = np.concatenate([keys[:n], np.empty(2 * len(some), dtype="S16")])
            keys[n : n + len(some)] = some
            n += len(some)
    keys = keys[:n]
    keys.sort()
    return keys


def _add(store: JudgmentStore, place: str, about: About, rows: Mapping[str, list[Row]], found: Merged) -> None:
    """Check a block of rows and insert what the store lacks of it, in one transaction."""
    language = _language_of(about)
    for kind in TABLES:
        for row in rows.get(kind, ()):
            problem = problem_of(kind, row, language)
            if problem is None and row[1] != about.judge:
                problem = f"it is of {row[1]}, and the shard of {about.judge}"
            if problem is not None:
                raise InputError(
                    f"{place}: damaged ({kind} of pair {row[2]!r}: {problem}); remove it and run its part again, which "
                    f"makes what is missing; what was merged before is in {store.path}"
                )
    found.attempts.update(row[4] for row in rows.get("attempt", ()))
    with store.transaction():
        note_judge(store, about)
        for kind, some in rows.items():
            added = insert(store, kind, some)
            found.added += added
            if kind in TABLES and added < len(some):
                found.differing += _differing(store, kind, some)


def _differing(store: JudgmentStore, kind: str, rows: Sequence[Row]) -> int:
    """Count the rows that say something else than what the store has under their keys."""
    count = 0
    for start in range(0, len(rows), _LOOKED_UP):
        said = {row[0]: row[-1] for row in rows[start : start + _LOOKED_UP]}
        query = f"SELECT key, checksum FROM {TABLES[kind]} WHERE key IN ({', '.join('?' * len(said))})"
        count += sum(said[key] != kept for key, kept in store.rows(query, list(said)))
    return count


def _language_of(about: About) -> LanguageJudge | None:
    settings = json.loads(about.settings) if about.settings else {}
    if "config" not in settings:
        return None
    judge = LanguageJudge.from_settings(settings)
    if judge.name != about.judge:
        raise InputError(f"{about.judge}: its settings in a shard are those of {judge.name}; run its part again")
    return judge

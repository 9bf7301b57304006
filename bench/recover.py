"""What `dissensus judgments recover` saves of damaged stores, against what can be read of their bytes.

    python bench/recover.py [--quick] [--json FILE]

A store of 18,000 judgments (of a language model, a committee and a published judge, in equal parts) is cut at 48
points, gets flipped bits and zeroed pages, loses its header or its log. "There" counts the rows whose whole content
still stands where it stood, found by a search of the bytes that knows what was stored and nothing of SQLite's pages.
"Select" is what SQLite reads from the front and from the back until it meets the damage. Every saved store is verified.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shutil
import sqlite3
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from dissensus.errors import DissensusError
from dissensus.judges.language.plan import LanguageJudge, Planned
from dissensus.judges.language.settings import LanguageSettings
from dissensus.judges.store.keys import content_of
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.store.verify import recover, verify
from dissensus.records import Judgment, Pair

PAGE = 4096
Damage = Callable[[bytearray, bytearray], None]
Places = dict[bytes, list[tuple[int, int]]]
Row = dict[str, object]


def make_store(path: Path, size: int) -> None:
    """Fill a store as three judges do, and leave it as a killed process would: its last tenth is in the log alone."""
    pairs = [Pair(id=f"p{i}", prompt=f"q{i}", response_a=f"a{i}", response_b="b") for i in range(size // 3)]
    judge = LanguageJudge(LanguageSettings(model="m", n=1), {"model": "m"})
    store = JudgmentStore(path.with_name("growing.db"))
    store.register(judge.name, judge.settings())
    for start in range(0, len(pairs), 50):
        batch = pairs[start : start + 50]
        if start == len(pairs) * 9 // 10 // 50 * 50:
            store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with store.transaction():
            store.insert(_asked(judge, pair, start + index) for index, pair in enumerate(batch))
        store.add([one for pair in batch for one in _others(pair)], {pair.id: pair for pair in batch})
    shutil.copy(store.path, path)
    shutil.copy(f"{store.path}-wal", f"{path}-wal")
    store.close()


def _asked(judge: LanguageJudge, pair: Pair, index: int) -> tuple[bytes, str, Judgment]:
    content, words = content_of(pair), f"because {index} " * (index % 60)
    said = Judgment(pair_id=pair.id, judge=judge.name, sample=0, choice="a", reply=f"Choice: A {words}")
    return judge.sample_key(content, Planned(0, "ab", "")), content, said


def _others(pair: Pair) -> list[Judgment]:
    share = int(pair.id[1:]) % 997 / 1000
    committee = Judgment(pair_id=pair.id, judge="committee-1", sample=0, choice="b", probability_a=share)
    published = Judgment(pair_id=pair.id, judge="gpt4-1", sample=0, choice="a", probability_a=0.75, reply="first " * 9)
    return [committee, published]


def places(path: Path, data: bytes, log: bytes) -> Places:
    """Find where the whole content of each row stands in the file and the log after it, by its key."""
    with closing(sqlite3.connect(path)) as store:  # a copy of both, which it may change
        rows = {row[0]: row for row in store.execute("SELECT * FROM judgments")}
    whole = data + log
    names = b"|".join(re.escape(name.encode()) for name in {row[1] for row in rows.values()})
    found: dict[bytes, list[tuple[int, int]]] = {key: [] for key in rows}
    for match in re.finditer(names, whole):
        row = rows.get(whole[match.start() - 16 : match.start()])
        if row is None:
            continue
        key, judge, pair_id, content, _, shown, choice, probability, reply, *_ = row
        number = b"" if probability in (None, 0.0, 1.0) else struct.pack(">d", probability)
        body = b"".join((key, *map(str.encode, (judge, pair_id, content, shown, choice)), number, reply.encode()))
        start = match.start() - 16
        if whole[start : start + len(body)] == body:
            found[key].append((start, start + len(body)))
    return found


def selected(path: Path) -> int:
    """Count what SQLite reads of a damaged store, from both ends."""
    keys: set[bytes] = set()
    with closing(sqlite3.connect(path)) as store:
        for direction in ("ASC", "DESC"):
            with suppress(sqlite3.DatabaseError, UnicodeDecodeError):
                for key, *_ in store.execute(f"SELECT * FROM judgments ORDER BY key {direction}"):
                    keys.add(key)
    return len(keys)


def damages(size: int, points: int) -> dict[str, tuple[bool, Damage]]:
    """Name each damage, with whether the log is there: it changes the bytes of the file and of the log."""
    draw = random.Random(0)
    found: dict[str, tuple[bool, Damage]] = {"none": (False, lambda file, log: None)}

    def cut(share: float) -> Damage:
        return lambda file, log: file.__delitem__(slice(int(len(file) * share), None))

    def flip(times: int) -> Damage:
        def work(file: bytearray, log: bytearray) -> None:
            for _ in range(times):
                file[draw.randrange(len(file))] ^= 1 << draw.randrange(8)

        return work

    def zero(share: float) -> Damage:
        def work(file: bytearray, log: bytearray) -> None:
            for page in draw.sample(range(len(file) // PAGE), int(len(file) // PAGE * share)):
                file[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)

        return work

    for point in range(1, points + 1):
        share = point / (points + 1)
        found[f"cut at {share:.1%}"] = (False, cut(share))
    found |= {f"{times} flipped bits": (False, flip(times)) for times in (1, 10, 100, 1000)}
    found |= {f"{share:.0%} of pages zeroed": (False, zero(share)) for share in (0.01, 0.1, 0.5)}
    found["header zeroed"] = (False, lambda file, log: file.__setitem__(slice(0, 100), bytes(100)))
    found["first page zeroed"] = (False, lambda file, log: file.__setitem__(slice(0, PAGE), bytes(PAGE)))
    found["log kept"] = (True, lambda file, log: None)
    found["log dropped"] = (True, lambda file, log: log.clear())
    found["log cut by half"] = (True, lambda file, log: log.__delitem__(slice(len(log) // 2, None)))
    found["file cut at 50 %, log kept"] = (True, cut(0.5))
    found["file emptied, log kept"] = (True, lambda file, log: file.clear())
    return found


def try_damage(folder: Path, whole: tuple[bytes, bytes], where: Places, damage: Damage) -> dict[str, object]:
    """Damage a copy, save it, and count."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path, out = folder / "damaged.db", folder / "saved.db"
    file, log = bytearray(whole[0]), bytearray(whole[1])
    damage(file, log)
    path.write_bytes(file)
    if log:
        Path(f"{path}-wal").write_bytes(log)
    shift, end = len(whole[0]), (len(file), len(log))
    original, now = whole[0] + whole[1], bytes(file).ljust(shift, b"\0") + bytes(log).ljust(len(whole[1]), b"\0")

    def is_there(start: int, stop: int) -> bool:
        return now[start:stop] == original[start:stop] and (stop <= end[0] if start < shift else stop - shift <= end[1])

    left = sum(any(is_there(*place) for place in found) for found in where.values())
    started = time.perf_counter()
    saved = damaged = 0
    try:
        done = recover(path, out)
        saved, damaged = done.saved["judgments"], done.damaged
        with JudgmentStore(out) as store:
            assert verify(store).damaged == 0
    except DissensusError as error:
        print(f"  {error}")
    seconds = time.perf_counter() - started
    assert path.read_bytes() == bytes(file)
    return {"there": left, "saved": saved, "left_out": damaged, "select": selected(path), "seconds": round(seconds, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,800 judgments, 8 cuts")
    parser.add_argument("--json", type=Path, help="write the rows as a list of objects")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, SQLite {sqlite3.sqlite_version}")
    print("command: " + " ".join([Path(sys.executable).name, *sys.argv]))
    size, points = (1800, 8) if options.quick else (18_000, 48)
    rows: list[Row] = []
    print(f"{'damage':<28}{'there':>8}{'saved':>8}{'left out':>10}{'select':>8}{'seconds':>9}")
    with tempfile.TemporaryDirectory() as name:
        made = Path(name, "store.db")
        make_store(made, size)
        logged = made.read_bytes(), Path(f"{made}-wal").read_bytes()
        where_logged = places(made, *logged)  # closing it moves the log into the file
        plain = made.read_bytes(), b""
        where_plain = places(made, *plain)
        for title, (has_log, damage) in damages(size, points).items():
            whole, where = (logged, where_logged) if has_log else (plain, where_plain)
            row = {"damage": title, **try_damage(Path(name, "try"), whole, where, damage)}
            rows.append(row)
            print(f"{title:<28}" + "".join(f"{row[key]:>{width},}" for key, width in COLUMNS))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


COLUMNS = (("there", 8), ("saved", 8), ("left_out", 10), ("select", 8), ("seconds", 9))


if __name__ == "__main__":
    main()

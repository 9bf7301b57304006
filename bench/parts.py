"""Merging parts: answers a second and peak memory, over how many answers there are.

    python bench/parts.py [--answers N ...] [--keys N] [--quick] [--json FILE]

Shards of eight parts are made of answers that are as those of a judge with its own keys, one for each pair, and merged
in a process of its own into a new store, then once more, when nothing is new. ``keys`` reads keys alone, as the merge
does first, of shards of random keys: it is what a merge's memory grows by, 16 bytes for each answer. The claim: 10
million in under 400 MB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dissensus.cluster.places import ShardFolder
from dissensus.hashing import framed_digest
from dissensus.judges.shards.collect import collect, judges_of
from dissensus.judges.shards.merge_judgments import _all_keys, merge
from dissensus.judges.shards.shard import _META, BLOCK, VERSION, About, _schema, shard_name, write_shard
from dissensus.judges.store.keys import judgment_checksum

JUDGE, PARTS = "bench-01234567", 8


def make(folder: Path, answers: int) -> None:
    each = answers // PARTS
    for part in range(PARTS):
        shards = ShardFolder(folder / f"{part + 1}-of-{PARTS}.shards")
        about = About(JUDGE, part=f"{part + 1}/{PARTS}")
        for start in range(part * each, (part + 1) * each, BLOCK):
            rows = [row(i) for i in range(start, min(start + BLOCK, (part + 1) * each))]
            write_shard(shards, about, {"judgment": rows})


def make_keys(folder: Path, answers: int) -> None:
    """Make shards that have keys and nothing else."""
    generator = np.random.default_rng(0)
    schema = _schema().with_metadata({_META: json.dumps({"version": VERSION, **vars(About(JUDGE))}).encode()})
    for number, start in enumerate(range(0, answers, BLOCK)):
        n = min(BLOCK, answers - start)
        keys = pa.Array.from_buffers(pa.binary(16), n, [None, pa.py_buffer(generator.bytes(16 * n))])
        nulls = {f.name: pa.nulls(n, f.type) for f in schema}
        table = pa.table({**nulls, "key": keys, "kind": pa.array(["judgment"] * n)}, schema=schema)
        place = folder / f"{number % PARTS + 1}-of-{PARTS}.shards" / shard_name([keys[0].as_py()])
        place.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, place, compression="zstd", write_page_checksum=True)


def row(i: int) -> tuple[object, ...]:
    name, content, p = f"p{i}", f"{i:016x}", (i % 1000 + 0.5) / 1000
    choice = "a" if p > 0.5 else "b"
    key = framed_digest(JUDGE, name, content, "0", "ab")
    return key, JUDGE, name, content, 0, "ab", choice, p, "", "", judgment_checksum(name, choice, p, "", "")


def work(what: str, folder: str, store: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    if what == "keys":
        given = collect([folder])
        rows = len(_all_keys(given, judges_of(given, ())))
    else:
        rows = merge([folder], Path(store)).rows
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, own = time.perf_counter() - start, time.process_time() - cpu
    found = {"what": what, "answers": rows, "seconds": seconds, "cpu": own, "mb": used / 1e3, "idle_mb": before / 1e3}
    print(json.dumps(found))


def measure(what: str, folder: Path, store: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--work", what, str(folder), str(store)]
    row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    rate = row["answers"] / row["cpu"]
    figures = f"{row['seconds']:8.1f} {row['cpu']:8.1f} {rate:13,.0f} {row['mb']:8.0f} {row['idle_mb']:8.0f}"
    print(f"{what:8} {row['answers']:11,} {figures}", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="where shards are made; a temporary folder by default")
    parser.add_argument("--quick", action="store_true", help="20,000 answers, 100,000 keys")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(*arguments.work)
        return
    found = []
    print(f"{'':8} {'answers':>11} {'seconds':>8} {'CPU s':>8} {'a CPU second':>13} {'peak MB':>8} {'idle MB':>8}")
    for answers in [20_000] if arguments.quick else arguments.answers:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
            folder, store = Path(temporary) / "j.db.parts", Path(temporary) / "j.db"
            make(folder, answers)
            found += [measure(what, folder, store) for what in ("merge", "again")]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        make_keys(Path(temporary), 100_000 if arguments.quick else arguments.keys)
        found.append(measure("keys", Path(temporary), Path(temporary)))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

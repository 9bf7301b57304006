"""Judging on Ray: what it costs, what it gains, and what is left of a run in which a worker, a node and the driver die.

    python bench/on_ray.py [--quick] [--json FILE] [--only CASE ...] [--ways WAY ...] [--pairs N] [--tiny N] [--keys N]

A cluster of three nodes (``ray.cluster_utils.Cluster``) on this machine, each with one processor, and two workers. The
cases:

- committee: ten members on labelled pairs; the encoder is that of ``scale.py``, whose features cost nothing
- tiny: a tiny language model (``judge local --model tiny --mode exact``)
- keys: what the driver holds of so many answers that are there already

The first two are judged by one process, by one and by two workers, and by two of which one is killed, then a node, then
the driver, which is started again. Each key has to be there once, and each vote to be that of the one process: what
differs ends the bench with 1. Only processes that this one started are killed, by their ids.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import parts
import scale

from dissensus.cluster.places import ShardFolder
from dissensus.judges.base import JudgeSettings
from dissensus.judges.kinds import CommitteeSettings
from dissensus.judges.language.settings import LocalSettings
from dissensus.judges.shards.on_ray import _known
from dissensus.judges.store.store import JudgmentStore

NODES, WORKERS, BLOCK = 3, 2, 512
KILLS = ((0.1, "worker"), (0.3, "node"), (0.6, "driver"))
"""At which share of the blocks what is killed."""
ENVIRONMENT = {
    **{"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"},
    **{"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]),
}


class StubCommittee(CommitteeSettings):
    """A committee whose encoder costs nothing."""

    def open(self, *given: Any) -> Any:
        """Open it with the stub, in whichever process."""
        import dissensus.text.encoder as encoders

        encoders.load_encoder = lambda *_, **__: scale.Stub()
        return super().open(*given)


JUDGES: dict[str, Callable[[], JudgeSettings]] = {
    "committee": StubCommittee,
    "tiny": lambda: LocalSettings(model="tiny", mode="exact", device="cpu"),
}


def drive(name: str, pairs: str, store: str, address: str, workers: int) -> None:
    """Judge as the command does, in a process of its own; without workers in that one."""
    from dissensus.cluster.ray_data import Workers
    from dissensus.sources import pair_file
    from dissensus.steps.judge import run

    where = Workers(engine="ray", ray_address=address, workers=workers) if workers else None
    summary = run(JUDGES[name](), pair_file(pairs), Path(store), progress=False, workers=where)
    summary.check_complete()
    print(json.dumps({"judge": summary.judge, "made": summary.tally.made, "peak": peak()}))


def peak() -> float:
    """The peak of this process's resident memory, in MB; that of its parent, which it is made from, does not count."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def cluster() -> Iterator[Any]:
    """Three nodes of this machine."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        for _ in range(NODES - 1):
            found.add_node(num_cpus=1)
        yield found
    finally:
        found.shutdown()


def start(name: str, folder: Path, store: Path, address: str = "", workers: int = 0) -> subprocess.Popen[bytes]:
    given = (name, str(folder / "pairs.parquet"), str(store), address, workers)
    command = [sys.executable, "-c", f"import on_ray; on_ray.drive{given!r}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder)


def end(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for a driver; returns what it says."""
    said = child.communicate()[0].decode()
    if child.returncode:
        raise SystemExit(f"a driver failed: {said[-3000:]}")
    return dict(json.loads(said.splitlines()[-1]))


def timed(name: str, folder: Path, store: Path, *where: Any) -> dict[str, Any]:
    """Judge into a store; returns seconds in all, those between the first block and the last, and the driver's peak."""
    began, load = time.perf_counter(), os.getloadavg()[0]
    said = end(start(name, folder, store, *where))
    seconds = time.perf_counter() - began
    ends = sorted(path.stat().st_mtime for path in blocks(store))
    steady = (len(ends) - 1) / (ends[-1] - ends[0]) * BLOCK if len(ends) > 1 else None
    return {"seconds": seconds, "steady": steady, "load": load, **said}


def blocks(store: Path) -> list[Path]:
    """List the notes of blocks that have ended."""
    return list(store.with_name(store.name + ".shards").glob(".blocks/*/*.ended"))


def killed(name: str, folder: Path, store: Path, found: Any, total: int) -> dict[str, Any]:
    """Judge with two workers and kill on the way."""
    began, done = time.perf_counter(), []
    driver = start(name, folder, store, found.address, WORKERS)
    for share, what in KILLS:
        while len(blocks(store)) < share * total and driver.poll() is None:
            time.sleep(0.05)
        if driver.poll() is not None:
            raise SystemExit(f"{name}: ended before the {what} was killed: {driver.stdout.read().decode()[-2000:]}")
        if what == "worker":
            os.kill(waited(lambda: workers_of([found.head_node, *found.worker_nodes]))[0], signal.SIGKILL)
        elif what == "node":
            kill_node(found)
        else:
            driver.kill()
            driver.wait()
        done.append(f"{what} after {len(blocks(store))}")
    said = end(start(name, folder, store, found.address, WORKERS))
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "steady": None, "kills": ", ".join(done), **said}


def kill_node(found: Any) -> None:
    """Kill a node at which a worker is, and add another."""
    node = waited(lambda: [node for node in found.worker_nodes if workers_of([node])])[0]
    own = [one.process.pid for some in node.all_processes.values() for one in some]
    for pid in [*own, *workers_of([node])]:
        os.kill(pid, signal.SIGKILL)
    found.remove_node(node, allow_graceful=False)
    found.add_node(num_cpus=1)


def waited(look: Callable[[], list[Any]], seconds: float = 300) -> list[Any]:
    """Wait until there is something: a worker that died is made again somewhere."""
    until = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > until:
            raise SystemExit("no worker came to be where one could be killed")
        time.sleep(0.05)
    return found


def workers_of(nodes: Any) -> list[int]:
    """List the processes of nodes that hold a judge."""
    raylets = {one.process.pid for node in nodes for one in node.all_processes["raylet"]}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in raylets and b"_Worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


def answers(name: str, store: Path, judge: str) -> dict[str, Any]:
    """Read what a store has of a judge: its keys, votes and readings."""
    from dissensus.sources import pair_file

    with JudgmentStore(store, create=False) as opened:
        keys = [key for table in ("judgments", "readings") for (key,) in opened.rows(f"SELECT key FROM {table}")]
        rows = list(opened.rows("SELECT key, checksum FROM judgments UNION ALL SELECT key, checksum FROM readings"))
        votes = None
        if name == "tiny":
            pairs = list(pair_file(str(store.parent / "pairs.parquet")))
            recalled = JUDGES[name]().recall(opened, judge, pairs).judgments()
            votes = sorted((one.pair_id, one.sample, one.order, one.choice or "") for one in recalled)
        return {"keys": sorted(keys), "rows": dict(rows), "votes": votes}


def compare(name: str, one: dict[str, Any], many: dict[str, Any]) -> str:
    """Hold a run against that of one process; raises SystemExit where a key is missing or a vote is another."""
    if len(set(many["keys"])) != len(many["keys"]) or many["keys"] != one["keys"]:
        raise SystemExit(f"{name}: {len(many['keys'])} keys, and {len(one['keys'])} of one process, are not the same")
    if one["votes"] is not None:
        if one["votes"] != many["votes"]:
            raise SystemExit(f"{name}: votes differ")
        same = sum(many["rows"][key] == checksum for key, checksum in one["rows"].items())
        return f"{len(one['votes']):,} votes equal; {same:,} of {len(one['rows']):,} readings to the bit"
    if one["rows"] != many["rows"]:
        raise SystemExit(f"{name}: rows differ")
    return f"{len(one['rows']):,} rows equal to the bit"


def judge(name: str, n: int, ways: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Run a case; yields its rows."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        scale.make_committee(folder, n)
        one = timed(name, folder, folder / "one.db")
        yield {"case": name, "pairs": n, "how": "one process", **one}
        expected = answers(name, folder / "one.db", one["judge"])
        for count in sorted(int(way) for way in ways if way != "kills"):
            with cluster() as nodes:
                took = timed(name, folder, folder / f"{count}.db", nodes.address, count)
            same = compare(name, expected, answers(name, folder / f"{count}.db", took["judge"]))
            yield {"case": name, "pairs": n, "how": f"workers: {count}", **took, "same": same}
        if "kills" not in ways:
            return
        with cluster() as nodes:
            took = killed(name, folder, folder / "killed.db", nodes, -(-n // BLOCK))
        same = compare(name, expected, answers(name, folder / "killed.db", took["judge"]))
        yield {"case": name, "pairs": n, "how": "with kills", **took, "same": same}


def keys(n: int) -> Iterator[dict[str, Any]]:
    """Read the keys of shards as the driver does, in a process of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.run([sys.executable, "-c", f"import on_ray; on_ray.make_keys({temporary!r}, {n})"], check=True)
        command = [sys.executable, "-c", f"import on_ray; on_ray.read_keys({temporary!r})"]
        began = time.perf_counter()
        said = end(subprocess.Popen(command, stdout=subprocess.PIPE))
    yield {"case": "keys", "pairs": n, "how": "driver", "seconds": time.perf_counter() - began, **said}


def make_keys(folder: str, n: int) -> None:
    parts.make_keys(Path(folder), n)
    for number, path in enumerate(sorted(Path(folder).glob("*/*.parquet"))):
        path.rename(Path(folder, f"{number}.parquet"))


def read_keys(folder: str) -> None:
    before = peak()
    found = _known(Path(folder, "none.db"), ShardFolder(folder))
    assert np.all(found[1:] >= found[:-1])
    print(json.dumps({"made": len(found), "idle": before, "peak": peak()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Some thousands of pairs.")
    parser.add_argument("--json", type=Path, help="Write the rows here.")
    parser.add_argument(
        "--only", nargs="+", choices=("committee", "tiny", "keys"), default=("committee", "tiny", "keys")
    )
    parser.add_argument("--ways", nargs="+", choices=("1", "2", "kills"), default=("1", "2", "kills"))
    parser.add_argument("--pairs", type=int, default=100_000, metavar="N", help="Of the committee.")
    parser.add_argument("--tiny", type=int, default=100_000, metavar="N", help="Pairs of the tiny model.")
    parser.add_argument("--keys", type=int, default=10_000_000, metavar="N")
    given = parser.parse_args()
    sizes = {"committee": given.pairs, "tiny": given.tiny, "keys": given.keys}
    if given.quick:
        sizes = {"committee": 12_000, "tiny": 6_000, "keys": 200_000}
    about = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(about, f"python {' '.join(sys.argv)}", sep="\n")
    os.environ.update(ENVIRONMENT)
    rows = []
    print(
        f"{'case':10} {'pairs':>10}  {'how':12} {'seconds':>8} {'pairs/s':>8} {'steady':>8} {'driver MB':>9}",
        flush=True,
    )
    for name in given.only:
        for row in keys(sizes[name]) if name == "keys" else judge(name, sizes[name], given.ways):
            rows.append(row)
            steady = f"{row['steady']:8,.0f}" if row.get("steady") else " " * 8
            print(
                f"{name:10} {row['pairs']:10,}  {row['how']:12} {row['seconds']:8.1f} "
                f"{row['pairs'] / row['seconds']:8,.0f} {steady} {row['peak']:9,.0f}  "
                f"{row.get('same', '')} {row.get('kills', '')}",
                flush=True,
            )
    if given.json:
        given.json.write_text(json.dumps({"about": about, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

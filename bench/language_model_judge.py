"""A real language model as a judge of real votes: agreement, position, length, calibration, and its two ways of asking.

    python bench/language_model_judge.py --store FILE --ask local --model FOLDER [--mode sample] [--sets pandalm]
    python bench/language_model_judge.py --store FILE --ask server --base-url URL
    python bench/language_model_judge.py --store FILE [--quick] [--json FILE] [--data FOLDER]

Asks about 300 pairs of ``pandalm`` and 500 of ``vicuna80``, both orders, ten pairs at a time, in a fixed order of which
every beginning is a fair sample: all prompts come forward at the same rate. Answers stay in the store, so a run may be
stopped anywhere and goes on. Without ``--ask``, tables of what the store has, which say how much that is: intervals are
95 %, over prompts. ``--quick`` asks a tiny model of random weights about 20 pairs of each, in a store of its own.
``scripts/install-language-model`` and ``scripts/install-llama-server`` have the model and the server.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from language_model_tables import tables_of

from dissensus.files import read_pairs
from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.language.settings import TINY, LocalSettings, ModelSettings, ServerSettings
from dissensus.judges.runner import ask_model
from dissensus.judges.store.store import JudgmentStore
from dissensus.records import Pair
from dissensus.sources.label_votes import draw_labels

WANTED = {"pandalm": 300, "vicuna80": 500}
CHUNK = 10
SEED = 0


def fair_order(pairs: Sequence[Pair], *, seed: int = SEED) -> list[Pair]:
    """Order pairs so that the first n hold of every prompt as many as its share of n, rounded either way."""
    generator = np.random.default_rng(seed)
    by_prompt: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_prompt[pair.group].append(pair)
    placed = []
    for own in by_prompt.values():
        places = (np.arange(len(own)) + generator.random()) / len(own)
        placed += [(place, own[i]) for place, i in zip(places, generator.permutation(len(own)), strict=True)]
    return [pair for _, pair in sorted(placed, key=lambda row: row[0])]


def drawn(data: Path, name: str) -> list[Pair]:
    """The pairs of a set that are asked about, in their order, each with one of its votes as the label."""
    pairs = [pair for pair in read_pairs(data / f"{name}.jsonl.gz", notice=lambda _: None) if pair.votes]
    return list(draw_labels(fair_order(pairs)[: WANTED[name]], seed=SEED))


def chunks(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    return (pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK))


def ask(settings: ModelSettings, sets: dict[str, list[Pair]], store: Path) -> None:
    """Ask about ten pairs after the other: within a batch the longest come first, which is no fair sample.

    A run keeps to exact: how many distributions are certified is in the tables, not a reason to go on in another mode.
    """
    backend, model = settings.backend()
    judge = LanguageJudge(settings.language().model_copy(update={"model": model}), backend.identity)
    options = replace(settings.asking(progress=False), force_prefix=True)
    with JudgmentStore(store) as opened:
        for name, pairs in sets.items():
            for number, chunk in enumerate(chunks(pairs)):
                summary = ask_model(chunk, judge, backend, opened, options)
                done = min((number + 1) * CHUNK, len(pairs))
                if summary.tally.made:
                    print(f"{judge.name}: {name} {done} of {len(pairs)}, {summary.seconds:.0f} s", flush=True)


def settings_of(options: argparse.Namespace) -> ModelSettings:
    same = {"mode": options.mode, "template": options.template}
    if options.ask == "server":
        return ServerSettings(base_url=options.base_url, concurrency=1, timeout=3600.0, **same)
    return LocalSettings(model=options.model, device="cpu", **same)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DISSENSUS_REAL_DATA"), help="folder of real votes")
    parser.add_argument("--store", type=Path, help="where answers are kept")
    parser.add_argument("--ask", choices=("local", "server"), help="ask for what the store lacks")
    parser.add_argument("--model", default="", help="the model's folder, for --ask local")
    parser.add_argument("--base-url", help="the server's address, for --ask server")
    parser.add_argument("--mode", choices=("exact", "sample"), default="exact")
    parser.add_argument("--template", default="paper")
    parser.add_argument("--sets", nargs="+", choices=tuple(WANTED), default=list(WANTED))
    parser.add_argument("--at-most", type=int, default=max(WANTED.values()), help="pairs of each set to ask about now")
    parser.add_argument("--quick", action="store_true", help="a tiny model, 20 pairs of each set, 200 resamples")
    parser.add_argument("--json", type=Path, help="write the rows as a list of objects")
    options = parser.parse_args()
    if options.data is None or not options.data.is_dir():
        raise SystemExit("no real votes: name their folder with --data or DISSENSUS_REAL_DATA")
    if options.store is None and not options.quick:
        raise SystemExit("no answers: name their store with --store")
    sets = {name: drawn(options.data, name) for name in options.sets}
    if options.ask and not options.quick:
        return ask(
            settings_of(options), {name: pairs[: options.at_most] for name, pairs in sets.items()}, options.store
        )
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("dissensus", "torch", "transformers")
    )
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    print("command: " + " ".join([Path(sys.executable).name, *sys.argv]))
    with tempfile.TemporaryDirectory() as folder:
        store = options.store
        if options.quick:
            store = Path(folder) / "judgments.db"
            sets = {name: pairs[:20] for name, pairs in sets.items()}
            for mode in ("exact", "sample"):
                ask(LocalSettings(model=TINY, device="cpu", mode=mode), sets, store)
        rows = []
        for name, pairs in sets.items():
            for title, table in tables_of(store, pairs, resamples=200 if options.quick else 2000).items():
                print(f"\n## {name}: {title}\n")
                show(table)
                rows += [{"data": name, "table": title, **row} for row in table]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")


def show(rows: Sequence[dict[str, object]]) -> None:
    """Print rows of the same keys, as wide as they need."""
    cells = [[*rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    for row in cells:
        print(
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )


def _cell(value: object) -> str:
    if value is None:
        return "—"
    if isinstance(value, dict):  # an estimate
        low, high = value["low"], value["high"]
        return _cell(value["value"]) + ("" if low is None else f" [{low:.3f}, {high:.3f}]")
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()

"""What published verdicts of language models say: agreement with people, position bias, components of variance.

    python bench/published_judges.py [--quick] [--json FILE] [--data FOLDER]

Reads three files: the answers of eight chatbots to 80 questions with verdicts of GPT-4 and others in both orders,
PandaLM's pairs with one verdict each of unknown order, both with people's votes; and nine judges that judged 168 pairs
three times in both orders, without votes. Verdicts go through a store, as any judge's do. Intervals are 95 % BCa
bootstrap intervals over prompts, widened for few.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from dissensus.evaluation.judges import Resampling, decompose, score_judges
from dissensus.evaluation.tables.judge_tables import component_table, judge_tables
from dissensus.files import read_pairs
from dissensus.judges import JudgmentStore, judge_pairs
from dissensus.judges.published import read_published
from dissensus.records import Judgment, Pair

FILES = ("vicuna80", "pandalm", "llm_jury")


def judgments_of(path: Path, pairs: list[Pair], folder: Path) -> list[Judgment]:
    with JudgmentStore(folder / f"{path.name}.db") as store:
        names = []
        for judge in read_published(path, pairs).values():
            judge_pairs(pairs, judge, store, progress=False)
            names.append(judge.name)
        return [judgment for name in names for judgment in store.judgments(judge=name, pairs=pairs)]


def without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 resamples instead of 2,000")
    parser.add_argument("--json", type=Path, help="write the rows as a list of objects")
    parser.add_argument("--data", type=Path, default=os.environ.get("DISSENSUS_REAL_DATA"), help="folder of the files")
    options = parser.parse_args()
    if options.data is None or not options.data.is_dir():
        raise SystemExit("no published verdicts: name their folder with --data or DISSENSUS_REAL_DATA")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("dissensus", "numpy"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    print("command: " + " ".join([Path(sys.executable).name, *sys.argv]))
    resampling = Resampling(n=200 if options.quick else 2000)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in FILES:
            start = time.perf_counter()
            path = options.data / f"{name}.jsonl.gz"
            pairs = list(read_pairs(path, notice=lambda _: None))
            judgments = judgments_of(path, pairs, Path(folder))
            scores = score_judges(pairs, judgments, resampling)
            components = decompose(pairs, judgments, resampling)
            seconds = time.perf_counter() - start
            prompts = len({pair.group for pair in pairs})
            print(f"\n## {name}: {len(pairs):,} pairs, {prompts} prompts, {len(judgments):,} verdicts, {seconds:.1f} s")
            for table in [*judge_tables(scores), component_table(components)]:
                print("\n" + table.as_text())
            rows += [{"data": name, **without_nan(asdict(row))} for row in [*scores, *components]]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()

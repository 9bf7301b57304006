"""How the shipped classifiers of categories do on data that they were not fitted to.

The simulated population says of each prompt and pair what is true. vicuna80 names what its 80 questions are about;
nobody has said how many correct answers they have, so what is shown is how the classifier divides them: math and Fermi
questions are expected to be single more often than writing and roleplay. pandalm, qa_feedback: shares of each category.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections import defaultdict
from pathlib import Path

import numpy as np

from dissensus import __version__, read_pairs
from dissensus.simulate import SimulationConfig, simulate
from dissensus.taxonomy import agreement_with_people, classify_offline
from dissensus.taxonomy.classifiers import MAX_LENGTH
from dissensus.text.encoder import load_encoder


def real_data_dir() -> Path | None:
    named = os.environ.get("DISSENSUS_REAL_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    encoder = load_encoder("minilm", max_length=MAX_LENGTH)
    rows: list[dict[str, object]] = []
    machine = f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
    print(f"dissensus {__version__}, {machine}; python bench/taxonomy.py")
    population = simulate(SimulationConfig(prompts=60 if given.quick else 300, paraphrase_share=0.2, seed=77)).pairs
    print("\n| simulated population, asked about | pairs | agree | kappa |\n|---|---:|---:|---|")
    for found in agreement_with_people(population, classify_offline(population, encoder)):
        interval = f"{found.kappa.value:.2f} [{found.kappa.low:.2f}, {found.kappa.high:.2f}]"
        print(f"| {found.question} | {found.n} | {found.raw:.2f} | {interval} |")
        rows.append(
            {
                "data": "simulated",
                "question": found.question,
                "n": found.n,
                "raw": found.raw,
                "kappa": found.kappa.value,
            }
        )
    folder = real_data_dir()
    if folder is None:
        print("\nno folder of real votes (DISSENSUS_REAL_DATA)")
    else:
        print("\n| data | kind | prompts | multiple | pairs | indistinguishable |\n|---|---|---:|---:|---:|---:|")
        for name in ("vicuna80", "pandalm", "qa_feedback"):
            rows += _shares(name, folder, encoder, quick=given.quick)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


def _shares(name: str, folder: Path, encoder: object, *, quick: bool) -> list[dict[str, object]]:
    pairs = list(read_pairs(folder / f"{name}.jsonl.gz", notice=lambda _: None))
    pairs = pairs[:: 8 if quick else 1]
    found: dict[tuple[str, str], str] = {
        (c.pair_id, c.question): str(c.value) for c in classify_offline(pairs, encoder)
    }
    kinds = defaultdict(list)
    for pair in pairs:
        kinds[(pair.category or "all") if name == "vicuna80" else "all"].append(pair)
    rows = []
    for kind, members in sorted(kinds.items()):
        prompts = {pair.group: found[pair.id, "correct"] == "multiple" for pair in members}
        same = np.mean([found[pair.id, "distinct"] == "no" for pair in members])
        multiple = np.mean(list(prompts.values()))
        print(f"| {name} | {kind} | {len(prompts)} | {multiple:.2f} | {len(members)} | {same:.3f} |")
        rows.append(
            {"data": name, "kind": kind, "prompts": len(prompts), "multiple": float(multiple), "same": float(same)}
        )
    return rows


if __name__ == "__main__":
    main()

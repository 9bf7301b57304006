"""Runs the core of an installed dissensus where nothing but its own dependencies is: no torch, no transformers."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HEAVY = ("torch", "transformers", "accelerate", "datasets", "matplotlib", "fastapi", "sqlalchemy", "aiohttp")
BINARY = Path(sys.executable).with_name("dissensus")


def run(*arguments: str, code: int = 0) -> str:
    """Run the installed command and return what it printed."""
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def main() -> None:
    """Read pairs, judge by votes, make margins, aggregate, evaluate; and see what is said of what is missing."""
    there = [name for name in HEAVY if importlib.util.find_spec(name)]
    assert not there, f"installed with the core: {there}"
    folder = Path(tempfile.mkdtemp())
    rows = [
        {"id": f"p{i}", "prompt": f"question {i}", "response_a": "yes", "response_b": "no", "label": "ab"[i % 2],
         "votes_a": i % 4, "votes_b": 3 - i % 4}
        for i in range(12)
    ]  # fmt: skip
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    predicted = []
    for row in rows:
        gap = 0.1 * int(str(row["votes_a"]))
        predicted.append(
            {"pair_id": row["id"], "model": "m", "reward_a": gap, "reward_b": 0.0, "preference_a": 0.5 + gap}
        )
    (folder / "predicted.jsonl").write_text("".join(json.dumps(row) + "\n" for row in predicted))
    assert "study" in run("--help")
    assert "hh-rlhf" in run("pairs", "--list")
    pairs, store = str(folder / "pairs.parquet"), str(folder / "judgments.db")
    run("pairs", str(folder / "in.jsonl"), "--out", pairs)
    run("judge", pairs, "--judge", "votes", "--label-is-no-vote", "--store", store)
    run("margin", pairs, "--store", store, "--out", str(folder / "margins.parquet"), "--allow-missing")
    run("aggregate", pairs, "--rule", "quorum", "--out", str(folder / "quorum.parquet"))
    run("evaluate", pairs, "--predictions", str(folder / "predicted.jsonl"), "--out", str(folder / "scores.json"))
    run("tables", str(folder / "scores.json"), "--format", "markdown")
    run("power", "--pairs", "30", "--r", "0.6", "--delta", "0.1")
    run("study", "paper", "--dry-run")
    said = run("train", pairs, "--out", str(folder / "model"), code=2)
    assert "pip install 'dissensus[train]'" in said, said
    print("the core works with its own dependencies alone")


if __name__ == "__main__":
    main()

"""The structure of the package in numbers, at one commit or several.

    python bench/structure.py [REV …] [--way]

Counts modules, lines, crowded folders, repeated names, tests of a judge's kind, untyped dictionaries and long files, in
each commit and in the working tree (``now``). With --way it also runs ``judge`` and ``evaluate`` of each on a few pairs
and counts the files of the package, and the functions in them, that a pair is handed to: a profiler looks at the
arguments of every call.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_KINDS = r"isinstance\([^()]*\b(\w*Judge|Committee\w*|HumanVotes|PublishedVerdicts|LanguageConfig)\b"

_WAY = """
import json, sys
from pathlib import Path
from dissensus.records import Pair
root = str(Path(sys.modules["dissensus"].__file__).parent)
files, functions = set(), set()
def holds(value):
    if isinstance(value, Pair):
        return True
    return isinstance(value, (list, tuple)) and len(value) > 0 and isinstance(value[0], Pair)
def look(frame, event, argument):
    code = frame.f_code
    if event != "call" or not code.co_filename.startswith(root):
        return
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if any(holds(frame.f_locals.get(name)) for name in names):
        files.add(code.co_filename)
        functions.add((code.co_filename, code.co_name))
import threading
threading.setprofile(look)
sys.setprofile(look)
from dissensus.cli import group
for words in json.loads(sys.argv[1]):
    try:
        group.main(words, standalone_mode=False)
        break
    except Exception as error:
        last = error
        files.clear(), functions.clear()
else:
    raise last
sys.setprofile(None)
print(json.dumps([sorted(f[len(root) + 1:] for f in files), len(functions)]), file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revisions", nargs="*", metavar="REV")
    parser.add_argument("--way", action="store_true")
    options = parser.parse_args()
    columns: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as name:
        trees = {rev: unpack(rev, Path(name) / str(i)) for i, rev in enumerate(options.revisions)} | {"now": ROOT}
        for rev, tree in trees.items():
            columns[rev] = counts(tree) | (ways(tree, Path(name)) if options.way else {})
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))
    width = max(map(len, rows))
    print(f"{'':{width}}" + "".join(f"{rev:>16}" for rev in columns))
    for row in rows:
        print(f"{row:{width}}" + "".join(f"{column.get(row, '—'):>16}" for column in columns.values()))


def unpack(revision: str, folder: Path) -> Path:
    folder.mkdir()
    archive = subprocess.run(["git", "archive", revision, "src", "tests"], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
        packed.extractall(folder, filter="data")
    return folder


def counts(tree: Path) -> dict[str, str]:
    source = tree / "src" / "dissensus"
    files = sorted(source.rglob("*.py"))
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    tests = [file.read_text(encoding="utf-8") for file in sorted((tree / "tests").rglob("*.py"))]
    names = Counter(file.stem for file in files)
    folders = Counter(file.parent for file in files if file.stem != "__init__")
    outside = {file: text for file, text in texts.items() if file.name != "base.py"}
    found = {
        "modules": len(files),
        "lines of source": sum(text.count("\n") for text in texts.values()),
        "lines of tests": sum(text.count("\n") for text in tests),
        "files over 400 lines": sum(text.count("\n") > 400 for text in [*texts.values(), *tests]),
        "folders of more than 16 modules": sum(count > 16 for count in folders.values()),
        "names of modules that stand twice": sum(c == 2 for name, c in names.items() if name != "__init__"),
        "names that stand three times or more": sum(c > 2 for name, c in names.items() if name != "__init__"),
        "functions that stand in two modules": _repeated_functions(texts.values()),
        "isinstance on a judge's kind": sum(len(re.findall(_KINDS, text)) for text in outside.values()),
        "dict[str, Any]": sum(text.count("dict[str, Any]") for text in texts.values()),
    }
    return {row: f"{count:,}" for row, count in found.items()}


def _repeated_functions(texts: object) -> int:
    """Count public functions of modules whose name another module has too."""
    names: Counter[str] = Counter()
    for text in texts:  # type: ignore[attr-defined]
        names.update({node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)})
    return sum(count > 1 and not name.startswith("_") for name, count in names.items())


def ways(tree: Path, scratch: Path) -> dict[str, str]:
    folder = Path(tempfile.mkdtemp(dir=scratch))
    rows = [
        {"id": f"p{i}", "prompt": f"q{i // 2}", "response_a": f"yes {i}", "response_b": f"no {i}", "label": "ab"[i % 2]}
        | {"votes_a": 1 + i % 4, "votes_b": 1 + i % 3}
        for i in range(40)
    ]
    pairs = folder / "pairs.jsonl"
    pairs.write_text("\n".join(map(json.dumps, rows)))
    said = [
        {"pair_id": row["id"], "model": "m", "preference_a": 0.2 + i % 5 / 8, "reward_a": 0.1, "reward_b": 0.0}
        for i, row in enumerate(rows)
    ]
    predictions = folder / "predictions.jsonl"
    predictions.write_text("\n".join(map(json.dumps, said)))
    store, scores = f"{folder}/judgments.db", f"{folder}/scores.json"
    committee = ["--n", "2", "--store", store, "--quiet"]
    model = make_model(folder)
    local = ["--model", str(model), "--n", "2", "--store", store, "--quiet"]
    small = ["--resamples", "20", "--swaps", "19", "--out", scores]
    verbs = {
        "judge committee": [["judge", "committee", str(pairs), *committee], ["judge", str(pairs), *committee]],
        "judge local": [
            ["judge", "local", str(pairs), *local],
            ["judge", str(pairs), "--judge", "local", *local],
        ],
        "evaluate": [["evaluate", str(pairs), "--predictions", str(predictions), *small]],
    }
    found: dict[str, str] = {}
    for verb, ways_to_say in verbs.items():
        environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-c", "import dissensus" + _WAY, json.dumps(ways_to_say)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise SystemExit(f"{tree}: {verb}: {done.stderr[-2000:]}")
        files, functions = json.loads(done.stderr.strip().splitlines()[-1])
        found[f"files that a pair enters in {verb}"] = str(len(files))
        found[f"functions that it is handed to in {verb}"] = str(functions)
        if os.environ.get("SHOW_FILES"):
            print(verb, *files, sep="\n  ", file=sys.stderr)
    return found


def make_model(folder: Path) -> Path:
    from dissensus.judges.local.tiny import make_judge

    return make_judge(folder / "model")


if __name__ == "__main__":
    main()

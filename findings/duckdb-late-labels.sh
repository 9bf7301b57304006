#!/usr/bin/env bash
# DuckDB 2.0.1, read_json of JSON Lines: a label that is null in the first 20,480 rows and text after them is NULL in every row.
# No error and no warning; `typeof` says "NULL". sample_size=-1, or naming the column's type, reads all labels.
# Seen: 5,000 labels behind 20,000 nulls: 5,000 read. Behind 25,000 nulls: 0 read.
# Exits 0 while this is so, 1 once it is otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check duckdb==2.0.1
cd "$work"
venv/bin/python - <<'PY'
import json
import sys

import duckdb

LABELS = 5000


def labels_read(unlabelled: int, options: str = "") -> int:
    with open("pairs.jsonl", "w") as file:
        for i in range(unlabelled + LABELS):
            file.write(json.dumps({"id": i, "label": None if i < unlabelled else "a"}) + "\n")
    return duckdb.sql(f"select count(label) from read_json('pairs.jsonl'{options})").fetchall()[0][0]


found = {
    "20,000 unlabelled rows first": labels_read(20_000),
    "25,000 unlabelled rows first": labels_read(25_000),
    "the same, sample_size=-1": labels_read(25_000, ", sample_size=-1"),
    "the same, type given": labels_read(25_000, ", columns={id: 'int', label: 'varchar'}"),
}
print(f"duckdb {duckdb.__version__}: labels read, of {LABELS:,}")
for case, count in found.items():
    print(f"  {case:30} {count:,}")
sys.exit(list(found.values()) != [LABELS, 0, LABELS, LABELS])
PY

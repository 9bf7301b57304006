#!/usr/bin/env bash
# pandas 3.1.1 with pyarrow 26.0.1: votes that come from Parquet and are written to CSV lose their commas, and then their number.
# read_parquet gives a list column as numpy arrays, to_csv prints these as numpy does (['a' 'b' 'a']), and Python's own reader of
# literals joins the strings that stand side by side: one vote 'aba', without an error. Chats become text that neither it nor JSON reads.
# The same column built from lists, and never stored as Parquet, keeps its commas.
# Exits 0 while this is so, 1 once it is otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 pandas==3.1.1 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import ast
import io
import json
import sys

import pandas as pd


def through_csv(frame: pd.DataFrame) -> str:
    return pd.read_csv(io.StringIO(frame.to_csv(index=False))).iloc[0, 0]


def through_parquet(frame: pd.DataFrame) -> str:
    frame.to_parquet("rows.parquet")
    return through_csv(pd.read_parquet("rows.parquet"))


votes = pd.DataFrame({"votes": [["a", "b", "a"]]})
chat = pd.DataFrame({"prompt": [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]]})
readable = []
for read in (json.loads, ast.literal_eval):
    try:
        read(through_parquet(chat))
        readable.append(read.__name__)
    except (ValueError, SyntaxError):
        pass
found = [ast.literal_eval(through_csv(votes)), ast.literal_eval(through_parquet(votes)), readable]
print(f"pandas {pd.__version__}")
print(f"  votes, from lists:       {through_csv(votes)}  ->  {found[0]}")
print(f"  votes, through Parquet:  {through_parquet(votes)}  ->  {found[1]}")
print(f"  a chat through Parquet is read by: {', '.join(readable) or 'neither json.loads nor ast.literal_eval'}")
sys.exit(found != [["a", "b", "a"], ["aba"], []])
PY

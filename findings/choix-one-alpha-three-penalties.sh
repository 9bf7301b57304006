#!/usr/bin/env bash
# choix 0.4.1: `alpha` of its Bradley-Terry estimators is a different penalty in each. On three responses of which the first won
# every comparison, alpha=0.1 gives a spread of 2.7 (opt_pairwise), 2.6 (ilsr_pairwise) or 4.2 (mm_pairwise). Without it the
# likelihood has no maximum: two of them raise an error, opt_pairwise returns a spread of 24 as if it were one.
# Exits 0 while this is so, 1 once it is otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check choix==0.4.1 numpy==2.4.6 scipy==1.17.1
cd "$work"
venv/bin/python - <<'PY'
import sys

import choix

WINS = [(0, 1), (0, 2), (1, 2)]


def spread(name: str, alpha: float) -> float | str:
    try:
        strengths = getattr(choix, name)(3, WINS, alpha=alpha)
    except (RuntimeError, ValueError) as error:
        return type(error).__name__
    return round(float(strengths.max() - strengths.min()), 1)


names = ("opt_pairwise", "ilsr_pairwise", "mm_pairwise")
penalised = [spread(name, 0.1) for name in names]
free = [spread(name, 0.0) for name in names]
for name, with_alpha, without in zip(names, penalised, free):
    print(f"  {name:14} alpha=0.1: {with_alpha}   alpha=0: {without}")
sys.exit(not (penalised == [2.7, 2.6, 4.2] and free[0] > 10 and free[1:] == ["ValueError", "RuntimeError"]))
PY

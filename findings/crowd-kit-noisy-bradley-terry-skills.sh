#!/usr/bin/env bash
# crowd-kit 1.4.2, NoisyBradleyTerry: the skills of workers hang on each worker's last row alone. Twenty workers compare eight items 200
# times each; ten of them always choose the left one (skill near 0, bias near 1), ten choose by the items (skill near 1). The fit gives
# one of the ten who always choose left more skill than most honest workers, and two honest workers less than .2; the same rows in
# reverse order give others. (The gradient that the fit follows takes each worker's last comparison in place of the sum over all,
# one entry too early; following the numerical gradient of the same likelihood parts the two kinds.)
# Exits 0 while this is so, 1 once it is otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check crowd-kit==1.4.2 numpy==1.26.4 scipy==1.12.0 pandas==2.3.3
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import numpy as np
import pandas as pd
from crowdkit.aggregation import NoisyBradleyTerry
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit

rng = np.random.default_rng(0)
worth = np.linspace(-2, 2, 8)
rows = []
for n in range(4000):
    worker, (left, right) = n % 20, rng.choice(8, 2, replace=False)
    takes_left = worker < 10 or rng.random() < expit(worth[left] - worth[right])
    rows.append((f"w{worker:02}", f"i{left}", f"i{right}", f"i{left if takes_left else right}"))
data = pd.DataFrame(rows, columns=["worker", "left", "right", "label"])


def skills(frame: pd.DataFrame) -> pd.Series:
    return NoisyBradleyTerry(n_iter=10_000).fit(frame).skills_.sort_index()


def overlap(skill: pd.Series) -> bool:
    return skill[:10].max() > skill[10:].min()


given, reverse = skills(data), skills(data[::-1])
print(f"  always left {given[:10].round(2).tolist()}")
print(f"  by the items {given[10:].round(2).tolist()}")
print(f"  rows reversed, largest change of a skill: {(given - reverse).abs().max():.2f}")

likelihood = NoisyBradleyTerry._compute_log_likelihood
items, workers = data.left.unique().tolist(), data.worker.unique().tolist()
coded = np.array([[items.index(v) + 1 for v in row] for row in data[["left", "right", "label"]].to_numpy()])
about = (coded, data.worker.map(workers.index).to_numpy(), 8, 20, 1e-5)
start = np.random.default_rng(1).random(1 + 8 + 40)
wrong = np.abs(NoisyBradleyTerry._compute_gradient(start, *about) - approx_fprime(start, likelihood, 1e-6, *about))
fit = minimize(likelihood, start, args=about, method="L-BFGS-B", options={"maxiter": 500, "maxfun": 10**5})
apart = pd.Series(expit(fit.x[29:]), index=workers).sort_index()
print(f"  gradient, largest error: of an item {wrong[1:9].max():.0f}, of a worker {wrong[9:].max():.0f}")
print(f"  by the numerical gradient: always left at most {apart[:10].max():.2f}, by the items at least {apart[10:].min():.2f}")
seen = overlap(given), overlap(reverse), (given - reverse).abs().max() > 0.2, wrong[9:].max() > 1, overlap(apart)
sys.exit(seen != (True, True, True, True, False))
PY

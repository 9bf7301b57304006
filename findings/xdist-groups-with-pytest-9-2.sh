#!/usr/bin/env bash
# pytest-xdist 3.8.0 with pytest 9.2.0: `--dist loadgroup` distributes tests that share an xdist_group like any others, and says
# nothing, since the suffix that it gives their node ids is not kept. With pytest 9.1.1 they are on one worker. So a server or a model
# that a session fixture starts for a group (a judge's server, PostgreSQL, a browser) is started by several workers.
# Exits 0 while this is so, 1 once it is otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >test_group.py <<'PY'
import os
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("one")


@pytest.mark.parametrize("number", range(4))
def test_worker(number):
    time.sleep(0.5)
    Path(f"worker-{number}").write_text(os.environ["PYTEST_XDIST_WORKER"])
PY
workers() { # PYTEST: how many workers the four tests of the group ran on
  python3 -m venv --clear venv
  venv/bin/pip install -q --disable-pip-version-check "pytest==$1" pytest-xdist==3.8.0
  venv/bin/pytest -q -n 2 --dist loadgroup test_group.py >out 2>&1 || { cat out; exit 1; }
  cat worker-* | tr 'g' '\n' | grep w | sort -u | wc -l
}
before=$(workers 9.1.1)
now=$(workers 9.2.0)
echo "four tests of one group ran on $before worker with pytest 9.1.1, on $now with pytest 9.2.0"
[ "$before" = 1 ] && [ "$now" = 2 ]

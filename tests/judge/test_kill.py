"""A run that is killed again and again makes every judgment once, and its cost counter is right."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from dissensus.files import write_records
from dissensus.judges.language.messages import Usage
from dissensus.judges.store.attempts import Price, spent
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.store.verify import verify
from dissensus.records import Pair

KILLS = 3
PRICE = Price(0.5, 1.5)


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path) -> None:
    pairs = [Pair(id=f"p{i}", prompt=f"q{i}", response_a=f"yes {i}", response_b=f"no {i}") for i in range(150)]
    write_records(tmp_path / "pairs.jsonl", pairs)
    log, store = tmp_path / "requests.log", tmp_path / "j.db"
    script = Path(__file__).with_name("stub_server.py")
    stub = subprocess.Popen([sys.executable, str(script), "0.02", str(log)], stdout=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{stub.stdout.readline().split()[1]}"
        command = [sys.executable, "-m", "dissensus", "judge", "server", str(tmp_path / "pairs.jsonl")]
        command += ["--base-url", f"{url}/v1", "--store", str(store), "--price", "0.5/1.5", "--quiet"]
        environment = {**os.environ, "DISSENSUS_CACHE": str(tmp_path / "cache")}
        generator = random.Random(1)
        for kill in range(KILLS):
            before = stats(url)["requests"]
            slow = [*command, "--concurrency", "32"]
            run = subprocess.Popen(slow, env=environment, stdout=subprocess.DEVNULL)
            # The first one probes the server before it asks.
            while run.poll() is None and stats(url)["requests"] < before + (40 if kill == 0 else 2):
                time.sleep(0.01)
            time.sleep(generator.uniform(0, 0.1))
            run.send_signal(signal.SIGKILL)
            run.wait()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        served = stats(url)
    finally:
        stub.kill()
        stub.wait()
        stub.stdout.close()
    with JudgmentStore(store) as opened:
        (judge,) = opened.judges()
        places = Counter((j.pair_id, j.sample, j.order) for j in opened.judgments())
        assert len(places) == 1500
        assert set(places.values()) == {1}
        assert verify(opened).damaged == 0
        total = spent(opened, judge)
    asked = Counter(line.split()[0] for line in log.read_text().splitlines() if line.endswith(" judgment"))
    assert len(asked) == 300
    assert 0 < asked.total() - len(asked) <= total.lost <= KILLS * 32
    # What was answered counts as the server counted it; what was lost, at an estimate that is no less.
    billed = PRICE.of(Usage(served["prompt_tokens"], served["completion_tokens"]))
    probes = PRICE.of(Usage(50 * 30, 16 * 30))
    assert billed - probes <= total.cost <= billed + total.lost * PRICE.of(Usage(400, 80))
    assert f"already in {store}" in done.stdout


def stats(url: str) -> dict[str, int]:
    return json.load(urllib.request.urlopen(f"{url}/stub/stats"))

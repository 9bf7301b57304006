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

KILLS = 6
PRICE = Price(0.5, 1.5)


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path) -> None:
    pairs = [Pair(id=f"p{i}", prompt=f"q{i}", response_a=f"yes {i}", response_b=f"no {i}") for i in range(300)]
    write_records(tmp_path / "pairs.jsonl", pairs)
    log = tmp_path / "requests.log"
    script = Path(__file__).with_name("stub_server.py")
    stub = subprocess.Popen(
        [sys.executable, str(script), "--latency", "0.02", "--log", str(log)], stdout=subprocess.PIPE, text=True
    )
    try:
        url = f"http://127.0.0.1:{stub.stdout.readline().split()[1]}"
        command = [sys.executable, "-m", "dissensus", "judge", "server", str(tmp_path / "pairs.jsonl")]
        command += ["--base-url", f"{url}/v1", "--store", str(tmp_path / "j.db"), "--price", "0.5/1.5", "--quiet"]
        environment = {**os.environ, "DISSENSUS_CACHE": str(tmp_path / "cache")}
        generator = random.Random(0)
        for kill in range(KILLS):
            before = requests(url)
            run = subprocess.Popen([*command, "--concurrency", "32"], env=environment, stdout=subprocess.DEVNULL)
            while run.poll() is None and requests(url) < before + (40 if kill == 0 else 1):
                time.sleep(0.01)
            time.sleep(generator.uniform(0, 0.15))
            run.send_signal(signal.SIGKILL)
            run.wait()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        served = json.load(urllib.request.urlopen(f"{url}/stub/stats"))
    finally:
        stub.kill()
        stub.wait()
        stub.stdout.close()
    with JudgmentStore(tmp_path / "j.db") as store:
        (judge,) = store.judges()
        places = Counter((j.pair_id, j.sample, j.order) for j in store.judgments())
        assert len(places) == 3000
        assert set(places.values()) == {1}
        assert verify(store).damaged == 0
        total = spent(store, judge)
    lines = [line.split() for line in log.read_text().splitlines()]
    asked = Counter(digest for sign, digest, *about in lines if sign == ">" and about == ["judgment"])
    repeated = sum(asked.values()) - len(asked)
    assert len(asked) == 600
    assert 0 < repeated <= total.lost <= KILLS * 32
    # What was answered counts as the server counted it; what was lost, at an estimate that is no less.
    billed = PRICE.of(Usage(served["prompt_tokens"], served["completion_tokens"]))
    probes = PRICE.of(Usage(50 * 30, 16 * 30))
    assert billed - probes <= total.cost <= billed + total.lost * PRICE.of(Usage(400, 80))
    assert f"already in {tmp_path / 'j.db'}" in done.stdout


def requests(url: str) -> int:
    return int(json.load(urllib.request.urlopen(f"{url}/stub/stats"))["requests"])

"""An attempt is on disk before it is sent, and counts whatever becomes of it."""

import subprocess
import sys
from dataclasses import replace

import pytest
from store_helpers import on_both

from dissensus.errors import InputError
from dissensus.judges.language.messages import Ask, Usage
from dissensus.judges.store.attempts import NO_ROOM, Account, Attempt, Ledger, Price, open_runs, spent
from dissensus.judges.store.store import JudgmentStore
from dissensus.records import Pair

PAIR = Pair(id="p", prompt="q", response_a="a", response_b="b")
ASK = Ask(b"0" * 16, PAIR, "ab", "which?", samples=(0,))
ESTIMATE = Usage(50, 10, estimated=True)
CLAIM_AND_DIE = """
import os, sys
from dissensus.judges.language.messages import Ask, Usage
from dissensus.judges.store.attempts import Ledger
from dissensus.judges.store.store import JudgmentStore
from dissensus.records import Pair
ask = Ask(b"0" * 16, Pair(id="p", prompt="q", response_a="a", response_b="b"), "ab", "which?", samples=(0,))
store = JudgmentStore(sys.argv[1])
ledger = Ledger(store, "judge")
with ledger.running():
    with store.transaction():
        assert ledger.claim([(ask, Usage(50, 10, estimated=True), 0.25)]) != [None]
    os._exit(9)
"""


def claim(store: JudgmentStore, ledger: Ledger, key: bytes = ASK.key, cost: float = 0.25) -> int | None:
    with store.transaction():
        return ledger.claim([(replace(ASK, key=key), ESTIMATE, cost)])[0]


@on_both
def test_what_a_dead_run_had_in_flight_is_counted_and_free_again(store) -> None:
    died = subprocess.run([sys.executable, "-c", CLAIM_AND_DIE, str(store.path)], check=False)
    assert died.returncode == 9
    (run,) = open_runs(store)
    assert run.in_flight == 1
    ledger = Ledger(store, "judge")
    with ledger.running():
        assert (spent(store, "judge").lost, spent(store, "judge").cost) == (1, 0.25)
        again = claim(store, ledger)
        assert again is not None
        with store.transaction():
            ledger.settle([Attempt(again, "answered", Usage(40, 5), 0.1, 1.0)])
    assert open_runs(store) == []
    total = spent(store, "judge")
    assert (total.attempts, total.lost, total.prompt_tokens, total.estimated) == (2, 1, 90, 1)
    assert total.cost == pytest.approx(0.35)


@on_both
def test_what_a_live_run_has_in_flight_is_not_asked_by_another(store) -> None:
    with JudgmentStore(store.path) as other:
        first, second = Ledger(store, "judge"), Ledger(other, "judge")
        with first.running(), second.running():
            assert claim(store, first) is not None
            assert claim(other, second) is None


@on_both
def test_runs_of_another_host_are_dead_only_if_somebody_says_so(store) -> None:
    with store.transaction() as connection:
        connection.execute("INSERT INTO runs (judge, host, process, started) VALUES ('judge', 'elsewhere', '1:2', '')")
        connection.execute(
            "INSERT INTO attempts (run, judge, pair_id, ask, state, cost, prompt_tokens) "
            "VALUES (1, 'judge', 'p', ?, 'sent', 0.25, 50)",
            (ASK.key,),
        )
    here = Ledger(store, "judge")
    with JudgmentStore(store.path) as elsewhere:
        elsewhere.database.hold_run(1)  # a database sees that it lives
        for take_over in (False, True):
            with here.running(take_over=take_over):
                assert (claim(store, here) is not None) == take_over


@on_both
def test_attempts_that_are_free_and_answered_leave_no_row(store) -> None:
    ledger = Ledger(store, "judge")
    with ledger.running(), store.transaction():
        (attempt,) = ledger.claim([(ASK, Usage(), 0.0)])
        ledger.settle([Attempt(attempt, "answered", Usage(), 0.0, 1.0)])
    assert spent(store, "judge").attempts == 0


@on_both
def test_an_account_counts_every_run_once_and_what_is_in_flight(store) -> None:
    account, other = Account(store, ["judge", "twin"]), Account(store, ["twin"])
    ledgers = [Ledger(store, name) for name in ("judge", "twin", "stranger")]
    total = 0.0
    with ledgers[0].running(), ledgers[1].running(), ledgers[2].running():
        for number in range(8):
            ids = [claim(store, ledger, f"{number}{i}".encode(), 1.0) for i, ledger in enumerate(ledgers)]
            assert account.cost() == pytest.approx(total + 2)
            with store.transaction():
                for attempt, ledger in zip(ids, ledgers, strict=True):
                    state = "answered" if number % 3 else "failed"
                    ledger.settle([Attempt(attempt, state, Usage(number % 2, 0), 0.25 * (number % 2), 1.0)])
            total += 0.5 * (number % 2)
            assert account.cost() == pytest.approx(total)
    assert other.cost() == pytest.approx(total / 2)


@on_both
def test_what_does_not_fit_into_the_room_is_not_sent(store) -> None:
    asks = [(replace(ASK, key=str(i).encode()), ESTIMATE, 0.4) for i in range(3)]
    ledger = Ledger(store, "judge")
    with ledger.running(), store.transaction():
        assert [attempt == NO_ROOM for attempt in ledger.claim(asks, 0.8)] == [False, False, True]
        assert ledger.claim(asks[2:], -1.0) == [NO_ROOM]


def test_prices_are_per_million_tokens() -> None:
    assert Price(0.5, 1.5).of(Usage(2_000_000, 1_000_000)) == pytest.approx(2.5)
    for price in (float("nan"), float("inf"), -0.1):
        with pytest.raises(InputError, match="are no prices; give dollars per million tokens, 0 or more"):
            Price(0.5, price)

"""What a store has of a language model comes out again: of every plan, persona and order, and of older stores."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from judge_helpers import PAIRS, QUIET, FakeModel, FakeServer, a_judge, check_complete
from store_helpers import on_both

from dissensus.cli.judgments import command as judgments
from dissensus.cli.options import command_of_step
from dissensus.errors import JudgeError
from dissensus.files import write_records
from dissensus.judges.job import AskingOptions
from dissensus.judges.language.messages import Ask
from dissensus.judges.position_bias import position_bias
from dissensus.judges.runner import ask_model
from dissensus.judges.store.query import Recall, choose_judge, without_twins
from dissensus.judges.store.schema import APPLICATION_ID
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.store.verify import verify
from dissensus.records import Judgment, Prediction, Votes

evaluate = command_of_step("evaluate")
margin = command_of_step("margin")

AGES = ("young", "old")
TWO = ("You are a nurse.", "You are a poet.")


@on_both
def test_readings_give_votes_at_any_setting_without_asking_again(store):
    judge, model = a_judge(mode="exact"), FakeServer()
    summary = ask_model(PAIRS, judge, model, store, QUIET)
    assert (summary.mode, summary.tally.made) == ("exact", 80)
    assert sum(1 for _ in store.judgments()) == 0
    drawn = list(Recall(store, judge.name, PAIRS).judgments())
    assert len(drawn) == 400
    # At top-p 0.6 the first token alone is kept: whoever is shown first wins, in both orders.
    sure = list(Recall(store, judge.name, PAIRS, top_p=0.6).judgments())
    assert {(j.order, j.choice) for j in sure} == {("ab", "a"), ("ba", "b")}
    more = list(Recall(store, judge.name, PAIRS, n=250).judgments())
    share = np.mean([(j.choice == "a") == (j.order == "ab") for j in more])
    assert share == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / len(more)))
    first, all_of_them = ({(j.pair_id, j.sample): j.choice for j in some} for some in (drawn, more))
    assert first.items() <= all_of_them.items()
    assert set(model.asked.values()) == {1}


@pytest.mark.parametrize("backend", [FakeModel(forced=0.3), FakeServer(forced=0.3)], ids=["batches", "server"])
def test_a_model_that_does_not_keep_to_the_prefix_is_sampled_instead_unless_told_otherwise(store, backend):
    pairs = [pair for pair in PAIRS if pair.id != "p7"]
    judge = a_judge(mode="exact")
    summary = ask_model(pairs, judge, backend, store, QUIET)
    assert summary.mode == "sample"
    check_complete(store, judge.with_mode("sample"), pairs)
    told = ask_model(pairs, judge, backend, store, AskingOptions(progress=False, force_prefix=True))
    assert (told.mode, told.tally.made + told.tally.reused) == ("exact", 78)


@pytest.mark.parametrize(("people", "n"), [(2, 8), (10, 10)])
def test_personas_take_turns_in_both_orders(store, people, n):
    judge = a_judge(personas=tuple(f"You are number {i}." for i in range(people)), n=n)
    ask_model(PAIRS, judge, FakeServer(), store, QUIET)
    judgments = list(store.judgments(judge=judge.name, pairs=PAIRS))
    assert set(Counter((j.pair_id, j.persona) for j in judgments).values()) == {n // people}
    assert len({(j.persona, j.order) for j in judgments}) == 2 * people


@given(people=st.integers(1, 9), n=st.integers(1, 40), first=st.sampled_from("08f"))
def test_every_persona_is_asked_before_one_is_asked_again(people, n, first):
    names = tuple(f"You are number {i}." for i in range(people))
    n = max(n, people)
    plan = a_judge(personas=names, n=n).plan(f"{first}0")
    asked = Counter(planned.persona for planned in plan)
    assert len(asked) == people
    assert max(asked.values()) - min(asked.values()) <= 1
    orders = Counter(planned.order for planned in plan)
    assert abs(orders["ab"] - orders["ba"]) <= 1
    cells = Counter((planned.persona, planned.order) for planned in plan)
    assert max(cells.values()) <= -(-n // (2 * people)), "both orders of a persona before either comes again"
    assert a_judge(personas=names, n=n + 5).plan(f"{first}0")[:n] == plan, "more judgments ask nothing anew"


def as_version_0_1(store, **settings):
    """A judge as version 0.1 began a store: dealt otherwise, which its settings do not say; and what it made."""
    judge = a_judge(**settings, deal="pairs", names_personas=False)
    made = ask_model(PAIRS, judge, FakeServer(), store, QUIET).tally.made
    registered = judge.settings()
    del registered["config"]["deal"], registered["names_personas"]
    store.register(judge.name, registered)
    return judge, made


def test_a_store_of_version_0_1_keeps_its_plan(store):
    before, _ = as_version_0_1(store, personas=TWO, n=6)
    assert len(list(Recall(store, before.name, PAIRS).judgments())) == 6 * len(PAIRS)
    assert a_judge(personas=TWO, n=6).name != before.name
    assert a_judge(n=6).name == a_judge(n=6, deal="pairs").name, "without personas nothing has changed"


@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_a_store_that_version_0_1_began_is_gone_on_with(store, mode):
    personas = tuple(f"You are number {i}." for i in range(4))
    before, made = as_version_0_1(store, personas=personas, n=4, mode=mode)
    now = a_judge(personas=personas, n=4, mode=mode)
    again = ask_model(PAIRS, now, FakeServer(), store, QUIET)
    assert (again.judge, again.tally.made, again.tally.reused) == (before.name, 0, made)
    more = ask_model(PAIRS, a_judge(personas=personas, n=8, mode=mode), FakeServer(), store, QUIET)
    assert (more.judge, more.tally.made, more.tally.reused) == (before.name, made, made)
    assert set(store.judges()) == {before.name}


def test_a_store_of_today_keeps_todays_plan_whatever_it_has_of_another(store):
    now = a_judge(personas=TWO, n=6)
    assert ask_model(PAIRS, now, FakeServer(), store, QUIET).judge == now.name
    ask_model(PAIRS, a_judge(personas=TWO, n=6, deal="pairs"), FakeServer(), store, QUIET)
    again = ask_model(PAIRS, now, FakeServer(), store, QUIET)
    assert (again.judge, again.tally.made) == (now.name, 0)
    assert len(store.judges()) == 2


@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_another_population_is_another_judge(store, mode):
    young, old = (a_judge(personas=(f"You are {age}.", f"You are {age} and rich."), n=4, mode=mode) for age in AGES)
    for judge in (young, old, young):
        ask_model(PAIRS, judge, FakeServer(), store, QUIET)
    assert len({young.name, old.name, a_judge(n=4, mode=mode).name}) == 3
    assert set(store.judges()) == {young.name, old.name}
    for judge in (young, old):
        assert {j.persona for j in Recall(store, judge.name, PAIRS).judgments()} == set(judge.config.personas)


@on_both
@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_a_name_without_personas_is_gone_on_with_by_these_personas_alone(store, mode):
    """So judges were called once, and two populations had one name, with the settings of the last one."""
    young, old = (tuple(f"You are {age}{more}" for more in (".", " and rich.")) for age in AGES)
    before = [a_judge(personas=personas, n=4, mode=mode, names_personas=False) for personas in (young, old)]
    for judge in before:
        ask_model(PAIRS, judge, FakeServer(), store, QUIET)
        store.register(judge.name, {k: v for k, v in judge.settings().items() if k != "names_personas"})
    (name,) = store.judges()
    again = ask_model(PAIRS, a_judge(personas=old, n=4, mode=mode), FakeServer(), store, QUIET)
    assert (again.judge, again.tally.made) == (name, 0)
    assert ask_model(PAIRS, a_judge(personas=young, n=4, mode=mode), FakeServer(), store, QUIET).judge != name
    assert {j.persona for j in Recall(store, name, PAIRS).judgments()} == set(old)
    assert {j.persona for j in Recall(store, name, PAIRS, personas=young).judgments()} == set(young)
    assert not verify(store).damaged


@pytest.mark.parametrize("deal", ["cells", "pairs"])
def test_one_order_of_personas_that_were_asked_in_both_is_recalled_whole(store, deal):
    judge = a_judge(personas=tuple(f"You are number {i}." for i in range(4)), n=8, deal=deal)
    ask_model(PAIRS, judge, FakeServer(), store, QUIET)
    in_one = Counter(j.pair_id for j in Recall(store, judge.name, PAIRS, order="ab").judgments() if j.order == "ab")
    assert set(in_one.values()) == {4}
    assert len(in_one) == len(PAIRS)
    with pytest.raises(JudgeError, match=r"--n 2 gives not every one of its 4 personas a judgment; give 4 or more"):
        Recall(store, judge.name, PAIRS, n=2)


@on_both
@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_what_a_stopped_run_left_of_a_pair_is_counted(store, tmp_path, mode):
    judge = a_judge(mode=mode)
    ask_model(PAIRS[:10], judge, FakeServer(), store, QUIET)
    whole = Recall(store, judge.name, PAIRS).count()
    assert (whole.unfinished, whole.in_one_order) == (0, 0)
    with store.transaction() as connection:
        connection.execute("DELETE FROM judgments WHERE pair_id = 'p1' AND sample = 9")
        for table in ("judgments", "readings"):
            connection.execute(f"DELETE FROM {table} WHERE pair_id = 'p0' AND shown = 'ba'")
    found = Recall(store, judge.name, PAIRS).count()
    unfinished = 2 if mode == "sample" else 1
    assert (found.unfinished, found.in_one_order) == (unfinished, 1)
    in_one = Recall(store, judge.name, PAIRS[1:], order="ab").count()
    assert (in_one.unfinished, in_one.in_one_order) == (1 if mode == "sample" else 0, 0)
    write_records(tmp_path / "pairs.jsonl", PAIRS[:10])
    arguments = [tmp_path / "pairs.jsonl", "--store", store.path, "--out", tmp_path / "m.jsonl"]
    told = CliRunner().invoke(margin, [str(argument) for argument in arguments]).stdout
    assert f"unfinished {unfinished} pairs have fewer judgments" in told
    assert "one order  1 pairs" in told


def test_an_order_without_a_valid_reply_is_no_second_order(store):
    class Silent(FakeServer):
        def replies(self, ask: Ask) -> tuple[str, ...]:
            return ("neither" if ask.order == "ba" and ask.pair.id == "p3" else "Choice: A",) * len(ask.samples)

    judge = a_judge()
    ask_model(PAIRS, judge, Silent(), store, QUIET)
    found = Recall(store, judge.name, PAIRS).count()
    assert found.judgments == 400
    assert (found.unfinished, found.in_one_order) == (0, 1)


@on_both
def test_a_judge_that_always_says_a_flips_on_every_swap(store):
    judge = a_judge()
    ask_model([p for p in PAIRS if p.id != "p7"], judge, FakeModel(), store, QUIET)
    bias = position_bias(store, judge.name)
    assert (bias.compared, bias.flips, bias.first) == (39, 39, 1.0)


def test_a_reading_whose_prefix_is_not_forced_is_kept_as_it_is_and_counted(store):
    server = FakeServer()
    server.forced_of = lambda ask: 0.5 if ask.pair.id == "p30" else 1.0
    judge = a_judge(mode="exact")
    summary = ask_model(PAIRS, judge, server, store, QUIET)
    assert (summary.mode, summary.tally.unforced, set(store.judges())) == ("exact", 2, {judge.name})
    assert "2 of the new choice distributions: the model would not surely begin" in "\n".join(summary.lines())
    found = Recall(store, judge.name, PAIRS).count()
    assert (found.uncertified, found.sampled_instead, found.judgments) == (2, 0, 400)


@pytest.fixture
def store_with_twin(tmp_path: Path) -> Path:
    """A store whose judge in mode exact has, for one pair, replies beside it by a judge in mode sample."""
    path = tmp_path / "twin.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parent / "store-with-twin.sql").read_text())
        connection.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 4;")
    return path


def test_a_store_with_replies_beside_readings_is_read_as_it_was(store_with_twin, tmp_path):
    """So runs of mode exact once went on where a prefix was not forced."""
    pairs = [pair.model_copy(update={"votes": Votes(a=2, b=1), "label": "a"}) for pair in PAIRS[:6]]
    judge = a_judge(mode="exact", n=4)
    with JudgmentStore(store_with_twin) as store:
        assert len(store.judges()) == 2
        assert choose_judge("", store) == judge.name
        assert without_twins(store, store.judges()) == [judge.name]
        recall = Recall(store, judge.name, pairs)
        replies = [j for j in recall.judgments() if j.reply]
        assert sorted((j.pair_id, j.sample, j.order, j.choice) for j in replies) == [
            ("p3", 0, "ba", None),
            ("p3", 1, "ab", "a"),
            ("p3", 2, "ba", "b"),
            ("p3", 3, "ab", None),
        ]
        assert recall.count().sampled_instead == recall.count().uncertified == 2
        in_one = Recall(store, judge.name, pairs, order="ab")
        assert {j.order for j in in_one.judgments()} == {"ab"}
        assert in_one.count().sampled_instead == 1
        assert ask_model(pairs, judge, FakeServer(), store, QUIET).tally.made == 0
        assert not verify(store).damaged
    one = Prediction(pair_id="", model="m", reward_a=0, reward_b=0, preference_a=0.6)
    predicted = [one.model_copy(update={"pair_id": p.id, "reward_a": i}) for i, p in enumerate(pairs)]
    write_records(tmp_path / "pairs.jsonl", pairs)
    write_records(tmp_path / "predicted.jsonl", predicted)
    source, scores = str(tmp_path / "pairs.jsonl"), tmp_path / "scores.json"
    compared = CliRunner().invoke(judgments, ["compare", source, "--store", str(store_with_twin), "--resamples", "0"])
    assert re.search(re.escape("repetition (noise)") + r" +22 ", compared.stdout), compared.output  # two name no winner
    arguments = ["--predictions", str(tmp_path / "predicted.jsonl"), "--judgments", str(store_with_twin)]
    arguments += ["--out", str(scores), "--resamples", "0", "--swaps", "0"]
    assert CliRunner().invoke(evaluate, [source, *arguments]).exit_code == 0
    assert {row["model"] for row in json.loads(scores.read_text()) if row["kind"] == "judge"} == {judge.name}


@pytest.mark.parametrize(
    ("settings", "recalled"), [({}, {}), ({"n": 7}, {"n": 4}), ({"personas": TWO}, {"order": "ab"})], ids=str
)
def test_counts_are_those_of_the_judgments_one_by_one(store, settings, recalled):
    """Also of another text under a pair's id, which was not judged, and of a judge that knows pairs by their ids."""
    judge = a_judge(**settings)
    ask_model(PAIRS, judge, FakeServer(), store, QUIET)
    other = PAIRS[0].model_copy(update={"prompt": "another"})
    asked = [other, *PAIRS[1:], PAIRS[2].model_copy(update={"id": "twin"})]
    store.add(
        [Judgment(pair_id=p.id, judge="votes-1", sample=0, choice="tie") for p in PAIRS], {p.id: p for p in PAIRS}
    )
    for name, options in ((judge.name, recalled), ("votes-1", {})):
        recall = Recall(store, name, asked, **options)
        expected: dict[str, Counter[tuple[str, str | None]]] = {}
        for one in recall.judgments():
            expected.setdefault(one.pair_id, Counter())[one.order, one.choice] += 1
        assert dict(recall.count().votes) == expected
        assert ("twin" in expected) == (name == judge.name)

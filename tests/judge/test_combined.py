"""Judges corrected and combined: what a logistic stack of them must be, whoever is right."""

from __future__ import annotations

import json

import numpy as np
import pytest

import dissensus as ds
from dissensus.errors import ConfigError, JudgeError
from dissensus.files import write_records
from dissensus.judge_calibration import read_calibration
from dissensus.judges.calibrate import Observed, StackFit
from dissensus.judges.combined import CombinedJudges, Opinion
from dissensus.records import Choice, Judgment, Pair, Votes
from dissensus.steps import margin

SWAP = {"a": "b", "b": "a", "tie": "tie", None: None}


def people(n: int = 400, prompts: int = 40, seed: int = 0) -> tuple[list[Pair], np.ndarray]:
    """Pairs with a label drawn from a known preference, which comes with them."""
    rng = np.random.default_rng(seed)
    q = 1 / (1 + np.exp(-1.5 * rng.standard_normal(n)))
    pairs = [
        Pair(
            id=f"p{i:04}",
            prompt=f"prompt {i % prompts}",
            response_a="x" * int(rng.integers(5, 60)),
            response_b="y" * int(rng.integers(5, 60)),
            label="a" if rng.random() < q[i] else "b",
        )
        for i in range(n)
    ]
    return pairs, q


def stated(judge: str, pairs: list[Pair], q: np.ndarray) -> list[Judgment]:
    return [
        Judgment(pair_id=p.id, judge=judge, sample=0, choice="a" if one > 0.5 else "b", probability_a=float(one))
        for p, one in zip(pairs, q, strict=True)
    ]


def voted(judge: str, pairs: list[Pair], q: np.ndarray, n: int = 3, seed: int = 1) -> list[Judgment]:
    rng = np.random.default_rng(seed)
    return [
        Judgment(pair_id=p.id, judge=judge, sample=i, order=order, choice="a" if rng.random() < one else "b")
        for p, one in zip(pairs, q, strict=True)
        for order in ("ab", "ba")
        for i in range(n)
    ]


def combine(pairs: list[Pair], *judged: list[Judgment], **settings) -> CombinedJudges:
    ids = [pair.id for pair in pairs]
    return CombinedJudges(pairs, [Opinion.of(rows[0].judge, rows, ids) for rows in judged], **settings)


def beta(combined: CombinedJudges, name: str) -> tuple[float, float, float]:
    found = next(one for one in combined.calibration.predictors if one.name == name)
    return found.low, found.coefficient, found.high


def test_swapping_responses_turns_preferences_over_and_the_order_of_rows_decides_nothing():
    pairs, q = people()
    judged = [stated("x", pairs, q), voted("y", pairs, 1 - q)]
    before = combine(pairs, *judged)
    swapped = {pair.id for pair in pairs[::3]}
    turned = [
        p.model_copy(update={"response_a": p.response_b, "response_b": p.response_a, "label": SWAP[p.label]})
        if p.id in swapped
        else p
        for p in pairs
    ]
    told = [
        [
            j.model_copy(
                update={
                    "choice": SWAP[j.choice],
                    "order": "ba" if j.order == "ab" else "ab",
                    "probability_a": None if j.probability_a is None else 1 - j.probability_a,
                }
            )
            if j.pair_id in swapped
            else j
            for j in rows
        ]
        for rows in judged
    ]
    after = combine(turned[::-1], *told)
    for pair_id, p in before.preferences.items():
        assert after.preferences[pair_id] == pytest.approx(1 - p if pair_id in swapped else p, abs=1e-6)
    assert after.calibration.calibrated.ece == pytest.approx(before.calibration.calibrated.ece, abs=1e-6)


def test_a_pairs_preference_has_not_seen_a_label_of_its_prompt():
    pairs, q = people()
    group = pairs[0].group
    other = [p.model_copy(update={"label": SWAP[p.label]}) if p.group == group else p for p in pairs]
    one, two = (combine(some, stated("x", some, q)).preferences for some in (pairs, other))
    same = {pair.id for pair in pairs if one[pair.id] == two[pair.id]}
    assert {pair.id for pair in pairs if pair.group == group} <= same
    assert len(same) < len(pairs) / 2  # the label counts elsewhere


def test_a_calibrated_judge_keeps_its_odds_and_one_worse_than_chance_is_turned_over():
    pairs, q = people(2000, 100)
    combined = combine(pairs, stated("right", pairs, q))
    low, value, high = beta(combined, "right")
    assert low < 1 < high
    assert value == pytest.approx(1, abs=3 * (high - low) / 4)
    low, value, high = beta(combined, "length")
    assert low < 0 < high
    wrong = combine(pairs, voted("wrong", pairs, 1 - q))
    assert beta(wrong, "wrong")[2] < 0
    fit = wrong.calibration
    assert fit.calibrated.nll < 0.6 < np.log(2) < fit.judges[0].fit.nll  # coins have log 2
    both = combine(pairs, voted("wrong", pairs, 1 - q), voted("weak", pairs, 0.4 + 0.2 * q)).calibration
    assert both.predictors[0].adds > both.predictors[1].adds


def test_intervals_are_those_of_prompts_and_of_a_right_model_the_likelihoods_own():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3000, 2))
    y = (rng.random(3000) < 1 / (1 + np.exp(-x @ [1.0, -0.5]))).astype(float)
    alone = StackFit(x, Observed(y, np.ones(3000), np.arange(3000))).stack()
    p = 1 / (1 + np.exp(-x @ alone.coefficients))
    known = np.sqrt(np.diag(np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x)))
    assert (alone.high - alone.low) / 2 / 1.96 == pytest.approx(known, rel=0.08)
    # Saying everything twice within its prompt tells nothing new.
    twice = StackFit(np.vstack([x, x]), Observed(np.tile(y, 2), np.ones(6000), np.tile(np.arange(3000), 2))).stack()
    assert twice.high - twice.low == pytest.approx(alone.high - alone.low, rel=0.02)


def test_what_a_judge_does_not_say_is_no_evidence_and_votes_weigh_as_many_as_there_are():
    pairs, q = people()
    part = [*stated("x", pairs[:200], q[:200]), Judgment(pair_id=pairs[200].id, judge="x", sample=0, choice=None)]
    combined = combine(pairs, part, stated("y", pairs[:300], q[:300]))
    found = combined.calibration
    assert [one.missing for one in found.predictors] == [100, 0, 0]
    assert (found.pairs, found.missing, found.fitted) == (300, 100, 300)
    with pytest.raises(JudgeError, match=r"100 of 400 pairs have no valid judgment of any judge"):
        combined.margins([pair.id for pair in pairs])
    assert len(combined.margins([pair.id for pair in pairs], allow_missing=True)) == 300
    # A vote is a label: three pairs of one label each count as one with three votes.
    shares = [p.model_copy(update={"label": None, "votes": Votes(a=2, b=1)}) for p in pairs]
    again = [p.model_copy(update={"label": "a", "label_is_a_vote": True}) for p in shares]
    first, second = (combine(some, stated("x", some, q), calibrate="votes") for some in (shares, again))
    assert first.preferences == second.preferences
    assert first.calibration.observations == 3 * len(pairs)


def constant(pairs: list[Pair], first: Choice = "a") -> list[Judgment]:
    return [
        Judgment(pair_id=p.id, judge="constant", sample=0, order=order, choice=first if order == "ab" else SWAP[first])
        for p in pairs
        for order in ("ab", "ba")
    ]


def test_a_judge_that_always_prefers_the_first_is_left_out_beside_others_and_refused_alone():
    pairs, q = people(100, 10)
    combined = combine(pairs, constant(pairs), stated("x", pairs, q))
    assert [one.name for one in combined.calibration.predictors] == ["x", "length"]
    assert combined.calibration.notes == ("constant is the same on every pair, and is left out",)
    with pytest.raises(JudgeError, match=r"no judge tells responses apart \(constant: the same on every pair\)"):
        combine(pairs, constant(pairs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, "no pair that was judged has a label to calibrate on; give labelled pairs"),
        ({"group": "one"}, "all 40 judged pairs with a label are of one prompt"),
    ],
)
def test_there_must_be_something_to_calibrate_on(change, message):
    pairs, q = people(40, 4)
    with pytest.raises(JudgeError, match=message):
        combine([pair.model_copy(update=change) for pair in pairs], stated("x", pairs, q))


def test_judges_must_have_pairs_in_common():
    pairs, q = people(40, 4)
    with pytest.raises(JudgeError, match="x judged 20 pairs, and none of the other judges judged one of them"):
        combine(pairs, stated("x", pairs[:20], q[:20]), stated("y", pairs[20:], q[20:]))
    with pytest.raises(JudgeError, match="judge x is given twice"):
        combine(pairs, stated("x", pairs, q), stated("x", pairs, q))
    with pytest.raises(JudgeError, match="x has no valid judgment of any of the 20 pairs"):
        combine(pairs[:20], stated("x", pairs[20:], q[20:]))


def test_a_combined_judge_leaves_its_calibration_in_the_store_and_margin_takes_both(tmp_path):
    pairs, q = people(60, 6)
    write_records(tmp_path / "pairs.jsonl", pairs)
    rows = [{"pair_id": j.pair_id, "judge": "x", "probability_a": j.probability_a} for j in stated("x", pairs, q)]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judge = {"name": "combined", "judges": [{"name": "published", "judge": "x", "file": str(tmp_path / "said.jsonl")}]}
    ds.judge(pairs, judge, store=tmp_path / "s.db", progress=False)
    settings = {"pairs": str(tmp_path / "pairs.jsonl"), "store": tmp_path / "s.db", "out": tmp_path / "m.parquet"}
    found = margin.run(margin.MarginSettings(**settings, judge="combined"))
    assert [m.preference_a for m in found.margins] == pytest.approx(
        [combine(pairs, stated("x", pairs, q)).preferences[pair.id] for pair in pairs]
    )
    assert read_calibration(tmp_path / "m.calibration.json") == found.calibration
    with pytest.raises(JudgeError, match="votes-1: is people's votes, to which the others are to be calibrated"):
        combine(pairs, stated("votes-1", pairs, q), calibrate="votes")


def test_python_combines_lists_of_judgments():
    pairs, q = people(60, 6)
    judged = [stated("x", pairs, q), voted("y", pairs, q)]
    found = ds.margins(judged, pairs, calibrate="labels")
    assert [row.preference_a for row in found] == [combine(pairs, *judged).preferences[p.id] for p in pairs]
    assert [one.name for one in found.calibration.predictors] == ["x", "y", "length"]
    with pytest.raises(ConfigError, match="give the pairs that they judged"):
        ds.margins(judged, calibrate="labels")

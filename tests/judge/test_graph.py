"""The labels of a prompt's other pairs as a judge: a fit that is what it says, with the own label really left out."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.optimize import brentq, minimize

import dissensus as ds
from dissensus.cli.judge import command
from dissensus.errors import JudgeError
from dissensus.files import read_pairs, write_records
from dissensus.judges.graph import LabelGraph
from dissensus.judges.kinds import GraphSettings
from dissensus.judges.runner import Question
from dissensus.judges.store.store import JudgmentStore
from dissensus.messages import log_length
from dissensus.records import LABEL_VALUE, Pair
from dissensus.sources.label_votes import draw_labels
from dissensus.stats.metrics import pearson_symmetric
from dissensus.steps.margin import make_margins

TURNED = {"a": "b", "b": "a", "tie": "tie", None: None}


def preferences(pairs: list[Pair], **settings: object) -> dict[str, float]:
    judge = LabelGraph(pairs, GraphSettings(**settings))
    return {j.pair_id: j.probability_a for j in judge.answer([Question(pair, 0) for pair in pairs])}


def tournament(prompts: int, texts: int, pairs: int, *, spread: float = 1.0, ties: float = 0.0, seed: int = 0):
    """Pairs whose labels follow Bradley-Terry with normal strengths; texts of different lengths."""
    draw = np.random.default_rng(seed)
    made = []
    for prompt in range(prompts):
        strengths = draw.normal(0, spread, texts)
        names = [f"{text:02}" + "x" * int(draw.integers(30)) for text in range(texts)]
        for k in range(pairs):
            a, b = draw.choice(texts, 2, replace=False)
            wins = draw.random() < 1 / (1 + np.exp(strengths[b] - strengths[a]))
            label = "tie" if draw.random() < ties else "a" if wins else "b"
            made.append(
                Pair(id=f"{prompt}-{k}", prompt=f"q{prompt}", response_a=names[a], response_b=names[b], label=label)
            )
    return made


def pair(a: str, b: str, label: str | None, prompt: str = "q") -> Pair:
    return Pair(id=f"{prompt}{a}{b}{label}", prompt=prompt, response_a=a, response_b=b, label=label)


def test_strengths_are_where_the_penalised_likelihood_is_largest():
    pairs = tournament(1, 5, 14, ties=0.2)
    judge = LabelGraph(pairs, GraphSettings(l2=0.7, own_label="in"))
    texts = sorted({text for one in pairs for text in (one.response_a, one.response_b)})
    prior = judge.slope * np.array([log_length(text) for text in texts])
    at = np.array([[texts.index(one.response_a), texts.index(one.response_b)] for one in pairs])
    labels = np.array([LABEL_VALUE[one.label] for one in pairs])

    def loss(theta: np.ndarray) -> float:
        gaps = theta[at[:, 0]] - theta[at[:, 1]]
        return float((np.logaddexp(0, gaps) - labels * gaps).sum() + 0.35 * ((theta - prior) ** 2).sum())

    theta = minimize(loss, prior, tol=1e-12).x
    found = np.array(list(preferences(pairs, l2=0.7, own_label="in").values()))
    assert judge.slope != 0
    assert found == pytest.approx(1 / (1 + np.exp(theta[at[:, 1]] - theta[at[:, 0]])), abs=1e-5)


def test_two_responses_have_the_closed_form():
    pairs = [pair("x", "y", "a").model_copy(update={"id": f"p{i}", "label": "a" if i < 7 else "b"}) for i in range(10)]
    gap = brentq(lambda d: 7 - 10 / (1 + np.exp(-d)) - 0.5 * d / 2, -9, 9)
    found = preferences(pairs, l2=0.5, own_label="in", prior="none")
    assert list(found.values()) == pytest.approx([1 / (1 + np.exp(-gap))] * 10)


@pytest.mark.parametrize("l2", [0.01, 1.0])
def test_a_label_that_is_held_out_is_as_if_it_were_not_there(l2):
    pairs = tournament(2, 5, 9, spread=3.0, ties=0.2) + tournament(1, 12, 20, seed=1)
    pairs = [one.model_copy(update={"id": str(i)}) for i, one in enumerate(pairs)]
    found = preferences(pairs, l2=l2, prior="none")
    for row, one in enumerate(pairs):
        without = [*pairs[:row], one.model_copy(update={"label": None}), *pairs[row + 1 :]]
        assert found[one.id] == pytest.approx(preferences(without, l2=l2, prior="none")[one.id], abs=1e-6)
    # A copy that a study learns from is not another label of the pair.
    unlabelled = [one.model_copy(update={"label": None}) for one in pairs]
    assert preferences([*pairs, *unlabelled], l2=l2, prior="none") == found


def test_the_order_of_rows_decides_nothing_and_swapping_turns_the_judgment_over():
    pairs = tournament(4, 6, 12, ties=0.1)
    found, turned = preferences(pairs), preferences(pairs[::-1])
    assert turned == found
    some = [
        one.model_copy(update={"response_a": one.response_b, "response_b": one.response_a, "label": TURNED[one.label]})
        if i % 3
        else one
        for i, one in enumerate(pairs)
    ]
    for i, (name, value) in enumerate(preferences(some).items()):
        assert value == pytest.approx(1 - found[name] if i % 3 else found[name], abs=1e-8)


@pytest.mark.parametrize("spread", [0.5, 1.5])
def test_the_penalty_is_found_that_the_strengths_were_drawn_with(spread):
    pairs = tournament(30, 8, 50, spread=spread)
    # The sigmoid of a best guess is surer than its error allows, which some more shrinkage makes up for.
    assert 0.7 < LabelGraph(pairs, GraphSettings(prior="none")).l2 * spread**2 < 2


def test_who_beats_whom_carries_over_and_a_text_that_stands_alone_gets_what_its_length_says():
    chain = [pair("aa", "bb", "a"), pair("bb", "cc", "a"), pair("aa", "cc", None), pair("cc", "aa", None)]
    alone = [pair("short", "much longer", "b", "p"), pair("same", "same", "a", "p"), pair("abcd", "dcba", "a", "o")]
    found = preferences([*chain, *alone], prior="none", l2=0.5)
    assert found["qaaccNone"] > 0.6
    assert found["qccaaNone"] == pytest.approx(1 - found["qaaccNone"])
    assert [found[one.id] for one in alone] == [0.5] * 3
    with_length = preferences([*chain, *alone])
    assert with_length["pshortmuch longerb"] < 0.5
    assert with_length["oabcddcbaa"] == 0.5
    judge = LabelGraph(alone, GraphSettings())
    assert judge.l2 == 1
    assert "no text stands in two labelled pairs" in judge.notes[0]
    assert "no other one is about a text of 3 of 3 pairs" in judge.notes[1]
    with pytest.raises(JudgeError, match=r"no pair has a label for the graph to learn from; give labelled pairs"):
        LabelGraph([pair("x", "y", None)], GraphSettings())


def test_it_judges_on_the_command_line(tmp_path):
    write_records(tmp_path / "pairs.jsonl", tournament(5, 6, 12))
    arguments = ["graph", str(tmp_path / "pairs.jsonl"), "--store", str(tmp_path / "j.db"), "--quiet"]
    told = CliRunner().invoke(command, arguments, catch_exceptions=False).stdout
    assert " new, 0 already in" in told
    assert "each held out of its own pair; l2 " in told
    assert "nothing new" in CliRunner().invoke(command, arguments, catch_exceptions=False).stdout
    pairs = list(read_pairs(tmp_path / "pairs.jsonl"))
    with JudgmentStore(tmp_path / "j.db") as store:
        (name,) = store.judges()
        settings = GraphSettings()
        made = make_margins(settings.recall(store, name, pairs), [p.id for p in pairs], votes=settings.vote_kind())
    assert {m.pair_id: m.preference_a for m in made.margins} == pytest.approx(preferences(pairs))
    assert ds.margins(ds.judge(pairs, "graph"), votes="limit") == made.margins


@pytest.mark.real_data
def test_held_out_labels_of_arguments_tell_the_other_votes(arguments):
    drawn = list(draw_labels(arguments, seed=0))
    found = preferences(drawn)
    others = [(p.votes.preference * p.votes.n - LABEL_VALUE[p.label]) / (p.votes.n - 1) for p in drawn]
    assert pearson_symmetric(np.array([found[p.id] for p in drawn]), np.array(others)) > 0.77

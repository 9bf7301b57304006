"""The shipped classifiers: clear cases come out right, order does not matter, and their data makes them."""

import runpy
import sys
from pathlib import Path

import pytest

from dissensus.errors import InputError
from dissensus.records import Message, Pair
from dissensus.simulate import SimulationConfig, simulate
from dissensus.taxonomy import agreement_with_people, classify_offline
from dissensus.taxonomy.classifiers import MAX_LENGTH
from dissensus.taxonomy.features import pair_features
from dissensus.text.encoder import load_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_encoder("minilm", cache=tmp_path_factory.mktemp("cache"), max_length=MAX_LENGTH)


def categories(pairs, encoder):
    return {(c.pair_id, c.question): c for c in classify_offline(pairs, encoder)}


SINGLE = ["What is the capital of Norway?", "How many legs does a spider have?", "who wrote pride and prejudice"]
MULTIPLE = ["Write a poem about the sea.", "How can I make new friends?", "suggest names for my dog"]


@pytest.mark.slow
def test_clear_prompts(encoder):
    prompts = [*SINGLE, *MULTIPLE, (Message(role="user", content="Hi"), Message(role="user", content=MULTIPLE[0]))]
    pairs = [Pair(id=str(i), prompt=p, response_a="Yes.", response_b="No, never.") for i, p in enumerate(prompts)]
    found = categories(pairs, encoder)
    assert [found[str(i), "correct"].value for i in range(7)] == ["single"] * 3 + ["multiple"] * 4
    assert {c.origin for c in found.values()} == {"prompts-minilm", "similarity-minilm"}


@pytest.mark.slow
def test_responses_whichever_comes_first(encoder):
    texts = [
        ("The shop opens at nine.", "The shop opens at nine.", "no"),
        ("You should drink more water each day.", "Every day you ought to drink more water.", "no"),
        ("Boil the eggs for ten minutes.", "The war began in 1914 over a question of alliances.", "yes"),
    ]
    pairs = [Pair(id=f"{i}", prompt="p", response_a=a, response_b=b) for i, (a, b, _) in enumerate(texts)]
    turned = [p.model_copy(update={"response_a": p.response_b, "response_b": p.response_a}) for p in pairs]
    found, other = categories(pairs, encoder), categories(turned[::-1], encoder)
    assert [found[f"{i}", "distinct"].value for i in range(3)] == [value for _, _, value in texts]
    for key, one in found.items():
        assert other[key].probability == pytest.approx(one.probability, abs=1e-5)


def test_marks_of_the_words(encoder):
    features = pair_features(
        ["It takes 15 minutes.", "It is safe.", "Anna saw Ben."],
        ["It takes 50 minutes.", "It isn't safe.", "Ben saw Anna."],
        encoder,
    )
    numbers, negations, order = features[:, 2], features[:, 3], features[:, 5]
    assert numbers.tolist() == [1, 0, 0]
    assert negations.tolist() == [0, 1, 0]
    assert order.tolist() == [0, 0, 1]


@pytest.mark.slow
def test_a_population_that_was_not_fitted_to_is_told_apart(encoder):
    pairs = simulate(SimulationConfig(prompts=24, paraphrase_share=0.2, seed=5)).pairs
    correct, distinct = agreement_with_people(pairs, classify_offline(pairs, encoder), n_resamples=200)
    assert correct.kappa.value > 0.8
    assert distinct.kappa.value > 0.5


@pytest.mark.slow
def test_the_shipped_numbers_are_what_the_data_gives(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fit-taxonomy", "--check"])
    script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "fit-taxonomy"))
    assert script["main"]() == 0
    assert capsys.readouterr().out.count("apart from those shipped") == 2


def test_another_encoder_is_refused(tiny_bert, tmp_path):
    other = load_encoder(str(tiny_bert), cache=tmp_path, max_length=32)
    with pytest.raises(InputError, match="use the encoder 'minilm'"):
        list(classify_offline([Pair(id="1", prompt="p", response_a="a", response_b="b")], other))

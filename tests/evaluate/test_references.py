import numpy as np
import pytest

from dissensus.errors import EvaluationError
from dissensus.evaluation.baselines import judge_references, longer_response, one_half, one_person
from dissensus.records import Judgment, Message, Pair, Votes
from dissensus.stats.metrics import mean_absolute_error, pearson, pearson_symmetric


def pair(i, length_a=10, length_b=20, votes=(1, 2, 0), group=None, pair_id=None):
    a, b, tie = votes
    return Pair(
        id=pair_id or f"p{i}",
        prompt=f"prompt {i}",
        response_a="x" * length_a,
        response_b="y" * length_b,
        group=group or f"g{i}",
        votes=Votes(a=a, b=b, tie=tie),
    )


def population(slope=1.5, n=400, per_group=4, seed=0):
    """Pairs whose people follow length with a known slope."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        lengths = rng.choice(np.arange(20, 400), 2, replace=False)
        p = 1 / (1 + ((lengths[1] + 1) / (lengths[0] + 1)) ** slope)
        a = rng.binomial(5, p)
        made.append(pair(i, *lengths, votes=(a, 5 - a, 0), group=f"g{i // per_group}"))
    return made


def mirrored(p):
    votes = Votes(a=p.votes.b, b=p.votes.a, tie=p.votes.tie)
    return p.model_copy(update={"response_a": p.response_b, "response_b": p.response_a, "votes": votes})


def slope_of(reference, pairs):
    ratio = np.array([np.log((len(p.response_a) + 1) / (len(p.response_b) + 1)) for p in pairs])
    return (np.log(reference.predicted) - np.log1p(-reference.predicted)) / ratio


def test_the_slope_of_length_is_found_and_is_that_of_logistic_regression():
    linear_model = pytest.importorskip("sklearn.linear_model")
    pairs = population(n=2000)
    slopes = slope_of(longer_response(pairs), pairs)[0]
    assert slopes == pytest.approx(1.5, abs=0.15)
    # Votes one by one, without an intercept and unpenalised, on the pairs outside the fold of the first pair.
    others = [p for p, s in zip(pairs, slopes, strict=True) if abs(s - slopes[0]) > 1e-7]
    x = np.log([(len(p.response_a) + 1) / (len(p.response_b) + 1) for p in others])[:, None]
    fitted = linear_model.LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-8).fit(
        np.vstack([x, x]),
        np.repeat([1, 0], len(others)),
        sample_weight=[p.votes.a for p in others] + [p.votes.b for p in others],
    )
    assert slopes[0] == pytest.approx(float(fitted.coef_[0, 0]), abs=1e-4)


def test_no_pair_is_predicted_by_a_vote_on_its_own_prompt():
    pairs = population(n=40)
    before = longer_response(pairs).predicted[0]
    changed = [p.model_copy(update={"votes": Votes(a=5, b=0)}) if p.group == "g3" else p for p in pairs]
    after = longer_response(changed).predicted[0]
    same = np.isclose(before, after, rtol=0, atol=1e-12)
    assert all(s for s, p in zip(same, pairs, strict=True) if p.group == "g3")
    assert not same.all()


def test_neither_the_order_of_rows_nor_of_responses_matters_to_length():
    pairs = population(n=60)
    found, order = longer_response(pairs).predicted[0], np.random.default_rng(0).permutation(60)
    assert longer_response([pairs[i] for i in order]).predicted[0] == pytest.approx(found[order], abs=1e-6)
    turned = [mirrored(p) if i % 3 else p for i, p in enumerate(pairs)]
    expected = [1 - f if i % 3 else f for i, f in enumerate(found)]
    assert longer_response(turned).predicted[0] == pytest.approx(expected, abs=1e-6)


def test_few_prompts_make_fewer_folds_and_one_prompt_none():
    two = population(n=8)
    assert np.unique(slope_of(longer_response(two), two).round(6)).size == 2
    assert longer_response(population(n=4)) is None


def test_lengths_that_say_everything_or_nothing_stay_finite():
    unanimous = [
        pair(i, 10 + 5 * (i % 2), 10 + 5 * ((i + 1) % 2), votes=((i % 2) * 3, 3 - (i % 2) * 3, 0)) for i in range(8)
    ]
    found = longer_response(unanimous).predicted
    assert np.isfinite(found).all()
    assert ((found > 0.9) | (found < 0.1)).all()
    equal = [pair(i, 10, 10) for i in range(8)]
    assert longer_response(equal).predicted.tolist() == [[0.5] * 8]


def test_messages_are_measured_as_they_are_read():
    chat = pair(0).model_copy(update={"response_a": (Message(role="assistant", content="x" * 10),)})
    plain = [pair(0), *population(n=20, seed=1)]
    assert (longer_response([chat, *plain[1:]]).predicted == longer_response(plain).predicted).all()


def test_one_person_is_compared_with_the_others():
    found = one_person([pair(0, votes=(2, 1, 1)), pair(1, votes=(1, 0, 0))], draws=200)
    assert found.predicted.shape == found.human.shape == (200, 2)
    assert set(zip(found.predicted[:, 0], found.human[:, 0].round(6), strict=True)) == {
        (1.0, 0.5), (0.0, 0.833333), (0.5, 0.666667),
    }  # fmt: skip
    assert np.isnan(found.predicted[:, 1]).all()
    assert np.isnan(found.human[:, 1]).all()


def test_every_voter_is_drawn_alike_and_the_order_of_rows_does_not_matter():
    pairs = [pair(i, votes=(3, 1, 1)) for i in range(300)]
    found = one_person(pairs)
    assert (found.predicted == 1).mean() == pytest.approx(0.6, abs=0.02)
    assert (found.predicted == 0.5).mean() == pytest.approx(0.2, abs=0.02)
    assert len({tuple(column) for column in found.predicted.T}) > 290
    turned = one_person(pairs[::-1])
    assert (turned.predicted[:, ::-1] == found.predicted).all()
    assert (turned.human[:, ::-1] == found.human).all()
    assert (one_person(pairs, seed=1).predicted != found.predicted).any()


def test_one_person_reaches_what_the_spread_of_preferences_allows():
    # With variance V of p, one vote correlates with the mean of k - 1 others by V / sqrt(v1 (V + (v1 - V) / (k - 1))).
    rng = np.random.default_rng(0)
    a = rng.binomial(5, rng.beta(1, 1, 3000))
    found = one_person([pair(i, votes=(int(x), 5 - int(x), 0)) for i, x in enumerate(a)])
    r = np.mean([pearson(p, h) for p, h in zip(found.predicted, found.human, strict=True)])
    spread, one_vote = 1 / 12, 1 / 4
    assert r == pytest.approx(spread / np.sqrt(one_vote * (spread + (one_vote - spread) / 4)), abs=0.02)


def judgment(pair_id, choice, order="ab", judge="llama", **fields):
    return Judgment(pair_id=pair_id, judge=judge, sample=fields.pop("sample", 0), order=order, choice=choice, **fields)


def test_a_judge_is_the_balanced_mean_of_its_verdicts_and_silent_where_it_did_not_judge():
    judgments = [
        judgment("p1", "a", sample=0),
        judgment("p1", "a", sample=1),
        judgment("p1", "tie", "ba"),
        judgment("elsewhere", "b"),
        judgment("p0", "b", judge="other"),
        judgment("p0", None, judge="other", sample=1, reply="I cannot say"),
    ]
    llama, other = judge_references([pair(0), pair(1)], judgments)
    assert (llama.name, llama.kind, llama.predicted.shape) == ("llama", "judge", (1, 2))
    assert np.isnan(llama.predicted[0, 0])
    assert llama.predicted[0, 1] == 0.75
    assert other.predicted[0, 0] == 0.0
    assert judge_references([pair(0)], []) == []


def test_bad_input():
    without = [pair(0), pair(1).model_copy(update={"votes": None})]
    for reference in (longer_response, one_person):
        with pytest.raises(EvaluationError, match="1 of 2 pairs carry no votes"):
            reference(without)


@pytest.mark.real_data
def test_references_on_arguments(arguments):
    pairs = arguments
    human = np.array([p.votes.preference for p in pairs])
    length = longer_response(pairs).predicted[0]
    # The plain difference of lengths has .525 here, its sign alone .475.
    assert pearson_symmetric(length, human) == pytest.approx(0.57, abs=0.01)
    assert mean_absolute_error(length, human) < mean_absolute_error(one_half(pairs).predicted[0], human) - 0.03
    person = one_person(pairs, draws=5)
    r = np.mean([pearson(p, h) for p, h in zip(person.predicted, person.human, strict=True)])
    assert r == pytest.approx(0.52, abs=0.02)

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dissensus.stats.agreement.dawid_skene import dawid_skene, mace

MODELS = [dawid_skene, mace]


def simulate(confusion, n_items, votes_per_item, seed=0):
    """Votes of randomly assigned annotators with these confusion matrices (annotators, true, voted), and the truth."""
    rng = np.random.default_rng(seed)
    n_annotators, n_categories, _ = confusion.shape
    true = rng.integers(0, n_categories, n_items)
    annotator = np.argsort(rng.random((n_items, n_annotators)), axis=1)[:, :votes_per_item].ravel()
    item = np.repeat(np.arange(n_items), votes_per_item)
    threshold = confusion[annotator, true[item]].cumsum(axis=1)
    category = (rng.random((item.size, 1)) > threshold[:, :-1]).sum(axis=1)
    return item, annotator, category, true


def one_coin(accuracy, n_categories=3):
    """Annotators who err evenly."""
    a = np.asarray(accuracy)[:, None, None]
    return np.where(np.eye(n_categories, dtype=bool), a, (1 - a) / (n_categories - 1))


def majority(item, category):
    counts = np.zeros((item.max() + 1, category.max() + 1))
    np.add.at(counts, (item, category), 1)
    return counts


def random_matrices(n, seed):
    rng = np.random.default_rng(seed)
    return np.array([[rng.dirichlet(1 + 4 * np.eye(3)[c]) for c in range(3)] for _ in range(n)])


def test_dawid_skene_recovers_confusion_matrices():
    confusion = random_matrices(12, seed=1)
    item, annotator, category, true = simulate(confusion, 4000, 8)
    fit = dawid_skene(item, annotator, category)
    assert fit.converged
    assert np.abs(fit.confusion - confusion).mean() < 0.02
    assert_allclose(fit.prevalence, 1 / 3, atol=0.03)
    counts = majority(item, category)
    assert (fit.posterior.argmax(axis=1) == true).mean() > (counts.argmax(axis=1) == true).mean() + 0.02


def test_mace_recovers_competence_and_finds_who_guesses():
    rng = np.random.default_rng(2)
    competence = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.05, 0.05])
    guesses = rng.dirichlet(np.ones(3), 8)
    guesses[-1] = [0.98, 0.01, 0.01]
    confusion = competence[:, None, None] * np.eye(3) + (1 - competence)[:, None, None] * guesses[:, None, :]
    item, annotator, category, true = simulate(confusion, 4000, 6)
    fit = mace(item, annotator, category)
    assert fit.converged
    assert_allclose(fit.competence, competence, atol=0.06)
    assert_allclose(fit.guesses[4:], guesses[4:], atol=0.08)  # those who know much seldom guess
    assert (fit.posterior.argmax(axis=1) == true).mean() > (majority(item, category).argmax(axis=1) == true).mean()


@pytest.mark.parametrize("model", MODELS)
def test_few_who_know_outweigh_many_who_guess(model):
    item, annotator, category, true = simulate(one_coin([0.95, 0.95, *[0.36] * 5]), 1000, 7)
    right = (model(item, annotator, category).posterior.argmax(axis=1) == true).mean()
    assert right > 0.9
    assert right > (majority(item, category).argmax(axis=1) == true).mean() + 0.1


@pytest.mark.parametrize("model", MODELS)
def test_three_raters_of_few_items_are_not_declared_infallible(model):
    item, annotator, category, _ = simulate(one_coin([0.7] * 3, 2), 30, 3, seed=3)
    fit = model(item, annotator, category)
    certain = fit.confusion if model is dawid_skene else fit.competence
    assert 0.02 < certain.min() <= certain.max() < 0.98
    unanimous = majority(item, category).max(axis=1) == 3
    same = fit.posterior.argmax(axis=1) == majority(item, category).argmax(axis=1)
    assert same[unanimous].all()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_the_objective_never_falls_and_stops_for_a_reason(model, seed):
    item, annotator, category, _ = simulate(random_matrices(40, seed), 150, 3, seed)
    fit = model(item, annotator, category)
    assert fit.converged
    assert len(fit.log_posterior) > 5
    assert np.diff(fit.log_posterior).min() > -1e-9
    stopped = model(item, annotator, category, max_iterations=3)
    assert not stopped.converged
    assert_allclose(stopped.log_posterior, fit.log_posterior[:3])


def written_out(model, votes, fit, n_items):
    """The objective, vote by vote: the likelihood, and the pseudo-votes of the prior."""
    item, annotator, category = votes
    if model is dawid_skene:
        joint = np.log(np.tile(fit.prevalence, (n_items, 1)))
        np.add.at(joint, item, np.log(fit.confusion[annotator, :, category]))
        prior = ((1 + 3 * np.eye(3)) * np.log(fit.confusion)).sum() + np.log(fit.prevalence).sum()
    else:
        knows, guess = fit.competence[annotator, None], fit.guesses[annotator, category][:, None]
        joint = np.full((n_items, 3), np.log(1 / 3))
        np.add.at(joint, item, np.log(knows * (np.arange(3) == category[:, None]) + (1 - knows) * guess))
        prior = np.log(fit.competence * (1 - fit.competence)).sum() + np.log(fit.guesses).sum() / 3
    return np.log(np.exp(joint).sum(axis=1)).sum() + prior


@pytest.mark.parametrize("model", MODELS)
def test_the_objective_is_that_of_the_model_and_its_prior(model):
    *votes, _ = simulate(random_matrices(6, 4), 60, 4, seed=4)
    for steps in (1, 3, 20_000):
        fit = model(*votes, max_iterations=steps)
        assert written_out(model, votes, fit, 60) == pytest.approx(fit.log_posterior[-1], abs=1e-8)


def one_step(model, votes, fit, n_items, n_people):
    """The posterior after one more step of the algorithm as its authors have it, with the pseudo-votes."""
    item, annotator, category = votes
    voted = np.zeros((n_people, n_items, 3))
    voted[annotator, item, category] = 1
    if model is dawid_skene:
        confusion = fit.posterior.T @ voted + 1 + 3 * np.eye(3)
        log = np.log(confusion / confusion.sum(axis=2, keepdims=True))
        joint = (fit.posterior.sum(axis=0) + 1) * np.exp(np.einsum("ric,rtc->it", voted, log))
    else:
        guess = (1 - fit.competence[:, None]) * fit.guesses
        knew = voted * fit.posterior * (fit.competence[:, None] / (fit.competence[:, None] + guess))[:, None, :]
        competence = (knew.sum(axis=(1, 2), keepdims=True)[:, 0] + 1) / (voted.sum(axis=(1, 2))[:, None] + 2)
        guesses = (voted - knew).sum(axis=1) + 1 / 3
        guess = (1 - competence) * guesses / guesses.sum(axis=1, keepdims=True)
        joint = np.exp(np.einsum("ric,rc->ic", voted, np.log1p(competence / guess)))
    return joint / joint.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("model", MODELS)
def test_a_fit_is_where_a_plain_step_moves_nothing(model, seed):
    """Where the objective rises no more by 1e-8 a vote, probabilities are still up to a hundredth away."""
    *votes, _ = simulate(random_matrices(5, seed), 30, 3, seed)
    fit = model(*votes, shape=(30, 5, 3))
    assert fit.converged
    assert len(fit.log_posterior) < 1000
    assert_allclose(one_step(model, votes, fit, 30, 5), fit.posterior, atol=1e-8)


@pytest.mark.parametrize("model", MODELS)
def test_order_of_votes_and_numbering_do_not_matter(model):
    item, annotator, category, _ = simulate(random_matrices(10, 5), 200, 4)
    rng = np.random.default_rng(0)
    shuffle, items, people, names = (rng.permutation(n) for n in (item.size, 200, 10, 3))
    fit = model(item, annotator, category)
    other = model(items[item][shuffle], people[annotator][shuffle], names[category][shuffle])
    assert_allclose(other.posterior[items][:, names], fit.posterior, atol=1e-9)


def test_symmetric_dawid_skene_does_not_see_which_response_is_called_a():
    confusion = random_matrices(10, 6)
    item, annotator, category, _ = simulate((confusion + confusion[:, ::-1, ::-1]) / 2, 300, 5)
    fit = dawid_skene(item, annotator, category, symmetric=True)
    assert_allclose(fit.confusion, fit.confusion[:, ::-1, ::-1])
    assert_allclose(fit.prevalence, fit.prevalence[::-1])
    assert np.diff(fit.log_posterior).min() > -1e-9
    turned = np.random.default_rng(1).random(300) < 0.5
    other = dawid_skene(item, annotator, np.where(turned[item], 2 - category, category), symmetric=True)
    assert_allclose(np.where(turned[:, None], other.posterior[:, ::-1], other.posterior), fit.posterior, atol=1e-9)
    assert_allclose(other.confusion, fit.confusion, atol=1e-9)


def test_an_annotator_without_votes_gets_the_prior_and_an_item_without_votes_the_prevalence():
    votes = [0, 0, 2, 2], [0, 2, 0, 2], [0, 0, 1, 0]
    fit = dawid_skene(*votes, shape=(4, 4, 2))
    assert_allclose(fit.confusion[1], [[0.8, 0.2], [0.2, 0.8]])
    assert_allclose(fit.posterior[[1, 3]], [fit.prevalence] * 2)
    other = mace(*votes, shape=(4, 4, 2))
    assert other.competence[[1, 3]].tolist() == [0.5, 0.5]
    assert_allclose(other.posterior[[1, 3]], 0.5)
    # They change nothing for the others.
    few = dawid_skene([0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1, 0])
    assert_allclose(fit.posterior[[0, 2]], few.posterior)


@pytest.mark.parametrize("model", MODELS)
def test_one_annotator_is_believed_and_no_votes_are_no_trouble(model):
    assert model([0, 1, 2], [0, 0, 0], [0, 1, 1]).posterior.argmax(axis=1).tolist() == [0, 1, 1]
    empty = model([], [], [])
    assert empty.posterior.shape == (0, 1)
    assert empty.converged
    assert_allclose(model([], [], [], shape=(2, 1, 3)).posterior, 1 / 3)


@pytest.mark.parametrize("model", MODELS)
def test_votes_that_are_no_numbers_from_zero_are_a_mistake(model):
    for category in ([0, np.nan], [0, 0.5], [0, -1], [[0, 1]]):
        with pytest.raises(ValueError, match="category"):
            model([0, 1], [0, 0], category)
    with pytest.raises(ValueError, match="one shape"):
        model([0, 1], [0, 0], [0, 1, 1])
    with pytest.raises(ValueError, match=r"shape of \(2, 1, 2\)"):
        model([0, 1], [0, 0], [0, 1], shape=(2, 1, 1))
    with pytest.raises(ValueError, match="max_iterations"):
        model([0, 1], [0, 0], [0, 1], max_iterations=0)


@pytest.mark.real_data
def test_real_votes_mostly_go_with_the_majority(arguments):
    pairs = [p for p in arguments if p.votes][::15]
    people: dict[str, int] = {}
    votes = [
        (i, people.setdefault(v.annotator, len(people)), ("b", "tie", "a").index(v.vote))
        for i, p in enumerate(pairs)
        for v in p.votes.annotations
    ]
    item, annotator, category = np.array(votes).T
    counts = np.sort(majority(item, category), axis=1)
    clear = counts[:, -1] >= counts[:, -2] + 2
    winner = majority(item, category).argmax(axis=1)
    for fit in (dawid_skene(item, annotator, category, symmetric=True), mace(item, annotator, category)):
        assert fit.converged
        assert (fit.posterior.argmax(axis=1) == winner)[clear].mean() > 0.95

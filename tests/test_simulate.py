import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from dissensus.errors import ConfigError
from dissensus.simulate import Simulation, SimulationConfig, simulate
from dissensus.simulate.population import vote_probabilities
from dissensus.simulate.texts import draw_prompts, draw_sketch, paraphrase, render

BASE = SimulationConfig(prompts=80, seed=1)


def contested(simulation: Simulation, category: str | None = None) -> float:
    """Mean of 1 - |2p - 1| over the pairs that can be told apart."""
    chosen = [p for p in simulation.pairs if p.distinct == "yes" and category in (None, p.category)]
    return float(np.mean([1 - abs(2 * simulation.preference[p.id] - 1) for p in chosen]))


def test_the_seed_alone_decides_everything_and_labels_are_votes():
    again = simulate(SimulationConfig(prompts=80, seed=1))
    assert simulate(BASE) == again
    assert simulate(BASE.model_copy(update={"seed": 2})).pairs != again.pairs
    for pair in again.pairs:
        assert getattr(pair.votes, str(pair.label)) > 0
        assert pair.votes.n == BASE.votes_per_pair
        assert not set("[]{}|") & set(pair.prompt + str(pair.response_a) + str(pair.response_b))  # no template's marks


@pytest.mark.parametrize("tie_width", [0.0, 0.4])
def test_vote_shares_converge_to_the_stated_preference(tie_width):
    simulation = simulate(BASE.model_copy(update={"votes_per_pair": 400, "tie_width": tie_width}))
    sketchy = 0.0
    for pair in simulation.pairs:
        p, votes = simulation.preference[pair.id], pair.votes
        # Half a tie each way: the variance of a vote is at most p(1-p).
        sketchy += (votes.preference - p) ** 2 / max(p * (1 - p) / votes.n, 1e-6)
    n = len(simulation.pairs)
    if tie_width:
        assert any(pair.votes.tie for pair in simulation.pairs)
        assert sketchy < stats.chi2.ppf(0.9999, n)
    else:
        assert stats.chi2.ppf(0.0001, n) * 0.5 < sketchy < stats.chi2.ppf(0.9999, n)


@pytest.mark.parametrize("tie_width", [0.0, 0.3])
def test_the_stated_preference_is_that_of_a_drawn_population(tie_width):
    """Oracle: draw users with tastes, let each compare by utility, and count."""
    config = SimulationConfig(tie_width=tie_width, diversity=0.8, noise=0.7)
    generator = np.random.default_rng(3)
    users = generator.normal(config.mean_taste, config.diversity, size=(200_000, 5))
    for kind in ("single", "multiple"):
        (prompt,) = draw_prompts("sim-chat", kind, 1, generator)
        a, b = draw_sketch(prompt, generator), draw_sketch(prompt, generator)
        utility = [users @ np.array(s.traits) + config.correctness * s.correct for s in (a, b)]
        difference = utility[0] - utility[1] + config.noise * generator.normal(size=len(users))
        stated = vote_probabilities(a, b, config)
        assert np.mean(difference > tie_width) == pytest.approx(stated["a"], abs=0.006)
        assert np.mean(difference < -tie_width) == pytest.approx(stated["b"], abs=0.006)


def test_swapping_the_responses_turns_the_preference_over():
    generator = np.random.default_rng(0)
    config = SimulationConfig(tie_width=0.2)
    for prompt in draw_prompts("sim-advice", "single", 20, generator):
        a, b = draw_sketch(prompt, generator), draw_sketch(prompt, generator)
        forth, back = vote_probabilities(a, b, config), vote_probabilities(b, a, config)
        assert (forth["a"], forth["b"], forth["tie"]) == pytest.approx((back["b"], back["a"], back["tie"]))
        assert sum(forth.values()) == pytest.approx(1)


def test_the_more_tastes_differ_the_more_is_contested():
    drawn = [simulate(BASE.model_copy(update={"diversity": d})) for d in (0.0, 0.5, 1.0, 4.0)]
    levels = [contested(simulation) for simulation in drawn]
    assert levels == sorted(levels)
    assert levels[0] < 0.35
    assert contested(drawn[2], "single") < contested(drawn[2], "multiple") / 2


def test_near_paraphrases_say_the_same_in_other_words():
    simulation = simulate(BASE.model_copy(update={"prompts": 300, "paraphrase_share": 0.2}))
    alike = [pair for pair in simulation.pairs if pair.distinct == "no"]
    assert 0.14 < len(alike) / len(simulation.pairs) < 0.26
    for pair in alike:
        assert simulation.preference[pair.id] == 0.5
        assert pair.response_a != pair.response_b
        shared = set(pair.response_a.split()) & set(pair.response_b.split())
        assert len(shared) > 0.5 * len(set(pair.response_a.split()))


def test_a_paraphrase_always_differs():
    generator = np.random.default_rng(0)
    for prompt in draw_prompts("sim-chat", "multiple", 50, generator):
        sketch = draw_sketch(prompt, generator)
        assert render(prompt, paraphrase(sketch, generator)) != render(prompt, sketch)


def test_shares_of_the_config_are_kept_and_domains_share_no_prompt():
    simulation = simulate(SimulationConfig(prompts=100, single_share=0.4, out_of_domain_share=0.3, paraphrase_share=0))
    by_domain = {d: {p.group for p in simulation.pairs if p.domain == d} for d in ("in", "out")}
    assert (len(by_domain["in"]), len(by_domain["out"])) == (70, 30)
    assert not by_domain["in"] & by_domain["out"]
    assert len({p.group for p in simulation.pairs if p.category == "single"}) == 40
    assert {(p.dataset, p.domain) for p in simulation.pairs} == {("sim-chat", "in"), ("sim-advice", "out")}


def test_impossible_configs_are_refused():
    with pytest.raises(ConfigError, match="at most"):
        simulate(SimulationConfig(prompts=100_000))
    with pytest.raises(ValidationError, match="paraphrase_share"):
        SimulationConfig(responses_per_prompt=4, paraphrase_share=0.5)
    with pytest.raises(ValidationError, match="only 3 pairs"):
        SimulationConfig(pairs_per_prompt=4)

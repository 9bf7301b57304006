import math

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from dissensus.errors import ConfigError
from dissensus.simulate import Simulation, SimulationConfig, simulate, simulated_judgments
from dissensus.simulate.population import vote_probabilities
from dissensus.simulate.texts import draw_prompts, draw_sketch, paraphrase, render

BASE = SimulationConfig(prompts=80, seed=1)


def contested(simulation: Simulation, category: str | None = None) -> float:
    """Mean of 1 - |2p - 1| over the pairs that can be told apart."""
    chosen = [p for p in simulation.pairs if p.distinct == "yes" and category in (None, p.category)]
    return float(np.mean([1 - abs(2 * simulation.preference[p.id] - 1) for p in chosen]))


def test_the_seed_alone_decides_everything():
    again = simulate(SimulationConfig(prompts=80, seed=1))
    assert simulate(BASE) == again
    assert simulate(BASE.model_copy(update={"seed": 2})).pairs != again.pairs


@pytest.mark.parametrize("tie_width", [0.0, 0.4])
def test_vote_shares_converge_to_the_stated_preference(tie_width):
    simulation = simulate(BASE.model_copy(update={"votes_per_pair": 2000, "tie_width": tie_width}))
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
    levels = [contested(simulate(BASE.model_copy(update={"diversity": d}))) for d in (0.0, 0.5, 1.0, 4.0)]
    assert levels == sorted(levels)
    assert levels[0] < 0.35


def test_single_answer_prompts_are_less_contested():
    simulation = simulate(BASE)
    assert contested(simulation, "single") < contested(simulation, "multiple") / 2


def test_near_paraphrases_say_the_same_in_other_words():
    simulation = simulate(BASE.model_copy(update={"prompts": 300, "paraphrase_share": 0.2}))
    alike = [pair for pair in simulation.pairs if pair.distinct == "no"]
    assert 0.14 < len(alike) / len(simulation.pairs) < 0.26
    for pair in alike:
        assert simulation.preference[pair.id] == 0.5
        assert pair.response_a != pair.response_b
        shared = set(pair.response_a.split()) & set(pair.response_b.split())
        assert len(shared) > 0.5 * len(set(pair.response_a.split()))


def test_no_template_mark_is_left_in_a_text():
    for pair in simulate(SimulationConfig(prompts=200)).pairs:
        assert not set("[]{}|") & set(pair.prompt + str(pair.response_a) + str(pair.response_b))


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


def test_the_label_is_one_of_the_votes():
    for pair in simulate(BASE).pairs:
        assert getattr(pair.votes, str(pair.label)) > 0
        assert pair.votes.n == BASE.votes_per_pair


def test_impossible_configs_are_refused():
    with pytest.raises(ConfigError, match="at most"):
        simulate(SimulationConfig(prompts=100_000))
    with pytest.raises(ValidationError, match="paraphrase_share"):
        SimulationConfig(responses_per_prompt=4, paraphrase_share=0.5)
    with pytest.raises(ValidationError, match="only 3 pairs"):
        SimulationConfig(pairs_per_prompt=4)


def share_for_first(judgments) -> float:
    return float(np.mean([(j.choice == "a") == (j.order == "ab") for j in judgments]))


def test_an_unbiased_judge_votes_as_the_population_in_either_order():
    simulation = simulate(BASE)
    judgments = simulated_judgments(simulation, n=200)
    assert share_for_first(judgments) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(len(judgments)))
    for order in ("ab", "ba"):
        chosen = [(j.choice == "a") - simulation.preference[j.pair_id] for j in judgments if j.order == order]
        assert abs(np.mean(chosen)) < 4 * 0.5 / math.sqrt(len(chosen))


def test_a_judge_has_the_position_bias_that_was_stated():
    """On pairs with an even preference the first response wins with probability sigmoid(bias)."""
    simulation = simulate(SimulationConfig(prompts=60, responses_per_prompt=2, paraphrase_share=1))
    judgments = simulated_judgments(simulation, n=400, position_bias=0.8)
    assert {simulation.preference[j.pair_id] for j in judgments} == {0.5}
    expected = 1 / (1 + math.exp(-0.8))
    assert share_for_first(judgments) == pytest.approx(expected, abs=4 * 0.5 / math.sqrt(len(judgments)))


def test_a_biased_judge_is_fair_once_both_orders_are_averaged_on_even_pairs():
    simulation = simulate(SimulationConfig(prompts=60, responses_per_prompt=2, paraphrase_share=1))
    judgments = simulated_judgments(simulation, n=400, position_bias=2.0)
    share = np.mean([j.choice == "a" for j in judgments])
    assert share == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(len(judgments)))


def test_a_judge_with_length_bias_prefers_the_longer_response():
    simulation = simulate(BASE)
    longer = {p.id: len(str(p.response_a)) > len(str(p.response_b)) for p in simulation.pairs}

    def share_for_longer(bias: float) -> float:
        rows = simulated_judgments(simulation, n=20, sharpness=0, length_bias=bias)
        return float(np.mean([(j.choice == "a") == longer[j.pair_id] for j in rows]))

    assert share_for_longer(0) == pytest.approx(0.5, abs=0.05)
    assert share_for_longer(-2) < 0.4 < 0.6 < share_for_longer(2)


def test_replies_without_a_winner_come_at_the_stated_rate():
    judgments = simulated_judgments(simulate(BASE), n=20, invalid_share=0.2)
    assert np.mean([j.choice is None for j in judgments]) == pytest.approx(0.2, abs=0.03)

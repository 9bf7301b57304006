import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_expit, logsumexp

from dissensus.reward.objectives.losses import _gauss_hermite, _logistic_nodes, log_expected_sigmoid


def _by_brute_force(mean: float, deviation: float) -> float:
    """Log E sigma(z) by a fine trapezoid rule around both ends of what matters."""
    low, high = (
        min(mean, -mean - deviation**2, 0) - 12 * deviation - 40,
        max(mean, mean + deviation**2) + 12 * deviation,
    )
    z = np.linspace(low, high, 100_001)
    log_density = -((z - mean) ** 2) / (2 * deviation**2) - math.log(deviation * math.sqrt(2 * math.pi))
    return float(logsumexp(log_density + log_expit(z)) + math.log(z[1] - z[0]))


@pytest.mark.parametrize("deviation", [0.05, 1.0, 1.99, 2.0, 8.0, 30.0])
def test_the_integral_agrees_with_brute_force_far_into_the_tails(deviation: float):
    means = [*np.linspace(-100, 100, 21), *np.linspace(-3 * deviation, 3 * deviation, 11)]
    found = log_expected_sigmoid(
        torch.tensor(means, dtype=torch.float64), torch.full((len(means),), deviation**2, dtype=torch.float64)
    )
    assert found.tolist() == pytest.approx([_by_brute_force(mean, deviation) for mean in means], abs=4e-7)


def test_the_integral_worked_by_hand():
    # No gap is a coin toss whatever the variance; a variance far above logistic noise leaves the probit.
    assert log_expected_sigmoid(torch.zeros(3), torch.tensor([0.0, 1.0, 900.0])).exp().tolist() == pytest.approx(
        [0.5] * 3
    )
    wide = log_expected_sigmoid(torch.tensor([1e4]), torch.tensor([1e8])).exp().item()
    assert wide == pytest.approx(0.8413447, abs=1e-6)


@settings(max_examples=40)
@given(st.floats(-200, 200))
def test_no_variance_is_bradley_terry(mean: float):
    found = log_expected_sigmoid(torch.tensor([mean]), torch.tensor([0.0]))
    torch.testing.assert_close(found, torch.nn.functional.logsigmoid(torch.tensor([mean])), atol=5e-7, rtol=1e-6)


@settings(max_examples=40)
@given(st.floats(0.01, 50), st.floats(0.1, 2500), st.floats(0.1, 2500))
def test_variance_draws_a_preference_to_one_half(mean: float, one: float, other: float):
    gap = torch.tensor([mean, mean], dtype=torch.float64)
    less, more = log_expected_sigmoid(gap, torch.tensor(sorted([one, other]), dtype=torch.float64)).exp().tolist()
    assert less >= more - 4e-7
    assert more >= 0.5
    # The two sides add up to one.
    assert log_expected_sigmoid(-gap[:1], torch.tensor([min(one, other)], dtype=torch.float64)).exp().item() == (
        pytest.approx(1 - less, abs=2e-6)
    )


def test_the_integral_has_the_gradients_of_its_differences():
    mean = torch.tensor([-100, -20, -2, 0, 0.3, 5, 100, -30, -1, 4, 60], dtype=torch.float64, requires_grad=True)
    variance = torch.tensor([0.5, 1, 0.1, 2, 0.01, 3, 1, 9, 25, 100, 900], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_expected_sigmoid, (mean, variance))


@pytest.mark.parametrize("variance", [0.0, 1e-12, 1e-3, 1.0, 3.999, 4.0, 4.001, 100.0, 1e6])
def test_gradients_survive_large_gaps(variance: float):
    mean = torch.tensor([-100.0, -30, -1, 0, 1, 30, 100], requires_grad=True)
    spread = torch.full((7,), variance, requires_grad=True)
    log_expected_sigmoid(mean, spread).sum().backward()
    assert mean.grad is not None
    assert spread.grad is not None
    assert torch.isfinite(mean.grad).all()
    assert torch.isfinite(spread.grad).all()
    assert (mean.grad >= 0).all()
    assert (mean.grad[:3] > 0).all()


def test_nodes_made_while_predicting_can_be_trained_through():
    _gauss_hermite.cache_clear(), _logistic_nodes.cache_clear()
    with torch.inference_mode():
        log_expected_sigmoid(torch.ones(1), torch.ones(1))
    mean = torch.ones(1, requires_grad=True)
    log_expected_sigmoid(mean, torch.ones(1)).backward()
    assert mean.grad is not None


def test_a_pair_shows_little_but_the_gap_over_the_root_of_its_variance():
    """So means and variances are not identified: the error of the approximation is below .02 of a preference."""
    gap, variance = torch.meshgrid(torch.linspace(0, 20, 41), torch.linspace(0, 60, 31), indexing="ij")
    seen = gap.flatten() / (1 + math.pi * variance.flatten() / 8).sqrt()
    found = log_expected_sigmoid(gap.flatten(), variance.flatten()).exp()
    assert (found - seen.sigmoid()).abs().max().item() < 0.02

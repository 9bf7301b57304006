import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dissensus.reward.objectives.losses import (
    blend_loss,
    bradley_terry_loss,
    center_penalty,
    margin_loss,
    pair_losses,
    scaled_loss,
    soft_loss,
)

NUMBERS = st.lists(st.floats(-20, 20), min_size=1, max_size=8)


def test_margin_loss_worked_by_hand():
    # -log sigma(2 - 1 - 0.5) and -log sigma(0 - 1 - 0.2): log(1 + e^-0.5) and log(1 + e^1.2)
    expected = (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(1.2))) / 2
    found = margin_loss(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.2]))
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_bradley_terry_worked_by_hand():
    # Odds of 3 to 1 for the chosen response: -log(3/4).
    found = bradley_terry_loss(torch.tensor([math.log(3)]), torch.tensor([0.0]))
    assert found.item() == pytest.approx(math.log(4 / 3), abs=1e-6)


def test_scaled_loss_worked_by_hand():
    # Odds of 3 and of 1/3, weighed 2 and 1/2: (2 log(4/3) + log(4) / 2) / 2.
    chosen = torch.tensor([math.log(3), -math.log(3)])
    found = scaled_loss(chosen, torch.zeros(2), torch.tensor([2.0, 0.5]))
    assert found.item() == pytest.approx(math.log(4 / 3) + math.log(4) / 4, abs=1e-6)


def test_soft_and_blend_worked_by_hand():
    # Odds of 3 against a preference of 0.6: -(0.6 log 0.75 + 0.4 log 0.25).
    gap, zero, certain = torch.tensor([math.log(3)]), torch.zeros(1), torch.ones(1)
    expected = -(0.6 * math.log(0.75) + 0.4 * math.log(0.25))
    assert soft_loss(gap, zero, 0.6 * certain).item() == pytest.approx(expected, abs=1e-6)
    # A quarter of the label 0 and three quarters of the preference 0.8 are 0.6 as well.
    assert blend_loss(gap, zero, zero, 0.8 * certain, label_weight=0.25).item() == pytest.approx(expected, abs=1e-6)


def test_the_centre_worked_by_hand():
    assert center_penalty(torch.tensor([1.0, 2.0]), torch.tensor([0.5, -2.0])).tolist() == [2.25, 0]
    assert center_penalty(torch.tensor([0.75]), torch.tensor([0.5]), middle=0.5).tolist() == [0.0625]


@given(NUMBERS)
def test_no_margin_and_a_scale_of_one_are_bradley_terry(rewards: list[float]):
    chosen = torch.tensor(rewards)
    rejected = chosen.flip(0)
    plain = bradley_terry_loss(chosen, rejected)
    assert torch.equal(margin_loss(chosen, rejected, torch.zeros_like(chosen)), plain)
    assert torch.equal(scaled_loss(chosen, rejected, torch.ones_like(chosen)), plain)


@given(NUMBERS)
def test_certain_preference_is_bradley_terry(rewards: list[float]):
    chosen = torch.tensor(rewards)
    rejected, certain = chosen.flip(0), torch.ones_like(chosen)
    plain = bradley_terry_loss(chosen, rejected)
    torch.testing.assert_close(soft_loss(chosen, rejected, certain), plain)
    torch.testing.assert_close(blend_loss(chosen, rejected, certain, certain * 0.2, label_weight=1.0), plain)


@given(NUMBERS, st.floats(0, 1), st.floats(0, 1))
def test_swapping_the_responses_changes_no_loss(gaps: list[float], target: float, margin: float):
    gap, t, m = torch.tensor(gaps), torch.full((len(gaps),), target), torch.full((len(gaps),), margin)
    torch.testing.assert_close(pair_losses(gap, t, m), pair_losses(-gap, 1 - t, m))


@pytest.mark.parametrize("loss", [margin_loss, scaled_loss])
def test_permuting_the_margins_changes_the_loss(loss):
    # A margin broadcast to [pairs, pairs] is blind to its order (a bug of TRL up to 0.23).
    chosen, rejected = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 0.0])
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert loss(chosen, rejected, one).item() != pytest.approx(loss(chosen, rejected, other).item(), abs=1e-3)
    assert loss(chosen.flip(0), rejected, other).item() == pytest.approx(loss(chosen, rejected, one).item(), abs=1e-6)


def test_soft_loss_is_least_at_the_log_odds():
    preference = torch.tensor([0.8])
    gap = torch.tensor([math.log(0.8 / 0.2)], requires_grad=True)
    soft_loss(gap, torch.zeros(1), preference).backward()
    assert gap.grad is not None
    assert gap.grad.item() == pytest.approx(0, abs=1e-6)


def test_named_objectives_are_the_one_formula():
    gap, ones, m = torch.tensor([1.5, -0.3]), torch.ones(2), torch.tensor([0.4, 0.9])
    torch.testing.assert_close(pair_losses(gap, ones, m).mean(), margin_loss(gap, torch.zeros(2), m))
    torch.testing.assert_close(
        pair_losses(gap, ones * 0.3, ones * 0).mean(), soft_loss(gap, torch.zeros(2), ones * 0.3)
    )


def test_half_precision_is_widened_before_anything_is_subtracted():
    chosen, rejected = torch.tensor([300.0], dtype=torch.bfloat16), torch.tensor([298.0], dtype=torch.bfloat16)
    loss = margin_loss(chosen, rejected, torch.tensor([0.001]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1.999)), abs=1e-6)


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"expected one shape \(pairs,\) for all, found .*margin \(2, 1\)"):
        margin_loss(torch.zeros(2), torch.zeros(2), torch.zeros(2, 1))

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dissensus.reward.loss import bradley_terry_loss, margin_loss, pair_losses, soft_loss

NUMBERS = st.lists(st.floats(-20, 20), min_size=1, max_size=8)


def test_margin_loss_worked_by_hand():
    # -log sigma(2 - 1 - 0.5) and -log sigma(0 - 1 - 0.2): log(1 + e^-0.5) and log(1 + e^1.2)
    expected = (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(1.2))) / 2
    found = margin_loss(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.2]))
    assert found.item() == pytest.approx(expected, abs=1e-6)


@given(NUMBERS)
def test_no_margin_is_bradley_terry(rewards: list[float]):
    chosen = torch.tensor(rewards)
    rejected = chosen.flip(0)
    assert torch.equal(margin_loss(chosen, rejected, torch.zeros_like(chosen)), bradley_terry_loss(chosen, rejected))


@given(NUMBERS)
def test_certain_preference_is_bradley_terry(rewards: list[float]):
    chosen = torch.tensor(rewards)
    rejected = chosen.flip(0)
    torch.testing.assert_close(
        soft_loss(chosen, rejected, torch.ones_like(chosen)), bradley_terry_loss(chosen, rejected)
    )


@given(NUMBERS, st.floats(0, 1), st.floats(0, 1))
def test_swapping_the_responses_changes_no_loss(gaps: list[float], target: float, margin: float):
    gap, t, m = torch.tensor(gaps), torch.full((len(gaps),), target), torch.full((len(gaps),), margin)
    torch.testing.assert_close(pair_losses(gap, t, m), pair_losses(-gap, 1 - t, m))


def test_permuting_the_margins_changes_the_loss():
    # A margin broadcast to [pairs, pairs] is blind to its order (a bug of TRL up to 0.23).
    chosen, rejected = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 0.0])
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert margin_loss(chosen, rejected, one).item() != pytest.approx(
        margin_loss(chosen, rejected, other).item(), abs=1e-3
    )


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


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"expected one shape \(pairs,\) for all, found .*margin \(2, 1\)"):
        margin_loss(torch.zeros(2), torch.zeros(2), torch.zeros(2, 1))

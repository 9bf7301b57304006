import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dissensus.reward.config import TrainConfig
from dissensus.reward.objectives import objective_of
from dissensus.reward.objectives.losses import center_penalty, pair_losses

NUMBERS = st.lists(st.floats(-20, 20), min_size=1, max_size=8)
LOG3 = math.log(3)


@pytest.mark.parametrize(
    ("gap", "target", "margin", "expected"),
    [
        # Odds of 3 to 1 for the chosen response: -log(3/4).
        (LOG3, 1, 0, math.log(4 / 3)),
        # -log sigma(2 - 1 - 0.5) and -log sigma(0 - 1 - 0.2)
        (1, 1, 0.5, math.log1p(math.exp(-0.5))),
        (-1, 1, 0.2, math.log1p(math.exp(1.2))),
        # Target 0.6, probability 0.75.
        (LOG3, 0.6, 0, -(0.6 * math.log(0.75) + 0.4 * math.log(0.25))),
    ],
)
def test_losses_worked_by_hand(gap: float, target: float, margin: float, expected: float):
    found = pair_losses(*(torch.tensor([value], dtype=torch.float32) for value in (gap, target, margin)))
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_scaled_losses_worked_by_hand():
    # Odds of 3 and of 1/3, weighed 2 and 1/2.
    scaled = objective_of(TrainConfig(objective="scaled"))
    outputs = torch.tensor([[LOG3], [-LOG3]])
    found = scaled.losses(outputs, torch.zeros(2, 1), torch.ones(2), torch.tensor([2.0, 0.5]))
    assert found.tolist() == pytest.approx([2 * math.log(4 / 3), math.log(4) / 2], abs=1e-6)


def test_the_centre_worked_by_hand():
    assert center_penalty(torch.tensor([1.0, 2.0]), torch.tensor([0.5, -2.0])).tolist() == [2.25, 0]
    assert center_penalty(torch.tensor([0.75]), torch.tensor([0.5]), middle=0.5).tolist() == [0.0625]


@given(NUMBERS)
def test_no_margin_and_a_weight_of_one_are_bradley_terry(gaps: list[float]):
    gap = torch.tensor(gaps)
    outputs, target = gap[:, None], torch.ones_like(gap)
    plain = -torch.nn.functional.logsigmoid(gap)
    torch.testing.assert_close(pair_losses(gap, target, torch.zeros_like(gap)), plain)
    scaled = objective_of(TrainConfig(objective="scaled"))
    torch.testing.assert_close(scaled.losses(outputs, outputs * 0, target, target), plain)


@given(NUMBERS, st.floats(0, 1), st.floats(0, 1))
def test_swapping_the_responses_changes_no_loss(gaps: list[float], target: float, margin: float):
    gap, t, m = torch.tensor(gaps), torch.full((len(gaps),), target), torch.full((len(gaps),), margin)
    torch.testing.assert_close(pair_losses(gap, t, m), pair_losses(-gap, 1 - t, m))


def test_a_soft_target_has_its_least_loss_at_the_log_odds():
    gap = torch.tensor([math.log(0.8 / 0.2)], requires_grad=True)
    pair_losses(gap, torch.tensor([0.8]), torch.zeros(1)).backward()
    assert gap.grad is not None
    assert gap.grad.item() == pytest.approx(0, abs=1e-6)


def test_half_precision_is_widened_before_anything_is_subtracted():
    plain = objective_of(TrainConfig())
    chosen, rejected = (torch.tensor([[value]], dtype=torch.bfloat16) for value in (300.0, 298.0))
    loss = plain.losses(chosen, rejected, torch.ones(1), torch.tensor([0.001]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1.999)), abs=1e-6)


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"expected one shape \(pairs,\) for all, found .*margin \(2, 1\)"):
        pair_losses(torch.zeros(2), torch.zeros(2), torch.zeros(2, 1))

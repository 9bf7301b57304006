import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dissensus.records import Margin, Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.objectives import OBJECTIVES, Objective, ObjectiveName, objective_of
from dissensus.reward.objectives.losses import center_penalty, pair_losses
from dissensus.reward.objectives.targets import build_targets


def _objective(name: ObjectiveName, **settings: Any) -> Objective:
    return objective_of(TrainConfig(objective=name, **settings))


FUNCTIONS = [_objective(name, center=center) for name in OBJECTIVES for center in (0.0, 0.1)]
PLAIN, MARGIN, NORMAL = (_objective(name) for name in ("bradley-terry", "margin", "mean-variance"))
every_objective = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f"{f.name}-{f.config.center}")
SEEDS, few = st.integers(0, 10_000), settings(max_examples=10)


def _batch(function: Objective, seed: int, pairs: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(pairs, function.outputs, generator=generator) * 4 for _ in range(2))
    return a, b, torch.rand(pairs, generator=generator), torch.rand(pairs, generator=generator)


def test_an_objective_says_what_it_needs_before_torch_is_loaded():
    code = "import sys, dissensus.reward.objectives.targets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_new_objective_is_a_class_and_its_name(monkeypatch: pytest.MonkeyPatch):
    class Half(OBJECTIVES["bradley-terry"]):
        """Any label, and half of it."""

        label, reads, loss_settings = "any", "preference", ("margin_scale",)
        label_weight = 0.5

    monkeypatch.setitem(OBJECTIVES, "half", Half)
    config = TrainConfig.model_construct(**{**TrainConfig().__dict__, "objective": "half"})
    pairs = [Pair(id=f"{label}", prompt="x", response_a="a", response_b="b", label=label) for label in ("a", "tie")]
    margins = [Margin(pair_id=pair.id, margin=0.5, preference_a=0.25) for pair in pairs]
    assert config.reads_margins
    assert "margin_scale" not in config.unread
    assert config.loss().keys() == {"objective", "center", "margin_scale"}
    assert build_targets(pairs, margins, config).target.tolist() == [0.625, 0.375]


@every_objective
@few
@given(SEEDS)
def test_swapping_the_responses_changes_no_loss(function: Objective, seed: int):
    a, b, target, margin = _batch(function, seed)
    swapped = function.losses(b, a, 1 - target, margin)
    torch.testing.assert_close(function.losses(a, b, target, margin), swapped)
    torch.testing.assert_close(function.logit(a, b), -function.logit(b, a), atol=1e-5, rtol=1e-5)


@every_objective
@few
@given(SEEDS)
def test_permuting_pairs_with_their_margins_permutes_the_losses(function: Objective, seed: int):
    a, b, target, margin = _batch(function, seed)
    order = torch.randperm(len(a), generator=torch.Generator().manual_seed(seed))
    permuted = function.losses(a[order], b[order], target[order], margin[order])
    torch.testing.assert_close(permuted, function.losses(a, b, target, margin)[order])


def test_permuting_the_margins_alone_changes_the_mean():
    # A margin broadcast to [pairs, pairs] is blind to its order (a bug of TRL up to 0.23).
    a, b, target = torch.tensor([[3.0], [0.0]]), torch.zeros(2, 1), torch.ones(2)
    one = PLAIN.losses(a, b, target, torch.tensor([1.0, 0.0])).mean().item()
    assert PLAIN.losses(a, b, target, torch.tensor([0.0, 1.0])).mean().item() != pytest.approx(one, abs=1e-3)


@few
@given(SEEDS)
def test_a_loss_is_the_cross_entropy_of_its_preference(seed: int):
    for function in (one for one in FUNCTIONS[::2] if one.name != "brier"):
        a, b, target, _ = _batch(function, seed)
        p = function.logit(a.double(), b.double()).sigmoid()
        expected = -(target * p.log() + (1 - target) * (1 - p).log())
        torch.testing.assert_close(
            function.losses(a, b, target, torch.zeros(6)), expected.float(), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("target", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_the_brier_score_has_its_optimum_at_the_target_and_a_bounded_gradient(target: float):
    gap = torch.linspace(-40, 40, 80_001, dtype=torch.float64, requires_grad=True)
    other, t = torch.zeros(len(gap), 1, dtype=torch.float64), torch.full_like(gap, target)
    losses = _objective("brier").losses(gap[:, None], other, t, torch.zeros_like(gap))
    # The gap that a proper score asks for; a sure label has none, and the loss falls to 0.
    assert torch.sigmoid(gap[losses.argmin()]).item() == pytest.approx(target, abs=3e-4)
    (gradient,) = torch.autograd.grad(losses.sum(), gap)
    assert gradient.abs().max().item() <= 8 / 27 + 1e-9
    if target in (0.0, 1.0):
        worst = gap[gradient.abs().argmax()].item()
        assert (gradient.abs().max().item(), abs(worst)) == pytest.approx((8 / 27, math.log(2)), abs=1e-3)


@few
@given(SEEDS)
def test_a_reward_without_variance_is_bradley_terry(seed: int):
    a, b, target, margin = _batch(NORMAL, seed)
    a[:, 1] = b[:, 1] = -1000.0
    plain = PLAIN
    expected = plain.losses(a[:, :1], b[:, :1], target, torch.zeros(6))
    torch.testing.assert_close(NORMAL.losses(a, b, target, margin), expected, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(NORMAL.logit(a, b), plain.logit(a[:, :1], b[:, :1]), atol=2e-6, rtol=1e-5)


@every_objective
def test_gradients_are_those_of_the_differences(function: Objective):
    a, b, target, margin = (tensor.double() for tensor in _batch(function, seed=1, pairs=3))
    assert torch.autograd.gradcheck(
        lambda a, b: function.losses(a, b, target, margin), (a.requires_grad_(), b.requires_grad_())
    )


@every_objective
@pytest.mark.parametrize("gap", [-100.0, 100.0])
@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_gradients_are_finite_at_every_gap(function: Objective, gap: float, target: float):
    a = torch.zeros(1, function.outputs)
    a[0, 0] = gap
    a.requires_grad_()
    b = torch.zeros(1, function.outputs, requires_grad=True)
    losses = function.losses(a, b, torch.tensor([target]), torch.tensor([0.5]))
    losses.sum().backward()
    for tensor in (losses, a.grad, b.grad):
        assert tensor is not None
        assert torch.isfinite(tensor).all()
    wrong = losses.item() > 20 and target in (0.0, 1.0)
    assert not wrong or (a.grad is not None and a.grad.abs().max() > 0.2), "a certain mistake must still be felt"


def test_the_centre_is_added_per_pair_whatever_the_margin():
    a, b, target = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5], [-1.0]]), torch.ones(2)
    for plain in (PLAIN, MARGIN):
        centred = _objective(plain.name, center=0.1)
        margin = torch.tensor([0.3, 2.0])
        added = centred.losses(a, b, target, margin) - plain.losses(a, b, target, margin)
        assert added.tolist() == pytest.approx([0.225, 0.1], abs=1e-6)


def test_the_centre_takes_the_means_of_distributions():
    # Means 2 and 1: 9.
    a, b = torch.tensor([[2.0, 5.0]]), torch.tensor([[1.0, -5.0]])
    none = torch.zeros(1)
    added = _objective("mean-variance", center=1.0).losses(a, b, none, none) - NORMAL.losses(a, b, none, none)
    assert added.item() == pytest.approx(9, abs=1e-5)


def test_mean_and_variance_worked_by_hand():
    outputs = torch.tensor([[1.5, 0.0]])
    assert NORMAL.reward(outputs).item() == 1.5
    assert NORMAL.variance(outputs).item() == pytest.approx(math.log(2), abs=1e-6)
    assert PLAIN.variance(torch.zeros(4, 1)) is None


def test_margins_of_zero_are_bradley_terry_to_the_last_digit():
    a, b, target, _ = _batch(PLAIN, seed=3)
    label = (target > 0.5).float()
    found = _objective("margin").losses(a, b, label, torch.zeros(6))
    plain = PLAIN.losses(a, b, label, torch.zeros(6))
    assert torch.equal(found, plain)
    assert torch.equal(found, pair_losses((a - b)[:, 0], label, torch.zeros(6)))


@every_objective
def test_other_shapes_are_refused(function: Objective):
    a, b, target, margin = _batch(function, seed=0)
    for wrong in (torch.zeros(6), torch.zeros(6, function.outputs + 1)):
        with pytest.raises(ValueError, match="expected outputs of shape"):
            function.losses(wrong, wrong, target, margin)
    with pytest.raises(ValueError, match=r"one shape \(pairs,\)"):
        function.losses(a, b, target[:, None], margin)
    for call in (lambda: function.losses(a, b[:1], target, margin), lambda: function.logit(a, b[:1])):
        with pytest.raises(ValueError, match="as many a as b, found 6 and 1"):
            call()


@every_objective
def test_half_precision_is_widened(function: Objective):
    a, b, target, margin = _batch(function, seed=0)
    half = function.losses(a.bfloat16(), b.bfloat16(), target, margin)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, function.losses(a.bfloat16().float(), b.bfloat16().float(), target, margin))


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


def test_the_centre_worked_by_hand():
    assert center_penalty(torch.tensor([1.0, 2.0]), torch.tensor([0.5, -2.0])).tolist() == [2.25, 0]


def test_a_soft_target_has_its_least_loss_at_the_log_odds():
    gap = torch.tensor([math.log(0.8 / 0.2)], requires_grad=True)
    pair_losses(gap, torch.tensor([0.8]), torch.zeros(1)).backward()
    assert gap.grad is not None
    assert gap.grad.item() == pytest.approx(0, abs=1e-6)


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"expected one shape \(pairs,\) for all, found .*margin \(2, 1\)"):
        pair_losses(torch.zeros(2), torch.zeros(2), torch.zeros(2, 1))

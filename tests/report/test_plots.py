import builtins

import numpy as np
import pytest

from dissensus.errors import MissingDependencyError
from dissensus.reports.charts.plots import binned_mean, count_margins, margin_histogram, smooth, training_curves


def test_smoothing_keeps_a_constant_and_lies_within_the_data():
    assert smooth(np.full(50, 0.3)) == pytest.approx(0.3)
    noisy = np.random.default_rng(0).normal(size=400)
    assert np.std(smooth(noisy)) < 0.5 * np.std(noisy)
    assert smooth(noisy).max() < noisy.max()


def test_bins_of_few_points_are_left_out():
    x = np.array([0.1] * 5 + [0.9] * 4)
    assert binned_mean(x, x, np.array([0, 0.5, 1]))[0] == pytest.approx([0.1])


@pytest.mark.parametrize("margins", [[0.4], [0.0, 1.0], [0.2, 0.2, 1.0], list(np.linspace(0, 1, 500))])
def test_any_margins_can_be_drawn(margins):
    values, counts, width = count_margins(np.array(margins))
    svg = margin_histogram(values, counts, width)
    assert svg.startswith("<svg")
    assert "style" not in svg, "it needs none of its own"
    assert "var(--series-1)" in svg
    assert counts.sum() == len(margins)
    assert 0 < width <= 0.08


def test_names_in_any_script_are_left_to_the_browser_to_draw():
    log = {"0": [{"step": 1, "nll": 0.7}, {"step": 2, "nll": 0.6}]}
    assert training_curves({"m": {"0": [{"step": 1, "loss": 0.3}]}}, "nll", ["m"]) == "", "which was never logged"
    assert "公平 ⚖️" in training_curves({"公平 ⚖️": log, "b": log}, "nll", ["公平 ⚖️", "b"])


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def blocked(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(MissingDependencyError, match=r"dissensus\[report\]"):
        margin_histogram(np.array([0.2]), np.array([1.0]), 0.08)

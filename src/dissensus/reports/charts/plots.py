"""The report's static figures, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dissensus.evaluation.scores import Scores
from dissensus.evaluation.tables.number_format import shorten
from dissensus.reports.charts.svg import INK, MUTED, SERIES, SHADES, colour_of, drawing, marker_of
from dissensus.reports.embed import clean
from dissensus.reports.folder.load_files import Log
from dissensus.reports.group_tables import label_of
from dissensus.reports.reliability import Reliability
from dissensus.stats.metrics import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def forest(scores: Scores, metric: str) -> str:
    """Draw the paired difference of every model to the baseline, with its interval, for each group."""
    known = ((group, scores.difference(model, metric, group)) for group in scores.groups for model in scores.others)
    rows = list(dict.fromkeys(group for group, row in known if row is not None and row.value is not None))
    spread = 0.62 / max(1, len(scores.others))
    height = 0.75 + len(rows) * max(0.24, 0.17 * len(scores.others))
    with drawing(f"forest-{metric}", 4.3, height) as (axes, svg):
        axes.axvline(0, color=MUTED, linewidth=1)
        for k, model in enumerate(scores.others):
            for y, group in enumerate(rows):
                found = scores.difference(model, metric, group)
                if found is None or found.value is None:
                    continue
                at = y + (k - (len(scores.others) - 1) / 2) * spread
                colour = colour_of(scores.models, model)
                if found.low is not None and found.high is not None:
                    axes.plot([found.low, found.high], [at, at], color=colour, linewidth=1.8, solid_capstyle="round")
                axes.plot(found.value, at, marker_of(scores.models, model), color=colour, markersize=4.2)
        axes.set_yticks(range(len(rows)), [clean(shorten(label_of(group), 24)) for group in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=4, steps=[1, 2, 2.5, 5, 10])
        axes.set_xlabel(clean(f"Δ to {shorten(scores.baseline or '', 20)}"), loc="right")
    return svg()


def training_curves(logs: Mapping[str, Mapping[str, Log]], key: str, models: Sequence[str]) -> str:
    """Draw a quantity over training: a line for each seed, hollow marks for validation; empty if never logged."""
    series = {m: [_series(log, key) for log in logs[m].values()] for m in models if m in logs}
    series = {m: [s for s in lines if s[0].size] for m, lines in series.items()}
    if not any(series.values()):
        return ""
    with drawing(f"training-{key}", 4.1, 2.7) as (axes, svg):
        for model, lines in series.items():
            colour, mark = colour_of(models, model), marker_of(models, model)
            for k, (x, y) in enumerate(lines):
                x, y = _thin(x, smooth(y))
                name = clean(shorten(model, 24)) if k == 0 else None
                each = (k, max(1, len(x) // 5))
                axes.plot(x, y, mark + "-", markevery=each, markersize=3.6, color=colour, linewidth=1.4, label=name)
            for log in logs[model].values():
                x, y = _series(log, f"validation_{key}")
                axes.plot(x, y, mark, color=colour, markersize=6, markerfacecolor="none")
        axes.locator_params(axis="x", nbins=5, steps=[1, 2, 5, 10])
        has_epochs = any("epoch" in row for seeds in logs.values() for log in seeds.values() for row in log)
        axes.set_xlabel("epoch" if has_epochs else "step")
        if len(series) > 1:
            axes.legend(loc="best", labelcolor=INK, handlelength=1.6, fontsize=9)
    return svg()


def density(model: str, predicted: FloatArray, human: FloatArray, models: Sequence[str]) -> str:
    """Draw predicted, shape (seeds, n), against human preference, shape (n,): counts as shade, means as a line."""
    x, y = np.tile(human, predicted.shape[0]), predicted.ravel()
    x_edges, y_edges = np.linspace(-0.05, 1.05, 12), np.linspace(0, 1, 31)
    counts = np.histogram2d(x, y, bins=[x_edges, y_edges])[0].T
    shade = np.zeros((*counts.shape, 4))
    # The picture cannot follow the page's colours, so it is one mid-tone whose opacity is the count.
    shade[..., :3] = np.array(SHADES[models.index(model) % len(SHADES)]) / 255
    shade[..., 3] = 0.9 * np.sqrt(counts / max(1.0, counts.max()))
    centres, means = binned_mean(x, y, x_edges)
    with drawing(f"density-{models.index(model)}", 3.0, 2.9) as (axes, svg):
        axes.imshow(shade, extent=(-0.05, 1.05, 0, 1), origin="lower", aspect="auto", interpolation="none")
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.plot(centres, means, "o-", color=INK, linewidth=1.6, markersize=3.4)
        _fractions(axes)
        axes.set_xlabel("people that prefer response a")
        axes.set_ylabel("predicted")
    return svg()


def calibration(model: str, found: Reliability, predicted: FloatArray, models: Sequence[str]) -> str:
    """Draw a model's bins with their null band, and below how its predictions are spread."""
    place = models.index(model)
    with drawing(f"calibration-{place}", 3.0, 2.9) as (axes, svg):
        counts, edges = np.histogram(predicted.ravel(), bins=20, range=(0, 1))
        axes.bar(edges[:-1], 0.16 * counts / max(1, counts.max()), width=0.05, align="edge", color=MUTED, alpha=0.25)
        axes.fill_between(
            found.predicted, found.low, found.high, color=colour_of(models, model), alpha=0.22, linewidth=0
        )
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        style, colour = f"{marker_of(models, model)}-", colour_of(models, model)
        axes.errorbar(
            found.predicted, found.observed, found.reach, fmt=style, color=colour, linewidth=1.4, markersize=4.5
        )
        _fractions(axes)
        axes.set_xlabel("predicted")
        axes.set_ylabel("people that prefer response a")
    return svg()


def margin_histogram(values: FloatArray, counts: FloatArray, width: float) -> str:
    """Draw how many pairs have each margin (see `count_margins`)."""
    with drawing("margins", 4.1, 2.9) as (axes, svg):
        axes.bar(values, counts, width=width, color=SERIES[1], alpha=0.85)
        axes.grid(axis="x", visible=False)
        low, high = min(0.0, float(values.min())), max(1.0, float(values.max()))
        axes.set_xlim(low - 0.06, high + 0.06)
        axes.set_xlabel("margin: 0 an even split, 1 unanimous")
        axes.set_ylabel("training pairs")
    return svg()


def margin_against_people(margins: FloatArray, people: FloatArray, half_width: FloatArray) -> str:
    """Draw the mean margin of people's votes at each margin, all of shape (bins,), with intervals."""
    with drawing("margin-people", 4.1, 2.9) as (axes, svg):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.errorbar(margins, people, half_width, fmt="o-", color=SERIES[1], linewidth=1.4, markersize=4.5)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("margin by the judge")
        axes.set_ylabel("margin by people's votes")
    return svg()


def count_margins(margins: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Count margins of shape (n,): values, counts, and a bar's width; a bar per value where there are few.

    >>> count_margins(np.array([0.2, 1.0, 1.0]))
    (array([0.2, 1. ]), array([1., 2.]), 0.08)
    """
    values, counts = np.unique(margins.round(6), return_counts=True)
    if values.size > 24:
        counts, edges = np.histogram(margins, bins=24)
        return (edges[1:] + edges[:-1]) / 2, counts.astype(float), float(0.9 * (edges[1] - edges[0]))
    closest = float(np.diff(values).min()) if values.size > 1 else 1.0
    return values, counts.astype(float), min(0.08, 0.8 * closest)


def smooth(values: FloatArray, memory: float = 0.9) -> FloatArray:
    """Average exponentially, without the bias towards the first value.

    >>> smooth(np.array([1.0, 1.0, 1.0])).tolist()
    [1.0, 1.0, 1.0]
    """
    memory = min(memory, 1 - 3 / (len(values) + 3))
    smoothed, total, weight = np.empty(len(values)), 0.0, 0.0
    for k, value in enumerate(values):
        total, weight = memory * total + value, memory * weight + 1
        smoothed[k] = total / weight
    return smoothed


def binned_mean(x: FloatArray, y: FloatArray, edges: FloatArray, fewest: int = 5) -> tuple[FloatArray, FloatArray]:
    """Average x and y within bins of x; bins with fewer than ``fewest`` points are left out."""
    members = [np.digitize(x, edges) == k for k in range(1, len(edges))]
    members = [inside for inside in members if inside.sum() >= fewest]
    return np.array([x[m].mean() for m in members]), np.array([y[m].mean() for m in members])


def _series(log: Log, key: str) -> tuple[FloatArray, FloatArray]:
    rows = [(row.get("epoch", row.get("step")), row[key]) for row in log if row.get(key) is not None]
    found = np.array([row for row in rows if row[0] is not None], dtype=np.float64).reshape(-1, 2)
    found = found[np.isfinite(found).all(axis=1)]
    return found[:, 0], found[:, 1]


def _thin(x: FloatArray, y: FloatArray, most: int = 200) -> tuple[FloatArray, FloatArray]:
    keep = np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).round().astype(int))
    return x[keep], y[keep]


def _fractions(axes: Axes) -> None:
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set_xticks(ticks, ["0", "¼", "½", "¾", "1"])
    axes.set_yticks(ticks, ["0", "¼", "½", "¾", "1"])
    axes.set_xlim(-0.05, 1.05)
    axes.set_ylim(-0.02, 1.02)

"""The report's figures, drawn by matplotlib and returned as inline SVG that follows the page's colours."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from dissensus.errors import MissingDependencyError
from dissensus.evaluate.groups import group_label
from dissensus.evaluate.tables import TITLES, Scores, shorten
from dissensus.report.run import Log
from dissensus.stats.metrics import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# matplotlib draws in these stand-ins; each becomes a variable of the page, so that figures follow light and dark.
INK, MUTED, GRID = "#010101", "#020202", "#030303"
SERIES = tuple(f"#0000{16 + k:02x}" for k in range(8))
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)"} | {
    colour: f"var(--series-{k})" for k, colour in enumerate(SERIES)
}
_MARKERS = "osD^vPX*"

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "path.simplify": True,
}


def forest(scores: Scores, metric: str) -> str:
    """Draw the paired difference of every model to the baseline, with its interval, for each group."""
    rows = [group for group in scores.groups if any(_drawable(scores, m, metric, group) for m in scores.others)]
    spread = 0.62 / max(1, len(scores.others))
    height = 0.75 + len(rows) * max(0.24, 0.17 * len(scores.others))
    with _axes(f"forest-{metric}", 4.3, height) as (axes, svg):
        axes.axvline(0, color=MUTED, linewidth=1)
        for k, model in enumerate(scores.others):
            for y, group in enumerate(rows):
                found = scores.difference(model, metric, group)
                if found is None or found.value is None:
                    continue
                at = y + (k - (len(scores.others) - 1) / 2) * spread
                colour = _colour(scores.models, model)
                if found.low is not None and found.high is not None:
                    axes.plot([found.low, found.high], [at, at], color=colour, linewidth=1.8, solid_capstyle="round")
                axes.plot(found.value, at, _marker(scores.models, model), color=colour, markersize=4.2)
        axes.set_yticks(range(len(rows)), [shorten(group_label(group), 30) for group in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(f"Δ {TITLES.get(metric, metric)} to {shorten(scores.baseline or '', 24)}")
    return svg()


def training_curves(logs: Mapping[str, Mapping[str, Log]], key: str, models: Sequence[str]) -> str:
    """Draw a logged quantity over training: thin lines for seeds, dots for validation rows; empty if never logged."""
    series = {m: [_series(log, key) for log in seeds.values()] for m, seeds in logs.items()}
    series = {m: [s for s in lines if s[0].size] for m, lines in series.items()}
    if not any(series.values()):
        return ""
    with _axes(f"training-{key}", 4.1, 2.7) as (axes, svg):
        for model, lines in series.items():
            for k, (x, y) in enumerate(lines):
                x, y = _thin(x, smooth(y))
                name = shorten(model, 24) if k == 0 else None
                axes.plot(x, y, color=_colour(models, model), linewidth=1.4, alpha=0.85, label=name)
            for log in logs[model].values():
                x, y = _series(log, f"validation_{key}")
                axes.plot(x, y, _marker(models, model), color=_colour(models, model), markersize=4)
        axes.locator_params(axis="x", nbins=5, steps=[1, 2, 5, 10])
        axes.set_xlabel(_time_axis(logs))
        _legend(axes, len(series))
    return svg()


def density(model: str, predicted: FloatArray, human: FloatArray, models: Sequence[str]) -> str:
    """Draw predicted, shape (seeds, n), against human preference, shape (n,): counts as shade, means as a line."""
    x, y = np.tile(human, predicted.shape[0]), predicted.ravel()
    x_edges, y_edges = np.linspace(-0.05, 1.05, 12), np.linspace(0, 1, 31)
    counts = np.histogram2d(x, y, bins=[x_edges, y_edges])[0].T
    shade = np.zeros((*counts.shape, 4))
    # The picture cannot follow the page's colours, so it is one mid-tone whose opacity is the count.
    shade[..., :3] = np.array(_SHADES[models.index(model) % len(_SHADES)]) / 255
    shade[..., 3] = 0.9 * np.sqrt(counts / max(1.0, counts.max()))
    centres, means = binned_mean(x, y, x_edges)
    with _axes(f"density-{models.index(model)}", 3.0, 2.9) as (axes, svg):
        axes.imshow(shade, extent=(-0.05, 1.05, 0, 1), origin="lower", aspect="auto", interpolation="none")
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.plot(centres, means, "o-", color=INK, linewidth=1.6, markersize=3.4)
        _fractions(axes)
        axes.set_xlabel("people that prefer response a")
        axes.set_ylabel("predicted")
    return svg()


def calibration(predicted: Mapping[str, FloatArray], human: FloatArray, models: Sequence[str]) -> str:
    """Draw mean human preference in ten equally full bins of the predicted one; a calibrated model is on the line."""
    with _axes("calibration", 4.1, 3.2) as (axes, svg):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        for model, rows in predicted.items():
            x, y = equal_mass_bins(rows.ravel(), np.tile(human, rows.shape[0]))
            style = f"{_marker(models, model)}-"
            axes.plot(x, y, style, color=_colour(models, model), linewidth=1.4, markersize=4, label=shorten(model, 24))
        _fractions(axes)
        axes.set_xlabel("predicted preference for response a")
        axes.set_ylabel("people that prefer response a")
        _legend(axes, len(predicted))
    return svg()


def margin_histogram(margins: FloatArray) -> str:
    """Draw how many pairs have each margin; a bar per value where there are few values."""
    values, counts = np.unique(margins.round(6), return_counts=True)
    width = 0.8 * np.diff(values).min() if 1 < values.size <= 24 else 0.08
    if values.size > 24:
        counts, edges = np.histogram(margins, bins=24)
        values, width = (edges[1:] + edges[:-1]) / 2, 0.9 * (edges[1] - edges[0])
    with _axes("margins", 4.1, 3.2) as (axes, svg):
        axes.bar(values, counts, width=width, color=SERIES[1], alpha=0.85)
        axes.grid(axis="x", visible=False)
        axes.set_xlabel("margin: 0 an even split, 1 unanimous")
        axes.set_ylabel("training pairs")
    return svg()


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


def equal_mass_bins(x: FloatArray, y: FloatArray, bins: int = 10) -> tuple[FloatArray, FloatArray]:
    """Average x and y within bins of x that hold equally many points."""
    parts = np.array_split(np.argsort(x, kind="stable"), min(bins, x.size))
    return np.array([x[p].mean() for p in parts]), np.array([y[p].mean() for p in parts])


# Mid-tones of the Okabe-Ito palette that show on white and on black.
_SHADES = (
    (120, 128, 140),
    (30, 120, 190),
    (213, 94, 0),
    (0, 158, 115),
    (190, 110, 160),
    (205, 145, 10),
    (86, 160, 210),
    (150, 140, 60),
)


def _colour(models: Sequence[str], model: str) -> str:
    return SERIES[models.index(model) % len(SERIES)]


def _marker(models: Sequence[str], model: str) -> str:
    return _MARKERS[models.index(model) % len(_MARKERS)]


def _drawable(scores: Scores, model: str, metric: str, group: str) -> bool:
    row = scores.difference(model, metric, group)
    return row is not None and row.value is not None


def _series(log: Log, key: str) -> tuple[FloatArray, FloatArray]:
    rows = [(row.get("epoch", row.get("step")), row[key]) for row in log if row.get(key) is not None]
    found = np.array([row for row in rows if row[0] is not None], dtype=np.float64).reshape(-1, 2)
    found = found[np.isfinite(found).all(axis=1)]
    return found[:, 0], found[:, 1]


def _time_axis(logs: Mapping[str, Mapping[str, Log]]) -> str:
    return (
        "epoch" if any("epoch" in row for seeds in logs.values() for log in seeds.values() for row in log) else "step"
    )


def _thin(x: FloatArray, y: FloatArray, most: int = 200) -> tuple[FloatArray, FloatArray]:
    keep = np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).round().astype(int))
    return x[keep], y[keep]


def _fractions(axes: Axes) -> None:
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set_xticks(ticks, ["0", "¼", "½", "¾", "1"])
    axes.set_yticks(ticks, ["0", "¼", "½", "¾", "1"])
    axes.set_xlim(-0.05, 1.05)
    axes.set_ylim(-0.02, 1.02)


def _legend(axes: Axes, series: int) -> None:
    if series > 1:
        axes.legend(loc="best", labelcolor=INK, handlelength=1.6, fontsize=9)


@contextmanager
def _axes(name: str, width: float, height: float) -> Iterator[tuple[Axes, Callable[[], str]]]:
    """Give axes of a new figure, in inches, and a function that returns it as SVG once it is drawn."""
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", extra="report", need="the report") from error
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        drawn: list[str] = []
        yield figure.subplots(), lambda: drawn[0]
        drawn.append(_inline(_save(figure)))


def _save(figure: Figure) -> str:
    out = io.BytesIO()
    nothing: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with warnings.catch_warnings():
        # The browser draws the text, with its own fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(out, format="svg", metadata=nothing)
    return out.getvalue().decode("utf-8")


def _inline(svg: str) -> str:
    """Make a file's SVG part of a page: no prologue, no addresses, no ids but the ones in use, colours by name."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"#[0-9a-f]{6}", lambda found: _VARIABLES.get(found[0], found[0]), svg)
    return re.sub(r"\s*\n\s*", "\n", svg)

"""The report's figures, each with the table of what it shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.special import ndtri

from dissensus.evaluation.join import Joined
from dissensus.evaluation.metrics import WITHIN, lower_is_better, title_of
from dissensus.evaluation.scores import Scores
from dissensus.evaluation.tables.build import group_metrics
from dissensus.evaluation.tables.number_format import number
from dissensus.reports.charts import plots
from dissensus.reports.folder.load_files import Log
from dissensus.reports.folder.run_reader import RunData
from dissensus.reports.group_tables import label_of
from dissensus.reports.reliability import reliability
from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.clusters import IntArray

Cell = str | int | float | None


@dataclass(frozen=True)
class Figure:
    """A drawing, and the numbers that it draws."""

    name: str
    """Of the file to download."""
    caption: str
    svg: Markup
    """matplotlib has escaped every text in it."""
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class _People:
    """What people say of n pairs, arrays of shape (n,)."""

    human: FloatArray
    votes: FloatArray
    clusters: IntArray
    """The number of each pair's prompt."""
    are_estimates: bool
    """Whether some gave estimates, of which no chance is known that a null band could be drawn from."""

    @classmethod
    def of(cls, joined: Joined) -> _People:
        prompts: dict[tuple[str | None, str], int] = {}
        clusters = [prompts.setdefault((pair.dataset, pair.group), len(prompts)) for pair in joined.pairs]
        votes = [pair.votes.n if pair.votes else 1 for pair in joined.pairs]
        estimates = any(pair.votes is not None and pair.votes.are_estimates for pair in joined.pairs)
        return cls(joined.human, np.array(votes, dtype=np.float64), np.array(clusters, dtype=np.int64), estimates)


def draw_figures(run: RunData, scores: Scores, models: Sequence[str]) -> dict[str, list[Figure]]:
    """Draw what there is data for: section names to figures."""
    figures = {
        "forest": list(_forests(scores)),
        "training": list(_training(run.logs, models)),
        "margins": list(_margins(run)),
    }
    joined = run.joined
    if joined is not None:
        in_order = {model: joined.predicted[model] for model in models if model in joined.predicted}
        people = _People.of(joined)
        figures["density"] = [_density(m, rows, joined.human, models) for m, rows in in_order.items()]
        figures["calibration"] = [_calibration(m, p, people, scores, models, run.level) for m, p in in_order.items()]
    return figures


def _forests(scores: Scores) -> Iterator[Figure]:
    if scores.baseline is None:
        return
    found = [WITHIN, *group_metrics(scores)] if scores.groups_with(WITHIN) else group_metrics(scores)
    for metric in sorted(found, key=lambda metric: metric not in scores.primary):
        rows = list(_differences(scores, metric))
        if rows:
            side = "left" if lower_is_better(metric) else "right"
            caption = f"{title_of(metric)}: {side} of the line is better"
            if scores.primary and metric not in scores.primary:
                caption += "; exploratory" + (" where data sets are pooled" if metric == "pearson" else "")
            header = ("pairs", "model", "n", "difference", "low", "high", "adjusted p")
            yield Figure(f"differences-{metric}", caption, Markup(plots.forest(scores, metric)), header, rows)


def _differences(scores: Scores, metric: str) -> Iterator[Sequence[Cell]]:
    for group in scores.groups:
        for model in scores.others:
            row = scores.difference(model, metric, group)
            if row is not None and row.value is not None:
                yield label_of(group), model, row.n, row.value, row.low, row.high, row.p_holm


def _training(logs: Mapping[str, Mapping[str, Log]], models: Sequence[str]) -> Iterator[Figure]:
    for key, caption in (("nll", "Bradley-Terry NLL on the labels"), ("accuracy", "Accuracy on the labels")):
        if drawn := plots.training_curves(logs, key, models):
            rows = [
                (model, seed, row.get("step"), row.get("epoch"), row.get(key), row.get(f"validation_{key}"))
                for model, seeds in logs.items()
                for seed, log in seeds.items()
                for row in _spread(log)
                if row.get(key) is not None or row.get(f"validation_{key}") is not None
            ]
            header = ("model", "seed", "step", "epoch", key, f"validation {key}")
            yield Figure(f"training-{key}", caption, Markup(drawn), header, rows)


def _spread(log: Log, most: int = 20) -> Log:
    """Keep so many rows of a long log, evenly spread, and all of its validations."""
    kept = set(np.linspace(0, len(log) - 1, min(most, len(log))).round().astype(int).tolist())
    return [row for k, row in enumerate(log) if k in kept or any(key.startswith("validation_") for key in row)]


def _density(model: str, predicted: FloatArray, human: FloatArray, models: Sequence[str]) -> Figure:
    edges = np.linspace(-0.05, 1.05, 12)
    x, y = np.tile(human, predicted.shape[0]), predicted.ravel()
    rows = []
    for k in range(1, len(edges)):
        inside = np.digitize(x, edges) == k
        if inside.any():
            low, middle, high = np.quantile(y[inside], (0.1, 0.5, 0.9)).tolist()
            rows.append((round(0.1 * (k - 1), 1), int(inside.sum()), float(y[inside].mean()), low, middle, high))
    header = ("people for a", "predictions", "mean", "10 %", "median", "90 %")
    svg = plots.density(model, predicted, human, models)
    return Figure(f"predicted-{models.index(model)}", model, Markup(svg), header, rows)


def _calibration(
    model: str, predicted: FloatArray, people: _People, scores: Scores, models: Sequence[str], level: float
) -> Figure:
    found = reliability(predicted, people.human, people.votes, people.clusters, level=level)
    header: tuple[str, ...] = ("bin", "predictions", "mean predicted", "people for a", "standard error")
    columns: tuple[NDArray[np.generic], ...] = (
        found.counts.astype(int), found.predicted, found.observed, found.error
    )  # fmt: skip
    if people.are_estimates:
        nowhere = np.full_like(found.low, np.nan)
        found = replace(found, low=nowhere, high=nowhere)
    else:
        header, columns = (*header, "null low", "null high"), (*columns, found.low, found.high)
    svg = plots.calibration(model, found, predicted, models)
    rows = [(k + 1, *cells) for k, cells in enumerate(zip(*(c.tolist() for c in columns), strict=True))]
    caption = f"{model}{_error(scores, model)}: {found.misses} of {found.counts.size} bins off the dashes"
    return Figure(f"calibration-{models.index(model)}", caption, Markup(svg), header, rows)


def _error(scores: Scores, model: str) -> str:
    rows = (scores.value(model, metric) for metric in ("ece", "ece_null"))
    ece, null = (row.value if row is not None else None for row in rows)
    if ece is None:
        return ""
    return f" · ECE {number(ece)}" + ("" if null is None else f" (calibrated would give {number(null)})")


def _margins(run: RunData) -> Iterator[Figure]:
    if not run.margins:
        return
    values, counts, width = plots.count_margins(np.array([margin.margin for margin in run.margins]))
    rows = list(zip(values.tolist(), counts.astype(int).tolist(), strict=True))
    svg = plots.margin_histogram(values, counts, width)
    yield Figure("margins", "How many pairs have each margin", Markup(svg), ("margin", "pairs"), rows)
    bins = _people_by_margin(run)
    if len(bins) > 1:
        margin, people, half, _ = (np.array(column, dtype=np.float64) for column in zip(*bins, strict=True))
        drawn = Markup(plots.margin_against_people(margin, people, half))
        table = [(m, n, p, p - h, p + h) for m, p, h, n in bins]
        header = ("margin", "pairs", "people's margin", "low", "high")
        caption = f"Mean margin of people's votes on the same pairs, with {100 * run.level:g} % intervals"
        yield Figure("margin-people", caption, drawn, header, table)


def _people_by_margin(run: RunData, fewest: int = 5) -> list[tuple[float, float, float, int]]:
    """Bins of pairs with a margin and votes: mean margin, mean |2h - 1| of people, half its interval, pairs."""
    votes = {pair.id: pair.votes for pair in run.training if pair.votes is not None}
    votes |= {pair.id: pair.votes for pair in (run.joined.pairs if run.joined else ()) if pair.votes is not None}
    both = [(m.margin, abs(2 * votes[m.pair_id].preference - 1)) for m in run.margins if m.pair_id in votes]
    if not both:
        return []
    x, y = np.array(both).T
    reach = float(ndtri((1 + run.level) / 2))
    few = np.unique(x.round(6)).size <= 12
    keys = x.round(6) if few else np.clip((x * 10).astype(int), 0, 9)
    found = []
    for key in np.unique(keys):
        inside = keys == key
        n = int(inside.sum())
        if n >= fewest:
            half = reach * float(y[inside].std(ddof=1)) / n**0.5
            found.append((float(x[inside].mean()), float(y[inside].mean()), half, n))
    return found

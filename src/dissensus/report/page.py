"""One self-contained HTML page of a run, which opens offline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from dissensus import __version__
from dissensus.evaluate.groups import group_field, group_label
from dissensus.evaluate.tables import BETTER, TITLES, UNDEFINED, Scores, interval, notes, number
from dissensus.records import Metric
from dissensus.report import plots
from dissensus.report.findings import Finding, find_findings, headline
from dissensus.report.run import RunData, load_run

_FIELD_TITLES = {
    "all": "",
    "dataset": "Data set",
    "domain": "Domain",
    "category": "Category",
    "category&domain": "Category by domain",
    "distinct": "Responses",
}


def write_report(run: Path, out: Path) -> None:
    """Write the page of a run's folder; an unfinished run gives a page that names what is missing.

    Raises:
        InputError: ``run`` is no run folder, or holds a file that cannot be read.
        MissingDependencyError: matplotlib is not installed.
        OutputError: the page cannot be written.
    """
    from dissensus.files import write_text

    write_text(out, render(load_run(run)))


def render(run: RunData) -> str:
    """Render a run's page as HTML."""
    environment = Environment(
        loader=PackageLoader("dissensus.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(interval_bar=IntervalBar, undefined=UNDEFINED)
    environment.filters.update(
        number=number, signed=lambda value: number(value, signed=True), interval=interval, duration=duration
    )
    scores = Scores(run.metrics)
    models = scores.models or (list(run.joined.models) if run.joined else list(run.logs))
    findings = find_findings(scores)
    return environment.get_template("report.html").render(
        run=run,
        title=run.manifest.get("title") or run.name,
        version=__version__,
        headline=headline(findings, scores),
        findings=findings,
        facts=list(_facts(run, scores)),
        scores=scores,
        titles=TITLES,
        tables=[_GroupTable.of(scores, metric) for metric in ("pearson", "l1")] if run.metrics else [],
        notes=notes(scores),
        overall_notes=_overall_notes(run.metrics),
        figures=_figures(run, scores, models),
        **_judged(run),
        config=run.config or _yaml(run.manifest.get("config")),
        environment=run.manifest.get("environment") or {},
        stages=run.manifest.get("stages") or [],
        inputs=run.manifest.get("inputs") or [],
    )


@dataclass(frozen=True)
class IntervalBar:
    """Where an interval lies on an axis from -limit to limit, in percent of its width."""

    row: Metric
    limit: float

    def at(self, value: float | None) -> float:
        """Place a value: 0 at the left end, 50 at no difference, 100 at the right end."""
        share = 0.0 if value is None or self.limit == 0 else value / self.limit
        return round(50 + 46 * min(1.0, max(-1.0, share)), 2)

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, or ``open`` where the interval holds zero."""
        return Finding.verdict_on(self.row)


@dataclass(frozen=True)
class _GroupTable:
    """One of the paper's tables: sections of groups, each with the models' cells."""

    metric: str
    title: str
    better: str
    sections: Mapping[str, Sequence[tuple[str, str]]]
    """Section titles to (group, label)."""
    limit: float
    """The largest end of an interval of a difference: the common scale of the bars."""

    @classmethod
    def of(cls, scores: Scores, metric: str) -> _GroupTable:
        sections: dict[str, list[tuple[str, str]]] = {}
        ends = [0.0]
        for group in scores.groups:
            title = _FIELD_TITLES.get(group_field(group), group_field(group))
            sections.setdefault(title, []).append((group, "All pairs" if group == "all" else group_label(group)))
            for model in scores.others:
                row = scores.difference(model, metric, group)
                ends += [abs(end) for end in (row.value, row.low, row.high) if end is not None] if row else []
        return cls(metric, TITLES[metric], BETTER.get(metric, "higher"), sections, max(ends))


def _overall_notes(metrics: Sequence[Metric]) -> list[str]:
    said = [row.note.split("; ") for row in metrics if row.group == "all" and row.note]
    return list(dict.fromkeys(note for parts in said for note in parts if "undefined" not in note))


def _facts(run: RunData, scores: Scores) -> Iterator[tuple[str, str]]:
    """What the run rests on, as (number, noun)."""
    if run.joined is not None:
        votes = sum(pair.votes.n for pair in run.joined.pairs if pair.votes is not None)
        prompts = len({(pair.dataset, pair.group) for pair in run.joined.pairs})
        yield f"{len(run.joined.pairs):,}", "test pairs"
        yield f"{prompts:,}", "prompt" if prompts == 1 else "prompts"
        yield f"{votes:,}", "votes of people"
        yield str(len(run.joined.models)), "models" if len(run.joined.models) != 1 else "model"
        seeds = max(len(rows) for rows in run.joined.predicted.values())
        yield str(seeds), "seed each" if seeds == 1 else "seeds each"
    elif (row := next((r for m in scores.models if (r := scores.value(m, "l1")) is not None), None)) is not None:
        yield f"{row.n:,}", "test pairs"
    if run.margins:
        yield f"{len(run.margins):,}", "margins for training"
    seconds = [stage.get("seconds") for stage in run.manifest.get("stages") or []]
    if any(seconds):
        yield duration(sum(s for s in seconds if s)), "in all"


def _judged(run: RunData) -> dict[str, int]:
    """Count judgments, those that name no winner among them, and training pairs that are left out for want of one.

    The manifest's counts hold those of pairs without a margin too; where it has none, the margins' own have to do.
    """
    stages = run.manifest.get("stages") or []
    noted = next((stage.get("counts") or {} for stage in stages if stage.get("name") == "margin"), {})
    invalid = sum(margin.n_invalid for margin in run.margins)
    valid = sum(margin.n_judgments for margin in run.margins)
    own = {"judgments": valid + invalid, "invalid": invalid, "left_out": 0}
    return {name: noted.get(name, count) for name, count in own.items()}


def _figures(run: RunData, scores: Scores, models: Sequence[str]) -> dict[str, list[tuple[str, Markup]]]:
    """Draw what there is data for: section names to (caption, SVG)."""
    figures: dict[str, list[tuple[str, str]]] = {
        "forest": [], "training": [], "density": [], "calibration": [], "margins": []
    }  # fmt: skip
    if scores.baseline is not None and scores.others:
        figures["forest"] = [
            (f"{TITLES[m]}: {'left' if m in BETTER else 'right'} of the line is better", plots.forest(scores, m))
            for m in ("pearson", "l1")
            if any((row := scores.difference(o, m)) is not None and row.value is not None for o in scores.others)
        ]
    named = [*models, *(model for model in run.logs if model not in models)]
    for key, caption in (("nll", "Bradley-Terry NLL on the labels"), ("accuracy", "Accuracy on the labels")):
        if drawn := plots.training_curves(run.logs, key, named):
            figures["training"].append((caption, drawn))
    if run.joined is not None:
        named = [*models, *(model for model in run.joined.models if model not in models)]
        in_order = {model: run.joined.predicted[model] for model in named if model in run.joined.predicted}
        figures["density"] = [(m, plots.density(m, p, run.joined.human, named)) for m, p in in_order.items()]
        figures["calibration"] = [("", plots.calibration(in_order, run.joined.human, named))]
    if run.margins:
        margins = np.array([margin.margin for margin in run.margins])
        figures["margins"] = [("", plots.margin_histogram(margins))]
    # matplotlib has escaped every text in them.
    return {name: [(caption, Markup(svg)) for caption, svg in drawn] for name, drawn in figures.items()}


def duration(seconds: float) -> str:
    """Write a time for people.

    >>> duration(0.4), duration(75), duration(3900)
    ('0.4 s', '1 min 15 s', '1 h 05 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _yaml(value: Any) -> str:
    return "" if not value else yaml.safe_dump(value, sort_keys=False, allow_unicode=True)

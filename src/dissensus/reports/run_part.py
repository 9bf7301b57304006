"""One run's part of the page: what each of its sections shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dissensus.evaluation.groups import count_prompts
from dissensus.evaluation.metrics import HEADLINE, name_of, title_of
from dissensus.evaluation.scores import Scores
from dissensus.evaluation.tables.build import group_metrics
from dissensus.evaluation.tables.judge_tables import calibration_tables
from dissensus.evaluation.tables.number_format import listed
from dissensus.evaluation.tables.table import Table
from dissensus.records import Metric
from dissensus.reports.charts.figures import Figure, draw_figures
from dissensus.reports.data_card import Card, make_card
from dissensus.reports.findings import find_findings, headline
from dissensus.reports.folder.run_reader import RunData
from dissensus.reports.group_tables import GroupTable, Notes
from dissensus.reports.methods import methods_paragraph, percent
from dissensus.reports.pair_data import PairView
from dissensus.reports.summary import Summary, summarise
from dissensus.run_records import MarginCounts

_TITLES = {
    "summary": "Summary",
    "pairs": "Pairs",
    "forest": "Differences",
    "calibration": "Reliability",
    "margins": "Margins",
    "judges": "Judges",
    "training": "Training",
    "metrics": "All metrics",
    "seeds": "Seeds",
    "data": "Data",
    "agreement": "Agreement",
    "notes": "Notes",
    "made": "How it was made",
}


@dataclass
class RunPart:
    """One run on the page, and what the page's templates ask of it."""

    run: RunData
    title: str
    place: int
    """Its number on the page, from 0."""
    scores: Scores
    models: list[str]
    """Those that were scored, have predicted or were trained."""
    headline: str
    """What was found, in a sentence."""
    summary: Summary | None
    tables: list[GroupTable]
    """By groups of pairs."""
    notes: Notes
    """Of all rows, numbered."""
    seeds: dict[str, list[Metric]]
    """Titles of metrics to the rows of what was trained with several seeds; empty where nothing was."""
    figures: dict[str, list[Figure]]
    """By section."""
    card: Card | None
    """Of the data sets."""
    methods: str
    calibrated: Mapping[str, Sequence[Table]]
    """The tables of calibrated judges, by the name of their margins."""
    judged: MarginCounts
    hashes: dict[str, str]
    """The files that stages have written, to their SHA-256."""
    percent: str
    """The coverage of the intervals."""
    primary: str
    """The primary metrics, in words."""
    counts_seeds: bool
    """Whether intervals count how training seeds vary."""
    tested: bool
    """Whether differences have p-values."""
    view: PairView | None = None
    """The pairs that one can look at."""
    without: list[str] = field(default_factory=list)
    """What is left out so that the page stays small, in words."""

    @classmethod
    def of(cls, run: RunData, title: str, place: int) -> RunPart:
        """Compute all but the pairs, of which a page has room for some."""
        scores = Scores(run.metrics)
        predicted = run.joined.models if run.joined else ()
        models = list(dict.fromkeys([*(scores.models or predicted), *predicted, *run.logs]))
        seeds = {title_of(metric): scores.seed_rows(metric) for metric in (*HEADLINE, "brier")}
        return cls(
            run=run,
            title=title,
            place=place,
            scores=scores,
            models=models,
            headline=headline(find_findings(scores), scores),
            summary=summarise(scores),
            tables=[GroupTable.of(scores, m) for m in group_metrics(scores)] if scores.models else [],
            notes=Notes(run.metrics, place),
            seeds={
                title: found for title, rows in seeds.items() if (found := [r for r in rows if r.value is not None])
            },
            figures=draw_figures(run, scores, models),
            card=make_card(run, scores),
            methods=methods_paragraph(run, scores),
            calibrated={name: calibration_tables(found) for name, found in run.calibrations.items()},
            judged=_judged(run),
            hashes={path: sha256 for stage in run.manifest.stages for path, sha256 in stage.outputs.items()},
            percent=percent(run.level),
            primary=listed([name_of(metric) for metric in scores.primary]) if scores.primary else "",
            counts_seeds=any(row.method == "t" and row.kind == "model" for row in run.metrics),
            tested=any(row.p_holm is not None for row in run.metrics),
        )

    @property
    def overall_notes(self) -> list[str]:
        """The notes of what stands in the cards, each once, as sentences."""
        metrics = dict.fromkeys((*self.scores.primary, *HEADLINE))
        rows = [self.scores.value(m, metric) for m in self.scores.models for metric in metrics]
        rows += [self.scores.difference(m, metric) for m in self.scores.others for metric in metrics]
        said = [note for row in rows if row is not None for note in row.notes]
        return [note[0].upper() + note[1:] + "." for note in dict.fromkeys(said) if "undefined" not in note]

    @property
    def by_role(self) -> dict[str, list[str]]:
        """The metrics, the primary ones first; all under no title where nothing says what is primary."""
        if not self.scores.primary:
            return {"": self.scores.metrics}
        others = [metric for metric in self.scores.metrics if metric not in self.scores.primary]
        return {"Primary": self.scores.primary, **({"Exploratory": others} if others else {})}

    @property
    def facts(self) -> Iterator[tuple[str, str]]:
        """What the run rests on, as (number, noun)."""
        if (joined := self.run.joined) is not None:
            prompts, seeds = count_prompts(joined.pairs), max(len(rows) for rows in joined.predicted.values())
            yield f"{len(joined.pairs):,}", "test pairs"
            yield f"{prompts:,}", "prompt" if prompts == 1 else "prompts"
            yield f"{sum(pair.votes.n for pair in joined.pairs if pair.votes is not None):,}", "votes of people"
            yield str(len(joined.models)), "models" if len(joined.models) != 1 else "model"
            yield str(seeds), "seed each" if seeds == 1 else "seeds each"
        else:
            rows = (self.scores.value(model, "l1") for model in self.scores.models)
            if (row := next(filter(None, rows), None)) is not None:
                yield f"{row.n:,}", "test pairs"
        if self.run.margins:
            yield f"{len(self.run.margins):,}", "margins for training"
        if seconds := sum(stage.seconds or 0 for stage in self.run.manifest.stages):
            yield duration(seconds), "in all"

    @property
    def contents(self) -> dict[str, str]:
        """The sections that there is something for: their keys to short titles, in the order of the page."""
        there = {
            "summary": self.summary is not None,
            "pairs": self.view is not None,
            **{table.metric: True for table in self.tables},
            **{key: bool(self.figures.get(key)) for key in ("forest", "calibration", "margins")},
            "judges": bool(self.run.judged.judges or self.calibrated),
            "training": bool(self.figures.get("training")),
            "metrics": bool(self.scores.models),
            "seeds": bool(self.seeds),
            "data": self.card is not None,
            "agreement": self.card is not None and bool(self.card.coefficients),
            "notes": bool(self.notes.all),
            "made": True,
        }
        titles = _TITLES | {table.metric: table.title for table in self.tables}
        return {key: titles[key] for key, is_there in there.items() if is_there}


def _judged(run: RunData) -> MarginCounts:
    """Count judgments, invalid ones among them, and training pairs that are left out for want of a vote.

    The manifest's counts hold those of pairs without a margin too; where it has none, the margins' own have to do.
    """
    invalid = sum(margin.n_invalid for margin in run.margins)
    valid = sum(margin.n_judgments for margin in run.margins)
    own = MarginCounts(judgments=valid + invalid, invalid=invalid, left_out=0)
    if run.settings.cross_validate is not None:  # a pair is judged again in each fold, and the margins shown are of one
        return own.model_copy(update={"left_out": max(0, len(run.training) - len(run.margins))})
    return own.model_copy(update=dict(run.manifest.counts("margin", MarginCounts).shown()))


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

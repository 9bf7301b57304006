"""One run's part of the page: what each of its sections shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dissensus.evaluation.metrics import HEADLINE, name_of
from dissensus.evaluation.scores import Scores
from dissensus.evaluation.tables.build import group_metrics
from dissensus.evaluation.tables.number_format import listed
from dissensus.reports.charts.figures import Figure, draw_figures
from dissensus.reports.data_card import Card, make_card
from dissensus.reports.findings import find_findings, headline
from dissensus.reports.folder.run_reader import RunData
from dissensus.reports.footnotes import Notes
from dissensus.reports.group_tables import GroupTable
from dissensus.reports.methods import methods_paragraph, percent
from dissensus.reports.pair_data import PairView
from dissensus.reports.seed_spread import SeedRow, seed_rows
from dissensus.reports.summary import Summary, summarise
from dissensus.run_records import MarginCounts

_BEFORE = (("summary", "Summary"), ("pairs", "Pairs"))
"""Sections that stand before the tables by group."""
_BEHIND = (
    ("forest", "Differences"),
    ("calibration", "Reliability"),
    ("margins", "Margins"),
    ("judges", "Judges"),
    ("training", "Training"),
    ("metrics", "All metrics"),
    ("seeds", "Seeds"),
    ("data", "Data"),
    ("agreement", "Agreement"),
    ("notes", "Notes"),
    ("made", "How it was made"),
)


@dataclass
class RunPart:
    """One run on the page."""

    run: RunData
    title: str
    place: int
    """Its number on the page, from 0."""
    view: PairView | None = None
    """The pairs that one can look at."""
    without: list[str] = field(default_factory=list)
    """What is left out so that the page stays small, in words."""

    @cached_property
    def scores(self) -> Scores:
        """The scorecard."""
        return Scores(self.run.metrics)

    @cached_property
    def models(self) -> list[str]:
        """The models that were scored, have predicted or were trained."""
        predicted = self.run.joined.models if self.run.joined else ()
        return list(dict.fromkeys([*(self.scores.models or predicted), *predicted, *self.run.logs]))

    @cached_property
    def headline(self) -> str:
        """What was found, in a sentence."""
        return headline(find_findings(self.scores), self.scores)

    @cached_property
    def summary(self) -> Summary | None:
        """The numbers behind the headline."""
        return summarise(self.scores)

    @cached_property
    def tables(self) -> list[GroupTable]:
        """The tables by groups of pairs."""
        return [GroupTable.of(self.scores, m) for m in group_metrics(self.scores)] if self.scores.models else []

    @cached_property
    def notes(self) -> Notes:
        """The notes of all rows, numbered."""
        return Notes(self.run.metrics, self.place)

    @cached_property
    def seeds(self) -> dict[str, Sequence[SeedRow]]:
        """The spread between training seeds."""
        return seed_rows(self.scores)

    @cached_property
    def figures(self) -> dict[str, list[Figure]]:
        """The drawings, by section."""
        return draw_figures(self.run, self.scores, self.models)

    @cached_property
    def card(self) -> Card | None:
        """The card of the data sets."""
        return make_card(self.run, self.scores)

    @cached_property
    def methods(self) -> str:
        """The paragraph on methods."""
        return methods_paragraph(self.run, self.scores)

    @property
    def counts_seeds(self) -> bool:
        """Whether intervals count how training seeds vary."""
        return any(row.method == "t" and row.kind == "model" for row in self.run.metrics)

    @property
    def percent(self) -> str:
        """The coverage of the intervals."""
        return percent(self.run.level)

    @property
    def tested(self) -> bool:
        """Whether differences have p-values."""
        return any(row.p_holm is not None for row in self.run.metrics)

    @property
    def primary(self) -> str:
        """The primary metrics, in words."""
        return listed([name_of(metric) for metric in self.scores.primary]) if self.scores.primary else ""

    @property
    def hashes(self) -> dict[str, str]:
        """The files that stages have written, to their SHA-256."""
        return {path: sha256 for stage in self.run.manifest.stages for path, sha256 in stage.outputs.items()}

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
        if self.run.joined is not None:
            votes = sum(pair.votes.n for pair in self.run.joined.pairs if pair.votes is not None)
            prompts = len({(pair.dataset, pair.group) for pair in self.run.joined.pairs})
            yield f"{len(self.run.joined.pairs):,}", "test pairs"
            yield f"{prompts:,}", "prompt" if prompts == 1 else "prompts"
            yield f"{votes:,}", "votes of people"
            yield str(len(self.run.joined.models)), "models" if len(self.run.joined.models) != 1 else "model"
            seeds = max(len(rows) for rows in self.run.joined.predicted.values())
            yield str(seeds), "seed each" if seeds == 1 else "seeds each"
        elif (
            row := next((r for m in self.scores.models if (r := self.scores.value(m, "l1")) is not None), None)
        ) is not None:
            yield f"{row.n:,}", "test pairs"
        if self.run.margins:
            yield f"{len(self.run.margins):,}", "margins for training"
        if seconds := sum(stage.seconds or 0 for stage in self.run.manifest.stages):
            yield duration(seconds), "in all"

    @property
    def judged(self) -> MarginCounts:
        """Judgments, invalid ones among them, and training pairs that are left out for want of a vote.

        The manifest's counts hold those of pairs without a margin too; where it has none, the margins' own have to do.
        """
        invalid = sum(margin.n_invalid for margin in self.run.margins)
        valid = sum(margin.n_judgments for margin in self.run.margins)
        own = MarginCounts(judgments=valid + invalid, invalid=invalid, left_out=0)
        return own.model_copy(update=dict(self.run.manifest.counts("margin", MarginCounts).shown()))

    @property
    def contents(self) -> dict[str, str]:
        """List the sections that there is something for: their keys to short titles."""
        drawn = {key: bool(self.figures.get(key)) for key in ("forest", "calibration", "margins", "training")}
        there = {
            "summary": self.summary is not None,
            "pairs": self.view is not None,
            **drawn,
            "judges": bool(self.run.judged.judges),
            "metrics": bool(self.scores.models),
            "seeds": bool(self.seeds),
            "data": self.card is not None,
            "agreement": self.card is not None and bool(self.card.coefficients),
            "notes": bool(self.notes.all),
            "made": True,
        }
        before, behind = ({key: title for key, title in some if there[key]} for some in (_BEFORE, _BEHIND))
        return {**before, **{table.metric: table.title for table in self.tables}, **behind}


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

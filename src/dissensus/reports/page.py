"""One self-contained HTML page of a run, or of several, which opens offline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from dissensus import __version__
from dissensus.evaluation.metrics import HEADLINE, METRICS, lower_is_better, name_of
from dissensus.evaluation.scores import Scores
from dissensus.evaluation.tables.build import group_metrics
from dissensus.evaluation.tables.number_format import UNDEFINED, interval, listed, number
from dissensus.records import Metric
from dissensus.reports.board import Board
from dissensus.reports.charts.figures import draw_figures
from dissensus.reports.compare import RESAMPLES, compare
from dissensus.reports.data_card import COEFFICIENTS, make_card
from dissensus.reports.embed import clean, isolate, source_hash
from dissensus.reports.findings import find_findings, headline
from dissensus.reports.folder.run_reader import RunData, load_run
from dissensus.reports.folder.safe_folder import check_page
from dissensus.reports.footnotes import Notes
from dissensus.reports.group_tables import GroupTable, IntervalBar
from dissensus.reports.judge_data import RESAMPLES as JUDGE_RESAMPLES
from dissensus.reports.methods import methods_paragraph, percent
from dissensus.reports.pair_data import BUDGET, view_pairs
from dissensus.reports.sections import contents
from dissensus.reports.seed_spread import seed_rows
from dissensus.reports.summary import MEASURES, summarise
from dissensus.run_records import MarginCounts

LIMIT = 3_000_000
"""Bytes that a page should not have more of."""
_FEWEST_BYTES = 45_000
"""Of each run's pairs: below this there is little to look at."""
_DISPENSABLE = {
    "density": "pictures of all pairs and seeds",
    "training": "training curves",
    "forest": "drawings of the differences by group",
    "calibration": "reliability diagrams",
    "margins": "drawings of the margins",
}
"""Figures that a page of many runs does without, the first first."""


def write_report(run: Path | Sequence[Path], out: Path, *, store: Path | None = None) -> list[str]:
    """Write the page of a run's folder, or of several; an unfinished run gives a page that names what is missing.

    The page replaces nothing but an earlier page.

    Args:
        run: the folder, or several.
        out: the page.
        store: the judgments of a single run, where they are not in its folder.

    Returns:
        What was not read because it leads out of a folder or is no plain file, in words.

    Raises:
        InputError: a folder is no run, or holds a file that cannot be read.
        MissingDependencyError: matplotlib is not installed.
        OutputError: the page cannot be written, or something else has its name.
    """
    from dissensus.files import write_text

    folders = [run] if isinstance(run, Path) else run
    check_page(out)
    runs = [load_run(folder, store=store) for folder in folders]
    write_text(out, render(*runs))
    return [f"{run.folder}/{words}" for run in runs for words in run.refused]


def render(*runs: RunData) -> str:
    """Render the page of one run, or of several that it compares, as HTML.

    The more runs, the less of each, so that the page stays within ``LIMIT`` bytes: fewer of its pairs, and beyond that
    fewer kinds of figures, of which the page tells. Some twelve runs fit; of more the page grows.
    """
    environment = _environment()
    loader = environment.loader
    assert loader is not None
    style, script = (loader.get_source(environment, name)[0] for name in ("report.css", "report.js"))
    titles = _name_runs(runs)
    parts = [_describe(run, title, k) for k, (run, title) in enumerate(zip(runs, titles, strict=True))]
    known = {
        "title": " · ".join(dict.fromkeys(titles)),
        "style": Markup(style),
        "script": Markup(script),
        "policy": _policy(style, script),
        "version": __version__,
        "comparison": compare(runs, titles),
        "runs": parts,
    }

    def write(budget: int) -> str:
        for part in parts:
            part["view"] = view_pairs(part["run"], part["models"], budget=budget)
            part["contents"] = contents(part)
        page = environment.get_template("report.html").render(known)
        return clean(re.sub(r"\s*\n\s*(?=<(?:td|th|tr)\b)", "\n", page))

    page = write(BUDGET // len(runs))
    if _size(page) <= LIMIT:
        return page
    page = write(_FEWEST_BYTES)
    for kind, words in _DISPENSABLE.items():
        if _size(page) <= LIMIT:
            break
        for part in parts:
            part["figures"] = {**part["figures"], kind: []}
            part["without"] = [*part["without"], words]
        page = write(_FEWEST_BYTES)
    room = (LIMIT - _size(page)) // len(runs)
    # Pairs in the lists take room outside of the data too, so not all of the room is for the data.
    fuller = write(_FEWEST_BYTES + room // 2) if room > 4_000 else page
    return fuller if _size(fuller) <= LIMIT else page


def _size(page: str) -> int:
    return len(page.encode("utf-8"))


def _name_runs(runs: Sequence[RunData]) -> list[str]:
    """Name runs by their titles; where two have the same, with the name, the folder or else a number."""
    titles = [run.manifest.title or run.name for run in runs]
    named = list(titles)
    for title in dict.fromkeys(titles):
        same = [k for k, own in enumerate(titles) if own == title]
        tells = ([runs[k].name for k in same], [runs[k].folder for k in same], [str(k + 1) for k in same])
        for k, tell in zip(same, next(told for told in tells if len(set(told)) == len(same)), strict=True):
            named[k] = f"{title} ({tell})" if len(same) > 1 else title
    return named


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dissensus.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        interval_bar=IntervalBar,
        raw=_raw,
        ends=_ends,
        columns=_columns,
        undefined=UNDEFINED,
        titles={key: metric.title for key, metric in METRICS.items()},
        lower_is_better=frozenset(filter(lower_is_better, METRICS)),
        coefficients=COEFFICIENTS,
        resamples={"judges": JUDGE_RESAMPLES, "comparison": RESAMPLES},
    )
    environment.filters.update(
        number=number,
        signed=lambda value: number(value, signed=True),
        interval=interval,
        duration=duration,
        cell=_cell,
        isolate=isolate,
        percent=percent,
    )
    return environment


def _policy(style: str, script: str) -> str:
    """Allow what this page is made of, by its hash, and nothing else."""
    return (
        f"default-src 'none'; script-src {source_hash(script)}; style-src {source_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _describe(run: RunData, title: str, place: int) -> dict[str, Any]:
    """Gather what one run's part of the page shows."""
    board = Board(run.metrics)
    scores = board.scores
    named = scores.models or (list(run.joined.models) if run.joined else [])
    models = list(dict.fromkeys([*named, *(run.joined.models if run.joined else ()), *run.logs]))
    return {
        "run": run,
        "title": title,
        "place": place,
        "headline": headline(find_findings(scores), scores),
        "summary": summarise(board),
        "facts": list(_facts(run, scores)),
        "board": board,
        "scores": scores,
        "models": models,
        "tables": [GroupTable.of(board, metric) for metric in group_metrics(scores)] if scores.models else [],
        "notes": Notes(run.metrics, place),
        "seeds": seed_rows(scores),
        "counts_seeds": any(row.method == "t" and row.kind == "model" for row in run.metrics),
        "percent": percent(run.level),
        "without": [],
        "overall_notes": _overall_notes(scores),
        "measures": MEASURES,
        "tested": any(row.p_holm is not None for row in run.metrics),
        "primary": listed([name_of(metric) for metric in scores.primary]) if scores.primary else "",
        "by_role": _by_role(scores),
        "figures": draw_figures(run, board, models),
        "card": make_card(run, board),
        "methods": methods_paragraph(run, board),
        **_judged(run),
        "hashes": {path: sha256 for stage in run.manifest.stages for path, sha256 in stage.outputs.items()},
    }


def _overall_notes(scores: Scores) -> list[str]:
    """The notes of what stands in the cards, each once, as sentences."""
    metrics = dict.fromkeys((*scores.primary, *HEADLINE))
    rows = [scores.value(m, metric) for m in scores.models for metric in metrics]
    rows += [scores.difference(m, metric) for m in scores.others for metric in metrics]
    said = [note for row in rows if row is not None for note in row.notes]
    return [note[0].upper() + note[1:] + "." for note in dict.fromkeys(said) if "undefined" not in note]


def _by_role(scores: Scores) -> dict[str, list[str]]:
    """Sort the metrics into the primary ones and the others; all under no title where nothing says what is primary."""
    if not scores.primary:
        return {"": scores.metrics}
    others = [metric for metric in scores.metrics if metric not in scores.primary]
    return {"Primary": scores.primary, **({"Exploratory": others} if others else {})}


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
    if seconds := sum(stage.seconds or 0 for stage in run.manifest.stages):
        yield duration(seconds), "in all"


def _judged(run: RunData) -> dict[str, int]:
    """Count judgments, invalid ones among them, and training pairs that are left out for want of a vote.

    The manifest's counts hold those of pairs without a margin too; where it has none, the margins' own have to do.
    """
    invalid = sum(margin.n_invalid for margin in run.margins)
    valid = sum(margin.n_judgments for margin in run.margins)
    own = {"judgments": valid + invalid, "invalid": invalid, "left_out": 0}
    return own | run.manifest.counts("margin", MarginCounts).model_dump(include=set(own), exclude_none=True)


def _cell(value: Any) -> str:
    """Write a cell of a figure's table."""
    if value is None:
        return UNDEFINED
    return f"{value:,}" if isinstance(value, int) else number(value) if isinstance(value, float) else str(value)


def _raw(*values: Any) -> list[Any]:
    """Write numbers for a file: six digits are more than any has."""
    return [round(value, 6) if isinstance(value, float) else "" if value is None else value for value in values]


def _ends(row: Metric | None) -> tuple[float | None, float | None, float | None]:
    """A value and its interval."""
    return (None, None, None) if row is None else (row.value, row.low, row.high)


def _columns(*names: str, of: str = "") -> list[str]:
    """Name the columns of a file that one column of a table becomes; a name from data never stands first in them.

    >>> _columns("value", "low", of="=cmd")
    ['value: =cmd', 'low: =cmd']
    """
    return [f"{name}: {of}" if of else name for name in names]


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

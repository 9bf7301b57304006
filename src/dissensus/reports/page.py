"""One self-contained HTML page of a run, or of several, which opens offline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from dissensus import __version__
from dissensus.evaluation.metrics import METRICS, lower_is_better
from dissensus.evaluation.tables.number_format import UNDEFINED, interval, number
from dissensus.files.database_url import StorePlace
from dissensus.records import Metric
from dissensus.reports.compare import RESAMPLES, compare
from dissensus.reports.embed import clean, isolate, source_hash
from dissensus.reports.folder.run_reader import RunData, load_run
from dissensus.reports.folder.safe_folder import check_page
from dissensus.reports.group_tables import IntervalBar
from dissensus.reports.judge_data import RESAMPLES as JUDGE_RESAMPLES
from dissensus.reports.methods import percent
from dissensus.reports.pair_data import BUDGET, view_pairs
from dissensus.reports.run_part import RunPart, duration
from dissensus.reports.summary import MEASURES

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


def write_report(run: Path | Sequence[Path], out: Path, *, store: StorePlace | None = None) -> list[str]:
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
    parts = [RunPart.of(run, title, k) for k, (run, title) in enumerate(zip(runs, titles, strict=True))]
    # What this page is made of is allowed, by its hash, and nothing else.
    policy = (
        f"default-src 'none'; script-src {source_hash(script)}; style-src {source_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    known = {
        "title": " · ".join(dict.fromkeys(titles)),
        "style": Markup(style),
        "script": Markup(script),
        "policy": policy,
        "version": __version__,
        "comparison": compare(runs, titles),
        "runs": parts,
    }

    def write(budget: int) -> tuple[str, int]:
        for part in parts:
            part.view = view_pairs(part.run, part.models, budget=budget)
        page = environment.get_template("report.html").render(known)
        page = clean(re.sub(r"\s*\n\s*(?=<(?:td|th|tr)\b)", "\n", page))
        return page, LIMIT - len(page.encode("utf-8"))

    page, room = write(BUDGET // len(runs))
    if room >= 0:
        return page
    page, room = write(_FEWEST_BYTES)
    for kind, words in _DISPENSABLE.items():
        if room >= 0:
            break
        for part in parts:
            part.figures[kind] = []
            part.without.append(words)
        page, room = write(_FEWEST_BYTES)
    if room // len(runs) > 4_000:
        # Pairs in the lists take room outside of the data too, so not all of the room is for the data.
        fuller, left = write(_FEWEST_BYTES + room // len(runs) // 2)
        page = fuller if left >= 0 else page
    return page


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
    loader = PackageLoader("dissensus.reports")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals.update(
        interval_bar=IntervalBar,
        raw=_raw,
        measures=MEASURES,
        ends=_ends,
        columns=_columns,
        undefined=UNDEFINED,
        titles={key: metric.title for key, metric in METRICS.items()},
        lower_is_better=frozenset(filter(lower_is_better, METRICS)),
        resamples={"judges": JUDGE_RESAMPLES, "comparison": RESAMPLES},
    )
    environment.filters.update(
        number=number,
        signed=lambda value: number(value, signed=True),
        interval=interval,
        ends=lambda estimate: "" if estimate.low is None else f" [{number(estimate.low)}, {number(estimate.high)}]",
        duration=duration,
        cell=_cell,
        isolate=isolate,
        percent=percent,
    )
    return environment


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

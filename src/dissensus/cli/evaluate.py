"""``dissensus evaluate``: predictions against the votes of people."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Literal

import click

from dissensus.cli.tables import table_options
from dissensus.records import Prediction


@click.command()
@click.argument("pairs")
@click.option("--predictions", "files", type=Path, multiple=True, required=True, help="Of one or more models; repeat.")
@click.option("--out", type=Path, required=True, help="scores.json: one row per model, group and metric.")
@click.option("--baseline", help="The model that the others are compared with.")
@click.option("--calibrated", is_flag=True, help="Score the calibrated preferences instead of the raw ones.")
@click.option("--resamples", default=2000, show_default=True, type=click.IntRange(0), help="Bootstrap resamples.")
@click.option(
    "--level",
    default=0.95,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Coverage of the intervals.",
)
@click.option("--seed", default=0, show_default=True, help="Of the resamples.")
@click.option("--markdown", is_flag=True, hidden=True, help="The same as --format markdown.")
@table_options
def command(
    pairs: str,
    files: tuple[Path, ...],
    out: Path,
    baseline: str | None,
    calibrated: bool,
    resamples: int,
    level: float,
    seed: int,
    markdown: bool,
    form: str,
    against: Literal["paper"] | None,
) -> None:
    """Compare predictions with the votes that PAIRS carry.

    Prints Pearson r and L1 by data set, domain and category, with intervals from a bootstrap over prompts, and more
    tables where there is something to put in them. "dissensus tables" prints them again.
    """
    from dissensus.evaluate.formats import render
    from dissensus.evaluate.scorecard import score
    from dissensus.files import read_pairs, read_records, write_json

    predictions = chain.from_iterable(read_records(file, Prediction) for file in files)
    metrics = score(
        read_pairs(pairs),
        predictions,
        baseline=baseline,
        calibrated=calibrated,
        n_resamples=resamples,
        level=level,
        seed=seed,
        progress=True,
    )
    write_json(out, [metric.model_dump() for metric in metrics])
    click.echo(render(metrics, "markdown" if markdown else form, against=against))

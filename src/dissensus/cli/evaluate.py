"""``dissensus evaluate``: predictions against the votes of people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

import click

from dissensus.cli.complete_paths import complete_source
from dissensus.cli.outputs import Output, Source, Verb
from dissensus.cli.tables import table_options
from dissensus.errors import ConfigError
from dissensus.records import Judgment, Margin, Pair, Prediction

# The tested metrics of evaluate.metrics, here so that --help loads nothing.
_TESTED = ("pearson_within", "pearson", "pearson_symmetric", "spearman", "l1", "brier", "nll", "accuracy")


@click.command(cls=Verb)
@click.argument("pairs", type=Source(), shell_complete=complete_source)
@click.option(
    "--predictions",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Of one or more models; repeat.",
)
@click.option("--out", type=Output(), required=True, help="scores.json: one row per model, group and metric.")
@click.option(
    "--judgments",
    "judged",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Of judges on PAIRS, as rows beside the models: a store, or a file that it was exported to; repeat.",
)
@click.option(
    "--target",
    "targets",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Preferences under another rule, as aggregate wrote them, that models are compared with as well; repeat.",
)
@click.option("--baseline", help="The model that the others are compared with.")
@click.option(
    "--primary",
    multiple=True,
    type=click.Choice(_TESTED),
    default=("pearson_within", "l1"),
    show_default=True,
    help="A metric that the comparison with the baseline is about; all others are exploratory. Repeat.",
)
@click.option("--calibrated", is_flag=True, help="Score the calibrated preferences instead of the raw ones.")
@click.option(
    "--allow-missing",
    is_flag=True,
    help="Leave out (and count) pairs that a model or seed has no prediction for, instead of stopping.",
)
@click.option("--resamples", default=2000, show_default=True, type=click.IntRange(0), help="Bootstrap resamples.")
@click.option("--swaps", default=9999, show_default=True, type=click.IntRange(0), help="Of each test of a difference.")
@click.option(
    "--level",
    default=0.95,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Coverage of the intervals.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the resamples.")
@click.option("--markdown", is_flag=True, hidden=True, help="The same as --format markdown.")
@table_options
def command(
    pairs: str,
    files: tuple[Path, ...],
    out: Path,
    judged: tuple[Path, ...],
    targets: tuple[Path, ...],
    baseline: str | None,
    primary: tuple[str, ...],
    calibrated: bool,
    allow_missing: bool,
    resamples: int,
    swaps: int,
    level: float,
    seed: int,
    markdown: bool,
    form: str,
    against: Literal["paper"] | None,
) -> None:
    """Compare predictions with the votes that PAIRS carry: a file, or the database of "dissensus annotate".

    PAIRS may be some of those that were predicted: predictions for others are passed over and counted.

    Prints Pearson r and L1 by data set, domain and category, with intervals from a bootstrap over prompts, and what
    anybody gets for nothing. "dissensus tables" prints all tables; so does any other format.
    """
    from dissensus.evaluate.evaluation import evaluate_predictions
    from dissensus.evaluate.tables.render import render, render_brief
    from dissensus.files import read_records, write_json

    rules = {target.name.split(".")[0]: target for target in targets}
    if len(rules) < len(targets):
        raise ConfigError("--target: the files' names name the rules in the tables, and two are the same; rename one")
    predictions = chain.from_iterable(read_records(file, Prediction) for file in files)
    given = _pairs(pairs)
    metrics = evaluate_predictions(
        given,
        predictions,
        baseline=baseline,
        primary=primary,
        calibrated=calibrated,
        judgments=chain.from_iterable(_judgments(file, given) for file in judged),
        targets={name: read_records(file, Margin) for name, file in rules.items()},
        n_resamples=resamples,
        n_swaps=swaps,
        level=level,
        seed=seed,
        allow_missing=allow_missing,
        progress=True,
    )
    write_json(out, [metric.model_dump() for metric in metrics])
    form = "markdown" if markdown else form
    click.echo(render_brief(metrics, against=against) if form == "terminal" else render(metrics, form, against=against))


def _pairs(source: str) -> list[Pair]:
    from dissensus.sources import read_pairs
    from dissensus.study.human_votes import is_database, read_database

    return read_database(source) if is_database(source) else list(read_pairs(source))


def _judgments(file: Path, pairs: Sequence[Pair]) -> Iterator[Judgment]:
    """Read what judges said of the pairs, from a store or a file of judgments."""
    from dissensus.files import read_records
    from dissensus.files.sqlite import application_of
    from dissensus.judge import JudgmentStore
    from dissensus.judge.store.query import Recall, without_twins

    if application_of(file) is None:
        yield from read_records(file, Judgment)
        return
    with JudgmentStore(file, create=False) as store:
        for judge in without_twins(store, store.judges()):
            yield from Recall(store, judge, pairs).judgments()

"""``dissensus margin``: judgments in, margins out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dissensus.cli.complete_paths import complete_source
from dissensus.cli.outputs import Output, Source, Verb
from dissensus.errors import InputError

if TYPE_CHECKING:
    from dissensus.judge.language.plan import Orders
    from dissensus.judge.store.query import Recalled
    from dissensus.records import Margin
    from dissensus.study.margin_stage import VoteKind


@click.command(name="margin", cls=Verb)
@click.argument("pairs", type=Source(), shell_complete=complete_source)
@click.option("--store", type=click.Path(path_type=Path), required=True, help="The SQLite file of judgments.")
@click.option("--out", type=Output(), required=True, help="Margins: .parquet, .jsonl(.gz) or .csv.")
@click.option("--judge", "judge_name", default="", help="A judge's full name, or the beginning of it.")
@click.option(
    "--n", type=click.IntRange(min=1), help="Use N judgments of each pair; as many as were asked for by default."
)
@click.option("--order", type=click.Choice(["ab", "ba", "both"]), help="Use the judgments of one presentation order.")
@click.option(
    "--votes",
    type=click.Choice(["drawn", "expected", "limit"]),
    default="drawn",
    show_default=True,
    help="For a judge in mode exact: n drawn votes, the mean over such draws, or the limit of many.",
)
@click.option("--temperature", type=click.FloatRange(min=0, min_open=True), help="Of the draws (mode exact).")
@click.option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True), help="Of the draws (mode exact).")
@click.option("--seed", type=click.IntRange(min=0), help="Of the draws (mode exact).")
@click.option("--allow-missing", is_flag=True, help="Leave pairs without a valid judgment out.")
def command(
    pairs: str,
    store: Path,
    out: Path,
    judge_name: str,
    n: int | None,
    order: Orders | None,
    votes: VoteKind,
    temperature: float | None,
    top_p: float | None,
    seed: int | None,
    allow_missing: bool,
) -> None:
    """Turn the judgments of PAIRS into margins and preferences (the paper's equation 3).

    Where each pair was judged in both presentation orders, both count the same. A judge in mode exact has stored raw
    log-probabilities: its margins can be made again at another temperature, top-p or n without asking it anything.
    """
    from dissensus.files import write_records
    from dissensus.judge import JudgmentStore
    from dissensus.judge.store.query import Recall, choose_judge
    from dissensus.sources import read_pairs
    from dissensus.study.margin_stage import make_margins

    rows = list(read_pairs(pairs))
    with JudgmentStore(store, create=False) as opened:
        judge = choose_judge(judge_name, opened)
        recall = Recall(opened, judge, rows, n=n, order=order, temperature=temperature, top_p=top_p, seed=seed)
        margins = make_margins(recall, [pair.id for pair in rows], votes=votes, allow_missing=allow_missing)
    if not margins:
        raise InputError(f"{store}: {judge} judged none of the {len(rows)} pairs of {pairs}; nothing is written")
    write_records(out, margins)
    _print(judge, margins, len(rows), out, recall.found)


def _print(judge: str, margins: list[Margin], pairs: int, out: Path, found: Recalled) -> None:
    invalid = sum(margin.n_invalid for margin in margins)
    click.echo(f"judge      {judge}")
    click.echo(f"margins    {len(margins):,} of {pairs:,} pairs, written to {out}")
    click.echo(f"mean       {sum(margin.margin for margin in margins) / len(margins):.3f}")
    limits = [margin.margin_limit for margin in margins if margin.margin_limit is not None]
    if limits and found.readings:
        click.echo(f"limit      {sum(limits) / len(limits):.3f} with ever more votes ({len(limits):,} pairs)")
    if pairs > len(margins):
        click.echo(f"left out   {pairs - len(margins):,} pairs without a valid judgment")
    if found.unfinished:
        click.echo(
            f"unfinished {found.unfinished:,} pairs have fewer judgments than are planned or asked for with --n; "
            "dissensus judge makes the rest"
        )
    if found.in_one_order:
        click.echo(
            f"one order  {found.in_one_order:,} pairs have votes in one presentation order alone, so a preference for "
            "the response shown first is part of their margins"
        )
    if invalid:
        click.echo(f"invalid    {invalid:,} judgments name no winner")
    if found.uncertified:
        click.echo(
            f"unforced   {found.uncertified:,} of {found.readings:,} readings: the model would not surely begin with "
            f"'Choice:'; sampled replies stand for {found.sampled_instead:,} of them"
        )
    if found.inexact:
        click.echo(
            f"inexact    {found.inexact:,} of {found.readings:,} readings saw too few tokens for these settings; "
            f"probabilities are off by up to {found.largest_error:.3f}"
        )

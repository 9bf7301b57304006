"""``dissensus judge``: pairs in, judgments into a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dissensus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dissensus.judge import Judge, JudgeSummary
    from dissensus.records import Pair


@click.command(name="judge")
@click.argument("pairs")
@click.option("--judge", "judge_name", default="committee", show_default=True, help="committee or votes.")
@click.option("--n", type=click.IntRange(min=1), default=10, show_default=True, help="Judgments per pair (committee).")
@click.option("--store", type=click.Path(path_type=Path), required=True, help="The SQLite file of judgments.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--encoder", default="minilm", show_default=True, help="minilm, a model's folder or a Hub id.")
@click.option(
    "--label-is-a-vote/--label-is-no-vote",
    default=True,
    show_default=True,
    help="For --judge votes: whether the label is one of the votes, and so is left out of them.",
)
@click.option("--quiet", is_flag=True, help="No progress bars.")
def command(
    pairs: str, judge_name: str, n: int, store: Path, seed: int, encoder: str, label_is_a_vote: bool, quiet: bool
) -> None:
    """Judge PAIRS and keep the judgments in a store.

    PAIRS is a file of pairs. Judgments that the store has are not made again, so a run that was stopped goes on
    where it was.

    \b
    committee  n small reward models, each voting on pairs it did not learn from
    votes      each pair's own human votes other than its label
    """

    judges: dict[str, Callable[[list[Pair]], Judge]] = {
        "committee": lambda rows: _committee(rows, n=n, seed=seed, encoder=encoder, progress=not quiet),
        "votes": lambda rows: _votes(rows, label_is_a_vote=label_is_a_vote),
    }
    if judge_name not in judges:
        raise InputError(f"--judge {judge_name}: no such judge; choose one of {', '.join(judges)}")

    from dissensus.files import read_pairs
    from dissensus.judge import JudgmentStore, judge_pairs

    rows = list(read_pairs(pairs))
    judge = judges[judge_name](rows)
    with JudgmentStore(store) as opened:
        _print(judge_pairs(rows, judge, opened, progress=not quiet), store)


def _committee(rows: list[Pair], *, n: int, seed: int, encoder: str, progress: bool) -> Judge:
    from dissensus.encoder import load_encoder
    from dissensus.judge import Committee, CommitteeConfig

    config = CommitteeConfig(n=n, seed=seed, encoder=encoder)
    return Committee(rows, config, load_encoder(encoder, max_length=config.max_length), progress=progress)


def _votes(rows: list[Pair], *, label_is_a_vote: bool) -> Judge:
    from dissensus.judge import HumanVotes

    return HumanVotes(rows, label_is_a_vote=label_is_a_vote)


def _print(summary: JudgeSummary, store: Path) -> None:
    click.echo(f"judge      {summary.judge}")
    click.echo(f"pairs      {summary.pairs:,}")
    if summary.made == 0 and not summary.failed:
        click.echo(f"judgments  nothing new: {store} has all {summary.reused:,}")
    else:
        click.echo(f"judgments  {summary.made:,} new, {summary.reused:,} already in {store}")
    if summary.invalid:
        click.echo(f"invalid    {summary.invalid:,} of the new ones name no winner")
    if summary.failed:
        click.echo(f"failed     {summary.failed:,} were not answered; run the same command again")
    click.echo(f"seconds    {summary.seconds:.1f}")

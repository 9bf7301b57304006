"""``dissensus judgments``: what a store holds, whether it is whole, and in and out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dissensus.errors import InputError

if TYPE_CHECKING:
    from dissensus.judge import JudgmentStore

_STORE = click.option("--store", type=click.Path(path_type=Path), required=True, help="The SQLite file of judgments.")
_JUDGE = click.option("--judge", "judge_name", help="A judge's full name, or the beginning of it; all by default.")


@click.group(name="judgments")
def command() -> None:
    """List, check, export, import and compare the judgments of a store."""


@command.command(name="list")
@_STORE
def list_judges(store: Path) -> None:
    """List the judges of a store: what they said, with which bias, and what they cost."""
    with _open(store) as opened:
        if not opened.judges():
            click.echo(f"{store}: no judgments yet")
        for judge, count in opened.judges().items():
            _describe(opened, judge, count)
        _runs(opened)


@command.command()
@_STORE
def verify(store: Path) -> None:
    """Check that a store is whole: pages, keys, readings, and that each choice is what its reply says."""
    from dissensus.judge.upkeep import verify as check

    with _open(store) as opened:
        found = check(opened)
    click.echo(f"judgments  {found.judgments:,}")
    click.echo(f"readings   {found.readings:,}")
    for problem in found.problems:
        click.echo(f"problem    {problem}")
    if found.damaged:
        raise InputError(
            f"{store}: {found.damaged:,} rows are not as they should be; save the rest with: "
            f"dissensus judgments recover --store {store} --out RECOVERED.db"
        )
    click.echo("whole      every row is as it should be")


@command.command()
@_STORE
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new store.")
def recover(store: Path, out: Path) -> None:
    """Copy what can be read of a damaged store into a new one; the damaged file is left as it is."""
    from dissensus.judge.upkeep import recover as save

    for table, count in save(store, out).items():
        click.echo(f"{table:<10} {count:,} rows saved")
    click.echo(f"written    {out}; run dissensus judge with it, and only what is missing is asked")


@command.command()
@_STORE
@_JUDGE
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A file, or a folder with --hub.")
@click.option("--readings", is_flag=True, help="The raw log-probabilities of judges in mode exact instead.")
@click.option("--hub", is_flag=True, help="A folder with a card, ready to be pushed to the Hub.")
def export(store: Path, judge_name: str | None, out: Path, readings: bool, hub: bool) -> None:
    """Write judgments to .parquet, .jsonl(.gz) or .csv, or to a folder that load_dataset reads."""
    from dissensus.judge import export as exporting
    from dissensus.judge.recall import choose_judge

    with _open(store) as opened:
        judge = choose_judge(judge_name, opened.judges(), store) if judge_name else None
        if hub:
            for part, count in exporting.export_data_set(opened, out, judge=judge).items():
                click.echo(f"{part:<10} {count:,} rows in {out}")
            return
        count = exporting.export(opened, out, judge=judge, readings=readings)
    click.echo(f"written    {count:,} {'readings' if readings else 'judgments'} to {out}")


def _open(store: Path) -> JudgmentStore:
    from dissensus.judge import JudgmentStore

    return JudgmentStore(store, create=False)


def _describe(store: JudgmentStore, judge: str, count: int) -> None:
    from dissensus.judge.ledger import spent
    from dissensus.judge.position import position_bias

    settings = store.settings(judge)
    config = settings.get("config", {})
    exact = config.get("mode") == "exact"
    click.echo(judge)
    if config:
        how = f"{config['model']}, template {settings['template']['name']}, order {config['order']}"
        click.echo(
            f"  asked      {how}, mode {config['mode']}, temperature {config['temperature']}, top-p {config['top_p']}"
        )
    if exact:
        click.echo(f"  readings   {count:,}")
    else:
        (row,) = store.rows(
            "SELECT COUNT(DISTINCT pair_id), SUM(choice IS NULL) FROM judgments WHERE judge = ?", (judge,)
        )
        click.echo(f"  judgments  {count:,} of {row[0]:,} pairs, {row[1] / count:.1%} name no winner")
    options = {"temperature": config["temperature"], "top_p": config["top_p"]} if exact else {}
    bias = position_bias(store, judge, **options)
    if bias.first is not None:
        flips = f"; {bias.flip_share:.1%} of {bias.compared:,} verdicts flip on a swap" if bias.compared else ""
        click.echo(f"  position   first shown wins {bias.first:.1%}{flips}")
    cost = spent(store, judge)
    if cost.attempts:
        tokens = f"{cost.prompt_tokens:,} + {cost.completion_tokens:,} tokens"
        click.echo(
            f"  attempts   {cost.attempts:,} ({cost.failed:,} failed, {cost.lost:,} lost), {tokens}, ${cost.cost:,.4f}"
            + (f" ({cost.estimated:,} attempts estimated)" if cost.estimated else "")
        )


def _runs(store: JudgmentStore) -> None:
    from dissensus.judge.ledger import open_runs

    for run in open_runs(store):
        click.echo(
            f"unfinished run of {run.judge}: process {run.pid} on {run.host} since {run.started}, "
            f"{run.in_flight:,} requests in flight"
        )

"""``dissensus judgments``: the judgments of a store: listed, verified, exported, imported and compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dissensus.cli.complete_paths import complete_source
from dissensus.cli.outputs import Output, Source, VerbGroup
from dissensus.errors import InputError

if TYPE_CHECKING:
    from dissensus.judges import JudgmentStore

_STORE = click.option("--store", type=click.Path(path_type=Path), required=True, help="The SQLite file of judgments.")
_JUDGE = click.option("--judge", "judge_name", help="A judge's full name, or the beginning of it; all by default.")


@click.group(name="judgments", cls=VerbGroup)
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
    """Check a store: pages, keys, checksums, and that each choice is what its reply says."""
    from dissensus.judges.store.verify import verify as check

    with _open(store) as opened:
        found = check(opened)
    click.echo(f"judgments  {found.judgments:,}")
    click.echo(f"distributions {found.distributions:,}")
    for problem in found.problems:
        click.echo(f"problem    {problem}")
    if found.damaged:
        raise InputError(
            f"{store}: {found.damaged:,} rows are not as they should be; save the rest with: "
            f"dissensus judgments recover --store {store} --out RECOVERED.db"
        )
    why = "; ".join(f"{count:,} {reason}" for reason, count in found.unverifiable.items())
    left = f"{found.unverifiable.total():,} not verifiable" + (f" ({why})" if why else "")
    click.echo(f"ok: {found.verified:,} rows verified, {left}")


@command.command()
@_STORE
@click.option("--out", type=Output(), required=True, help="The new store.")
def recover(store: Path, out: Path) -> None:
    """Copy what can be read of a damaged store into a new one; the damaged file is left as it is."""
    from dissensus.judges.store.verify import recover as save

    found = save(store, out)
    for table, count in found.saved.items():
        click.echo(f"{table:<10} {count:,} rows saved")
    if found.damaged:
        click.echo(f"left out   {found.damaged:,} rows that can be read and are not as they were stored")
    click.echo(f"written    {out}; run dissensus judge with it, and only what is missing is asked")


@command.command()
@_STORE
@_JUDGE
@click.option("--out", type=Output(), required=True, help="A file, or a folder with --hub.")
@click.option(
    "--distributions", "--readings", is_flag=True, help="The raw log-probabilities of judges in mode exact instead."
)
@click.option("--hub", is_flag=True, help="A folder with a card, ready to be pushed to the Hub.")
def export(store: Path, judge_name: str | None, out: Path, distributions: bool, hub: bool) -> None:
    """Write judgments to .parquet, .jsonl(.gz) or .csv, or to a folder that load_dataset reads."""
    from dissensus.judges.store import export as exporting
    from dissensus.judges.store.query import choose_judge

    with _open(store) as opened:
        judge = choose_judge(judge_name, opened) if judge_name else None
        if hub:
            for part, count in exporting.export_data_set(opened, out, judge=judge).items():
                click.echo(f"{part:<10} {count:,} rows in {out}")
            return
        count = exporting.export(opened, out, judge=judge, distributions=distributions)
    click.echo(f"written    {count:,} {'choice distributions' if distributions else 'judgments'} to {out}")


@command.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--store", type=Output("store"), required=True, help="The SQLite file of judgments.")
@click.option(
    "--pairs",
    type=Source(),
    shell_complete=complete_source,
    help="The pairs that the verdicts are about; FILE itself by default.",
)
@click.option("--judge", "judge_name", help="One of the judges of FILE, as it calls them; all by default.")
def import_verdicts(file: Path, store: Path, pairs: str | None, judge_name: str | None) -> None:
    """Read verdicts that others published into a store, one judge for each name.

    FILE has rows of pairs with a column "judges" ({"gpt4": {"AB": [1, 0], "BA": 0.5}}: P(a) by the order shown), or
    flat rows with pair_id, judge, choice or probability_a, order and sample.
    """
    from dissensus.judges import JudgmentStore, judge_pairs
    from dissensus.judges.published import is_flat, read_published
    from dissensus.sources import read_pairs

    if pairs is None and is_flat(file):
        raise InputError(f"{file}: has verdicts without the texts of their pairs; name the pairs with --pairs")
    rows = list(read_pairs(pairs or file, notice=lambda _: None))
    judges = read_published(file, rows)
    if judge_name is not None:
        if judge_name not in judges:
            raise InputError(f"{file}: no judge {judge_name!r}; it has: {', '.join(sorted(judges))}")
        judges = {judge_name: judges[judge_name]}
    with JudgmentStore(store) as opened:
        for judge in judges.values():
            done = judge_pairs(rows, judge, opened, progress=False).tally
            click.echo(f"{judge.name}: {done.made:,} new, {done.reused:,} already in {store}")


@command.command()
@click.argument("pairs", type=Source(), shell_complete=complete_source)
@_STORE
@click.option(
    "--judge", "judge_names", multiple=True, help="A judge's full name, or the beginning of it; all by default."
)
@click.option(
    "--resamples", type=click.IntRange(min=0), default=2000, show_default=True, help="Of the bootstrap over prompts."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def compare(pairs: str, store: Path, judge_names: tuple[str, ...], resamples: int, seed: int) -> None:
    """Hold judges against the votes of people, against themselves with the order swapped, and against each other."""
    from dissensus.evaluation.judges import decompose, score_judges
    from dissensus.evaluation.resample import Resampling
    from dissensus.evaluation.tables.judge_tables import component_table, judge_tables
    from dissensus.evaluation.tables.render import terminal_table
    from dissensus.judges.store.query import Recall, choose_judge, without_twins
    from dissensus.sources import read_pairs

    rows = list(read_pairs(pairs))
    with _open(store) as opened:
        names = [choose_judge(name, opened) for name in judge_names] or without_twins(opened, opened.judges())
        judgments = [judgment for name in names for judgment in Recall(opened, name, rows).judgments()]
    if not judgments:
        raise InputError(f"{store}: nobody judged any of the {len(rows):,} pairs of {pairs}")
    resampling = Resampling(n=resamples, seed=seed)
    tables = judge_tables(score_judges(rows, judgments, resampling))
    for table in [*tables, component_table(decompose(rows, judgments, resampling))]:
        click.echo(terminal_table(table) + "\n")


def _open(store: Path) -> JudgmentStore:
    from dissensus.judges import JudgmentStore

    return JudgmentStore(store, create=False)


def _describe(store: JudgmentStore, judge: str, count: int) -> None:
    from dissensus.judges.position_bias import position_bias
    from dissensus.judges.store.attempts import spent

    settings = store.settings(judge)
    config = settings.get("config", {})
    exact = config.get("mode") == "exact"
    click.echo(judge)
    if config:
        how = f"{config['model']}, template {settings['template']['name']}, order {config['order']}"
        click.echo(
            f"  asked      {how}, mode {config['mode']}, temperature {config['temperature']}, top-p {config['top_p']}"
            + ("" if exact else f", seed {config['seed']}, at most {config['max_tokens']:,} tokens")
        )
    if personas := config.get("personas"):
        click.echo(f"  personas   {len(personas):,}: {personas[0][:60]}{', …' if len(personas) > 1 else ''}")
    if exact:
        click.echo(f"  judgments  {count:,} choice distributions")
    else:
        (row,) = store.rows(
            "SELECT COUNT(DISTINCT pair_id), SUM(choice IS NULL) FROM judgments WHERE judge = ?", (judge,)
        )
        click.echo(f"  judgments  {count:,} of {row[0]:,} pairs, {row[1] / count:.1%} name no winner")
    options = {"temperature": config["temperature"], "top_p": config["top_p"]} if exact else {}
    bias = position_bias(store, judge, **options)
    if words := bias.in_words():
        click.echo(f"  position   {words}")
    cost = spent(store, judge)
    if cost.attempts:
        tokens = f"{cost.prompt_tokens:,} + {cost.completion_tokens:,} tokens"
        click.echo(
            f"  attempts   {cost.attempts:,} ({cost.failed:,} failed, {cost.refused:,} refused, {cost.lost:,} lost), "
            f"{tokens}, ${cost.cost:,.4f}" + (f" ({cost.estimated:,} attempts estimated)" if cost.estimated else "")
        )


def _runs(store: JudgmentStore) -> None:
    from dissensus.judges.store.attempts import open_runs

    for run in open_runs(store):
        click.echo(
            f"unfinished run of {run.judge}: process {run.pid} on {run.host} since {run.started}, "
            f"{run.in_flight:,} requests in flight"
        )

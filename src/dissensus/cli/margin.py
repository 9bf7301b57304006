"""``dissensus margin``: judgments in, margins out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dissensus.errors import InputError

if TYPE_CHECKING:
    from dissensus.records import Margin


@click.command(name="margin")
@click.argument("pairs")
@click.option("--store", type=click.Path(path_type=Path), required=True, help="The SQLite file of judgments.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Margins: .parquet, .jsonl(.gz) or .csv.")
@click.option("--judge", "judge_name", default="", help="A judge's full name, or the beginning of it.")
@click.option("--n", type=click.IntRange(min=1), help="Use the first N judgments of each pair; all by default.")
@click.option("--allow-missing", is_flag=True, help="Leave pairs without a valid judgment out.")
def command(pairs: str, store: Path, out: Path, judge_name: str, n: int | None, allow_missing: bool) -> None:
    """Turn the judgments of PAIRS into margins and preferences (the paper's equation 3)."""
    from dissensus.files import read_pairs, write_records
    from dissensus.judge import JudgmentStore
    from dissensus.margin import margins_from_judgments

    rows = list(read_pairs(pairs))
    with JudgmentStore(store, create=False) as opened:
        judge = _choose(judge_name, opened.judges(), store)
        margins = margins_from_judgments(
            opened.judgments(judge=judge, pairs=rows, n=n), [pair.id for pair in rows], allow_missing=allow_missing
        )
    if not margins:
        raise InputError(f"{store}: {judge} judged none of the {len(rows)} pairs of {pairs}; nothing is written")
    write_records(out, margins)
    _print(judge, margins, len(rows), out)


def _choose(name: str, judges: Mapping[str, int], store: Path) -> str:
    """Find the one judge whose name is ``name`` or begins with it."""
    if not judges:
        raise InputError(f"{store}: holds no judgments yet; run: dissensus judge PAIRS --store {store}")
    matching = [judge for judge in judges if judge == name] or [judge for judge in judges if judge.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    listed = ", ".join(f"{judge} ({judges[judge]:,} judgments)" for judge in matching or judges)
    if matching:
        raise InputError(f"{store}: holds several judges; choose one with --judge: {listed}")
    raise InputError(f"{store}: no judge is called {name!r}; choose one with --judge: {listed}")


def _print(judge: str, margins: list[Margin], pairs: int, out: Path) -> None:
    invalid = sum(margin.n_invalid for margin in margins)
    click.echo(f"judge      {judge}")
    click.echo(f"margins    {len(margins):,} of {pairs:,} pairs, written to {out}")
    click.echo(f"mean       {sum(margin.margin for margin in margins) / len(margins):.3f}")
    if pairs > len(margins):
        click.echo(f"left out   {pairs - len(margins):,} pairs without a valid judgment")
    if invalid:
        click.echo(f"invalid    {invalid:,} judgments name no winner")

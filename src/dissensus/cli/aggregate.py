"""``dissensus aggregate``: several people's votes, or a judge's personas, to one preference under a rule."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dissensus.cli.complete_paths import complete_source
from dissensus.cli.outputs import Output, Source, Verb
from dissensus.errors import ConfigError

if TYPE_CHECKING:
    from dissensus.aggregation import Aggregated, Ballots, Comparison

_SHOWN = 5


@click.command("aggregate", cls=Verb)
@click.argument("pairs", type=Source(), shell_complete=complete_source)
@click.option("--out", required=True, type=Output(), help="Margins with their preferences.")
@click.option(
    "--rule", default="uniform", show_default=True, help="uniform, weighted, post-stratified, worst-off, quorum."
)
@click.option("--annotators", type=click.Path(path_type=Path), help="Who voted, with their attributes.")
@click.option("--by", help="The attribute whose values are groups: gender, persona, …")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="YAML: annotator, or group where --by is given → weight."
)
@click.option("--shares", type=click.Path(path_type=Path), help="YAML: group → its share of the population.")
@click.option("--quorum", help="Share of the votes that decides: 2/3.")
@click.option("--min-votes", type=int, help="Voters without whom a group, or for quorum a pair, has no voice.")
@click.option("--min-coverage", type=float, help="Share of the population whose groups must have voted on a pair.")
@click.option("--default", type=float, help="Weight of those whom --weights does not name.")
@click.option("--missing", type=click.Choice(["leave-out", "unknown"]), help="People without the attribute.")
@click.option("--store", type=click.Path(path_type=Path), help="Aggregate the personas of a judge instead of people.")
@click.option("--judge", "judge_name", default="", help="Of the store: its full name, or the beginning of it.")
@click.option("--changed", type=Output(), help="Write the pairs that change sides here (.csv).")
def command(
    pairs: str,
    out: Path,
    rule: str,
    annotators: Path | None,
    weights: Path | None,
    shares: Path | None,
    store: Path | None,
    judge_name: str,
    changed: Path | None,
    **settings: Any,
) -> None:
    """Make one preference of the votes on each of PAIRS under a rule, and show what it changes.

    What is written are margins with preferences for dissensus train --margins: objective soft follows the rule, blend
    mixes it with the label, margin and scaled take the margin alone, bradley-terry reads none. Changes are against the
    uniform rule, in which every vote counts the same.
    """
    from dissensus.aggregation import Uniform, aggregate, ballots_from_votes, compare, parse_rule
    from dissensus.files import read_records, write_records, write_text
    from dissensus.files.writers import check_writable_name
    from dissensus.records import Annotator
    from dissensus.sources import read_pairs

    check_writable_name(out)
    if changed is not None and changed.suffix != ".csv":
        raise ConfigError(f"--changed {changed}: is written as CSV; name a .csv file")
    given = {name: value for name, value in settings.items() if value is not None}
    given |= {name: _numbers(path, name) for name, path in (("weights", weights), ("shares", shares)) if path}
    chosen = parse_rule({"name": rule, **given})
    if store is not None:
        ballots = _personas(pairs, store, judge_name)
    else:
        people = list(read_records(annotators, Annotator)) if annotators else []
        ballots = ballots_from_votes(read_pairs(pairs), people)
    found, plain = aggregate(ballots, chosen), aggregate(ballots, Uniform())
    changes = compare(found, plain)
    click.echo(f"{out}: {write_records(out, found.margins())} margins")
    _show(ballots, found, changes)
    if changed is not None:
        write_text(changed, _as_csv(changes))
        click.echo(f"{changed}: {len(changes.changed) + len(changes.now_even) + len(changes.no_longer_even)} pairs")


def _numbers(path: Path, option: str) -> dict[str, float]:
    import yaml

    try:
        # Names stay as they are written: no, yes and 001 are groups and people here.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"--{option} {path}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"--{option} {path}: expected lines of name: number")
    return {str(name): _number(number) for name, number in content.items()}


def _number(text: Any) -> Any:
    """Make a number of what stands there, if it is one; what is wrong with anything else, the rule says."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return text


def _personas(pairs: str, store: Path, judge_name: str) -> Ballots:
    from dissensus.aggregation import ballots_from_judgments
    from dissensus.judge import JudgmentStore
    from dissensus.judge.store.query import Recall, choose_judge
    from dissensus.sources import read_pairs

    rows = list(read_pairs(pairs))
    with JudgmentStore(store, create=False) as opened:
        return ballots_from_judgments(Recall(opened, choose_judge(judge_name, opened), rows).judgments())


def _show(ballots: Ballots, found: Aggregated, changes: Comparison) -> None:
    click.echo(f"rule       {found.rule.name}")
    click.echo(
        f"votes      {len(ballots.rating):,} of {len(ballots.voters):,} voters on {len(ballots.pair_ids):,} pairs"
    )
    for name, votes in sorted(found.groups.items(), key=lambda item: -item[1]):
        click.echo(f"  {name[:60]:60} {votes:>8,} votes")
    for why, count in found.left_out.items():
        click.echo(f"left out   {count:,} {why}")
    if found.undecided:
        click.echo(f"undecided  {len(found.undecided):,} pairs without a quorum")
    changed, even = len(changes.changed), len(changes.now_even)
    click.echo(
        f"against uniform, {changes.n:,} pairs: {changed:,} change sides, {even:,} become even, "
        f"{len(changes.no_longer_even):,} are no longer even; mean change {changes.mean_change:.3f}"
    )
    for change in changes.changed[:_SHOWN]:
        click.echo(f"  {change.pair_id}: {change.before:.2f} → {change.after:.2f}")
    if len(changes.changed) > _SHOWN:
        click.echo(f"  … and {len(changes.changed) - _SHOWN:,} more; --changed writes them all")


def _as_csv(changes: Comparison) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["pair_id", "change", "uniform", "preference"])
    for kind in ("changed", "now_even", "no_longer_even"):
        for change in getattr(changes, kind):
            writer.writerow([change.pair_id, kind, f"{change.before:.6g}", f"{change.after:.6g}"])
    return text.getvalue()

"""The step ``aggregate``: several people's votes, or a judge's personas, to one preference under a rule."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from dissensus.errors import ConfigError
from dissensus.files.database_url import StorePlace
from dissensus.settings import Argument, Reads, Settings, Writes

if TYPE_CHECKING:
    from dissensus.aggregation import Aggregated, Ballots, Comparison

_SHOWN = 5
_OF_RULES = ("by", "quorum", "min_votes", "min_coverage", "default", "missing")


class AggregateSettings(Settings):
    """Make one preference of the votes on each of PAIRS under a rule, and show what it changes.

    What is written are margins with preferences for dissensus train --margins: objective soft follows the rule, blend
    mixes it with the label, margin takes the margin alone, bradley-terry reads none. Changes are against the
    uniform rule, in which every vote counts the same.
    """

    pairs: Annotated[str, Argument(), Reads()]
    """A file, a folder, a Hub id or a data set's name."""
    out: Annotated[Path, Writes()]
    """Margins with their preferences."""
    rule: Literal["uniform", "weighted", "post-stratified", "worst-off", "quorum"] = "uniform"
    """How votes are put together."""
    annotators: Annotated[Path | None, Reads("file")] = None
    """Who voted, with their attributes."""
    by: str | None = None
    """The attribute whose values are groups: gender, persona, …"""
    weights: Annotated[Path | None, Reads("file")] = None
    """YAML: annotator, or group where --by is given → weight."""
    shares: Annotated[Path | None, Reads("file")] = None
    """YAML: group → its share of the population."""
    quorum: str | None = None
    """Share of the votes that decides: 2/3."""
    min_votes: int | None = None
    """Voters without whom a group, or for quorum a pair, has no voice."""
    min_coverage: float | None = None
    """Share of the population whose groups must have voted on a pair."""
    default: float | None = None
    """Weight of those whom --weights does not name."""
    missing: Literal["leave-out", "unknown"] | None = None
    """People without the attribute."""
    store: Annotated[StorePlace | None, Reads("store")] = None
    """Aggregate the personas of a judge instead of people."""
    judge: str = ""
    """Of the store: its full name, or the beginning of it."""
    changed: Annotated[Path | None, Writes()] = None
    """Write the pairs that change sides here (.csv)."""

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "What the rules take": ("by", "weights", "shares", "quorum", "min_votes", "min_coverage", "default", "missing"),
        "A judge's personas": ("store", "judge"),
    }


@dataclass(frozen=True)
class AggregateResult:
    """What a rule made of the votes, and what it changed."""

    out: Path
    changed: Path | None
    ballots: Ballots
    aggregated: Aggregated
    changes: Comparison
    """Against the uniform rule."""

    def lines(self) -> list[str]:
        """Say what was counted and what changed."""
        ballots, found, changes = self.ballots, self.aggregated, self.changes
        groups = sorted(found.groups.items(), key=lambda item: -item[1])
        more = len(changes.changed) - _SHOWN
        n = len(changes.changed) + len(changes.now_even) + len(changes.no_longer_even)
        return [
            f"{self.out}: {len(found.preference)} margins",
            f"rule       {found.rule.name}",
            f"votes      {len(ballots.rating):,} of {len(ballots.voters):,} voters on {len(ballots.pair_ids):,} pairs",
            *(f"  {name[:60]:60} {votes:>8,} votes" for name, votes in groups),
            *(f"left out   {count:,} {why}" for why, count in found.left_out.items()),
            *([f"undecided  {len(found.undecided):,} pairs without a quorum"] if found.undecided else []),
            f"against uniform, {changes.n:,} pairs: {len(changes.changed):,} change sides, {len(changes.now_even):,} "
            f"become even, {len(changes.no_longer_even):,} are no longer even; mean change {changes.mean_change:.3f}",
            *(f"  {one.pair_id}: {one.before:.2f} → {one.after:.2f}" for one in changes.changed[:_SHOWN]),
            *([f"  … and {more:,} more; --changed writes them all"] if more > 0 else []),
            *([f"{self.changed}: {n} pairs"] if self.changed else []),
        ]


def run(settings: AggregateSettings) -> AggregateResult:
    """Apply a rule to votes, and write margins.

    Raises a ConfigError where the rule, or a file of weights or shares, is not as it should be, and an EvaluationError
    where there are no votes, or the rule is about somebody who is not there.
    """
    from dissensus.aggregation import Uniform, aggregate, compare, parse_rule
    from dissensus.files import write_records, write_text
    from dissensus.files.writers import check_writable_name

    check_writable_name(settings.out)
    if settings.changed is not None and settings.changed.suffix != ".csv":
        raise ConfigError(f"--changed {settings.changed}: is written as CSV; name a .csv file")
    given = {name: value for name in _OF_RULES if (value := getattr(settings, name)) is not None}
    tables = {name: path for name in ("weights", "shares") if (path := getattr(settings, name)) is not None}
    rule = parse_rule({"name": settings.rule, **given, **{name: _numbers(path, name) for name, path in tables.items()}})
    ballots = _ballots(settings)
    found = aggregate(ballots, rule)
    changes = compare(found, aggregate(ballots, Uniform()))
    write_records(settings.out, found.margins())
    if settings.changed is not None:
        write_text(settings.changed, _as_csv(changes))
    return AggregateResult(settings.out, settings.changed, ballots, found, changes)


def _ballots(settings: AggregateSettings) -> Ballots:
    from dissensus.aggregation import ballots_from_judgments, ballots_from_votes
    from dissensus.files import read_records
    from dissensus.judges import JudgmentStore
    from dissensus.judges.store.query import Recall, choose_judge
    from dissensus.records import Annotator
    from dissensus.sources import read_pairs

    pairs = read_pairs(settings.pairs)
    if settings.store is None:
        people = read_records(settings.annotators, Annotator) if settings.annotators else ()
        return ballots_from_votes(pairs, people)
    with JudgmentStore(settings.store, create=False) as store:
        return ballots_from_judgments(Recall(store, choose_judge(settings.judge, store), list(pairs)).judgments())


def _numbers(path: Path, option: str) -> dict[str, object]:
    import yaml

    try:
        # Names stay as they are written: no, yes and 001 are groups and people here.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"--{option} {path}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"--{option} {path}: expected lines of name: number")
    return {str(name): _number(value) for name, value in content.items()}


def _number(value: object) -> object:
    """Make a number of what stands there, if it is one; what is wrong with anything else, the rule says."""
    try:
        return float(str(value))
    except ValueError:
        return value


def _as_csv(changes: Comparison) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["pair_id", "change", "uniform", "preference"])
    for kind in ("changed", "now_even", "no_longer_even"):
        for change in getattr(changes, kind):
            writer.writerow([change.pair_id, kind, f"{change.before:.6g}", f"{change.after:.6g}"])
    return text.getvalue()

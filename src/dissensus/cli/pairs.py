"""``dissensus pairs``: a data set, a Hub id or a file into pairs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dissensus.cli.complete_paths import complete_source
from dissensus.cli.outputs import Copies, Output, Source, Verb
from dissensus.errors import ConfigError

if TYPE_CHECKING:
    from dissensus.records import Margin, Pair
    from dissensus.sources import OpenSource


@click.command("pairs", cls=Verb)
@click.argument("source", required=False, type=Source(), shell_complete=complete_source)
@click.option("--out", type=Output(), help=".jsonl, .jsonl.gz, .parquet, .csv or .tsv.")
@click.option("--list", "show", is_flag=True, help="Show the public data sets that are known by name.")
@click.option(
    "--from",
    "root",
    type=Copies(),
    help="Folder with copies of public data sets, instead of the Hub.",
)
@click.option("--split", metavar="NAME", help="Split of a data set that has several.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="OURS=THEIRS",
    help="Use their column as ours; OURS= leaves ours alone; repeatable.",
)
@click.option(
    "--value",
    "values",
    multiple=True,
    metavar="COLUMN:THEIRS=OURS",
    help="What a value means, as in winner:1=a; OURS is a, b, tie or nothing; repeatable.",
)
@click.option("--annotator", metavar="COLUMN", help="Each row is one person's vote; this column names who.")
@click.option(
    "--vote",
    "votes",
    multiple=True,
    metavar="COLUMN",
    help="The column of that vote; given several times, each is a column of one annotator.",
)
@click.option("--skip-invalid", is_flag=True, help="Drop rows that cannot be used, and count them.")
@click.option(
    "--margins",
    type=Output(),
    help="Write margins here: a TRL source's column, or a public data set's own strengths of preference, 0 to 1.",
)
@click.option("--card", type=Output(), help="Write a data card (Markdown) of a public data set here.")
@click.option("--annotators", type=Output(), help="Write who voted, with their attributes, here.")
@click.option(
    "--label",
    type=click.Choice(["one-vote"]),
    help="one-vote: draw one of each pair's votes for a or b as its label. The votes stay whole and the pairs say so: "
    "the judge of votes leaves the label out of them.",
)
@click.option("--label-seed", default=0, show_default=True, type=click.IntRange(0), help="Of the votes that are drawn.")
@click.option(
    "--format",
    "layout",
    type=click.Choice(["auto", "pairs", "trl"]),
    default="auto",
    help="Layout of the output; trl is chosen and rejected. auto: pairs.",
)
def command(
    source: str | None,
    out: Path | None,
    show: bool,
    root: Path | None,
    split: str | None,
    columns: tuple[str, ...],
    values: tuple[str, ...],
    annotator: str | None,
    votes: tuple[str, ...],
    skip_invalid: bool,
    margins: Path | None,
    card: Path | None,
    annotators: Path | None,
    label: str | None,
    label_seed: int,
    layout: str,
) -> None:
    """Read SOURCE into pairs: a public data set by name, a file, a folder of files, or a Hub id (org/name).

    A public data set is named as in hh-rlhf, hh-rlhf:helpful-base or hh-rlhf:helpful-base@REVISION; --list shows them.
    Of other sources, flat pairs and TRL's chosen/rejected are told apart by their columns. SOURCE itself is never
    changed.
    """
    if show:
        _list()
        return
    if source is None or out is None:
        raise click.UsageError("give a SOURCE and --out FILE, or --list")
    from tqdm import tqdm

    from dissensus.files import PairReader, write_records, write_trl
    from dissensus.files.writers import check_writable_name
    from dissensus.records import Margin
    from dissensus.sources import find_source, open_source
    from dissensus.sources.label_votes import draw_labels

    asked = columns or values or annotator or votes
    known = None if asked else find_source(source, root=root)
    for path in filter(None, (out, margins, annotators)):
        check_writable_name(path)
    if known is None and (root or annotators or card):
        option = "--from" if root else "--annotators" if annotators else "--card"
        raise ConfigError(f"{option} is for public data sets, and {source!r} is none of them; see --list")
    found: Iterable[tuple[Pair, Margin | None]]
    opened = None
    if known is not None:
        opened = open_source(source, split=split, root=root, skip_invalid=skip_invalid, notice=_notice)
        found = opened
    else:
        found = PairReader(
            source,
            columns=_mapping(columns),
            split=split,
            skip_invalid=skip_invalid,
            values=_values(values),
            annotator=annotator,
            votes=votes,
            notice=_notice,
        )
    kept: list[tuple[str, float]] = []
    count = _Count()
    with tqdm(found, unit=" pairs", desc="pairs") as shown:
        pairs = _keep_margins(shown, kept if margins else None)
        pairs = count.watch(draw_labels(pairs, seed=label_seed) if label else pairs)
        n = write_trl(out, pairs, notice=_notice) if layout == "trl" else write_records(out, pairs)
    click.echo(f"{out}: {n} pairs\n{count.summary()}")
    if label and not count.facts()["with_votes"]:
        raise ConfigError(f"{source}: no pair has votes to draw a label of, so {out} has its own; leave out --label")
    if margins:
        if not kept:
            raise ConfigError(
                f"{source}: has no strength of preference, so {margins} was not written ({out} was); "
                "leave out --margins"
                if known
                else f"{source}: has no margin column, so {margins} was not written ({out} was); leave out --margins"
            )
        n = write_records(margins, (Margin(pair_id=pair_id, margin=margin) for pair_id, margin in kept))
        click.echo(f"{margins}: {n} margins")
    if card and opened is not None:
        _write_card(card, opened, count)
    if annotators and opened is not None:
        people = opened.annotators
        if not people:
            raise ConfigError(f"{source}: says nothing of who voted, so {annotators} was not written ({out} was)")
        click.echo(f"{annotators}: {write_records(annotators, people)} annotators")


def _write_card(path: Path, opened: OpenSource, count: _Count) -> None:
    import shlex
    from datetime import UTC, datetime
    from importlib import resources

    from jinja2 import Environment, StrictUndefined

    from dissensus import __version__
    from dissensus.files import write_text

    source, part, revision = opened.name
    text = (resources.files("dissensus.sources") / "templates" / "data_card.md").read_text(encoding="utf-8")
    # Markdown, not HTML: nothing to escape.
    template = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(text)
    card = template.render(
        title=f"{source.name}: {part}",
        version=__version__,
        date=datetime.now(UTC).date(),
        command=shlex.join(["dissensus", *sys.argv[1:]]),
        source=source.hub,
        split=opened.split,
        revision=revision or "not pinned",
        what=source.what,
        licence=source.licence,
        votes_by=source.votes,
        counts=opened.counts,
        **count.facts(),
    )
    write_text(path, card)
    click.echo(f"{path}: data card")


def _list() -> None:
    from dissensus.sources import SOURCES

    click.echo("Public data sets, by the name that SOURCE takes; the first part is read unless another is named.\n")
    for source in SOURCES.values():
        paper = {"in": "trained on in the paper", "out": "tested on in the paper", None: ""}[source.paper]
        click.echo(f"{source.name}  ({source.hub})")
        parts = "; ".join(f"{part}: {', '.join(source.splits(part))}" for part in source.parts)
        for title, text in (
            ("what", source.what),
            ("rows", source.rows),
            ("votes", source.votes),
            ("parts", parts),
            ("licence", source.licence),
            ("domain", paper),
        ):
            if text:
                click.echo(f"  {title:8} {text}")


def _notice(text: str) -> None:
    from tqdm import tqdm

    # Past the progress bar, on stderr.
    tqdm.write(f"dissensus: {text}", file=sys.stderr)


def _mapping(columns: tuple[str, ...]) -> dict[str, str]:
    mapping = {}
    for option in columns:
        ours, equals, theirs = option.partition("=")
        if not (ours and equals):
            raise ConfigError(f"--column {option}: expected OURS=THEIRS, as in --column prompt=question")
        mapping[ours] = theirs
    return mapping


def _values(options: tuple[str, ...]) -> dict[str, dict[str, str]]:
    values: dict[str, dict[str, str]] = {}
    for option in options:
        column, colon, meaning = option.partition(":")
        theirs, equals, ours = meaning.rpartition("=")
        if not (column and colon and theirs and equals):
            raise ConfigError(f"--value {option}: expected COLUMN:THEIRS=OURS, as in --value winner:1=a")
        values.setdefault(column, {})[theirs] = ours
    return values


def _keep_margins(found: Iterable[tuple[Pair, Margin | None]], kept: list[tuple[str, float]] | None) -> Iterator[Pair]:
    for pair, margin in found:
        if kept is not None and margin is not None:
            kept.append((pair.id, margin.margin))  # a tenth of the record's size
        yield pair


class _Count:
    """What is in the pairs that pass by."""

    def __init__(self) -> None:
        self._labels: Counter[str] = Counter()
        self._datasets: Counter[str] = Counter()
        self._pairs = self._with_votes = self._votes = 0
        self._prompts: set[int] = set()

    def watch(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        for pair in pairs:
            self._pairs += 1
            self._labels.update([pair.label] if pair.label else [])
            self._datasets.update([pair.dataset] if pair.dataset else [])
            self._with_votes += pair.votes is not None
            self._votes += pair.votes.n if pair.votes else 0
            self._prompts.add(hash(pair.prompt))
            yield pair

    def facts(self) -> dict[str, object]:
        """What a data card says."""
        labels = ", ".join(f"{label} {n}" for label, n in sorted(self._labels.items()))
        return {
            "pairs": self._pairs,
            "prompts": len(self._prompts),
            "with_votes": self._with_votes,
            "votes": self._votes,
            "labels": labels or "none",
        }

    def summary(self) -> str:
        lines = [f"  with votes        {self._with_votes} ({self._votes} votes)"]
        labels = ", ".join(f"{label} {n}" for label, n in sorted(self._labels.items()))
        lines.append(f"  with label        {self._labels.total()}" + (f" ({labels})" if labels else ""))
        lines.append(f"  distinct prompts  {len(self._prompts)}")
        lines += [f"  dataset {name}: {n}" for name, n in sorted(self._datasets.items())]
        return "\n".join(lines)

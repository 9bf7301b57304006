"""The step ``pairs``: a public data set, a Hub id, a file or a table into a file of pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from dissensus.errors import ConfigError
from dissensus.parts import Census, InParts
from dissensus.settings import Argument, Option, Reads, Writes

if TYPE_CHECKING:
    from dissensus.files import ReadReport
    from dissensus.files.rows.columns import Notice
    from dissensus.files.source import Labelled, PairReader
    from dissensus.records import Pair
    from dissensus.sources import DatasetReader


def _as_texts(given: Any) -> Any:
    """Take ``{"winner": {"1": "a"}}`` as the texts that an option takes."""
    if not isinstance(given, dict):
        return given
    return tuple(f"{column}:{theirs}={ours}" for column, values in given.items() for theirs, ours in values.items())


class PairsSettings(InParts):
    """Read SOURCE into pairs: a public data set by name, a file, a folder of files, or a Hub id (org/name).

    A public data set is named as in hh-rlhf, hh-rlhf:helpful-base or hh-rlhf:helpful-base@REVISION; --list shows them.
    Of other sources, flat pairs and TRL's chosen/rejected are told apart by their columns. SOURCE itself is never
    changed.
    """

    source: Annotated[str, Argument(), Reads()]
    """A data set's name, a file, a folder or a Hub id."""
    out: Annotated[Path, Writes()]
    """.jsonl, .jsonl.gz, .parquet, .csv or .tsv."""
    root: Annotated[Path | None, Option("--from"), Reads("copies")] = None
    """Folder with copies of public data sets, instead of the Hub."""
    split: str | None = None
    """Split of a data set that has several."""
    columns: Annotated[dict[str, str], Option("--column", metavar="OURS=THEIRS")] = Field(default_factory=dict)
    """Use their column as ours; OURS= leaves ours alone; repeatable."""
    values: Annotated[tuple[str, ...], Option("--value", metavar="COLUMN:THEIRS=OURS"), BeforeValidator(_as_texts)] = ()
    """What a value means, as in winner:1=a; OURS is a, b, tie or nothing."""
    annotator: Annotated[str | None, Option(metavar="COLUMN")] = None
    """Each row is one person's vote; this column names who."""
    votes: Annotated[tuple[str, ...], Option("--vote", metavar="COLUMN")] = ()
    """The column of that vote; given several times, each is a column of one annotator."""
    skip_invalid: bool = False
    """Drop rows that cannot be used, and count them."""
    margins: Annotated[Path | None, Writes()] = None
    """Write margins here: a TRL source's column, or a public data set's own strengths of preference, 0 to 1."""
    card: Annotated[Path | None, Writes()] = None
    """Write a data card (Markdown) of a public data set here."""
    annotators: Annotated[Path | None, Writes()] = None
    """Write who voted, with their attributes, here."""
    label: Literal["one-vote"] | None = None
    """one-vote: draw one of each pair's votes for a or b as its label. The votes stay whole and the pairs say so: the
    judge of votes leaves the label out of them."""
    label_seed: Annotated[int, Field(ge=0)] = 0
    """Of the votes that are drawn."""
    layout: Annotated[Literal["auto", "pairs", "trl"], Option("--format")] = "auto"
    """Layout of the output; trl is chosen and rejected. auto: pairs."""

    @model_validator(mode="after")
    def _whole_or_not(self) -> Self:
        whole = [name for name in ("annotators", "card") if getattr(self, name) is not None]
        if self.part is not None and whole:
            raise ValueError(f"{whole[0]}: is of the whole source, not of a part; write it by a run without part")
        return self

    def meanings(self) -> dict[str, dict[str, str]]:
        """Read ``values``: column to their value to ours. Raises ConfigError."""
        found: dict[str, dict[str, str]] = {}
        for option in self.values:
            column, colon, meaning = option.partition(":")
            theirs, equals, ours = meaning.rpartition("=")
            if not (column and colon and theirs and equals):
                raise ConfigError(f"--value {option}: expected COLUMN:THEIRS=OURS, as in --value winner:1=a")
            found.setdefault(column, {})[theirs] = ours
        return found


@dataclass
class PairCounts:
    """What is in some pairs."""

    pairs: int = 0
    with_votes: int = 0
    votes: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    datasets: Counter[str] = field(default_factory=Counter)
    prompts: set[int] = field(default_factory=set)
    """Hashes of the distinct prompts."""

    def add(self, pair: Pair) -> None:
        """Count a pair."""
        self.pairs += 1
        self.labels.update([pair.label] if pair.label else [])
        self.datasets.update([pair.dataset] if pair.dataset else [])
        self.with_votes += pair.votes is not None
        self.votes += pair.votes.n if pair.votes else 0
        self.prompts.add(hash(pair.prompt))

    @property
    def label_counts(self) -> str:
        """The labels with how often each comes."""
        return ", ".join(f"{label} {n}" for label, n in sorted(self.labels.items()))


@dataclass(frozen=True)
class PairsResult:
    """What was read and written."""

    out: Path
    counts: PairCounts
    report: ReadReport
    """What became of the rows of the source."""
    others: tuple[str, ...]
    """The other files that were written, a line each."""

    def lines(self) -> list[str]:
        """Say what is in the pairs, and what else was written."""
        counts = self.counts
        labels = f" ({counts.label_counts})" if counts.labels else ""
        return [
            f"{self.out}: {counts.pairs} pairs",
            f"  with votes        {counts.with_votes} ({counts.votes} votes)",
            f"  with label        {counts.labels.total()}{labels}",
            f"  distinct prompts  {len(counts.prompts)}",
            *(f"  dataset {name}: {n}" for name, n in sorted(counts.datasets.items())),
            *self.others,
        ]


def run(
    settings: PairsSettings, *, command: str = "", progress: bool = False, notice: Notice | None = None
) -> PairsResult:
    """Read pairs and write them, with what else was asked for.

    ``command`` is how a data card says that it was made. ``notice`` is called with what is remarkable about the source;
    unless given, it is printed to stderr.

    Raises:
        ConfigError: the source cannot give what was asked for.
        InputError: a row cannot be used, or there is none.
        OutputError: a file cannot be written.
    """
    from tqdm import tqdm

    from dissensus.files import write_records, write_trl
    from dissensus.files.parts_folder import PartRecord
    from dissensus.files.source import print_notice
    from dissensus.files.writers import check_writable_name

    notice = notice or print_notice
    reader = _open(settings, notice)
    for path in filter(None, (settings.out, settings.margins, settings.annotators)):
        check_writable_name(path)
    part = settings.chosen_part
    census = None if part is None else Census(part)
    counts = PairCounts()
    margins: list[tuple[str, float]] | None = [] if settings.margins else None
    with tqdm(reader, unit=" pairs", desc="pairs", disable=not progress) as shown:
        pairs = _noted(shown, counts, margins, settings, census)
        if settings.layout == "trl":
            write_trl(settings.out, pairs, notice=notice)
        else:
            write_records(settings.out, pairs)
    if part is not None and census is not None:
        PartRecord.of(census, part).write(settings.out)
    is_empty = part is not None and not counts.pairs
    if settings.label and not counts.with_votes and not is_empty:
        raise ConfigError(
            f"{settings.source}: no pair has votes to draw a label of, so {settings.out} has its own; leave out --label"
        )
    others = tuple(_write_others(settings, reader, counts, margins, command or repr(settings)))
    return PairsResult(settings.out, counts, reader.report, others)


def _open(settings: PairsSettings, notice: Notice) -> PairReader:
    from dissensus.sources import DatasetReader, open_pairs

    given = {name: getattr(settings, name) for name in ("columns", "annotator", "votes", "split", "skip_invalid")}
    reader = open_pairs(settings.source, root=settings.root, values=settings.meanings(), notice=notice, **given)
    if not isinstance(reader, DatasetReader) and (settings.root or settings.annotators or settings.card):
        option = "--from" if settings.root else "--annotators" if settings.annotators else "--card"
        raise ConfigError(f"{option} is for public data sets, and {settings.source!r} is none of them; see --list")
    return reader


def _noted(
    found: Iterable[Labelled],
    counts: PairCounts,
    margins: list[tuple[str, float]] | None,
    settings: PairsSettings,
    census: Census | None = None,
) -> Iterator[Pair]:
    """Stream the pairs with their labels, and take note of what they are."""
    from dissensus.sources.label_votes import with_drawn_label

    for given, margin in found:
        if census is not None and not census.add(given):
            continue
        is_drawn = settings.label is not None and given.votes is not None
        pair = with_drawn_label(given, seed=settings.label_seed) if is_drawn else given
        if margins is not None and margin is not None:
            margins.append((pair.id, margin.margin))  # a tenth of the record's size
        counts.add(pair)
        yield pair


def _write_others(
    settings: PairsSettings,
    reader: PairReader,
    counts: PairCounts,
    margins: list[tuple[str, float]] | None,
    command: str,
) -> Iterator[str]:
    from dissensus.files import write_records, write_text
    from dissensus.records import Margin
    from dissensus.sources import DatasetReader

    is_public = isinstance(reader, DatasetReader)
    if settings.margins:
        if not margins and not (settings.part and not counts.pairs):
            what = "strength of preference" if is_public else "margin column"
            raise ConfigError(
                f"{settings.source}: has no {what}, so {settings.margins} was not written ({settings.out} was); "
                "leave out --margins"
            )
        n = write_records(settings.margins, (Margin(pair_id=name, margin=margin) for name, margin in margins or ()))
        yield f"{settings.margins}: {n} margins"
    if settings.card and isinstance(reader, DatasetReader):
        write_text(settings.card, _data_card(reader, counts, command))
        yield f"{settings.card}: data card"
    if settings.annotators:
        people = reader.report.annotators
        if not people:
            raise ConfigError(
                f"{settings.source}: says nothing of who voted, so {settings.annotators} was not written "
                f"({settings.out} was)"
            )
        yield f"{settings.annotators}: {write_records(settings.annotators, people)} annotators"


def _data_card(reader: DatasetReader, counts: PairCounts, command: str) -> str:
    from datetime import UTC, datetime
    from importlib import resources

    from jinja2 import Environment, StrictUndefined

    from dissensus import __version__

    source, part, revision = reader.name
    text = (resources.files("dissensus.sources") / "templates" / "data_card.md").read_text(encoding="utf-8")
    # Markdown, not HTML: nothing to escape.
    template = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(text)
    return template.render(
        title=f"{source.name}: {part}",
        version=__version__,
        date=datetime.now(UTC).date(),
        command=command,
        source=source.hub,
        split=reader.split,
        revision=revision or "not pinned",
        what=source.what,
        licence=source.licence,
        votes_by=source.votes,
        counts=reader.report.counts,
        pairs=counts.pairs,
        prompts=len(counts.prompts),
        with_votes=counts.with_votes,
        votes=counts.votes,
        labels=counts.label_counts or "none",
    )

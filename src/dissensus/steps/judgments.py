"""The steps ``judgments …``: a store's listed, verified, recovered, exported, copied, imported, compared, merged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, NonNegativeInt

from dissensus.errors import InputError
from dissensus.files.database_url import StorePlace
from dissensus.settings import Argument, Option, Reads, Settings, Writes

if TYPE_CHECKING:
    from dissensus.judges.store.store import JudgmentStore


@dataclass(frozen=True)
class Lines:
    """What a step found, one thing a line."""

    found: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        """Return what the command prints."""
        return self.found


class _OfStore(Settings):
    store: Annotated[StorePlace, Reads("store")]
    """The judgments: an SQLite file or a postgresql:// URL."""


class ListSettings(_OfStore):
    """List the judges of a store: what they said, with which bias, and what they cost."""


def list_judges(settings: ListSettings) -> Lines:
    """Describe the judges of a store, and the runs that have not ended."""
    from dissensus.judges.store.attempts import open_runs

    with _open(settings.store) as store:
        judges = store.judges()
        lines = [line for judge, count in judges.items() for line in _describe(store, judge, count)]
        lines += [
            f"unfinished run of {run.judge}: process {run.pid} on {run.host} since {run.started}, "
            f"{run.in_flight:,} requests in flight"
            for run in open_runs(store)
        ]
    return Lines(tuple(lines) if judges else (f"{settings.store}: no judgments yet", *lines))


def _describe(store: JudgmentStore, judge: str, count: int) -> Iterator[str]:
    from dissensus.judges.position_bias import position_bias
    from dissensus.judges.store.attempts import spent

    settings = store.settings(judge)
    config = settings.get("config", {})
    is_exact = config.get("mode") == "exact"
    yield judge
    if config:
        how = f"{config['model']}, template {settings['template']['name']}, order {config['order']}"
        sampled = "" if is_exact else f", seed {config['seed']}, at most {config['max_tokens']:,} tokens"
        at = f"temperature {config['temperature']}, top-p {config['top_p']}"
        yield f"  asked      {how}, mode {config['mode']}, {at}{sampled}"
    if personas := config.get("personas"):
        yield f"  personas   {len(personas):,}: {personas[0][:60]}{', …' if len(personas) > 1 else ''}"
    if is_exact:
        yield f"  judgments  {count:,} choice distributions"
    else:
        query = "SELECT COUNT(DISTINCT pair_id), COUNT(*) - COUNT(choice) FROM judgments WHERE judge = ?"
        ((pairs, invalid),) = store.rows(query, (judge,))
        yield f"  judgments  {count:,} of {pairs:,} pairs, {invalid / count:.1%} name no winner"
    drawn_at = {"temperature": config["temperature"], "top_p": config["top_p"]} if is_exact else {}
    if words := position_bias(store, judge, **drawn_at).in_words():
        yield f"  position   {words}"
    cost = spent(store, judge)
    if cost.attempts:
        ended = f"{cost.failed:,} failed, {cost.refused:,} refused, {cost.lost:,} lost"
        tokens = f"{cost.prompt_tokens:,} + {cost.completion_tokens:,} tokens"
        guessed = f" ({cost.estimated:,} attempts estimated)" if cost.estimated else ""
        yield f"  attempts   {cost.attempts:,} ({ended}), {tokens}, ${cost.cost:,.4f}{guessed}"


class VerifySettings(_OfStore):
    """Check a store: pages, keys, checksums, and that each choice is what its reply says."""


def verify(settings: VerifySettings, report: Callable[[str], Any] = lambda line: None) -> Lines:
    """Check a store to the last row; ``report`` takes what is wrong before the error is raised.

    Raises:
        InputError: a row is not as it should be.
    """
    from dissensus.judges.store.verify import verify as check

    store = settings.store
    with _open(store) as opened:
        found = check(opened)
    counts = (f"judgments  {found.judgments:,}", f"distributions {found.distributions:,}")
    if found.damaged:
        for line in (*counts, *(f"problem    {problem}" for problem in found.problems)):
            report(line)
        remedy = f"save the rest with: dissensus judgments recover --store {store} --out RECOVERED.db"
        if not isinstance(store, Path):
            remedy = "restore them from a backup of the database"
        raise InputError(f"{store}: {found.damaged:,} rows are not as they should be; {remedy}")
    why = "; ".join(f"{count:,} {reason}" for reason, count in found.unverifiable.items())
    left = f"{found.unverifiable.total():,} not verifiable" + (f" ({why})" if why else "")
    return Lines((*counts, f"ok: {found.verified:,} rows verified, {left}"))


class RecoverSettings(_OfStore):
    """Copy what can be read of a damaged store into a new one; the damaged file is left as it is."""

    out: Annotated[Path, Writes()]
    """The new store."""


def recover(settings: RecoverSettings) -> Lines:
    """Save what can be read of a damaged store. Raises InputError and OutputError."""
    from dissensus.judges.store.verify import recover as save

    if not isinstance(settings.store, Path):
        raise InputError(f"{settings.store}: what is recovered is an SQLite file; restore a database from its backup")
    found = save(settings.store, settings.out)
    saved = [f"{table:<10} {count:,} rows saved" for table, count in found.saved.items()]
    left = [f"left out   {found.damaged:,} rows that can be read and are not as they were stored"]
    end = f"written    {settings.out}; run dissensus judge with it, and only what is missing is asked"
    return Lines((*saved, *(left if found.damaged else ()), end))


class ExportSettings(_OfStore):
    """Write judgments to .parquet, .jsonl(.gz) or .csv, or to a folder that load_dataset reads."""

    out: Annotated[Path, Writes()]
    """A file, or a folder with --hub."""
    judge: str = ""
    """A judge's full name, or the beginning of it; all by default."""
    distributions: Annotated[bool, Option(old="--readings")] = False
    """The raw log-probabilities of judges in mode exact instead."""
    hub: bool = False
    """A folder with a card, ready to be pushed to the Hub."""


def export(settings: ExportSettings) -> Lines:
    """Write judgments to a file, or to a folder for the Hub. Raises InputError and OutputError."""
    from dissensus.judges.store import export as exporting
    from dissensus.judges.store.query import choose_judge

    out = settings.out
    with _open(settings.store) as store:
        judge = choose_judge(settings.judge, store) if settings.judge else None
        if settings.hub:
            parts = exporting.export_data_set(store, out, judge=judge)
            return Lines(tuple(f"{part:<10} {count:,} rows in {out}" for part, count in parts.items()))
        count = exporting.export(store, out, judge=judge, distributions=settings.distributions)
    what = "choice distributions" if settings.distributions else "judgments"
    return Lines((f"written    {count:,} {what} to {out}",))


class CopySettings(Settings):
    """Copy a store into a new one, from SQLite to PostgreSQL or back: every row as it is, attempts and costs too.

    The copy is compared with the store, row by row. The store is left as it is; what judges add to it meanwhile is not
    in the copy, so let them end first.
    """

    source: Annotated[StorePlace, Reads("store"), Argument("FROM")]
    """The store: an SQLite file or a postgresql:// URL."""
    to: Annotated[StorePlace, Writes("store"), Argument("TO")]
    """The new one: a file that is not there yet, or a database (or schema) without judgments."""


def copy(settings: CopySettings) -> Lines:
    """Copy a store into a new one. Raises InputError and OutputError."""
    from dissensus.judges.store.attempts import open_runs
    from dissensus.judges.store.copying import copy as copy_rows

    with _open(settings.source) as store:
        counts = copy_rows(store, settings.to)
        running = [
            f"unfinished run of {run.judge}: process {run.pid} on {run.host}; what it adds is not in {settings.to}"
            for run in open_runs(store)
        ]
    copied = [f"{table:<10} {count:,} rows" for table, count in counts.items()]
    return Lines((*copied, *running, f"written    {settings.to}, each row equal to that of {settings.source}"))


class ImportSettings(Settings):
    """Read verdicts that others published into a store, one judge for each name.

    FILE has rows of pairs with a column "judges" ({"gpt4": {"AB": [1, 0], "BA": 0.5}}: P(a) by the order shown), or
    flat rows with pair_id, judge, choice or probability_a, order and sample.
    """

    file: Annotated[Path, Reads("file"), Argument()]
    """The verdicts."""
    store: Annotated[StorePlace, Writes("store")]
    """The judgments: an SQLite file or a postgresql:// URL."""
    pairs: Annotated[str, Reads()] = ""
    """The pairs that the verdicts are about; FILE itself by default."""
    judge: str = ""
    """One of the judges of FILE, as it calls them; all by default."""


def import_verdicts(settings: ImportSettings) -> Lines:
    """Read published verdicts into a store.

    Raises:
        InputError: the file has no verdicts on the pairs, or none of that judge.
        OutputError: the store cannot be written.
    """
    from dissensus.judges.published import is_flat, read_published
    from dissensus.judges.runner import judge_pairs
    from dissensus.judges.store.store import JudgmentStore
    from dissensus.sources import read_pairs

    file, name = settings.file, settings.judge
    if not settings.pairs and is_flat(file):
        raise InputError(f"{file}: has verdicts without the texts of their pairs; name the pairs with --pairs")
    rows = list(read_pairs(settings.pairs or file, notice=lambda _: None))
    judges = read_published(file, rows)
    if name and name not in judges:
        raise InputError(f"{file}: no judge {name!r}; it has: {', '.join(sorted(judges))}")
    lines = []
    with JudgmentStore(settings.store) as store:
        for judge in [judges[name]] if name else judges.values():
            done = judge_pairs(rows, judge, store, progress=False).tally
            lines.append(f"{judge.name}: {done.made:,} new, {done.reused:,} already in {settings.store}")
    return Lines(tuple(lines))


class CompareSettings(Settings):
    """Hold judges against the votes of people, against themselves with the order swapped, and against each other."""

    pairs: Annotated[str, Reads(), Argument()]
    """The pairs that were judged, with votes."""
    store: Annotated[StorePlace, Reads("store")]
    """The judgments: an SQLite file or a postgresql:// URL."""
    judge: tuple[str, ...] = ()
    """A judge's full name, or the beginning of it; all by default."""
    resamples: NonNegativeInt = 2000
    """Of the bootstrap over prompts."""
    seed: NonNegativeInt = 0
    """Of the bootstrap."""


def compare(settings: CompareSettings) -> Lines:
    """Score judges and take the variance of their verdicts apart.

    Raises:
        InputError: there is no such judge, or nobody judged any of the pairs.
    """
    from dissensus.evaluation.judges import decompose, score_judges
    from dissensus.evaluation.resample import Resampling
    from dissensus.evaluation.tables.judge_tables import component_table, judge_tables
    from dissensus.evaluation.tables.render import terminal_table
    from dissensus.judges.store.query import Recall, choose_judge, without_twins
    from dissensus.sources import read_pairs

    rows = list(read_pairs(settings.pairs))
    with _open(settings.store) as store:
        names = [choose_judge(name, store) for name in settings.judge] or without_twins(store, store.judges())
        judgments = [judgment for name in names for judgment in Recall(store, name, rows).judgments()]
    if not judgments:
        raise InputError(f"{settings.store}: nobody judged any of the {len(rows):,} pairs of {settings.pairs}")
    resampling = Resampling(n=settings.resamples, seed=settings.seed)
    tables = judge_tables(score_judges(rows, judgments, resampling))
    return Lines(
        tuple(terminal_table(one) + "\n" for one in [*tables, component_table(decompose(rows, judgments, resampling))])
    )


class MergeSettings(Settings):
    """Merge what dissensus judge --part wrote, shards and other stores into one store.

    PARTS is the folder STORE.parts, or folders and addresses (s3://…) of shards, and stores. Of each question the first
    answer is kept. Every row is checked; doubles and errors are counted, with --pairs the questions that nobody
    answered. Killed anywhere, the same command goes on, and done again it adds nothing.
    """

    parts: Annotated[tuple[str, ...], Field(min_length=1), Reads(), Argument()]
    """What is merged, in this order."""
    store: Annotated[StorePlace, Writes("store")]
    """The store that is made or added to: an SQLite file or a postgresql:// URL."""
    pairs: Annotated[str, Reads()] = ""
    """The pairs that were to be judged: says what is open, and in which part."""
    judge: tuple[str, ...] = ()
    """A judge's full name, or the beginning of it; all by default."""
    allow_missing: bool = False
    """Do without parts that are missing or have not ended."""


def merge(settings: MergeSettings) -> Lines:
    """Merge parts into a store.

    Raises:
        InputError: parts do not fit together, or one is damaged; what was merged before stays.
        OutputError: the store cannot be written.
    """
    from dissensus.judges.shards.merge_judgments import merge as merge_parts
    from dissensus.sources import read_pairs

    pairs = read_pairs(settings.pairs) if settings.pairs else None
    done = merge_parts(
        settings.parts, settings.store, judges=settings.judge, pairs=pairs, allow_missing=settings.allow_missing
    )
    return Lines(tuple(done.lines()))


def _open(store: StorePlace) -> JudgmentStore:
    from dissensus.judges.store.store import JudgmentStore

    return JudgmentStore(store, create=False)


VERBS: Mapping[str, tuple[type[Settings], Callable[..., Lines]]] = {
    "list": (ListSettings, list_judges),
    "verify": (VerifySettings, verify),
    "recover": (RecoverSettings, recover),
    "export": (ExportSettings, export),
    "copy": (CopySettings, copy),
    "import": (ImportSettings, import_verdicts),
    "compare": (CompareSettings, compare),
    "merge": (MergeSettings, merge),
}
"""What each verb takes, and what it does."""

"""``dissensus pairs``: a data set, a Hub id or a file into pairs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dissensus.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from dissensus.records import Margin, Pair


@click.command("pairs")
@click.argument("source")
@click.option("--out", required=True, type=click.Path(path_type=Path), help=".jsonl, .jsonl.gz, .parquet or .csv.")
@click.option("--split", metavar="NAME", help="Split of a data set that has several.")
@click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS", help="Use their column as ours; repeatable.")
@click.option("--skip-invalid", is_flag=True, help="Drop rows that cannot be used, and count them.")
@click.option("--margins", type=click.Path(path_type=Path), help="Write the margin column of a TRL source here.")
@click.option(
    "--format",
    "layout",
    type=click.Choice(["auto", "pairs", "trl"]),
    default="auto",
    help="Layout of the output; trl is chosen and rejected. auto: pairs.",
)
def command(
    source: str,
    out: Path,
    split: str | None,
    columns: tuple[str, ...],
    skip_invalid: bool,
    margins: Path | None,
    layout: str,
) -> None:
    """Read SOURCE into pairs: a file, a folder of Parquet, or a Hub id (org/name).

    Flat pairs and TRL's chosen/rejected are told apart by their columns. SOURCE itself is never changed.
    """
    from tqdm import tqdm

    from dissensus.files import read_trl, write_records, write_trl
    from dissensus.files.writing import check_writable_name
    from dissensus.records import Margin

    for path in filter(None, (out, margins)):
        _refuse_source(source, path)
        check_writable_name(path)
    if margins and margins.resolve() == out.resolve():
        raise ConfigError(f"--margins {margins}: is also --out; name another file")
    found = read_trl(source, columns=_mapping(columns), split=split, skip_invalid=skip_invalid, notice=_notice)
    kept: list[tuple[str, float]] = []
    count = _Count()
    with tqdm(found, unit=" pairs", desc="pairs") as shown:
        pairs = count.watch(_keep_margins(shown, kept if margins else None))
        n = write_trl(out, pairs, notice=_notice) if layout == "trl" else write_records(out, pairs)
    click.echo(f"{out}: {n} pairs\n{count.summary()}")
    if margins:
        if not kept:
            raise ConfigError(
                f"{source}: has no margin column, so {margins} was not written ({out} was); leave out --margins"
            )
        n = write_records(margins, (Margin(pair_id=pair_id, margin=margin) for pair_id, margin in kept))
        click.echo(f"{margins}: {n} margins")


def _notice(text: str) -> None:
    from tqdm import tqdm

    # Past the progress bar, on stderr.
    tqdm.write(f"dissensus: {text}", file=sys.stderr)


def _mapping(columns: tuple[str, ...]) -> dict[str, str]:
    mapping = {}
    for option in columns:
        ours, equals, theirs = option.partition("=")
        if not (ours and equals and theirs):
            raise ConfigError(f"--column {option}: expected OURS=THEIRS, as in --column prompt=question")
        mapping[ours] = theirs
    return mapping


def _refuse_source(source: str, out: Path) -> None:
    path = Path(source)
    if path.exists() and path.resolve() in (out.resolve(), out.resolve().parent):
        raise OutputError(f"{out}: is {source} or lies in it, which stays as it is; name another file")


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
        self._with_votes = self._votes = 0
        self._prompts: set[int] = set()

    def watch(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        for pair in pairs:
            self._labels.update([pair.label] if pair.label else [])
            self._datasets.update([pair.dataset] if pair.dataset else [])
            self._with_votes += pair.votes is not None
            self._votes += pair.votes.n if pair.votes else 0
            self._prompts.add(hash(pair.prompt))
            yield pair

    def summary(self) -> str:
        lines = [f"  with votes        {self._with_votes} ({self._votes} votes)"]
        labels = ", ".join(f"{label} {n}" for label, n in sorted(self._labels.items()))
        lines.append(f"  with label        {self._labels.total()}" + (f" ({labels})" if labels else ""))
        lines.append(f"  distinct prompts  {len(self._prompts)}")
        lines += [f"  dataset {name}: {n}" for name, n in sorted(self._datasets.items())]
        return "\n".join(lines)

"""Pairs out of any source: a file, a folder of Parquet, a ``datasets`` folder or a Hub id."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from dissensus.errors import InputError
from dissensus.files.columns import ColumnMap, Notice
from dissensus.files.faults import Faults, describe
from dissensus.files.hub import is_hub_id, read_dataset
from dissensus.files.pairs import pair_from_row
from dissensus.files.reading import Fault, Row, read_rows
from dissensus.files.trl import pair_from_trl
from dissensus.records import Margin, Pair

_SPLIT = re.compile(r"(.+)-\d+-of-\d+|(train|test|validation|valid|val|dev|eval)(?:\W.*)?")


def print_notice(text: str) -> None:
    """Print a notice to stderr."""
    print(f"dissensus: {text}", file=sys.stderr)  # noqa: T201


def read_pairs(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    skip_invalid: bool = False,
    notice: Notice = print_notice,
) -> Iterator[Pair]:
    """Stream the pairs of a file, a folder of Parquet, a folder of ``datasets`` or a Hub id (``org/name``).

    Files end in .jsonl, .jsonl.gz, .parquet, .csv or .json and hold flat pairs, or TRL's chosen and rejected; which
    of them is told by the columns. ``columns`` maps our names to theirs, ``split`` names one where there are
    several. Unknown columns and dropped rows are told to ``notice``.

    Raises InputError with file and line at the first row that cannot be used; with ``skip_invalid`` such rows are
    dropped and counted. A pair that is there twice is dropped; one id with two contents is an error.
    """
    found = read_trl(source, columns=columns, split=split, skip_invalid=skip_invalid, notice=notice)
    return (pair for pair, _ in found)


def read_trl(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    skip_invalid: bool = False,
    notice: Notice = print_notice,
) -> Iterator[tuple[Pair, Margin | None]]:
    """Stream pairs with the margins of a ``margin`` column; None where there is none. Otherwise as ``read_pairs``."""
    faults = Faults(skip=skip_invalid)
    mapping = ColumnMap(columns, notice)
    seen = _Seen()
    unused: set[str] = set()
    n = 0
    for row in _rows(source, split, faults):
        values = mapping.rename(row.values, row.place)
        try:
            is_trl = mapping.layout == "trl"
            pair, margin = pair_from_trl(values, unused) if is_trl else (pair_from_row(values, unused), None)
            if seen.is_repeat(pair):
                continue
        except ValueError as error:
            faults(row.place, describe(error))
            continue
        n += 1
        yield pair, margin
    _close(source, n, faults, seen, unused, notice)


class PairFile:
    """The pairs of a source, to be streamed as often as needed without ever holding them all.

    Making it reads the source once, to the end: what is wrong with a row shows before anything is done with the
    others. ``len`` is then the number of pairs. ``read`` is `read_pairs` unless given. Raises InputError as it does.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        notice: Notice = print_notice,
        read: Callable[..., Iterator[Pair]] | None = None,
    ) -> None:
        self._source = source
        self._read = read or read_pairs
        self._n = sum(1 for _ in self._read(source, notice=notice))

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[Pair]:
        return self._read(self._source, notice=lambda _: None)


def _close(source: str | Path, n: int, faults: Faults, seen: _Seen, unused: set[str], notice: Notice) -> None:
    if n == 0:
        dropped = f"none of its {faults.n} rows can be used; the first: {faults.first}" if faults.n else "no rows in it"
        raise InputError(f"{source}: {dropped}; check that it is the file you mean")
    if unused:
        notice(f"keys of votes or chat messages left alone, unknown here: {', '.join(sorted(unused))}")
    if seen.repeats:
        notice(f"repeated pairs (same id, same content) dropped: {seen.repeats}")
    if faults.n:
        notice(f"{faults.n} of {n + faults.n + seen.repeats} rows were dropped as invalid; the first: {faults.first}")


class _Seen:
    """The ids so far, as 64-bit hashes: about 100 bytes a pair."""

    def __init__(self) -> None:
        self._content: dict[int, int] = {}
        self.repeats = 0

    def is_repeat(self, pair: Pair) -> bool:
        """Whether this very pair came before; raises ValueError where its id did with other content."""
        key, content = hash(pair.id), hash(pair)
        known = self._content.get(key)
        if known is None:
            self._content[key] = content
            return False
        if known != content:
            raise ValueError(
                f"id {pair.id!r} came before with other content (texts, label or votes); give every pair its own id"
            )
        self.repeats += 1
        return True


def _rows(source: str | Path, split: str | None, fault: Fault) -> Iterator[Row]:
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.glob("*.parquet") if not file.name.startswith("."))
        if not files:
            yield from read_dataset(str(source), split=split)
            return
        for file in _of_split(files, path, split):
            yield from read_rows(file, fault)
    elif path.exists() or not is_hub_id(str(source)):
        if split is not None:
            raise InputError(f"{source}: a single file has no splits; leave out --split")
        yield from read_rows(path, fault)
    else:
        yield from read_dataset(str(source), split=split)


def _of_split(files: list[Path], folder: Path, split: str | None) -> list[Path]:
    """Keep the files of one split, told by names such as ``train-00000-of-00002.parquet`` or ``test.parquet``."""
    matches = {file: _SPLIT.fullmatch(file.stem) for file in files}
    names = {file: (match[1] or match[2]) if match else None for file, match in matches.items()}
    found = sorted({name for name in names.values() if name})
    if split is None and len(found) > 1:
        raise InputError(f"{folder}: there are several splits; name one with --split: {', '.join(found)}")
    if split is not None and split not in found:
        raise InputError(f"{folder}: no split {split!r}; found {', '.join(found) or 'none'}; mend --split")
    return [file for file in files if split is None or names[file] == split]

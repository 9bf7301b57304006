"""A folder of parts read as one table, and the record that each part leaves of what it is part of."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from dissensus.errors import InputError
from dissensus.files.atomic import write_json
from dissensus.parts import FOLDER, RECORD, Census, Part, PartOf, part_of

_NAMED = 5
_NO_TABLE = (RECORD, ".db", ".shards")


class PartRecord(BaseModel):
    """What lies beside a part: of which pairs it is which part, and whether it is done."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    part: str
    pairs: int
    total: int
    """Pairs of all parts."""
    digest: str
    """Over all pairs, the same in any order."""
    done: bool = True
    judge: str = ""
    """The judge's name, of judgments."""
    open: int = 0
    """Questions that are left, of judgments."""

    @classmethod
    def of(cls, pairs: PartOf | Census, part: Part, **rest: Any) -> PartRecord:
        """Describe a part of pairs."""
        n = len(pairs) if isinstance(pairs, PartOf) else pairs.own
        return cls(part=str(part), pairs=n, total=pairs.total, digest=pairs.digest, **rest)

    def write(self, place: Path) -> None:
        """Write it beside the part's file. Raises OutputError."""
        write_json(record_path(place), self.model_dump())


def record_path(place: Path) -> Path:
    """Name the record of a part's file: ``3-of-8.record``."""
    return place.with_name(place.name.partition(".")[0] + RECORD)


def note_part(place: Path, pairs: object) -> None:
    """Write the record of a part beside its file, where the pairs are a part. Raises OutputError."""
    if isinstance(pairs, PartOf):
        PartRecord.of(pairs, pairs.part).write(place)


def read_record(place: Path) -> PartRecord | None:
    """Read the record beside a part's file; None where there is none.

    Raises:
        InputError: it is not readable as one.
    """
    path = record_path(place)
    try:
        return PartRecord.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: no record of a part ({reason}); run the part again") from error


def parts_in(folder: Path, suffixes: tuple[str, ...] | None = None) -> list[Path]:
    """List the files of parts in a folder, all n of them, in their order; empty where it is no folder of parts.

    Args:
        folder: where the parts lie.
        suffixes: what the files end in; by default, in anything that is a table.

    Raises:
        InputError: a part is missing or there twice, or they are parts of different things.
    """
    found = {}
    for path in folder.iterdir():
        kind = path.name.partition(".")[2]
        is_wanted = f".{kind}" not in _NO_TABLE if suffixes is None else f".{kind}" in suffixes
        if is_wanted and (part := part_of(path)) is not None and path.is_file():
            found[path] = part
    if found:
        _check(folder, found)
    return sorted(found, key=lambda path: found[path].index)


def _check(folder: Path, found: Mapping[Path, Part]) -> None:
    """Raise InputError unless these are all parts of one thing, each once."""
    ordered = sorted(found, key=lambda path: path.name)
    count = check_each_once(str(folder), [(path.name, found[path]) for path in ordered])
    check_none_missing(str(folder), count, [part.index for part in found.values()])
    check_same_pairs(folder, found)


def check_each_once(place: str, parts: Iterable[tuple[str, Part]]) -> int:
    """Return of how many parts these are. Raises InputError where of several numbers, or where one is there twice."""
    names: dict[Part, str] = {}
    counts: Counter[int] = Counter()
    for name, part in parts:
        counts[part.count] += 1
        if part in names:
            raise InputError(f"{place}: part {part} is there twice ({names[part]}, {name}); keep one of them")
        names[part] = name
    if len(counts) > 1:
        kinds = ", ".join(f"{number} of /{count}" for count, number in sorted(counts.items()))
        raise InputError(f"{place}: parts of different numbers of parts ({kinds}); keep those of one")
    return next(iter(counts))


def check_none_missing(place: str, count: int, there: Iterable[int]) -> None:
    """Raise InputError where a part is missing."""
    missing = sorted(set(range(1, count + 1)) - set(there))
    if missing:
        named = ", ".join(f"{index}/{count}" for index in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise InputError(
            f"{place}: part {named}{more} is missing; run the same command with --part {missing[0]}/{count}"
        )


def check_same_pairs(folder: Path, places: Iterable[Path]) -> dict[int, PartRecord]:
    """Raise InputError where records say that parts are of other pairs; returns the records by the part's index."""
    ordered = sorted(places, key=lambda place: [int(n) for n in re.findall(r"\d+", place.name)])
    records = {place: record for place in ordered if (record := read_record(place)) is not None}
    kinds = Counter(record.digest for record in records.values())
    if len(kinds) > 1:
        (usual, _), *_ = kinds.most_common(1)
        place, other = next((place, one) for place, one in records.items() if one.digest != usual)
        same = next(one for one in records.values() if one.digest == usual)
        raise InputError(
            f"{place}: is part {other.part} of other pairs ({other.total:,}) than part {same.part} ({same.total:,}); "
            f"run it again with the pairs of the others, or empty {folder}"
        )
    return {Part.parse(record.part).index: record for record in records.values()}


def beside_its_parts(path: Path) -> str:
    """Say that a file's parts are there where it is not; empty where they are not, either."""
    folder = path.with_name(path.name + FOLDER)
    return f"; its parts are in {folder}: name that folder" if folder.is_dir() else ""

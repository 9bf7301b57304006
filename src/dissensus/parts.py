"""Parts of pairs, each for a process or machine of its own: cut by a hash of the prompt, named alike everywhere.

A part is "3/8": of the prompts, those whose hash lies in the third eighth. So all pairs of a prompt are in one part,
whatever their order, the format of their file or the machine, and 3/8 is 5/16 and 6/16. Only what is asked is cut:
whoever learns from pairs learns from all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, model_validator

from dissensus.hashing import framed_digest
from dissensus.messages import content_id, plain_text
from dissensus.places.addresses import is_address, path_of
from dissensus.settings import Option, Settings, Writes

if TYPE_CHECKING:
    from dissensus.records import Pair

_PART = re.compile(r"(\d{1,9})/(\d{1,9})")
_NAME = re.compile(r"([1-9]\d*)-of-([1-9]\d*)(?:\.\w+(?:\.gz)?)?")
FOLDER, RECORD = ".parts", ".record"


@dataclass(frozen=True)
class Part:
    """The ``index``-th of ``count`` parts, counted from 1."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read ``3/8``. Raises ValueError, whose message says what would be right."""
        match = _PART.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no part; give I/N, such as 3/8")
        index, count = int(match[1]), int(match[2])
        if count == 0:
            raise ValueError(f"{text!r} is no part; of {count} parts there is none")
        if not 1 <= index <= count:
            raise ValueError(f"{text!r} is no part; of {count} there are 1/{count} to {count}/{count}")
        return cls(index, count)

    def __str__(self) -> str:
        """Return ``3/8``."""
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """Return ``3-of-8``, which files of the part are called."""
        return f"{self.index}-of-{self.count}"

    def has(self, pair: Pair) -> bool:
        """Tell whether a pair is of this part."""
        return index_of(pair, self.count) == self.index

    def place(self, path: Path) -> Path:
        """Return where the part of a result lies: ``out.parquet`` is in ``out.parquet.parts/3-of-8.parquet``.

        A place of a part is itself.
        """
        if path.parent.name.endswith(FOLDER) and part_of(path) is not None:
            return path
        suffix = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
        return path.with_name(path.name + FOLDER) / f"{self.name}{suffix}"


def index_of(pair: Pair, count: int) -> int:
    """Return which of ``count`` parts a pair is of, from 1."""
    number = int.from_bytes(framed_digest("part", plain_text(pair.prompt))[:8], "big")
    return (number * count >> 64) + 1


def part_of(path: Path) -> Part | None:
    """Tell by its name which part a file holds; None where it is called otherwise."""
    match = _NAME.fullmatch(path.name)
    return None if match is None else Part(int(match[1]), int(match[2]))


class PartOf:
    """The pairs of one part, which know what they are part of.

    Making it goes through all pairs once: ``len`` is the number of those of the part, ``total`` that of all, and
    ``digest`` says which pairs all of them are, in whatever order.

    Args:
        whole: all pairs, to be iterated over as often as needed.
        part: which.
        first: the pairs as they are gone through for the first time, where that is to be told apart.
    """

    def __init__(self, whole: Iterable[Pair], part: Part, *, first: Iterable[Pair] | None = None) -> None:
        self.whole, self.part = whole, part
        seen = Census(part)
        for pair in whole if first is None else first:
            seen.add(pair)
        self._n, self.total, self.digest = seen.own, seen.total, seen.digest

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[Pair]:
        return filter(self.part.has, self.whole)


class Census:
    """Counts pairs on their way: all of them and those of a part, and a digest of all that knows no order."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self.own = self.total = self._sum = 0

    def add(self, pair: Pair) -> bool:
        """Count a pair; tells whether it is of the part."""
        is_own = self._part.has(pair)
        self.own += is_own
        self.total += 1
        # A sum, and no exclusive or: two equal pairs would count as none.
        self._sum += int.from_bytes(_digest_of(pair), "big")
        return is_own

    @property
    def digest(self) -> str:
        """32 hex digits over all pairs, the same in any order."""
        return f"{self._sum % 2**128:032x}"


def _digest_of(pair: Pair) -> bytes:
    """Hash what decides an answer about a pair, or what is learnt from it."""
    votes = "" if pair.votes is None else f"{pair.votes.a}/{pair.votes.b}/{pair.votes.tie}"
    content = content_id(pair.prompt, pair.response_a, pair.response_b)
    return framed_digest("pair", pair.id, content, pair.group, pair.label or "", votes)


def whole_of(pairs: Iterable[Pair]) -> Iterable[Pair]:
    """Return all pairs, of which those given may be a part: what a judge learns from."""
    return pairs.whole if isinstance(pairs, PartOf) else pairs


def _checked(text: str | None) -> str | None:
    return None if text is None else str(Part.parse(text))


class InParts(Settings):
    """Settings of a verb that can do one part of its pairs.

    With a part, whatever is written goes to the part's own place (`Part.place`): processes that differ in ``part``
    alone write nothing in common.
    """

    part: Annotated[str | None, Option(metavar="I/N"), AfterValidator(_checked)] = None
    """Of the prompts only the I-th of N parts, such as 3/8; written to the folder OUT.parts."""

    @model_validator(mode="before")
    @classmethod
    def _in_its_place(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not isinstance(data.get("part"), str):
            return data
        try:
            part = Part.parse(data["part"])
        except ValueError:  # the field says so itself
            return data
        written = {
            name for name, field in cls.model_fields.items() if any(isinstance(m, Writes) for m in field.metadata)
        }
        files = {name: data[name] for name in written if isinstance(data.get(name), str | Path)}
        # A database is shared by all parts.
        placed = {
            name: part.place(path_of(file))
            for name, file in files.items()
            if is_address(file) or "://" not in str(file)
        }
        return {**data, **placed}

    @property
    def chosen_part(self) -> Part | None:
        """The part; None for all pairs."""
        return None if self.part is None else Part.parse(self.part)

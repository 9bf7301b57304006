"""Rows of an SQLite file and its log read off their pages, one by one, where SQLite refuses the file as damaged.

The layout is that of https://www.sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Value = None | int | float | str | bytes
_SIZES = [512 << step for step in range(7)]
_PAGE_SIZE = 4096
"""That of the stores that SQLite makes unless told otherwise, where the header does not tell."""
_LOG_HEADER, _FRAME_HEADER = 32, 24
_LOG_MAGIC = (0x377F0682, 0x377F0683)
_CELLS = {2: ("index", 12, 4), 10: ("index", 8, 0), 13: ("table", 8, 0)}
"""Page types with records: of which kind of b-tree, bytes of the page's header, bytes before each cell's payload."""
_INTEGERS = (0, 1, 2, 3, 4, 6, 8)
_CONSTANTS = {0: None, 8: 0, 9: 1}


@dataclass(frozen=True, slots=True)
class Row:
    """A record that was read."""

    kind: Literal["table", "index"]
    """What it is of: a table with row ids; or an index, which a table without them is as well."""
    rowid: int
    """0 in an index."""
    values: tuple[Value, ...]
    is_current: bool
    """Whether its page is the newest of its number and in use."""


class PageReader:
    """Reads the rows of an SQLite file and of the log beside it; neither is changed."""

    def __init__(self, path: Path) -> None:
        self._file = _map(path)
        self._log = _map(path.with_name(path.name + "-wal"))
        named = int.from_bytes(self._file[16:18]) or int.from_bytes(self._log[8:12])
        self._size = named if named in _SIZES else _PAGE_SIZE
        self._newer: dict[int, int] = {}
        """Page number to the place in the log of what was last committed of it."""
        self._frames: list[tuple[int, int]] = []
        self._read_log()

    def rows(self) -> Iterator[Row]:
        """Iterate over all records that can be read, those of current pages first."""
        free = self._free_pages()
        pages = set(range(1, max(-(-len(self._file) // self._size), max(self._newer, default=0)) + 1))
        for number in sorted(pages - free):
            yield from self._rows_on(number, self._page(number), True)
        for number in sorted(pages & free):
            yield from self._rows_on(number, self._page(number), False)
        for number in self._newer:
            yield from self._rows_on(number, self._page_in_file(number), False)
        for number, at in self._frames:
            if self._newer.get(number) != at:
                yield from self._rows_on(number, self._log[at : at + self._size], False)

    def _read_log(self) -> None:
        if len(self._log) < _LOG_HEADER or int.from_bytes(self._log[:4]) not in _LOG_MAGIC:
            return
        salt = self._log[16:24]
        begun: dict[int, int] = {}
        step = _FRAME_HEADER + self._size
        for start in range(_LOG_HEADER, len(self._log), step):
            number, pages_after = struct.unpack_from(">II", self._log[start : start + 8].ljust(8, b"\0"))
            at = start + _FRAME_HEADER
            self._frames.append((number, at))
            if self._log[start + 8 : start + 16] != salt or at + self._size > len(self._log):
                continue  # of an earlier round of the log, or cut: not current, and read all the same
            begun[number] = at
            if pages_after:
                self._newer.update(begun)
                begun = {}

    def _page(self, number: int) -> bytes:
        at = self._newer.get(number)
        return self._page_in_file(number) if at is None else self._log[at : at + self._size]

    def _page_in_file(self, number: int) -> bytes:
        return self._file[(number - 1) * self._size : number * self._size].ljust(self._size, b"\0")

    def _free_pages(self) -> set[int]:
        """List the pages that SQLite keeps for later; what is on them was deleted, or moved elsewhere."""
        free: set[int] = set()
        trunk = int.from_bytes(self._page(1)[32:36])
        while trunk and trunk not in free and (trunk - 1) * self._size < len(self._file):
            free.add(trunk)
            page = self._page(trunk)
            count = min(int.from_bytes(page[4:8]), self._size // 4 - 2)
            free.update(struct.unpack_from(f">{count}I", page, 8))
            trunk = int.from_bytes(page[:4])
        return free

    def _rows_on(self, number: int, page: bytes, is_current: bool) -> Iterator[Row]:
        start = 100 if number == 1 else 0
        if len(page) < self._size or page[start] not in _CELLS:
            return
        kind, header, before = _CELLS[page[start]]
        count = min(int.from_bytes(page[start + 3 : start + 5]), (self._size - start - header) // 2)
        for at in struct.unpack_from(f">{count}H", page, start + header):
            try:
                size, place = _varint(page, at + before)
                rowid, place = _varint(page, place) if kind == "table" else (0, place)
                payload = self._payload(page, place, size, is_table=kind == "table")
                yield Row(kind, rowid, _decode(payload), is_current)  # type: ignore[arg-type]
            except (ValueError, IndexError, struct.error):
                continue

    def _payload(self, page: bytes, at: int, size: int, *, is_table: bool) -> bytes:
        """Collect a record of ``size`` bytes, from its cell and from the overflow pages that it goes on in."""
        most = self._size - 35 if is_table else (self._size - 12) * 64 // 255 - 23
        if size <= most:
            return _whole(page[at : at + size], size)
        if size > len(self._file) + len(self._log):
            raise ValueError("longer than the file")
        least = (self._size - 12) * 32 // 255 - 23
        here = least + (size - least) % (self._size - 4)
        here = here if here <= most else least
        parts, left = [_whole(page[at : at + here], here)], size - here
        following = int.from_bytes(_whole(page[at + here : at + here + 4], 4))
        while left > 0:
            if not following:
                raise ValueError("its chain is cut")
            part = self._page(following)
            following = int.from_bytes(part[:4])
            parts.append(part[4 : min(self._size, 4 + left)])
            left -= len(parts[-1])
        return b"".join(parts)


def _map(path: Path) -> mmap.mmap | bytes:
    if not path.is_file() or not path.stat().st_size:
        return b""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _whole(part: bytes, size: int) -> bytes:
    if len(part) != size:
        raise ValueError("cut")
    return part


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of one to nine bytes; returns it, signed, and where it ends."""
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    value = value << 8 | data[at + 8]
    return value - (1 << 64) if value >> 63 else value, at + 9


def _decode(payload: bytes) -> tuple[Value, ...]:
    """Read the values of a record. Raises ValueError or IndexError where it is none."""
    body, at = _varint(payload, 0)
    if not 0 < body <= len(payload):
        raise ValueError("no header")
    values: list[Value] = []
    place = body
    while at < body:
        code, at = _varint(payload, at)
        value, place = _value(payload, place, code)
        values.append(value)
    if at != body or place != len(payload):
        raise ValueError("its header does not fit it")
    return tuple(values)


def _value(payload: bytes, at: int, code: int) -> tuple[Value, int]:
    if code >= 12:
        end = at + (code - 12) // 2
        data = payload[at:end]
        if len(data) != end - at:
            raise ValueError("cut")
        return (data.decode() if code % 2 else data), end
    if code in _CONSTANTS:
        return _CONSTANTS[code], at
    if code == 7:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if not 1 <= code <= 6:
        raise ValueError("a type that is none")
    end = at + _INTEGERS[code]
    return int.from_bytes(payload[at:end], signed=True), end

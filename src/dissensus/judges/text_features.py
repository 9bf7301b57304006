"""Features of the responses of many pairs, as a committee looks at them: on disk where they are large.

Texts, and features of a million pairs, take gigabytes: the former go to a temporary file as they come and are read
again in the order of ids, the latter to another one, which is read block by block.
"""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dissensus.records import Pair, plain_text

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

_TEXTS = 50_000
"""Texts that are encoded at once."""
_HELD = 64 * 2**20
"""Bytes of features that are held in memory; more are on disk."""
_GAP = 16
"""Rows that are read over rather than sought past."""


class FeatureSource(Protocol):
    """What a committee needs of an encoder."""

    @property
    def digest(self) -> str:
        """Hex digits over what decides the features."""

    def features(self, texts: Sequence[tuple[str, str]], *, progress: bool = True) -> NDArray[np.float32]:
        """Encode (prompt, response) texts; shape (len(texts), dim)."""


class Written(NamedTuple):
    """What decides a committee's votes of a pair."""

    id: str
    group: str
    label: str | None
    prompt: str
    response_a: str
    response_b: str


class _Spool:
    """A temporary file that is gone with the object."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def read(self, start: int, end: int) -> bytes:
        return os.pread(self._file.fileno(), end - start, start)


class PairTexts:
    """The pairs of a committee in the order of their ids: ids, groups and labels in memory, texts on disk."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        """Go through pairs once."""
        self._file = _Spool()
        ids: list[str] = []
        ends, known, groups, labels = array("q", [0]), dict[str, int](), array("q"), array("d")
        for pair in pairs:
            texts = map(plain_text, (pair.prompt, pair.response_a, pair.response_b))
            written = json.dumps([pair.id, pair.group, pair.label, *texts]).encode()
            self._file.write(written)
            ids.append(pair.id)
            ends.append(ends[-1] + len(written))
            groups.append(known.setdefault(pair.group, len(known)))
            labels.append({"a": 1.0, "b": 0.0}.get(pair.label or "", np.nan))
        self._file.flush()
        order = sorted(range(len(ids)), key=ids.__getitem__)
        self._starts, self._ends = (np.array(part, dtype=np.int64)[order] for part in (ends[:-1], ends[1:]))
        self.ids = [ids[row] for row in order]
        self.labels: Floats = np.array(labels, dtype=np.float64)[order]
        """1 for a, 0 for b, NaN for others."""
        rank = np.empty(len(known), dtype=np.intp)
        names = list(known)
        rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
        self.groups: Ints = rank[np.array(groups, dtype=np.int64)[order]] if ids else np.zeros(0, np.intp)
        """The number of each pair's group, in the order of their names."""

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, pair_id: str) -> int:
        """The row of a pair: a search, as a dict of a million ids takes 70 MB."""
        row = bisect_left(self.ids, pair_id)
        if row == len(self.ids) or self.ids[row] != pair_id:
            raise KeyError(pair_id)
        return row

    def written(self) -> Iterator[bytes]:
        """Read each pair as JSON: id, group, label, prompt and both responses."""
        for start, end in zip(self._starts.tolist(), self._ends.tolist(), strict=True):
            yield self._file.read(start, end)

    def __iter__(self) -> Iterator[Written]:
        return (Written(*json.loads(written)) for written in self.written())


class Differences:
    """Features of response a less those of response b, in units of their spread over distinct texts.

    The last column is the logarithm of the response's length, which mean-pooled features have lost.
    """

    def __init__(self, pairs: PairTexts, encoder: FeatureSource, *, progress: bool) -> None:
        """Encode each distinct text, so many at once."""
        sides = (hash(side) for pair in pairs for side in _sides(pair))
        hashes = np.fromiter(sides, np.int64, count=2 * len(pairs))
        _, first, number = np.unique(hashes, return_index=True, return_inverse=True)
        place = np.empty(first.size, dtype=np.int64)
        place[np.argsort(first)] = np.arange(first.size)  # in the order in which texts come
        self._texts: NDArray[np.int64] = place[number.reshape(-1)].reshape(-1, 2)
        self._lengths = np.zeros(first.size)
        is_first = np.zeros(hashes.size, dtype=np.bool_)
        is_first[first] = True
        self._write(_distinct(pairs, is_first), encoder, progress=progress)
        self._spread = self._find_spread()

    def _write(self, texts: Iterator[tuple[str, str]], encoder: FeatureSource, *, progress: bool) -> None:
        self._rows: NDArray[np.float32] | None = None
        self._file = _Spool()
        done, self.dim = 0, 0
        for some in _parts(texts):
            found = np.ascontiguousarray(encoder.features(some, progress=progress), dtype=np.float32)
            self._lengths[done : done + len(some)] = np.log([max(1, len(response)) for _, response in some])
            done, self.dim = done + len(some), found.shape[1]
            if len(some) == self._lengths.size and found.nbytes <= _HELD:
                self._rows = found
            else:
                self._file.write(found.tobytes())
        self._file.flush()

    def _find_spread(self) -> Floats:
        """The standard deviation of each column over texts, shape (dim + 1,); 1 where nothing varies."""
        n = max(1, self._lengths.size)
        mean = sum(part.sum(axis=0) for part in self._in_order()) / n
        spread = np.sqrt(sum(((part - mean) ** 2).sum(axis=0) for part in self._in_order()) / n)
        found: Floats = np.where(spread > 1e-12, spread, 1.0)
        return found

    def _in_order(self) -> Iterator[Floats]:
        step = 8192
        for start in range(0, self._lengths.size, step):
            yield self._read(np.arange(start, min(start + step, self._lengths.size)))

    def _read(self, texts: NDArray[np.int64]) -> Floats:
        """The features of some texts, ascending, with their lengths: shape (texts, dim + 1)."""
        found = np.empty((texts.size, self.dim + 1))
        found[:, -1] = self._lengths[texts]
        if self._rows is not None:
            found[:, :-1] = self._rows[texts]
            return found
        size = 4 * self.dim
        for run in np.split(np.arange(texts.size), np.flatnonzero(np.diff(texts) > _GAP) + 1) if texts.size else ():
            start, end = int(texts[run[0]]), int(texts[run[-1]]) + 1
            data = self._file.read(start * size, end * size)
            found[run, :-1] = np.frombuffer(data, dtype=np.float32).reshape(-1, self.dim)[texts[run] - start]
        return found

    def rows(self, rows: Ints) -> Floats:
        """The differences of some pairs, shape (rows, dim + 1)."""
        texts, number = np.unique(self._texts[rows], return_inverse=True)
        features = self._read(texts) / self._spread
        both = number.reshape(-1, 2)
        found: Floats = features[both[:, 0]] - features[both[:, 1]]
        return found


def _sides(pair: Written) -> tuple[tuple[str, str], tuple[str, str]]:
    return (pair.prompt, pair.response_a), (pair.prompt, pair.response_b)


def _distinct(pairs: PairTexts, is_first: NDArray[np.bool_]) -> Iterator[tuple[str, str]]:
    sides = (side for pair in pairs for side in _sides(pair))
    return (side for side, first in zip(sides, is_first.tolist(), strict=True) if first)


def _parts(texts: Iterator[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    some: list[tuple[str, str]] = []
    for text in texts:
        some.append(text)
        if len(some) == _TEXTS:
            yield some
            some = []
    if some:
        yield some

"""Keys and checksums of the rows of a store."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

from dissensus.hashing import framed_digest
from dissensus.records import Order, Pair, content_id


def judgment_key(judge: str, pair: Pair, sample: int, order: Order) -> bytes:
    """Name a judgment by what decides it: 16 bytes over judge, pair (id and texts), sample and order shown.

    Where the row stands in a file plays no part; a pair whose text has changed is a new question.
    """
    return framed_digest(judge, pair.id, content_of(pair), str(sample), order)


def content_key(judge: str, content: str, order: Order, persona: str, sample: int | None = None) -> bytes:
    """Name an answer of a judge that sees texts alone: 16 bytes; ``sample`` is None for a choice distribution.

    The pair's id plays no part: pairs of the same texts share their answers.
    """
    return framed_digest(judge, content, order, persona, "" if sample is None else str(sample))


def content_of(pair: Pair) -> str:
    """Hex digits over the texts of a pair."""
    return content_id(pair.prompt, pair.response_a, pair.response_b)


Contents = Mapping[str, str]
"""By the id of each pair, the digest of its texts (`content_of`)."""


def contents_of(pairs: Iterable[Pair] | Contents) -> Contents:
    """Take the contents of pairs, unless they are that."""
    return pairs if isinstance(pairs, Mapping) else {pair.id: content_of(pair) for pair in pairs}


def checksum(name: str, content: bytes) -> int:
    """Sum up what a row says, so that a bit that flips on disk shows."""
    return zlib.crc32(content, zlib.crc32(name.encode()))


def judgment_checksum(pair_id: str, choice: str | None, probability_a: float | None, persona: str, reply: str) -> int:
    """Sum up what a judgment says beside what its key is made of: judge, texts, sample, order."""
    said = f"{pair_id}\0{choice}\0{persona}\0{reply}"
    return zlib.crc32((said if probability_a is None else f"{said}\0{probability_a}").encode())

"""Blocks of pairs, each of which one worker does, and what is known of how often one was begun.

A worker that dies takes its block with it. The block is begun again elsewhere; one that was begun `DEATHS` times and
never ended is taken apart, down to the pair that ends whoever takes it.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dissensus.cluster.places import ShardFolder
from dissensus.hashing import digest_of, framed_digest
from dissensus.messages import content_id, plain_text
from dissensus.records import Pair

DEATHS = 3
"""Workers that a block may cost."""
PIECES = 8
"""Into which a block is taken apart that cost so many."""


@dataclass(frozen=True)
class Block:
    """Some pairs that are done together; its name is a hash of them."""

    name: str
    pairs: Sequence[Pair]

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Block:
        """Make a block."""
        contents = (content_id(pair.prompt, pair.response_a, pair.response_b) for pair in pairs)
        digests = (framed_digest("pair", pair.id, content) for pair, content in zip(pairs, contents, strict=True))
        return cls(digest_of(digests, size=12), pairs)

    def to_bytes(self) -> bytes:
        """Write it down: a line of JSON a pair."""
        return b"\n".join(pair.model_dump_json().encode() for pair in self.pairs)

    @classmethod
    def from_bytes(cls, written: bytes) -> Block:
        """Read what `to_bytes` wrote."""
        return cls.of([Pair.model_validate_json(line) for line in io.BytesIO(written)])

    def pieces(self) -> list[Block]:
        """Take it apart into at most `PIECES`."""
        size = -(-len(self.pairs) // PIECES)
        return [Block.of(self.pairs[start : start + size]) for start in range(0, len(self.pairs), size)]


def blocks_by_prompt(pairs: Iterable[Pair], size: int) -> Iterator[Block]:
    """Cut pairs into blocks of about ``size``, those of one prompt into one block; holds the pairs."""
    by_prompt: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_prompt.setdefault(plain_text(pair.prompt), []).append(pair)
    block: list[Pair] = []
    for some in by_prompt.values():
        if block and len(block) + len(some) > size:
            yield Block.of(block)
            block = []
        block += some
    if block:
        yield Block.of(block)


class Beginnings:
    """Which blocks were begun and what came of them: small files that are written once.

    A beginning without an end is a worker that died, in whichever run; what came of a block counts in its own run.

    Args:
        folder: where these files lie.
        run: names the run.
    """

    def __init__(self, folder: ShardFolder, run: str) -> None:
        self._folder, self._run = folder, run

    @property
    def notes(self) -> str:
        """The last part of the folder's name."""
        return str(self._folder).rstrip("/").rpartition("/")[2]

    def deaths(self, block: Block) -> int:
        """Count the beginnings of a block that have no end."""
        begun = itertools.takewhile(self._folder.has, (f"{block.name}.{n}" for n in itertools.count()))
        return sum(not self._folder.has(f"{name}.ended") for name in begun)

    def begin(self, block: Block) -> str:
        """Note that a block is begun; returns the name of this beginning. Raises OutputError."""
        names = (f"{block.name}.{n}" for n in itertools.count())
        return next(name for name in names if self._folder.put(name, b""))

    def end(self, beginning: str, block: Block, result: Any) -> None:
        """Note what came of a block, JSON-able. Raises OutputError."""
        self._folder.put(f"{block.name}.of-{self._run}", json.dumps(result).encode())
        self._folder.put(f"{beginning}.ended", b"")

    def ended(self, block: Block) -> Any:
        """Return what came of a block in this run; None where it has not ended."""
        return self.said(f"{block.name}.of-{self._run}")

    def said(self, name: str) -> Any:
        """Read a note; None where there is none."""
        if not self._folder.has(name):
            return None
        with self._folder.open(name) as opened:
            return json.loads(opened.read())

    def say(self, name: str, what: Any) -> Any:
        """Leave a note for all workers; returns what stands there, the first that was left."""
        self._folder.put(name, json.dumps(what).encode())
        return self.said(name)

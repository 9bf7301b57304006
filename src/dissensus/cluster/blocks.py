"""Blocks of pairs, each of which one worker does, and what is known of how often one was begun.

A worker that dies takes its block with it. The block is begun again elsewhere; one that was begun `DEATHS` times and
never ended is taken apart, down to the pair that ends whoever takes it. A driver or a node that is killed leaves the
same notes, so a single pair is given up only after `LAST_DEATHS` beginnings of its own.
"""

from __future__ import annotations

import io
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from dissensus.cluster.places import ShardFolder
from dissensus.errors import DissensusError, OutputError
from dissensus.hashing import digest_of, framed_digest
from dissensus.messages import content_id, plain_text
from dissensus.parts import Part, index_of
from dissensus.records import Pair

DEATHS = 3
"""Workers that a block may cost."""
LAST_DEATHS = 2
"""Workers that a single pair may cost, when its block is taken apart."""
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


def dealt(pairs: Iterable[Pair], part: Part, count: int) -> Iterator[list[Pair]]:
    """Deal the pairs of a part into so many piles, a prompt's into one, and yield pile after pile; they lie on disk.

    Raises:
        OutputError: the temporary folder cannot take them.
    """
    with ExitStack() as stack:
        try:
            piles = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
            for pair in pairs:
                pile = piles[(index_of(pair, part.count * count) - 1) % count]
                pile.write(pair.model_dump_json().encode() + b"\n")
            for pile in piles:
                pile.seek(0)
        except OSError as error:
            raise OutputError(
                f"{tempfile.gettempdir()}: pairs cannot be dealt into blocks there ({error.strerror}); make room, or "
                "set TMPDIR to another folder"
            ) from error
        for pile in piles:
            yield [Pair.model_validate_json(line) for line in pile]


class Beginnings:
    """Which blocks were begun and what came of them: small files that are written once.

    A beginning without an end is a worker that died, in whichever run; what came of a block counts in its own run. An
    error is no death.

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

    @contextmanager
    def begun(self, block: Block) -> Iterator[None]:
        """Note that a block is begun, and that whoever began it did not die of it. Raises OutputError."""
        names = (f"{block.name}.{n}" for n in itertools.count())
        beginning = next(name for name in names if self._folder.put(name, b""))
        try:
            yield
        except BaseException:
            with suppress(DissensusError):  # a full disk is full for this, too
                self._folder.put(f"{beginning}.ended", b"")
            raise
        self._folder.put(f"{beginning}.ended", b"")

    def forgive(self, block: Block) -> None:
        """Note that all who began a block have ended: the next run may try it again. Raises OutputError."""
        for name in itertools.takewhile(self._folder.has, (f"{block.name}.{n}" for n in itertools.count())):
            self._folder.put(f"{name}.ended", b"")

    def end(self, block: Block, result: Any) -> None:
        """Note what came of a block in this run, JSON-able. Raises OutputError."""
        self._folder.put(f"{block.name}.of-{self._run}", json.dumps(result).encode())

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

"""Annotated pairs: out of an annotation database or a file, joined to other pairs by id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dissensus.errors import InputError
from dissensus.files import read_pairs
from dissensus.files.database_url import is_postgres
from dissensus.files.sqlite import application_of
from dissensus.records import Pair, plain_text

_RESPONSES = ("response_a", "response_b")


def is_database(source: str) -> bool:
    """Tell whether ``source`` is an annotation database and no file of pairs."""
    return is_postgres(source) or application_of(Path(source)) is not None


def read_database(source: str) -> list[Pair]:
    """Read the annotated pairs of a project."""
    from dissensus.annotate.exchange.export import read_annotated
    from dissensus.annotate.project.store import AnnotationStore

    with AnnotationStore(source) as store:
        return read_annotated(store)


def read_annotations(source: str) -> list[Pair]:
    """Read annotated pairs from a database or from a file."""
    return read_database(source) if is_database(source) else list(read_pairs(source, notice=lambda _: None))


def with_annotations(pairs: Sequence[Pair], annotated: Sequence[Pair], source: str) -> list[Pair]:
    """Give pairs their annotations: votes, and categories where people agreed on one. Joined by id.

    A pair that nobody annotated keeps what it has.

    Raises:
        InputError: no annotated pair is among ``pairs``, or one has other texts here than people saw.
    """
    by_id = {pair.id: pair for pair in annotated}
    if pairs and not by_id.keys() & {pair.id for pair in pairs}:
        raise InputError(
            f"{source}: none of its {len(annotated)} pairs is among the {len(pairs)} test pairs; "
            "annotate the study's own test pairs (pairs/test.parquet)"
        )
    joined = []
    for pair in pairs:
        there = by_id.get(pair.id)
        if there is None:
            joined.append(pair)
            continue
        if any(plain_text(getattr(there, name)) != plain_text(getattr(pair, name)) for name in _RESPONSES):
            raise InputError(
                f"{source}: pair {pair.id!r} has other responses than the study's; annotate the pairs of this run"
            )
        changes = {
            "votes": there.votes or pair.votes,
            "label_is_a_vote": None if there.votes else pair.label_is_a_vote,
            "category": there.category or pair.category,
            "distinct": there.distinct or pair.distinct,
        }
        joined.append(pair.model_copy(update=changes))
    return joined

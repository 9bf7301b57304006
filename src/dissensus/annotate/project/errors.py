"""Errors of an annotation project, each a line that people can read."""

# ruff: noqa: N818 (these are named after what happened)

from __future__ import annotations

from dataclasses import dataclass

from dissensus.annotate.project.sides import Said, State
from dissensus.errors import InputError
from dissensus.records import Order


@dataclass(frozen=True)
class Current:
    """What is there now, in the pair's own terms."""

    revision: int
    state: State
    answer: Said | None
    shown: Order | None = None  # the side that the person saw; None where there are no sides


class NotFound(InputError):
    """There is no such thing, or it is not theirs: the two cannot be told apart."""


class NotAllowed(InputError):
    """Somebody without the right to it: revoked, or of another role."""


class InvalidAnswer(InputError):
    """An answer with something missing, or that cannot be meant."""


class LinkExpired(InputError):
    """A link whose hours have passed."""


class LinkUsed(InputError):
    """A link that was used before."""


class Conflict(InputError):
    """What was sent does not fit what is there."""

    def __init__(self, message: str, current: Current) -> None:
        super().__init__(message)
        self.current = current


class EditConflict(Conflict):
    """Somebody saved since the revision that this one started from."""


class DuplicateRequest(Conflict):
    """The key of an earlier act of saving came with other content."""


class SlotTaken(Conflict):
    """The slot was given to somebody else."""

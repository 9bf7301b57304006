"""What is refused, and why: each a line that people can read.

::

    InputError
    ├── Unknown       no such thing, or none of theirs: the two cannot be told apart
    │   └── NotYours  somebody without the right to it: revoked, or of another role
    ├── Incomplete    an answer that lacks something, or says something that cannot be
    ├── Conflict      carries ``current``: what is there now
    │   ├── Stale     somebody saved in between
    │   ├── Reused    a key of saving that came before, with other content
    │   └── Taken     the place was given to somebody else
    └── Spent         a link that opens nothing any more
        ├── Expired
        └── Used
"""

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
    shown: Order | None = None
    """The side that the person saw; None where there are no sides."""


class Unknown(InputError):
    """There is no such thing, or it is not theirs."""


class NotYours(Unknown):
    """They have no right to it."""


class Incomplete(InputError):
    """An answer that lacks something, or that cannot be meant."""


class Conflict(InputError):
    """What was sent does not fit what is there."""

    def __init__(self, message: str, current: Current) -> None:
        super().__init__(message)
        self.current = current


class Stale(Conflict):
    """Somebody saved since the revision that this one started from."""


class Reused(Conflict):
    """The key of an earlier act of saving came with other content."""


class Taken(Conflict):
    """The place was given to somebody else."""


class Spent(InputError):
    """A link that opens nothing any more."""


class Expired(Spent):
    """A link whose time is over."""


class Used(Spent):
    """A link that was used before."""

"""Lines on stderr about what a run has met; what holds for all models of a run is said once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SAID: ContextVar[set[str] | None] = ContextVar("said", default=None)
"""The lines of the run that is going on; None outside of one."""


@contextmanager
def said_once() -> Iterator[None]:
    """Say no line twice within; runs inside of a run, such as those of a sweep, share what was said."""
    if _SAID.get() is not None:
        yield
        return
    token = _SAID.set(set())
    try:
        yield
    finally:
        _SAID.reset(token)


def report(line: str) -> None:
    """Say a line, of several processes in the first alone."""
    from accelerate import PartialState

    said = _SAID.get()
    if not PartialState().is_main_process or (said is not None and line in said):
        return
    if said is not None:
        said.add(line)
    print(line, file=sys.stderr)  # noqa: T201

"""What is printed, by whomever: control characters show, so that names out of files never steer a terminal, and what
goes to stderr names options where Python has arguments."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from dissensus.cli.argument_names import as_options

# C0 but for tab and line feed, C1, line separators, marks that turn the direction of text, halves of pairs.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BAR_MOVES = re.compile("(?:\n|\x1b\\[A)+")
"""What a progress bar writes to get from its line to another's."""


def visible(text: str) -> str:
    r"""Write control characters as Python would in a literal; line breaks and tabs stay.

    >>> visible("a\x1b[31m\tb\u202e\n")
    'a\\x1b[31m\tb\\u202e\n'
    """
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class _Visible:
    """A stream that writes what is visible of a text; progress bars may go back to where their line begins."""

    def __init__(self, stream: TextIO, *, has_bars: bool) -> None:
        self._stream = stream
        self._has_bars = has_bars

    def write(self, text: str) -> int:
        if not self._has_bars:
            self._stream.write(visible(text))
        elif _BAR_MOVES.fullmatch(text):
            self._stream.write(text)
        else:
            inner = text.strip("\r")
            before, _, after = text.partition(inner) if inner else (text, "", "")
            self._stream.write(before + visible(as_options(inner)) + after)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        # Libraries colour what they print on a terminal, and colours would be shown as their characters.
        return self._has_bars and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def visible_output() -> Iterator[None]:
    """Show the control characters of all that is printed in the block, to stdout and stderr."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if (stream.encoding or "").lower() in ("ascii", "ansi_x3.4-1968", "us-ascii") and hasattr(
            stream, "reconfigure"
        ):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.stdout = cast(TextIO, _Visible(before[0], has_bars=False))
    sys.stderr = cast(TextIO, _Visible(before[1], has_bars=True))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before

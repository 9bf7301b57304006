"""What is worth a note about rows as they are read: counted, and reported once when all is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Notes:
    """Collected over the rows of one source."""

    unused: set[str] = field(default_factory=set)
    """Keys of single votes and chat messages that are not read."""
    counts: Counter[str] = field(default_factory=Counter)
    """Other things by their words, with how often they came."""

    def count(self, what: str) -> None:
        """Count something once more."""
        self.counts[what] += 1

"""The ways in which one plain request can be put to a server that refuses it as it is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Literal

from dissensus.judges.base import JsonObject
from dissensus.judges.server.capabilities import ServerProfile

_NAMES: tuple[Literal["max_tokens", "max_completion_tokens"], ...] = ("max_tokens", "max_completion_tokens")
_TEMPERED: tuple[JsonObject, ...] = (
    {},
    {"omitted": ("top_p=1",)},
    {"min_temperature": 0.01},
    {"omitted": ("temperature",)},
    {"omitted": ("top_p=1",), "min_temperature": 0.01},
    {"omitted": ("temperature", "top_p")},
)
"""How temperature 0 and top-p 1 may be said to a server that refuses them: the ones first that change least."""
_LIMITS = (1, 16, 1000)
"""Tokens of a reply, for servers that refuse few."""
ENOUGH = _LIMITS[-1]
_TOO_FEW = r"reach|higher|minimum|at least|below|greater|increase|few|>="
_ASKS_FOR_MORE = re.compile(rf"(?i)token.*(?:{_TOO_FEW})|(?:{_TOO_FEW}).*token", re.S)


@dataclass(frozen=True)
class Way:
    """One way to put a request of temperature 0 and top-p 1."""

    name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    tempered: JsonObject = field(default_factory=dict)
    few: int = 0

    @property
    def limit(self) -> int:
        """Tokens of the reply."""
        return _LIMITS[self.few]

    @property
    def refused_max_tokens(self) -> int:
        """The most tokens of a reply that are refused, where this is the first way that is not."""
        return _LIMITS[self.few - 1] if self.few else 0

    def profile(self, plain: ServerProfile) -> ServerProfile:
        """Return the profile of a server that is to be asked in this way."""
        return plain.model_copy(update={**self.tempered, "limit_name": self.name})

    def distance(self, other: Way, said: str) -> int:
        """Tell how far another way is: what changes a parameter that is named in what is said of this one is near."""
        changes = (
            (self.name != other.name, "max_completion_tokens" in said),
            (self._temperature != other._temperature, "temperature" in said),
            (self._top_p != other._top_p, "top_p" in said),
            (self.few != other.few, _ASKS_FOR_MORE.search(said) is not None),
        )
        changed = [named for differs, named in changes if differs]
        return len(changed) + 3 * changed.count(False) - 2 * any(changed)

    @property
    def _temperature(self) -> tuple[bool, bool]:
        return "min_temperature" in self.tempered, "temperature" in self.tempered.get("omitted", ())

    @property
    def _top_p(self) -> tuple[str, ...]:
        return tuple(name for name in self.tempered.get("omitted", ()) if name != "temperature")


def other_ways() -> list[Way]:
    """List all ways but the plain one, by how much they change."""
    ways = [Way(name, tempered, few) for few, name, tempered in itertools.product(range(3), _NAMES, _TEMPERED)]
    return sorted(ways[1:], key=lambda way: (way.name != _NAMES[0]) + _TEMPERED.index(way.tempered) + way.few)


def next_way(tried: Way, untried: Sequence[Way], said: str) -> Way:
    """Choose what to try next by what the server said of what was tried last."""
    return min(untried, key=lambda way: tried.distance(way, said))


def refusals_in(said: Sequence[str]) -> dict[str, str]:
    """Sort what a server said when it refused something by the parameters that it names.

    >>> refusals_in(["top_p has to be 1", "ask for a higher limit of tokens"])
    {'top_p': 'top_p has to be 1', 'tokens': 'ask for a higher limit of tokens'}
    """
    refusals = {name: text for text in said for name in ("temperature", "top_p") if name in text}
    more = [text for text in said if _ASKS_FOR_MORE.search(text)]
    return {**refusals, "tokens": more[-1]} if more else refusals


def more_alike(replies: Sequence[str], others: Sequence[str]) -> bool:
    """Whether replies are far more alike than others: by the words that they begin with, or by those in one order.

    >>> more_alike(["a b c d", "a b c e"], ["k l m n", "o p q r"]), more_alike(["a b", "c d"], ["e f", "g h"])
    (True, False)
    """
    return any(_mean(share, replies) > 2 * _mean(share, others) + 0.1 for share in (_beginning, _in_order))


def _mean(share: Callable[[list[str], list[str]], float], replies: Sequence[str]) -> float:
    shares = [share(one, other) for one, other in itertools.combinations([reply.split() for reply in replies], 2)]
    return sum(shares) / len(shares) if shares else 0.0


def _beginning(one: list[str], other: list[str]) -> float:
    alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in alike) / max(len(one), len(other), 1)


def _in_order(one: list[str], other: list[str]) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()

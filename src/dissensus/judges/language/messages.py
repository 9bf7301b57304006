"""Asks and answers: what goes to a judge and what comes back, and the two kinds of backends of language models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from dissensus.judges.base import JsonObject
from dissensus.judges.language.choice_distribution import ChoiceDistribution
from dissensus.records import Judgment, Order, Pair

Kind = Literal["busy", "gone", "failed", "refused", "withheld"]


@dataclass(frozen=True)
class Sampling:
    """How replies are sampled. Everything is sent explicitly: servers have defaults of their own."""

    temperature: float = 1.0
    top_p: float = 0.9
    max_tokens: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Ask:
    """One thing to ask a model: a rendered prompt, and how many replies are wanted."""

    key: bytes
    """16 bytes over what decides the answer; two asks with one key are the same."""
    pair: Pair
    order: Order
    prompt: str
    """The user's message, whole."""
    persona: str = ""
    samples: tuple[int, ...] = ()
    """The numbers of the replies wanted; empty where a choice distribution is."""
    keys: tuple[bytes, ...] = ()
    """Under which keys a store keeps what is wanted."""


@dataclass(frozen=True)
class Usage:
    """Tokens that one attempt took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False
    """Whether the server did not say, and they are guessed from the length of the texts."""


@dataclass(frozen=True)
class Answer:
    """What came back: replies, at most as many as wanted, or a choice distribution."""

    ask: Ask
    replies: tuple[str, ...] = ()
    """Texts as a user would read them; where the prefix was forced, with it in front."""
    distribution: ChoiceDistribution | None = None
    usage: Usage = Usage()
    judgments: tuple[Judgment, ...] = ()
    """Of a judge that is no language model: what it says, as it is kept."""
    cut: tuple[bool, ...] = ()
    """Which of the replies may have ended before their end, as at the most tokens; none of them where it is empty."""


@dataclass(frozen=True)
class TooLong:
    """A prompt that the model's context cannot hold. It is not cut, and not asked again."""

    ask: Ask
    tokens: int
    limit: int
    """Each 0 where the server did not say."""


Outcome = Answer | TooLong


class AskError(Exception):
    """An attempt that failed and may be repeated."""

    def __init__(
        self,
        reason: str,
        *,
        kind: Kind = "failed",
        retry_after: float | None = None,
        usage: Usage = Usage(),
        billed: bool = False,
        status: int = 0,
    ) -> None:
        """Note a failure.

        Args:
            reason: what the server said.
            kind: ``busy``: asked to slow down (429, 503); ``gone``: nobody there; ``failed``: an answer that is none;
                ``refused``: this very request will not be answered (400), and others tell whether any will;
                ``withheld``: a reply was made and held back, and another one may not be.
            retry_after: seconds that the server asked for.
            usage: what the failed attempt took all the same, where the server said.
            billed: whether the server may have done the work (the answer was cut off, or never came), which is then
                counted at an estimate.
            status: of HTTP; 0 where the server gave none.
        """
        super().__init__(reason)
        self.kind, self.retry_after, self.usage, self.billed, self.status = kind, retry_after, usage, billed, status


class Backend(Protocol):
    """A model, wherever it runs."""

    @property
    def identity(self) -> JsonObject:
        """JSON-able: what decides the model's answers to a prompt (model, revision, rendering); never where it runs."""


class BatchBackend(Backend, Protocol):
    """A model in this process: best asked for many answers at once."""

    def answer(self, asks: Sequence[Ask], sampling: Sampling | None) -> Iterator[Outcome]:
        """Answer in any order, in batches of its own choice; read (``sampling=None``) or sample replies."""


class ServerBackend(Backend, Protocol):
    """A model behind a server: best asked many things at the same time."""

    @property
    def samples_per_request(self) -> int:
        """How many replies one request may ask for."""

    async def __aenter__(self) -> Self:
        """Open the connections."""

    async def __aexit__(self, *_: object) -> None:
        """Close them."""

    async def answer(self, ask: Ask, sampling: Sampling | None) -> Outcome:
        """Make one attempt; read (``sampling=None``) or sample replies.

        Raises:
            AskError: it failed, and may be tried again.
            JudgeError: it will fail every time (no credit left, a sampling that cannot be had).
        """

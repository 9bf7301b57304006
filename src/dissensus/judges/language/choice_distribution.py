"""Choice distributions: log-probabilities of the token behind the prefix ``Choice:``, as a distribution of votes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dissensus.judges.language.prompt import PREFIX
from dissensus.judges.language.verdict import parse_verdict

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LAYOUT = 1
_HEADER = struct.Struct("<BBIIIfI")
_CODES = "-AB"
_NEARLY_SURE = 0.999


@dataclass(frozen=True, eq=False)
class ChoiceDistribution:
    """The raw distribution of the token that follows the prefix, as far as it was seen."""

    logprobs: Floats
    """Natural logarithms at temperature 1, shape (k,): the ``top`` most probable tokens in falling order, then others
    that were asked for by id."""
    verdicts: str
    """For each token the verdict that the prefix with it names: ``A``, ``B``, or ``-`` for none; k letters."""
    top: int
    """How many of them are the most probable tokens of all, without a gap."""
    vocabulary: int = 0
    """Tokens that there are; 0 where it is not known."""
    labels_complete: bool = False
    """Whether every token of the vocabulary that names a verdict is listed."""
    forced: float = 0.0
    """The certificate: the lowest probability (at temperature 1) of a token of the prefix in a greedy run. 0 where the
    greedy reply does not begin with the prefix; NaN where nobody looked."""
    tokens: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Their ids, shape (k,); empty where a server names tokens by text alone."""

    def __post_init__(self) -> None:
        if len(self.verdicts) != len(self.logprobs) or not 0 < self.top <= len(self.logprobs):
            raise ValueError("a choice distribution has a verdict for each token, and at least one most probable token")

    def is_forced(self, *, temperature: float, top_p: float) -> bool:
        """Whether nucleus sampling writes the prefix whatever it draws: each of its tokens alone reaches ``top_p``.

        Only then do votes drawn from it agree with replies sampled freely. A lower temperature makes a token of more
        than half the mass more probable still; at a higher one the bound may be too strict to certify. Above a
        ``top_p`` of 0.999 a token of that probability will do: one reply in hundreds may then begin otherwise.
        """
        return _sharpened(self.forced, temperature, self.vocabulary) >= min(top_p, _NEARLY_SURE)

    def to_bytes(self) -> bytes:
        """Pack for the store: float32 log-probabilities, verdicts, and ids where they are known."""
        sizes = (len(self.logprobs), self.top, self.vocabulary, self.forced, len(self.tokens))
        head = _HEADER.pack(_LAYOUT, self.labels_complete, *sizes)
        parts = (self.logprobs.astype("<f4").tobytes(), self.verdicts.encode(), self.tokens.astype("<u4").tobytes())
        return head + b"".join(parts)

    @classmethod
    def from_bytes(cls, blob: bytes) -> ChoiceDistribution:
        """Unpack what `to_bytes` packed.

        Raises:
            ValueError: these bytes are no choice distribution.
        """
        try:
            layout, complete, count, top, vocabulary, forced, ids = _HEADER.unpack_from(blob)
            at = _HEADER.size
            verdicts = blob[at + 4 * count : at + 5 * count].decode("ascii")
            logprobs = np.frombuffer(blob, "<f4", count, at).astype(np.float64)
            tokens = np.frombuffer(blob, "<u4", ids, at + 5 * count).astype(np.int64)
        except (struct.error, ValueError) as error:
            raise ValueError(f"no choice distribution ({error})") from error
        if layout != _LAYOUT or not set(verdicts) <= set(_CODES):
            raise ValueError(f"no choice distribution that this version knows (layout {layout})")
        return cls(logprobs, verdicts, top, vocabulary, bool(complete), float(forced), tokens)


@dataclass(frozen=True)
class VerdictProbabilities:
    """How probable each verdict of a sampled reply is, in the order shown."""

    a: float
    """Of ``Choice: A``, the response shown first."""
    b: float
    none: float
    """Of a reply that names no winner."""
    error: float
    """How far off each may be; 0 where the tokens seen settle them."""


def verdict_of_token(text: str) -> str:
    """Classify a token by the reply that it makes: ``A``, ``B``, or ``-``.

    >>> [verdict_of_token(text) for text in (" A", "A", " b", " Answer", "\\n", " both")]
    ['A', 'A', 'B', '-', '-', '-']
    """
    return parse_verdict(PREFIX + text) or "-"


def verdict_probabilities(
    distribution: ChoiceDistribution, *, temperature: float, top_p: float
) -> VerdictProbabilities:
    """Compute the distribution of sampled verdicts: temperature first, then top-p over *all* tokens, then renormalise.

    Nucleus sampling keeps the smallest set of the most probable tokens that reaches ``top_p``; verdicts are read off
    afterwards, and what is left on other tokens is no winner. Tokens that were not seen are a mass between bounds:
    where these do not settle which tokens are kept, ``error`` says how far the probabilities may be off.

    Args:
        distribution: the raw log-probabilities.
        temperature: positive; 1 leaves the model's distribution as it is.
        top_p: in (0, 1]; 1 keeps every token.
    """
    if not (temperature > 0 and 0 < top_p <= 1):
        raise ValueError(f"temperature {temperature} must be positive, and top_p {top_p} within 0 and 1")
    scaled = distribution.logprobs / temperature
    weights: Floats = np.exp(scaled - scaled[0])  # in units of the most probable token's
    unseen = [bound * float(np.exp(-scaled[0])) for bound in _unseen_weight(distribution, temperature)]
    (low_a, high_a), (low_b, high_b) = (_bounds(distribution, weights, unseen, top_p, letter) for letter in "AB")
    a, b = (low_a + high_a) / 2, (low_b + high_b) / 2
    return VerdictProbabilities(a, b, max(0.0, 1.0 - a - b), max(high_a - low_a, high_b - low_b) / 2)


def _bounds(
    distribution: ChoiceDistribution, weights: Floats, unseen: Sequence[float], top_p: float, verdict: str
) -> tuple[float, float]:
    """The least and the greatest probability of a verdict that the seen tokens allow; ``unseen`` bounds the others."""
    top = distribution.top
    cumulative = np.cumsum(weights[:top])
    low, high = (float(weights.sum()) + weight for weight in unseen)
    # How many of the top tokens are kept at least and at most; top + 1 if all of them and more.
    fewest, most = (int(np.searchsorted(cumulative, top_p * total, side="left")) + 1 for total in (low, high))
    named: Floats = weights * (np.frombuffer(distribution.verdicts.encode(), np.uint8) == ord(verdict))
    within = np.arange(fewest, min(most, top) + 1)
    bounds: list[float] = (np.cumsum(named[:top])[within - 1] / cumulative[within - 1]).tolist()
    if most > top:  # some of the others may be kept too
        sure, perhaps = float(named[:top].sum()), float(named[top:].sum())
        if not distribution.labels_complete:
            perhaps += unseen[1]
        if top_p == 1:
            bounds += [float(named.sum()) / high, (sure + perhaps) / low]
        else:
            heaviest = min(top_p * high + float(weights[top - 1]), high)
            bounds += [sure / heaviest, (sure + perhaps) / (top_p * low)]
    return max(0.0, min(bounds)), min(1.0, max(bounds))


def _unseen_weight(distribution: ChoiceDistribution, temperature: float) -> tuple[float, float]:
    """Bound the sum of p^(1/temperature) over the tokens that were not seen, from their mass and number.

    Each is at most as probable as the last of the top tokens. By convexity the sum is extreme where the mass lies on as
    few tokens as that allows, and where it is spread evenly.
    """
    mass = max(0.0, 1.0 - float(np.exp(distribution.logprobs).sum()))
    count = max(distribution.vocabulary - len(distribution.logprobs), 0)
    if mass == 0 or (distribution.vocabulary and not count):
        return 0.0, 0.0
    power = 1 / temperature
    gathered = mass * float(np.exp(distribution.logprobs[distribution.top - 1] * (power - 1)))
    if power == 1:
        return mass, mass
    spread = count ** (1 - power) * mass**power if count else (0.0 if power > 1 else np.inf)
    return min(gathered, spread), max(gathered, spread)


def _sharpened(probability: float, temperature: float, vocabulary: int) -> float:
    """The least probability at ``temperature`` of a token that has ``probability`` at 1."""
    if probability in (0.0, 1.0) or temperature == 1:
        return probability
    power = 1 / temperature
    rest = 1 - probability
    if power > 1:
        # At worst the rest is one token.
        others = rest**power
    elif vocabulary > 1:
        others = (vocabulary - 1) ** (1 - power) * rest**power
    else:
        return 0.0
    return float(probability**power / (probability**power + others))

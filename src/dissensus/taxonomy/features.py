"""What the shipped classifiers look at: an encoder's vectors of texts, and a few marks of the words themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dissensus.text.encoder import Encoder

FloatArray = NDArray[np.float64]

_COUNTED = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
_NUMBERS = {word: str(number) for number, word in enumerate(_COUNTED)}
_NEGATIONS = frozenset(("not", "no", "never", "none", "nothing", "nobody", "cannot", "without"))
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
PROMPT_MARKS = ("words, log", "ends with a question mark", "has digits", "asks who, when, where, which or how many")
PAIR_MARKS = ("cosine", "words in common", "other numbers", "other negations", "length ratio, log", "other order")
_POINTED = re.compile(r"(?i)\b(who|when|where|which|how (many|much|old|tall|long|far))\b")


def unit_vectors(texts: Sequence[str], encoder: Encoder, *, progress: bool = False) -> FloatArray:
    """Encode texts, each by itself, and scale the vectors to length 1; shape (len(texts), dim)."""
    found = encoder.features([("", text) for text in texts], progress=progress).astype(np.float64)
    norm = np.linalg.norm(found, axis=1, keepdims=True)
    scaled: FloatArray = found / np.maximum(norm, 1e-12)
    return scaled


def prompt_features(prompts: Sequence[str], encoder: Encoder, *, progress: bool = False) -> FloatArray:
    """Look at prompts: their vectors and `PROMPT_MARKS`; shape (len(prompts), dim + 4)."""
    marks = np.array([_prompt_marks(prompt) for prompt in prompts], dtype=np.float64).reshape(-1, len(PROMPT_MARKS))
    return np.hstack([unit_vectors(prompts, encoder, progress=progress), marks])


def pair_features(
    first: Sequence[str], second: Sequence[str], encoder: Encoder, *, progress: bool = False
) -> FloatArray:
    """Look at pairs of responses: `PAIR_MARKS`, none of which depends on their order; shape (len(first), 6)."""
    vectors = unit_vectors([*first, *second], encoder, progress=progress)
    cosine = (vectors[: len(first)] * vectors[len(first) :]).sum(axis=1)
    marks = [_pair_marks(a, b) for a, b in zip(first, second, strict=True)]
    return np.column_stack([cosine, np.array(marks, dtype=np.float64).reshape(-1, len(PAIR_MARKS) - 1)])


def _words(text: str) -> list[str]:
    return [_NUMBERS.get(word, word) for word in _WORD.findall(text.lower())]


def _prompt_marks(prompt: str) -> tuple[float, ...]:
    last = prompt.rstrip()
    return (
        float(np.log1p(len(_words(prompt)))),
        float(last.endswith("?")),
        float(any(character.isdigit() for character in prompt)),
        float(bool(_POINTED.search(prompt))),
    )


def _pair_marks(a: str, b: str) -> tuple[float, ...]:
    first, second = _words(a), _words(b)
    one, two = set(first), set(second)
    numbers = [{word for word in words if word.isdigit()} for words in (one, two)]
    negated = [sum(word in _NEGATIONS or word.endswith(("n't", "n’t")) for word in words) for words in (first, second)]
    return (
        len(one & two) / max(len(one | two), 1),
        float(numbers[0] != numbers[1]),
        float(negated[0] % 2 != negated[1] % 2),
        abs(float(np.log((len(first) + 1) / (len(second) + 1)))),
        float(sorted(first) == sorted(second) and first != second),
    )

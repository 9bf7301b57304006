"""The two shipped classifiers: no language model, no network.

Prompts: a logistic regression on all-MiniLM-L6-v2's vector of the prompt and four marks of its words, fitted to the 220
prompts of ``content/prompts.jsonl``, half of each category, invented and labelled for this package. Responses: a
logistic regression on the cosine of the two vectors and five marks of the words, fitted to the 60 pairs of
``content/responses.jsonl``, invented likewise, and to 60 pairs of the simulated population. ``scripts/fit-taxonomy``
makes ``content/classifiers.json`` out of them. Both are small: see how far they agree with people before trusting them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
from scipy.special import expit

from dissensus.errors import InputError
from dissensus.records import Classification, Pair, plain_text
from dissensus.taxonomy.classification import from_probability, one_pair_per_prompt
from dissensus.taxonomy.features import FloatArray, pair_features, prompt_features
from dissensus.text.encoder import Encoder

PROMPTS, SIMILARITY = "prompts-minilm", "similarity-minilm"
"""Origins of the classifiers' categories."""
MAX_LENGTH = 256
"""Tokens of a text that the encoder reads."""


@dataclass(frozen=True)
class Logistic:
    """A fitted logistic regression: sigma(features · weights + bias)."""

    weights: FloatArray
    bias: float

    def __call__(self, features: FloatArray) -> FloatArray:
        """Compute probabilities, shape (n,), from features of shape (n, dim)."""
        probability: FloatArray = expit(features @ self.weights + self.bias)
        return probability


def load_classifiers(encoder: Encoder) -> tuple[Logistic, Logistic]:
    """Load the classifier of prompts and that of responses.

    Raises:
        InputError: the encoder is not the one that they were fitted with.
    """
    content = json.loads((resources.files("dissensus.taxonomy") / "content" / "classifiers.json").read_text("utf-8"))
    if content["encoder"] != encoder.digest:
        raise InputError(
            f"the shipped classifiers were fitted with all-MiniLM-L6-v2, and {encoder.name} is another encoder; "
            "use the encoder 'minilm'"
        )
    prompts, responses = (
        Logistic(np.array(of["weights"]), of["bias"]) for of in (content["prompts"], content["responses"])
    )
    return prompts, responses


def classify_offline(pairs: Sequence[Pair], encoder: Encoder, *, progress: bool = False) -> Iterator[Classification]:
    """Put prompts and pairs of responses into categories by the shipped classifiers, two for each pair.

    Two responses of the same text are indistinguishable whatever the classifier says.
    """
    of_prompts, of_responses = load_classifiers(encoder)
    by_prompt = one_pair_per_prompt(pairs)
    prompts = {pair.id: plain_text(pair.prompt) for pair in pairs if pair.id in by_prompt}
    marks = prompt_features(list(prompts.values()), encoder, progress=progress)
    for pair_id, probability in zip(prompts, of_prompts(marks), strict=True):
        for same_prompt in by_prompt[pair_id]:
            yield from_probability(same_prompt, "correct", float(probability), origin=PROMPTS)
    first, second = [plain_text(pair.response_a) for pair in pairs], [plain_text(pair.response_b) for pair in pairs]
    features = pair_features(first, second, encoder, progress=progress)
    for pair, a, b, probability in zip(pairs, first, second, of_responses(features), strict=True):
        value = 0.0 if a == b else float(probability)
        yield from_probability(pair.id, "distinct", value, origin=SIMILARITY)

"""Judgments to categories, and categories to pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dissensus.records import Classification, Judgment, Pair, plain_text

Question = Literal["correct", "distinct"]
QUESTIONS: tuple[Question, ...] = ("correct", "distinct")
TEMPLATES: dict[Question, str] = {"correct": "paper-correct", "distinct": "paper-distinct"}
"""The shipped judge templates that ask the paper's questions; option A comes first in each."""
_FIELDS: dict[Question, str] = {"correct": "category", "distinct": "distinct"}
OPTIONS: dict[Question, tuple[Any, Any]] = {"correct": ("single", "multiple"), "distinct": ("no", "yes")}
"""What options A and B of the paper's questions mean."""


@dataclass(frozen=True)
class Changes:
    """What became of the categories of pairs; counts by question."""

    set: Mapping[Question, int]
    kept: Mapping[Question, int]
    """Pairs that had a category already."""
    undecided: Mapping[Question, int]
    """Pairs without a category before and after."""


def classifications_from_judgments(
    judgments: Iterable[Judgment], question: Question, *, origin: str
) -> list[Classification]:
    """Turn a language model's answers to one of the paper's questions into a category for each pair.

    The judgments are those of the template of `TEMPLATES`, asked in order ``ab`` alone: choice a is option A. Where
    they were drawn from probabilities, the likelier option is the category, not what a draw happened to be; of replies
    the majority of the valid ones decides. An even split gives no category. Replies that name no option are counted.
    """
    by_pair: dict[str, list[Judgment]] = {}
    for judgment in judgments:
        if judgment.order != "ab":
            raise ValueError("options have a fixed order: ask in order ab")
        by_pair.setdefault(judgment.pair_id, []).append(judgment)
    classifications = []
    for pair_id, given in by_pair.items():
        valid = [one for one in given if one.choice is not None]
        known = [1 - one.probability_a for one in valid if one.probability_a is not None]
        votes = [float(one.choice == "b") for one in valid if one.choice != "tie"]
        of_b = known if known and len(known) == len(votes) else votes
        found = from_probability(pair_id, question, sum(of_b) / len(of_b) if of_b else 0.5, origin=origin)
        changes: dict[str, object] = {"n": len(of_b), "n_invalid": len(given) - len(valid)}
        if found.probability == 0.5:
            changes["value"] = None
        if not of_b:
            changes["probability"] = None
        classifications.append(found.model_copy(update=changes))
    return classifications


def from_probability(pair_id: str, question: Question, probability: float, *, origin: str) -> Classification:
    """Make a classifier's category out of its probability of ``multiple`` or ``yes``.

    >>> from_probability("p", "distinct", 0.2, origin="similarity-minilm").value
    'no'
    """
    value = OPTIONS[question][1 if probability >= 0.5 else 0]
    return Classification(pair_id=pair_id, question=question, value=value, probability=probability, origin=origin)


def one_pair_per_prompt(pairs: Sequence[Pair]) -> dict[str, list[str]]:
    """Choose a pair for each prompt, to be asked about the prompt alone: its id → the ids of all the prompt's pairs."""
    by_prompt: dict[str, list[str]] = {}
    for pair in pairs:
        by_prompt.setdefault(plain_text(pair.prompt), []).append(pair.id)
    return {ids[0]: ids for ids in by_prompt.values()}


def known_classifications(pairs: Iterable[Pair], *, origin: str = "people") -> list[Classification]:
    """List the paper's categories that pairs have already; other names of categories are none of the paper's."""
    return [
        Classification(pair_id=pair.id, question=question, value=value, origin=origin)
        for pair in pairs
        for question in QUESTIONS
        if (value := getattr(pair, _FIELDS[question])) in OPTIONS[question]
    ]


def classify_pairs(
    pairs: Iterable[Pair], classifications: Iterable[Classification], *, replace: bool = False
) -> tuple[list[Pair], Changes]:
    """Put categories into pairs, joined by id, and count what changed.

    A pair that has one of the paper's categories keeps it, from whomever it is, unless ``replace``; any other name in
    ``category`` gives way.
    """
    found = {(c.pair_id, c.question): c.value for c in classifications}
    counts = {name: dict.fromkeys(QUESTIONS, 0) for name in ("set", "kept", "undecided")}
    classified = []
    for pair in pairs:
        changes = {}
        for question in QUESTIONS:
            field = _FIELDS[question]
            is_known = getattr(pair, field) in OPTIONS[question]
            value = found.get((pair.id, question))
            if value is not None and (replace or not is_known):
                changes[field] = value
                counts["set"][question] += 1
            else:
                counts["kept" if is_known else "undecided"][question] += 1
        classified.append(pair.model_copy(update=changes))
    return classified, Changes(**counts)

"""Putting pairs into the paper's categories: by the shipped classifiers, or by a language model with its questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dissensus.records import Classification, Pair
from dissensus.study.judge_stage import ModelJudge, make_judgments, recall
from dissensus.study.parts import Categories
from dissensus.taxonomy import (
    Agreement,
    Question,
    agreement_with_people,
    classifications_from_judgments,
    classify_offline,
    classify_pairs,
    known_classifications,
    one_pair_per_prompt,
)
from dissensus.taxonomy.classification import QUESTIONS, TEMPLATES
from dissensus.taxonomy.classifiers import MAX_LENGTH
from dissensus.text.encoder import load_encoder


def classify(
    pairs: Sequence[Pair], settings: Categories, store: Path, *, progress: bool = True
) -> list[Classification]:
    """Put pairs into categories; a language model's answers are kept in ``store``, and none is asked for twice.

    Whether a prompt has several correct answers is asked once for each prompt.

    Raises:
        JudgeError: the model cannot be asked, or left questions open.
    """
    if settings.judge is None:
        encoder = load_encoder("minilm", max_length=MAX_LENGTH)
        return list(classify_offline(pairs, encoder, progress=progress))
    return [
        found for question in QUESTIONS for found in _ask(pairs, question, settings.judge, store, progress=progress)
    ]


@dataclass(frozen=True)
class Classified:
    """Test pairs with their categories, and everything that is to be told of them."""

    pairs: list[Pair]
    classifications: list[Classification]
    """Those that pairs had, and the machine's."""
    agreement: list[dict[str, Any]]
    counts: dict[str, Any]


def classify_test_pairs(
    pairs: Sequence[Pair], settings: Categories, store: Path, *, origin: str, progress: bool
) -> Classified:
    """Put a study's test pairs into categories where they have none; ``origin`` is whose those are that they have."""
    found = classify(pairs, settings, store, progress=progress)
    agreements = agreement_with_people(pairs, found)
    classified, changes = classify_pairs(pairs, found)
    kappas = {f"kappa_{one.question}": round(one.kappa.value, 2) for one in agreements if one.kappa.low is not None}
    counts = {"set": sum(changes.set.values()), f"by_{origin}": sum(changes.kept.values()), **kappas}
    return Classified(
        classified, [*known_classifications(pairs, origin=origin), *found], agreement_rows(agreements), counts
    )


def _ask(
    pairs: Sequence[Pair], question: Question, judge: ModelJudge, store: Path, *, progress: bool
) -> list[Classification]:
    from dissensus.judge import JudgmentStore

    # The options stand in a fixed order, so nothing is swapped.
    judging = judge.model_copy(update={"template": TEMPLATES[question], "order": "ab"})
    groups = one_pair_per_prompt(pairs) if question == "correct" else {pair.id: [pair.id] for pair in pairs}
    asked = [pair for pair in pairs if pair.id in groups]
    made = make_judgments(judging, asked, store, pairs_file="", drawn_label=False, progress=progress)
    with JudgmentStore(store, create=False) as opened:
        judgments = list(recall(judging, opened, made["judge"], asked).judgments())
    found = classifications_from_judgments(judgments, question, origin=f"judge:{made['judge']}")
    return [one.model_copy(update={"pair_id": same}) for one in found for same in groups[one.pair_id]]


def agreement_rows(agreements: Sequence[Agreement]) -> list[dict[str, Any]]:
    """Lay agreement with people out as JSON-able rows; what is undefined is null."""
    return [
        {
            "question": one.question,
            "origin": one.origin,
            "n": one.n,
            "raw": _defined(one.raw),
            "kappa": _defined(one.kappa.value),
            "low": one.kappa.low,
            "high": one.kappa.high,
            "undecided": one.undecided,
            "note": one.note,
            "counts": [
                {"people": people, "machine": machine, "pairs": n} for (people, machine), n in one.counts.items()
            ],
        }
        for one in agreements
    ]


def describe_agreement(agreements: Sequence[Agreement]) -> str:
    """Say in a table how far categories agree with people's."""
    asked = {"correct": "single or multiple correct answers", "distinct": "distinguishable or not"}
    lines = []
    for one in agreements:
        interval = "" if one.kappa.low is None else f" [{one.kappa.low:.2f}, {one.kappa.high:.2f}]"
        kappa = one.note if math.isnan(one.kappa.value) else f"kappa {one.kappa.value:.2f}{interval}"
        lines.append(f"  {asked[one.question]}: {one.n} pairs, {one.raw:.0%} agree, {kappa}")
        for (people, machine), n in one.counts.items():
            lines.append(f"    people {people:9} {one.origin} {machine:9} {n}")
        if one.undecided:
            lines.append(f"    {one.undecided} pairs are undecided")
    return "\n".join(lines)


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value

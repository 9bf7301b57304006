"""Simulated copies of data sets: files of pairs with a simulated population's texts, labels and votes.

With them a study of public data sets runs where the Hub is out of reach. Their numbers say nothing of the real sets.
Three simulated annotators answer the paper's questions about every pair.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby
from pathlib import Path

import numpy as np

from dissensus.errors import ConfigError
from dissensus.files import write_records
from dissensus.hashing import number_of
from dissensus.records import Label, Pair, Vote, Votes
from dissensus.simulate.population import SimulationConfig, simulate

ANNOTATIONS = "annotations.jsonl"
"""What the simulated annotators say: every pair of the copies, with its votes and categories."""
_ANNOTATORS = ("annotator 1", "annotator 2", "annotator 3")
_ERROR, _SPREAD = 0.1, 0.1
"""How often an annotator errs about a category, and the standard deviation of what one thinks people prefer."""


def copy_file(name: str) -> str:
    """Name the file of a set's copy."""
    return f"{name}.jsonl"


def write_copies(folder: Path, inside: Collection[str], outside: Collection[str], simulation: SimulationConfig) -> int:
    """Write a copy of each set, and what the annotators say; returns the number of pairs.

    Prompts are dealt out in turn, the population's in-domain ones to the sets ``inside``, the others to those
    ``outside``, so no prompt is in two sets. Categories are in what the annotators say alone.

    Raises:
        ConfigError: the population has too few prompts.
    """
    simulated = simulate(simulation)
    prompts = [list(pairs) for _, pairs in groupby(simulated.pairs, key=lambda pair: (pair.domain, pair.group))]
    annotated: list[Pair] = []
    for domain, names in (("in", inside), ("out", outside)):
        own = [pairs for pairs in prompts if pairs[0].domain == domain]
        for index, name in enumerate(names):
            pairs = [pair.model_copy(update={"dataset": name}) for dealt in own[index :: len(names)] for pair in dealt]
            if not pairs:
                raise ConfigError(f"simulation: too few prompts for a copy of {name}; raise simulation.prompts")
            unknown = {"domain": None, "category": None, "distinct": None}
            write_records(folder / copy_file(name), [pair.model_copy(update=unknown) for pair in pairs])
            annotated += [_annotate(pair, simulated.preference[pair.id], simulation.seed) for pair in pairs]
    write_records(folder / ANNOTATIONS, annotated)
    return len(annotated)


def _annotate(pair: Pair, preference: float, seed: int) -> Pair:
    """Let three annotators say how many of 10 people prefer a, and which categories the pair is in."""
    generator = np.random.default_rng([seed, number_of(pair.id)])
    thought = np.clip(preference + generator.normal(0, _SPREAD, len(_ANNOTATORS)), 0, 1)
    said = [
        Vote(annotator=name, vote=_side(round(float(value) * 10) - 5), estimate=round(float(value) * 10) / 10)
        for name, value in zip(_ANNOTATORS, thought, strict=True)
    ]
    counts = {side: sum(vote.vote == side for vote in said) for side in ("a", "b", "tie")}
    changes = {
        "votes": Votes(**counts, annotations=tuple(said)),
        "category": _majority(pair.category, ("single", "multiple"), generator),
        "distinct": _majority(pair.distinct, ("yes", "no"), generator),
    }
    return pair.model_copy(update=changes)


def _side(more_for_a: int) -> Label:
    return "a" if more_for_a > 0 else "b" if more_for_a < 0 else "tie"


def _majority(truth: str | None, values: tuple[str, str], generator: np.random.Generator) -> str:
    wrong = int((generator.random(len(_ANNOTATORS)) < _ERROR).sum())
    index = values.index(truth or values[0])
    return values[index if wrong < 2 else 1 - index]

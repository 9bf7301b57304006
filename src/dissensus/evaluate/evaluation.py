"""The whole evaluation: models, judges and what anybody has for nothing, ceilings, and the people themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dissensus.errors import EvaluationError
from dissensus.evaluate.ceilings import CEILING, score_ceilings
from dissensus.evaluate.groups import ALL, find_groups, group_field
from dissensus.evaluate.join import Joined, join
from dissensus.evaluate.measure import Resampling
from dissensus.evaluate.people import PEOPLE, aggregated_preferences, score_people
from dissensus.evaluate.references import judge_references, longer_response, one_half, one_person
from dissensus.evaluate.scorecard import Reference, score
from dissensus.records import Judgment, Metric, Pair, Prediction

_SENSITIVE = ("pearson_within", "pearson", "l1")


def evaluate_predictions(
    pairs: Iterable[Pair],
    predictions: Iterable[Prediction],
    *,
    baseline: str | None = None,
    calibrated: bool = False,
    judgments: Iterable[Judgment] = (),
    n_resamples: int = 2000,
    n_swaps: int = 9999,
    level: float = 0.95,
    seed: int = 0,
    progress: bool = False,
) -> list[Metric]:
    """Compare predictions with votes, and put beside them what they have to be seen against.

    Beside the rows of `dissensus.evaluate.scorecard.score`: references (one half, the longer response, one person held
    out), judges, noise ceilings, r corrected for attenuation, how well people agree, and the models against
    preferences as Dawid-Skene and MACE aggregate them.

    Args:
        pairs: with votes; those without are left out and counted in a note.
        predictions: of one or more models, one per pair, model and seed.
        baseline: the model that the others are compared with; None for no comparison.
        calibrated: score the calibrated preferences instead of the raw ones.
        judgments: of judges that are compared with people as the models are; of all of the pairs or of some.
        n_resamples: bootstrap resamples; 0 for no intervals.
        n_swaps: swaps of each test of a difference; 0 for no tests.
        level: coverage of the intervals.
        seed: of the resamples.
        progress: show bars on stderr.

    Raises:
        EvaluationError: predictions, judgments and votes do not fit together.
        ValueError: a level or a number of resamples that makes no sense.
    """
    joined = join(pairs, predictions, calibrated=calibrated)
    references = _references(joined, judgments)
    resampling = Resampling(n_resamples, level, seed)
    rows = score(
        joined,
        baseline=baseline,
        references=references,
        n_resamples=n_resamples,
        n_swaps=n_swaps,
        level=level,
        seed=seed,
        progress=progress,
    )
    with tqdm(total=3, desc="ceilings, people, targets", unit="part", disable=not progress) as bar:
        rows += score_ceilings(joined, resampling)
        bar.update()
        rows += score_people(joined.pairs, resampling)
        bar.update()
        rows += _score_targets(joined, baseline, resampling)
        bar.update()
    return rows


def _references(joined: Joined, judgments: Iterable[Judgment]) -> list[Reference]:
    pairs = joined.pairs
    references = [one_half(pairs), *filter(None, [longer_response(pairs)])]
    if any(pair.votes is not None and pair.votes.n >= 2 for pair in pairs):
        references.append(one_person(pairs))
    references += judge_references(pairs, judgments)
    names = [reference.name for reference in references] + [CEILING, PEOPLE]
    taken = [name for name in names if name in joined.predicted]
    if taken:
        raise EvaluationError(f"a model is called {taken[0]!r}, as another row of the tables; give it another name")
    return references


def _score_targets(joined: Joined, baseline: str | None, resampling: Resampling) -> list[Metric]:
    """Compare the models with other aggregates of the votes, in the groups of which all pairs have them."""
    rows: list[Metric] = []
    targets: Sequence[Literal["dawid-skene", "mace"]] = ("dawid-skene", "mace")
    estimates = aggregated_preferences(joined.pairs)
    for target in targets:
        known = np.isfinite(estimates[target])
        groups = {name: mask[known] for name, mask in _whole_groups(joined, known).items()}
        if not groups:
            continue
        there = replace(
            joined,
            pairs=tuple(pair for pair, inside in zip(joined.pairs, known, strict=True) if inside),
            human=estimates[target][known],
            predicted={model: values[:, known] for model, values in joined.predicted.items()},
        )
        scored = score(
            there,
            baseline=baseline,
            n_resamples=resampling.n,
            n_swaps=0,
            level=resampling.level,
            seed=resampling.seed,
            groups=groups,
        )
        rows += [
            row.model_copy(update={"target": target, "note": "against estimates, not votes"})
            for row in scored
            if row.metric in _SENSITIVE
        ]
    return rows


def _whole_groups(joined: Joined, known: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """The groups by data set and domain that lie within the known pairs: others would compare unlike pairs."""
    return {
        name: mask
        for name, mask in find_groups(joined.pairs).items()
        if (name == ALL or group_field(name) in ("dataset", "domain")) and not (mask & ~known).any()
    }

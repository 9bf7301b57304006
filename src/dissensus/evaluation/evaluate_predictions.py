"""The whole evaluation: models, judges, trivial baselines, ceilings, and the people themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tqdm import tqdm

from dissensus.errors import EvaluationError
from dissensus.evaluation.baselines import judge_references, longer_response, one_half, one_person
from dissensus.evaluation.ceilings import CEILING, score_ceilings
from dissensus.evaluation.join import Joined, join_columns
from dissensus.evaluation.pair_columns import PairColumns, as_columns
from dissensus.evaluation.people import PEOPLE, score_people
from dissensus.evaluation.primary import PRIMARY, check_primary, too_few_swaps
from dissensus.evaluation.resample import Resampling
from dissensus.evaluation.rules import score_targets
from dissensus.evaluation.scorecard import Reference, score
from dissensus.files.rows.columns import Notice
from dissensus.files.source import print_notice
from dissensus.records import Judgment, Margin, Metric, Pair, Prediction


def evaluate_predictions(
    pairs: Iterable[Pair] | PairColumns,
    predictions: Iterable[Prediction],
    *,
    baseline: str | None = None,
    primary: str | Sequence[str] = PRIMARY,
    calibrated: bool | None = None,
    judgments: Iterable[Judgment] = (),
    targets: Mapping[str, Iterable[Margin]] | None = None,
    n_resamples: int = 2000,
    n_swaps: int = 9999,
    level: float = 0.95,
    seed: int = 0,
    allow_missing: bool = False,
    progress: bool = False,
    notice: Notice = print_notice,
) -> list[Metric]:
    """Compare predictions with votes, and put beside them what they have to be seen against.

    Beside the rows of `dissensus.evaluation.scorecard.score`: references (one half, the longer response, one person
    held out), judges, noise ceilings, r corrected for attenuation, how well people agree, and the models against
    preferences as Dawid-Skene, MACE and any other rule aggregate them.

    Args:
        pairs: with votes; those without are left out and counted in a note. They are gone through once, and put into
            columns, without their texts.
        predictions: of one or more models, one per pair, model and seed, gone through once; those for other pairs are
            passed over.
        baseline: the model that the others are compared with; None for no comparison.
        primary: the metrics that the comparison is about, among the tested ones of `dissensus.evaluation.metrics`;
            their differences are tested as one family; everything else is exploratory and has no adjusted p-value.
        calibrated: True insists on calibrated preferences and False takes raw ones; unless given, a model is scored by
            calibrated ones where its predictions have them, and a note says so.
        judgments: of judges that are compared with people as the models are; of all of the pairs or of some.
        targets: preferences under other rules of aggregation (`dissensus.aggregation`), by a name for each; the models
            are compared with them as well.
        n_resamples: bootstrap resamples; 0 for no intervals.
        n_swaps: swaps of each test of a difference; 0 for no tests.
        level: coverage of the intervals.
        seed: of the resamples.
        allow_missing: leave out (and count in a note) the pairs that a model or seed has no prediction for, instead of
            refusing: every model is compared on the pairs that all have in common.
        progress: show bars on stderr.
        notice: is told what is passed over: predictions for other pairs, judges without a verdict on these; and that
            there are too few swaps.

    Raises:
        EvaluationError: predictions, judgments, targets and votes do not fit together, or a primary metric is unknown.
        ValueError: a level or a number of resamples that makes no sense.
    """
    declared = check_primary(primary)
    joined = join_columns(as_columns(pairs), predictions, calibrated=calibrated, allow_missing=allow_missing)
    if joined.predicted_elsewhere:
        notice(
            f"predictions for {joined.predicted_elsewhere} pairs that are not among the "
            f"{joined.without_votes + joined.without_predictions + joined.human.size} given were passed over"
        )
    resampling = Resampling(n_resamples, level, seed)
    rows = score(
        joined,
        baseline=baseline,
        references=_references(joined, judgments, notice),  # many draws each: of no use after this
        n_resamples=n_resamples,
        n_swaps=n_swaps,
        level=level,
        seed=seed,
        progress=progress,
        primary=declared,
    )
    if (words := too_few_swaps(rows, n_swaps)) is not None:
        notice(words)
    with tqdm(total=3, desc="ceilings, people, targets", unit="part", disable=not progress) as bar:
        rows += score_ceilings(joined, resampling)
        bar.update()
        rows += score_people(joined.columns, resampling)
        bar.update()
        rows += score_targets(joined, targets or {}, baseline=baseline, resampling=resampling)
        bar.update()
    return rows


def _references(joined: Joined, judgments: Iterable[Judgment], notice: Notice) -> list[Reference]:
    pairs = joined.columns
    references = [one_half(pairs), *filter(None, [longer_response(pairs)])]
    if (pairs.counts.sum(axis=1) >= 2).any():
        references.append(one_person(pairs))
    references += judge_references(pairs, judgments, notice=notice)
    names = [reference.name for reference in references] + [CEILING, PEOPLE]
    taken = [name for name in names if name in joined.predicted]
    if taken:
        raise EvaluationError(f"a model is called {taken[0]!r}, as another row of the tables; give it another name")
    return references

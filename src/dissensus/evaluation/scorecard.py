"""Every metric of every model on every group of pairs, with intervals, tests and paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dissensus.errors import EvaluationError
from dissensus.evaluation.groups import Group, Masks
from dissensus.evaluation.join import Joined
from dissensus.evaluation.metrics import METRICS, WITHIN, name_of, scored_metrics
from dissensus.evaluation.primary import PRIMARY, with_roles
from dissensus.evaluation.resample import Contender, Measured, Part, Sample, measure
from dissensus.evaluation.tables.number_format import number
from dissensus.records import Metric
from dissensus.stats.metrics import FEWEST_IN_STRATUM, FloatArray
from dissensus.stats.resampling.intervals import Estimate, recentred_interval, t_interval
from dissensus.stats.resampling.paired_differences import paired_difference
from dissensus.stats.resampling.training_seeds import NO_NOISE

FEW_CLUSTERS = 20
"""Below this many prompts an interval is noted as a rough one."""

_STORIES_DIFFER = 0.05
"""By this much at least the pooled and the within-data-set correlation must differ to be told apart."""

_VERDICTS_DIFFER = 0.02
"""By this much at least, where one of them shows something and the other does not, or the contrary."""


@dataclass(frozen=True)
class Reference:
    """Something to hold models against: a judge, or a trivial baseline."""

    name: str
    kind: Literal["judge", "reference"]
    predicted: FloatArray
    """Preferences for response a of the pairs with votes, in the order of ``pairs``: shape (n,), or (draws, n) where
    they rest on a random choice. NaN where there is none: the pair is left out."""
    human: FloatArray | None = None
    """What to compare with, of the same shape, where that is not the fraction of all votes (one person is compared
    with the others)."""


def score(
    joined: Joined,
    *,
    baseline: str | None = None,
    references: Sequence[Reference] = (),
    n_resamples: int = 2000,
    n_swaps: int = 9999,
    level: float = 0.95,
    seed: int = 0,
    progress: bool = False,
    groups: Masks | None = None,
    primary: Sequence[str] = PRIMARY,
) -> list[Metric]:
    """Compare predictions with votes: metrics for each group and model, and paired differences to the baseline.

    A model of several seeds is scored by the mean of the metric over them; intervals and tests count how they vary.
    Resamples draw prompts (``Pair.group``) within each data set; all groups, models and metrics share them. A group of
    fewer than five prompts has neither interval nor test. P-values are adjusted by `with_roles`.

    Args:
        joined: pairs with votes, and the predictions of one or more models, one per pair, model and seed.
        baseline: the model that the others are compared with; None for no comparison.
        references: scored as models are; those of kind "judge" are compared with the baseline too, on the pairs that
            were judged.
        n_resamples: bootstrap resamples; 0 for no intervals.
        n_swaps: swaps of each test; 0 for no tests.
        level: coverage of the intervals.
        seed: of the resamples and swaps.
        progress: show a bar on stderr.
        groups: with masks of shape (n,); those of `find_groups` unless given. Given, they are all there is: no
            accuracy by majority, and no ECE of a calibrated model, which is about votes.
        primary: the metrics that the comparison of models with the baseline is about; none to mark all as exploratory.

    Raises:
        EvaluationError: the baseline is unknown, or a reference has the name of a model.
        ValueError: a level, a number of resamples or a reference's shape that makes no sense.
    """
    if not 0 < level < 1 or n_resamples < 0 or n_swaps < 0:
        raise ValueError(f"need 0 < level < 1, n_resamples >= 0 and n_swaps >= 0: {level}, {n_resamples}, {n_swaps}")
    if baseline is not None and baseline not in joined.predicted:
        raise EvaluationError(f"no predictions of the baseline {baseline!r}; there are: {', '.join(joined.models)}")
    sample, contenders = Sample.of(joined, groups), _contenders(joined, baseline, references)
    rows: list[Metric] = []
    with tqdm(desc="resampling", unit="block", disable=not progress) as bar:
        measured = measure(
            sample, contenders, n_resamples=n_resamples, n_swaps=n_swaps, level=level, seed=seed, report=bar.update
        )
        for group, found in measured:
            rows += _Rows(sample, contenders, found, group, level, n_resamples).all()
    return with_roles(rows, primary)


def _contenders(joined: Joined, baseline: str | None, references: Sequence[Reference]) -> list[Contender]:
    """Number everybody: models, references, and the baseline again for each judge that judged other pairs."""
    everywhere = np.ones(joined.human.size, dtype=np.bool_)
    place = None if baseline is None else joined.models.index(baseline)
    found = [
        Contender(
            name, "model", predicted, np.broadcast_to(joined.human, predicted.shape), everywhere,
            rival=None if name == baseline else place,
        )
        for name, predicted in joined.predicted.items()
    ]  # fmt: skip
    hidden: list[Contender] = []
    names = [contender.name for contender in found] + [reference.name for reference in references]
    if len(set(names)) < len(names):
        raise EvaluationError(f"two models, judges or references have one name: {', '.join(names)}; rename one")
    for reference in references:
        contender = _refer(reference, joined)
        if reference.kind == "judge" and place is not None and reference.human is None:
            rival = place
            if not contender.inside.all():
                rival = len(joined.predicted) + len(references) + len(hidden)
                hidden.append(replace(found[place], inside=contender.inside, shown=False))
            contender = replace(contender, rival=rival)
        found.append(contender)
    return found + hidden


def _refer(reference: Reference, joined: Joined) -> Contender:
    predicted = np.atleast_2d(np.asarray(reference.predicted, dtype=np.float64))
    human = joined.human if reference.human is None else np.asarray(reference.human, dtype=np.float64)
    if predicted.shape[1:] != joined.human.shape or human.shape[-1:] != joined.human.shape:
        raise ValueError(
            f"{reference.name}: predicted and human must have a value for each of the {joined.human.size} pairs with "
            f"votes, not shapes {predicted.shape} and {human.shape}"
        )
    human = np.broadcast_to(human, predicted.shape)
    inside: NDArray[np.bool_] = np.all(np.isfinite(predicted + human), axis=0)
    return Contender(reference.name, reference.kind, predicted, human, inside, votes=reference.human is None)


@dataclass(frozen=True)
class _Rows:
    """Turns what was measured of a group into rows."""

    sample: Sample
    contenders: list[Contender]
    found: Measured
    group: Group
    level: float
    n_resamples: int

    def all(self) -> Iterator[Metric]:
        """Each contender's own rows, then the differences."""
        asked = {"accuracy"} if self.group in self.sample.accuracy_groups else {*scored_metrics(), "ece_null"}
        metrics = [metric for metric in METRICS if metric in asked]
        keys = [i for i, c in enumerate(self.contenders) if c.shown and i in self.found.parts]
        for key in keys:
            yield from (self._row([key], metric) for metric in metrics if self._has(key, metric))
        for key in keys:
            if (rival := self.contenders[key].rival) is not None:
                compared = (m for m in metrics if METRICS[m].compared and self._has(key, m))
                yield from (self._row([key, rival], metric) for metric in compared)

    def _has(self, key: int, metric: str) -> bool:
        """Within-data-set values are for groups that span data sets, the null for what is compared with votes."""
        if metric == WITHIN:
            return self.found.parts[key].spans_sets
        return metric != "ece_null" or key in self.found.calibrated

    def _resampled(self, keys: Sequence[int], metric: str) -> FloatArray | None:
        """Of one contender, or of the difference of two, shape (resamples,); None where there are no resamples."""
        if metric == "ece_null" or not all(key in self.found.resampled for key in keys):
            return None
        row = self.found.metrics.index(metric)
        return _first_less_second([self.found.resampled[key][row] for key in keys])

    def _estimate(self, keys: Sequence[int], metric: str) -> Estimate:
        """A contender's value, or the difference of two, with its interval."""
        if metric == "ece_null":
            band = self.found.calibrated[keys[0]]
            return Estimate(band.mean, band.low, band.high)
        value = float(_first_less_second([self.found.draws(key, metric).mean() for key in keys]))
        resampled, part = self._resampled(keys, metric), self.found.parts[keys[0]]
        if resampled is None:
            return Estimate(value)
        noise = self.found.seed_noise(keys, metric) if self.contenders[keys[0]].kind == "model" else NO_NOISE
        definition = METRICS[metric]
        if definition.recentred:
            found = recentred_interval(value, resampled, self.level, part.spare, seeds=noise)
        else:
            row = self.found.metrics.index(metric)
            jackknife = _first_less_second([self.found.jackknife[key][row] for key in keys])
            scale = definition.scale if len(keys) == 1 else "plain"
            found = t_interval(
                value, resampled, jackknife, self.found.blocks, part.spare, self.level, scale=scale, seeds=noise
            )
        if found.low is None or found.high is None:
            return found
        least, most = definition.ends
        if len(keys) > 1:
            least, most = least - most, most - least
        return replace(found, low=min(value, max(found.low, least)), high=max(value, min(found.high, most)))

    def _seeds(self, keys: Sequence[int], metric: str) -> tuple[int | None, float | None]:
        """The count of seeds, of the side that has more, and the standard deviation between them; sides vary alone.

        A side of one seed adds nothing that is known. None where no model has several.
        """
        if metric == "ece_null" or self.contenders[keys[0]].kind != "model":
            return None, None
        sides = [self.found.draws(k, metric) for k in keys]
        variances = [float(side.var(ddof=1)) for side in sides if side.size > 1]
        if not variances or not np.isfinite(variances).all():
            return None, None
        return max(side.size for side in sides), float(np.sqrt(sum(variances)))

    def _story(self, keys: Sequence[int], pooled: Estimate) -> str | None:
        first, second = (self._resampled(keys, metric) for metric in ("pearson", WITHIN))
        if not self._has(keys[0], WITHIN) or first is None or second is None:
            return None
        within, spare = self._estimate(keys, WITHIN), self.found.parts[keys[0]].spare
        difference = paired_difference(pooled.value, within.value, first, second, self.level, spare)
        names = [self.contenders[key].name for key in keys]
        what = f"r of {names[0]}" if len(keys) == 1 else f"the difference in r of {names[0]} to {names[1]}"
        return _about_stories(what, pooled, within, difference)

    def _row(self, keys: Sequence[int], metric: str) -> Metric:
        """Make the row of a contender, or of its difference to its rival."""
        everyone, part = [self.contenders[key] for key in keys], self.found.parts[keys[0]]
        estimate, (seeds, seed_sd) = self._estimate(keys, metric), self._seeds(keys, metric)
        contender = everyone[0]
        p_value = self.found.p_values.get(keys[0], {}).get(metric) if len(keys) > 1 else None
        notes = [self._story(keys, estimate) if metric == "pearson" else None]
        if not np.isfinite(estimate.value):
            notes.append(_why_undefined(part, everyone, metric))
        elif self.n_resamples > 0 and metric != "ece_null":
            notes.append(_about_interval(part, estimate))
        if estimate.low is not None or p_value is not None:
            notes.append(_about_seeds(everyone, self.group))
        notes += self._left_out(contender, part)
        if len(keys) == 1 and not self.group.parts and contender.kind == "model":
            words = self.sample.joined.calibrated.get(contender.name)
            notes.append(words and f"preferences of {contender.name} are calibrated: {words}")
        if self.group.is_exploratory:
            notes.append("exploratory: grouped by the votes that predictions are compared with")
        return Metric(
            model=contender.name,
            group=str(self.group),
            metric=metric,
            value=_digits(estimate.value),
            low=_digits(estimate.low),
            high=_digits(estimate.high),
            n=_decided(contender, part) if metric == "accuracy" else part.n,
            clusters=part.clusters,
            baseline=everyone[1].name if len(keys) > 1 else None,
            notes=tuple(filter(None, notes)),
            kind=contender.kind,
            method=estimate.method if estimate.low is not None else None,
            p_value=p_value if p_value is not None and np.isfinite(p_value) else None,
            seeds=seeds,
            seed_sd=_digits(seed_sd),
            data_se=_digits(_spread(self._resampled(keys, metric))),
        )

    def _left_out(self, contender: Contender, part: Part) -> Iterator[str]:
        if self.group.parts:
            return
        joined, total = self.sample.joined, self.sample.joined.human.size
        without, missing = joined.without_votes, joined.without_predictions
        if without:
            yield f"{without} of {total + missing + without} pairs carry no votes and are left out"
        if missing:
            yield f"{missing} of {total + missing} pairs lack a prediction of some model and are left out"
        if not contender.inside.all():
            yield f"{total - part.n} of {total} pairs have no opinion of {contender.name} and are left out"


def _decided(contender: Contender, part: Part) -> int:
    """Count the pairs that do not split people evenly, on average over draws."""
    return round(float(np.mean([(human[part.inside] != 0.5).sum() for human in contender.human])))


def _first_less_second(values: Sequence[FloatArray]) -> FloatArray:
    """The one value there is, or the difference of two."""
    return values[0] if len(values) == 1 else values[0] - values[1]


def _digits(value: float | None) -> float | None:
    """Drop the digits that are rounding: a metric that cannot vary would have an interval that leaves it out."""
    return None if value is None or not np.isfinite(value) else round(value, 12)


def _spread(resampled: FloatArray | None) -> float | None:
    defined = np.zeros(0) if resampled is None else resampled[np.isfinite(resampled)]
    return float(defined.std(ddof=1)) if defined.size > 1 else None


def _about_interval(part: Part, estimate: Estimate) -> str | None:
    """Say why there is no interval, or that it rests on little; None where all is well."""
    if estimate.low is None and part.resampled:
        return "no interval: undefined in more than a tenth of the resamples"
    if estimate.low is None:
        what = "one prompt is" if part.clusters == 1 else f"{part.clusters} prompts are"
        return f"no interval: {what} too few to resample"
    return f"interval rests on only {part.clusters} prompts" if part.clusters < FEW_CLUSTERS else None


def _why_undefined(part: Part, contenders: Sequence[Contender], metric: str) -> str:
    """Say why a metric of a contender, or of its difference to another, has no value."""
    human = contenders[0].human[:, part.inside]
    if metric == "accuracy":
        return "people are split evenly on every pair: accuracy is undefined"
    name = name_of(metric)
    if part.n == 1:
        return f"there is only one pair: {name} is undefined"
    if (np.ptp(human, axis=1) == 0).any():
        return f"all human preferences are equal: {name} is undefined"
    constant = [c.name for c in contenders if (np.ptp(c.predicted[:, part.inside], axis=1) == 0).any()]
    if constant:
        return f"all predictions of {' and '.join(constant)} are equal: {name} is undefined"
    return f"no data set has {FEWEST_IN_STRATUM} pairs that differ: {name} is undefined"


def _about_stories(what: str, pooled: Estimate, within: Estimate, gap: Estimate) -> str | None:
    """Warn where a correlation, or a difference of two, over all pairs and within data sets tells different stories.

    ``gap`` is pooled - within, with the interval of the paired difference.
    """
    verdicts = [_sign(pooled), _sign(within)]
    opposed = verdicts[0] != verdicts[1] and abs(gap.value) >= _VERDICTS_DIFFER
    apart = abs(gap.value) >= _STORIES_DIFFER and _sign(gap) not in (0, None)
    if None in verdicts or not (opposed or apart):
        return None
    return (
        f"{what} is {number(within.value)} within data sets and {number(pooled.value)} pooled: the pooled one also has "
        "what is between data sets, so look at each"
    )


def _about_seeds(contenders: Sequence[Contender], group: Group) -> str | None:
    """Say of a comparison of two models on all pairs whose choice of seeds the interval and the test cannot count."""
    if group.parts or len(contenders) < 2 or any(c.kind != "model" for c in contenders):
        return None
    once = [c.name for c in contenders if len(c.predicted) == 1]
    if len(once) == len(contenders):
        return (
            "one training seed each: intervals and tests are about these trained models, not about the ways to train "
            "them; with several seeds they count how seeds vary"
        )
    if once:
        return f"{once[0]} has one training seed: how seeds of it vary is not counted in the interval and the test"
    return None


def _sign(estimate: Estimate) -> int | None:
    """1 or -1 where the interval leaves out zero, 0 where it does not, None where there is none."""
    if estimate.low is None or estimate.high is None:
        return None
    return int(estimate.low > 0) - int(estimate.high < 0)

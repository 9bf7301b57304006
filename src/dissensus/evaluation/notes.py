"""Notes beside a number: why there is none, or why it is to be taken with care."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dissensus.evaluation.groups import Group
from dissensus.evaluation.metrics import name_of
from dissensus.evaluation.resample import Contender, Part
from dissensus.evaluation.tables.number_format import number
from dissensus.stats.metrics import FEWEST_IN_STRATUM
from dissensus.stats.resampling.intervals import Estimate

FEW_CLUSTERS = 20
"""Below this many prompts an interval is noted as a rough one."""

_STORIES_DIFFER = 0.05
"""By this much at least the pooled and the within-data-set correlation must differ to be told apart."""

_VERDICTS_DIFFER = 0.02
"""By this much at least, where one of them shows something and the other does not, or the contrary."""


def about_interval(part: Part, estimate: Estimate, *, asked: bool) -> str | None:
    """Say why there is no interval, or that it rests on little; None where all is well."""
    if not asked:
        return None
    if estimate.low is None and part.resampled:
        return "no interval: undefined in more than a tenth of the resamples"
    if estimate.low is None:
        what = "one prompt is" if part.clusters == 1 else f"{part.clusters} prompts are"
        return f"no interval: {what} too few to resample"
    return f"interval rests on only {part.clusters} prompts" if part.clusters < FEW_CLUSTERS else None


def why_undefined(part: Part, contenders: Sequence[Contender], metric: str) -> str:
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


def about_stories(what: str, pooled: Estimate, within: Estimate, gap: Estimate) -> str | None:
    """Warn where the correlation over all pairs and the mean within data sets tell different stories.

    Args:
        what: the correlation's name for people.
        pooled: over all pairs, a correlation or a difference of two.
        within: the same within data sets.
        gap: pooled - within, with the interval of the paired difference.
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


def about_seeds(contenders: Sequence[Contender], group: Group) -> str | None:
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

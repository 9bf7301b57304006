"""Rules by which several people's votes about a pair become one preference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from dissensus.aggregation.ballots import Ballots
from dissensus.aggregation.preferences import (
    Cells,
    FloatArray,
    IntArray,
    group_means,
    has_quorum,
    maximin_preference,
    stratified_preference,
    weighted_preference,
)
from dissensus.errors import ConfigError, EvaluationError
from dissensus.files.rows.bad_rows import describe

Missing = Literal["leave-out", "unknown"]
"""What becomes of votes by people without the attribute: left out and counted, or a group ``unknown`` of their own."""
UNKNOWN = "unknown"
_NAMED = 12
_Mask = NDArray[np.bool_]


def _as_number(value: Any) -> Any:
    """Take a fraction as people write it: ``2/3``."""
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value))
        except ZeroDivisionError as error:
            raise ValueError(f"{value} divides by zero") from error
    return value


_Name = Annotated[str, Field(min_length=1)]
_Share = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Decision:
    """What a rule makes of ballots, as arrays."""

    preference: FloatArray
    """For response a, shape (pairs,); NaN where no vote counts."""
    counted: _Mask
    """Which votes count, shape (votes,)."""
    groups: Mapping[str, int] = field(default_factory=dict)
    """Group to its votes that count; empty where the rule knows no groups."""
    undecided: _Mask | None = None
    """Pairs without a quorum, shape (pairs,)."""


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Uniform(_Rule):
    """Every vote counts the same: the vote share, a tie counting half, or the mean of estimates. The paper's rule."""

    name: Literal["uniform"] = "uniform"

    def decide(self, ballots: Ballots, left_out: Counter[str]) -> Decision:
        """Apply the rule; ``left_out`` counts, in words, votes and pairs that do not count. Raises EvaluationError."""
        return Decision(_weighted(ballots, 1.0), np.ones(len(ballots.rating), dtype=np.bool_))


class _GroupRule(_Rule):
    """A rule that goes by an attribute of the voters, ``by``."""

    missing: Missing = "leave-out"

    def _decide_by(self, attribute: str, ballots: Ballots, left_out: Counter[str]) -> Decision:
        """Apply the rule to the votes of those whose group is known."""
        inside, group, names = _grouped(ballots, attribute, self.missing, left_out)
        kept = replace(ballots, rating=ballots.rating[inside], pair=ballots.pair[inside], voter=ballots.voter[inside])
        preference, counts = self._decide_groups(kept, group, names, left_out)
        counted = np.zeros(len(ballots.rating), dtype=np.bool_)
        counted[inside] = counts
        votes = np.bincount(group[counts], minlength=len(names))
        return Decision(preference, counted, {name: int(n) for name, n in zip(names, votes, strict=True)})

    def _decide_groups(
        self, ballots: Ballots, group: IntArray, names: list[str], left_out: Counter[str]
    ) -> tuple[FloatArray, _Mask]:
        """Return the preferences, and which votes count; ``group`` is an index in ``names`` for each vote."""
        raise NotImplementedError


class Weighted(_GroupRule):
    """Votes count by the weight of who casts them: sum of weight times rating over the sum of weights."""

    name: Literal["weighted"] = "weighted"
    weights: Annotated[dict[str, _Weight], Field(min_length=1)]
    """By annotator id, or by group where ``by`` names an attribute. Only their ratios matter; 0 leaves a vote out."""
    by: _Name | None = None
    default: _Weight | None = None
    """The weight of those who are not named; without it, every one who votes needs a weight."""

    @field_validator("weights")
    @classmethod
    def _some_weight(cls, weights: dict[str, float]) -> dict[str, float]:
        if not any(weights.values()):
            raise ValueError("all weights are 0, so nobody's vote counts; give somebody a positive weight")
        return weights

    def decide(self, ballots: Ballots, left_out: Counter[str]) -> Decision:
        """Apply the rule; as `Uniform.decide`."""
        if self.by is not None:
            return self._decide_by(self.by, ballots, left_out)
        here = {name for name in ballots.voters if name is not None}
        strangers = sorted(self.weights.keys() - here)
        if strangers:
            known = _list(sorted(here)) or "none"
            raise EvaluationError(f"weights: {strangers[0]!r} is no annotator here; there are {known}")
        unnamed = [name for name in ballots.voters if name is None or name not in self.weights]
        if unnamed and self.default is None:
            example = next((repr(name) for name in unnamed if name), "somebody who is not named")
            raise EvaluationError(
                f"weights: {len(unnamed)} of {len(ballots.voters)} voters have no weight (such as {example}); "
                "give them one, or a default for all others"
            )
        weight = np.array([self.weights.get(name or "", self.default or 0.0) for name in ballots.voters])
        return Decision(*self._weigh(ballots, weight[ballots.voter], left_out))

    def _decide_groups(
        self, ballots: Ballots, group: IntArray, names: list[str], left_out: Counter[str]
    ) -> tuple[FloatArray, _Mask]:
        weight = _of_groups(self.weights, names, "weights", default=self.default)
        return self._weigh(ballots, weight[group], left_out)

    def _weigh(self, ballots: Ballots, weight: FloatArray, left_out: Counter[str]) -> tuple[FloatArray, _Mask]:
        counted = weight > 0
        left_out["votes with a weight of 0"] += int((~counted).sum())
        return _weighted(ballots, weight), counted


class _MeansRule(_GroupRule):
    """A rule of the groups' means on each pair."""

    by: _Name
    """The attribute whose values are the groups."""
    min_votes: PositiveInt = 1
    """A group of fewer voters on a pair has no voice there, so that one voter need not be a group's voice."""

    def decide(self, ballots: Ballots, left_out: Counter[str]) -> Decision:
        """Apply the rule; as `Uniform.decide`."""
        return self._decide_by(self.by, ballots, left_out)

    def _decide_groups(
        self, ballots: Ballots, group: IntArray, names: list[str], left_out: Counter[str]
    ) -> tuple[FloatArray, _Mask]:
        cells = group_means(ballots.rating, ballots.pair, group, ballots.voter)
        heard = cells.of_at_least(self.min_votes)
        left_out[f"groups on a pair with fewer than {self.min_votes} voters"] += len(cells.pair) - len(heard.pair)
        counted = np.isin(ballots.pair * len(names) + group, heard.pair * len(names) + heard.group)
        return self._of_means(heard, names, len(ballots.pair_ids), left_out), counted

    def _of_means(self, cells: Cells, names: list[str], n_pairs: int, left_out: Counter[str]) -> FloatArray:
        raise NotImplementedError


class PostStratified(_MeansRule):
    """Groups count by their share of a population: the mean of the means of those that voted on a pair, weighted."""

    name: Literal["post-stratified"] = "post-stratified"
    shares: Annotated[dict[str, _Share], Field(min_length=1)]
    """Each group's share of the population, in any unit: they are divided by their sum."""
    min_coverage: Annotated[float, Field(ge=0, le=1)] = 0.0
    """A pair on which groups of less than this share of the population voted gets no preference."""

    @field_validator("shares")
    @classmethod
    def _finite_sum(cls, shares: dict[str, float]) -> dict[str, float]:
        if not math.isfinite(sum(shares.values())):
            raise ValueError("the shares add up to infinity; give shares of 1 or percentages")
        return shares

    def _of_means(self, cells: Cells, names: list[str], n_pairs: int, left_out: Counter[str]) -> FloatArray:
        shares = _of_groups(self.shares, names, "shares")
        population = sum(self.shares.values())
        preference, coverage = stratified_preference(cells, shares, n_pairs=n_pairs, population=population)
        thin = np.isfinite(preference) & (coverage < self.min_coverage)
        why = f"pairs on which groups of less than {self.min_coverage:.0%} of the population voted"
        left_out[why] += int(thin.sum())
        return np.where(thin, np.nan, preference)


class WorstOff(_MeansRule):
    """The response whose least-supporting group supports it more wins (maximin).

    With p_g the mean of group g, u_a = min p_g and u_b = min (1 - p_g), the preference is 1/2 + (u_a - u_b)/2.
    """

    name: Literal["worst-off"] = "worst-off"

    def _of_means(self, cells: Cells, names: list[str], n_pairs: int, left_out: Counter[str]) -> FloatArray:
        return maximin_preference(cells, n_pairs=n_pairs)


class Quorum(_Rule):
    """The vote share stands where one side has a quorum of it; otherwise the pair is undecided, preference 1/2."""

    name: Literal["quorum"] = "quorum"
    quorum: Annotated[FiniteFloat, Field(gt=0.5, le=1), BeforeValidator(_as_number)] = 2 / 3
    """The share of the votes, a tie counting half for each side; ``2/3`` may be written. It is met to three digits, so
    that 2 votes of 3 meet 0.667."""
    min_votes: PositiveInt = 1
    """A pair with fewer voters is undecided."""

    def decide(self, ballots: Ballots, left_out: Counter[str]) -> Decision:
        """Apply the rule; as `Uniform.decide`."""
        share = _weighted(ballots, 1.0)
        cells = group_means(ballots.rating, ballots.pair, np.zeros_like(ballots.pair), ballots.voter)
        undecided = ~has_quorum(share, cells.voters, quorum=self.quorum, min_votes=self.min_votes)
        everybody = np.ones(len(ballots.rating), dtype=np.bool_)
        return Decision(np.where(undecided, 0.5, share), everybody, undecided=undecided)


_AnyRule = Uniform | Weighted | PostStratified | WorstOff | Quorum
Rule = Annotated[_AnyRule, Field(discriminator="name")]
RULES: dict[str, type[BaseModel]] = {rule.model_fields["name"].default: rule for rule in get_args(_AnyRule)}

_RULE: TypeAdapter[_AnyRule] = TypeAdapter(Rule)


def parse_rule(settings: Mapping[str, object]) -> _AnyRule:
    """Read a rule from settings as YAML gives them: ``name`` and what the rule of that name takes.

    Raises a ConfigError naming the rule, the setting and what was expected.
    """
    name = settings.get("name")
    if not isinstance(name, str) or name not in RULES:
        raise ConfigError(f"no rule is called {name!r}; choose one of: {', '.join(RULES)}")
    try:
        return _RULE.validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] in ("extra_forbidden", "missing"):
            known = ", ".join(field for field in RULES[name].model_fields if field != "name") or "no settings"
            what = "is needed" if first["type"] == "missing" else "is unknown"
            raise ConfigError(f"rule {name}: {first['loc'][-1]} {what}; the rule takes {known}") from error
        raise ConfigError(f"rule {describe(error).removeprefix(f'{name}.')} (rule {name})") from error


def _weighted(ballots: Ballots, weight: FloatArray | float) -> FloatArray:
    return weighted_preference(ballots.rating, ballots.pair, weight, n_pairs=len(ballots.pair_ids))


def _grouped(
    ballots: Ballots, attribute: str, missing: Missing, left_out: Counter[str]
) -> tuple[_Mask, IntArray, list[str]]:
    """Number the groups of the voters: which votes are of one, its index for each of these, and the groups."""
    known = [ballots.annotators.get(name) if name is not None else None for name in ballots.voters]
    values = [None if one is None else one.attributes.get(attribute) for one in known]
    if not any(values):
        there = sorted({key for one in known if one is not None for key in one.attributes})
        have = f"they have {', '.join(there)}" if there else "nothing is known of them; give --annotators"
        raise EvaluationError(f"by {attribute}: none of the {len(values)} voters has that attribute; {have}")
    if missing == "unknown":
        values = [value or UNKNOWN for value in values]
    names = sorted({value for value in values if value})
    number = {name: index for index, name in enumerate(names)}
    group = np.array([number.get(value or "", -1) for value in values], dtype=np.int64)[ballots.voter]
    inside = group >= 0
    left_out[f"votes of people whose {attribute} is not known"] += int((~inside).sum())
    return inside, group[inside], names


def _of_groups(given: Mapping[str, float], names: list[str], what: str, *, default: float | None = None) -> FloatArray:
    # A group of the population that nobody here belongs to may have a share: it is what is missing.
    lacking = [name for name in names if name not in given]
    if lacking and default is None:
        raise EvaluationError(f"{what}: none for {lacking[0]!r}; the groups here are {_list(names)}")
    if not set(names) & set(given):
        raise EvaluationError(f"{what}: no group here is named; the groups here are {_list(names)}")
    return np.array([given.get(name, default or 0.0) for name in names])


def _list(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")

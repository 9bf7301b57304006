"""The rules by which several people's votes about a pair become one preference: each is a choice of values."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Any, Literal

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

from dissensus.errors import ConfigError
from dissensus.files.rows.bad_rows import describe

Missing = Literal["leave-out", "unknown"]
"""What becomes of votes by people without the attribute: left out and counted, or a group ``unknown`` of their own."""
UNKNOWN = "unknown"


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


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Uniform(_Rule):
    """Every vote counts the same: the vote share, a tie counting half, or the mean of estimates. The paper's rule."""

    name: Literal["uniform"] = "uniform"


class Weighted(_Rule):
    """Votes count by the weight of who casts them: sum of weight times rating over the sum of weights."""

    name: Literal["weighted"] = "weighted"
    weights: Annotated[dict[str, _Weight], Field(min_length=1)]
    """By annotator id, or by group where ``by`` names an attribute. Only their ratios matter; 0 leaves a vote out."""
    by: _Name | None = None
    default: _Weight | None = None
    """The weight of those who are not named; without it, every one who votes needs a weight."""
    missing: Missing = "leave-out"

    @field_validator("weights")
    @classmethod
    def _some_weight(cls, weights: dict[str, float]) -> dict[str, float]:
        if not any(weights.values()):
            raise ValueError("all weights are 0, so nobody's vote counts; give somebody a positive weight")
        return weights


class PostStratified(_Rule):
    """Groups count by their share of a population, however many of each happened to vote.

    The mean over the groups that voted on a pair of each group's mean, weighted by population share.
    """

    name: Literal["post-stratified"] = "post-stratified"
    by: _Name
    """The attribute whose values are the groups."""
    shares: Annotated[dict[str, _Share], Field(min_length=1)]
    """Each group's share of the population, in any unit: they are divided by their sum."""
    min_coverage: Annotated[float, Field(ge=0, le=1)] = 0.0
    """A pair on which groups of less than this share of the population voted gets no preference."""
    min_votes: PositiveInt = 1
    """A group of fewer voters on a pair has no voice there."""
    missing: Missing = "leave-out"

    @field_validator("shares")
    @classmethod
    def _finite_sum(cls, shares: dict[str, float]) -> dict[str, float]:
        if not math.isfinite(sum(shares.values())):
            raise ValueError("the shares add up to infinity; give shares of 1 or percentages")
        return shares


class WorstOff(_Rule):
    """The response whose least-supporting group supports it more wins (maximin).

    With p_g the mean of group g, response a is supported by u_a = min p_g at least and b by u_b = min (1 - p_g); the
    preference is 1/2 + (u_a - u_b)/2, which is the midrange (min p_g + max p_g)/2 of the groups' means.
    """

    name: Literal["worst-off"] = "worst-off"
    by: _Name
    min_votes: PositiveInt = 1
    """A group of fewer voters on a pair has no voice there, so that one voter need not be a group's voice."""
    missing: Missing = "leave-out"


class Quorum(_Rule):
    """The vote share stands where one side has a quorum of it; otherwise the pair is undecided, preference 1/2."""

    name: Literal["quorum"] = "quorum"
    quorum: Annotated[FiniteFloat, Field(gt=0.5, le=1), BeforeValidator(_as_number)] = 2 / 3
    """The share of the votes, a tie counting half for each side; ``2/3`` may be written. It is met to three digits, so
    that 2 votes of 3 meet 0.667."""
    min_votes: PositiveInt = 1
    """A pair with fewer voters is undecided."""


Rule = Annotated[Uniform | Weighted | PostStratified | WorstOff | Quorum, Field(discriminator="name")]
GroupRule = Weighted | PostStratified | WorstOff
RULES: dict[str, type[_Rule]] = {
    "uniform": Uniform,
    "weighted": Weighted,
    "post-stratified": PostStratified,
    "worst-off": WorstOff,
    "quorum": Quorum,
}

_RULE: TypeAdapter[Any] = TypeAdapter(Rule)


def parse_rule(settings: dict[str, Any]) -> Uniform | Weighted | PostStratified | WorstOff | Quorum:
    """Read a rule from settings as YAML gives them: ``name`` and what the rule of that name takes.

    Raises ConfigError naming the rule, the setting and what was expected.

    >>> parse_rule({"name": "quorum", "quorum": "3/4"})
    Quorum(name='quorum', quorum=0.75, min_votes=1)
    """
    name = settings.get("name")
    if name not in RULES:
        raise ConfigError(f"no rule is called {name!r}; choose one of: {', '.join(RULES)}")
    try:
        rule: Uniform | Weighted | PostStratified | WorstOff | Quorum = _RULE.validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] in ("extra_forbidden", "missing"):
            known = ", ".join(field for field in RULES[name].model_fields if field != "name") or "no settings"
            what = "is needed" if first["type"] == "missing" else "is unknown"
            raise ConfigError(f"rule {name}: {first['loc'][-1]} {what}; the rule takes {known}") from error
        raise ConfigError(f"rule {describe(error).removeprefix(f'{name}.')} (rule {name})") from error
    return rule

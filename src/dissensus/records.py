"""Records that flow through the package, each one row of a file that anybody can open.

A stage adds records and edits none; they are joined by ``pair_id``, never by row order. Data sets are neutral:
``response_a`` and ``response_b`` with a ``label``; *chosen* and *rejected* exist only where a loss or an outside format
needs them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    StringConstraints,
    model_validator,
)

from dissensus.messages import Message as Message
from dissensus.messages import Text as Text
from dissensus.messages import content_id as content_id
from dissensus.messages import is_empty as is_empty
from dissensus.messages import plain_text as plain_text

Choice = Literal["a", "b"]
Label = Literal["a", "b", "tie"]
Order = Literal["ab", "ba"]
Kind = Literal["model", "judge", "reference", "ceiling", "people"]

LABEL_VALUE: Mapping[str, float] = {"a": 1.0, "b": 0.0, "tie": 0.5}
"""What a vote adds to the fraction that prefers response a: a tie is half a vote for each."""

_Name = Annotated[str, StringConstraints(min_length=1)]
_Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0, le=2**53)]  # beyond, a count is no exact float


class Record(BaseModel):
    """A frozen row; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Annotator(Record):
    """One person who voted, in a file apart from pairs, which can be passed on without it; see ``Vote.annotator``."""

    id: _Name
    attributes: dict[str, str] = {}
    """What is known of them, in the source's words: ``{"gender": "Female", "age": "35-44 years old"}``."""


class Vote(Record):
    """One person's vote on one pair."""

    annotator: Annotated[str | None, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v)] = None
    vote: Label
    estimate: _Fraction | None = None
    """The fraction of people who this annotator thinks prefer response a, where that was asked ("of 10 people …")."""

    @property
    def rating(self) -> float:
        """What was said, as a number: the estimate, or 1 for a, 0 for b, 1/2 for a tie."""
        return self.estimate if self.estimate is not None else LABEL_VALUE[self.vote]


class Votes(Record):
    """How many people prefer response a, response b, or neither."""

    a: _Count
    b: _Count
    tie: _Count = 0
    annotations: tuple[Vote, ...] | None = None
    """The raw votes, where the source has them; they add up to the counts."""

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if self.n == 0:
            raise ValueError("there are no votes; leave the vote columns empty where nobody voted")
        if self.annotations is not None:
            said = Counter(vote.vote for vote in self.annotations)
            if (said["a"], said["b"], said["tie"]) != (self.a, self.b, self.tie):
                raise ValueError(
                    f"votes lists {said['a']} a, {said['b']} b and {said['tie']} tie, "
                    f"but the counts say {self.a}, {self.b} and {self.tie}"
                )
            if len({vote.estimate is None for vote in self.annotations}) > 1:
                raise ValueError("votes has estimates of some annotators and not of others; give all or none")
        return self

    @property
    def n(self) -> int:
        """How many people voted."""
        return self.a + self.b + self.tie

    @property
    def are_estimates(self) -> bool:
        """Whether annotators said what fraction of people prefers response a, not only what they prefer."""
        return bool(self.annotations) and all(vote.estimate is not None for vote in self.annotations or ())

    @property
    def ratings(self) -> tuple[float, ...]:
        """What each person said, as a number: an estimate, or 1 for a, 0 for b and 1/2 for a tie."""
        listed = self.annotations
        return tuple(self.rating_counts.elements()) if listed is None else tuple(vote.rating for vote in listed)

    @property
    def rating_counts(self) -> Counter[float]:
        """How many people said what, by the rating: no larger than the distinct ones, however many voted."""
        if self.annotations is not None:
            return Counter(vote.rating for vote in self.annotations)
        return +Counter({1.0: self.a, 0.0: self.b, 0.5: self.tie})

    @property
    def preference(self) -> float:
        """The fraction that prefers response a, (a + tie/2) / n (paper, eq. 2), or the mean of the estimates.

        >>> Votes(a=1, b=3, tie=1).preference
        0.3
        """
        return sum(self.ratings) / self.n if self.are_estimates else (self.a + self.tie / 2) / self.n


class Pair(Record):
    """A prompt with two responses, of which people or a data set may prefer one."""

    id: _Name
    prompt: Text
    response_a: Text
    response_b: Text
    label: Label | None = None
    """The binary choice that a reward model is trained on; ``tie`` where the annotator saw no winner."""
    label_is_a_vote: bool | None = None
    """True where the label was drawn from the votes, which still have it: who counts them beside it leaves it out."""
    dataset: str | None = None
    domain: Literal["in", "out"] | None = None
    """Whether the data set was also trained on (in-domain) or not."""
    category: str | None = None
    """``multiple`` or ``single`` correct answers in the paper's taxonomy; any name in other data."""
    distinct: Literal["yes", "no"] | None = None
    """Whether the two responses can be told apart (the paper's second dimension)."""
    group: str = ""
    """The unit of splits and of bootstrap clusters; the prompt unless the source names one."""
    votes: Votes | None = None

    @model_validator(mode="after")
    def _texts_are_not_empty(self) -> Self:
        for name, text in (("prompt", self.prompt), ("response_a", self.response_a), ("response_b", self.response_b)):
            if is_empty(text):
                raise ValueError(f"{name} is empty")
        if not self.group:
            object.__setattr__(self, "group", plain_text(self.prompt))
        return self


class Judgment(Record):
    """One judge's answer about one pair, in the pair's own terms."""

    pair_id: str
    judge: str
    """Who judged, with a digest of everything that decides the answers: ``committee-1f0c…``."""
    sample: NonNegativeInt
    """Which of the judge's n answers this is, from 0."""
    order: Order = "ab"
    """Which response the judge saw first."""
    choice: Label | None
    """``tie`` where a person or a published verdict sees no winner. None where a reply names none: never a vote."""
    probability_a: _Fraction | None = None
    reply: str = ""
    persona: str = ""
    """Whom the judge was asked to be, if anybody."""

    @property
    def value(self) -> float | None:
        """The vote as a number, whatever its probability: 1 for a, 0 for b, 1/2 for a tie, None without a winner."""
        return None if self.choice is None else LABEL_VALUE[self.choice]


class ChoiceProbabilities(Record):
    """How probable each choice of a judge is, read off a model's distribution instead of sampled."""

    pair_id: str
    judge: str
    order: Order
    """Which response the judge saw first."""
    persona: str = ""
    probability_a: _Fraction
    """Of a sampled reply that chooses response a, at the temperature and top-p asked for."""
    probability_b: _Fraction
    probability_none: _Fraction
    """Of a reply that names no winner."""
    error: _Fraction = 0.0
    """How far off each may be, where too few tokens were seen to settle it."""
    certified: bool
    """Whether sampling freely would have begun with the prefix behind which the probabilities were read."""


class Margin(Record):
    """What n judgments say about one pair. (Paper, eq. 3.)"""

    pair_id: str
    margin: FiniteFloat
    """|sum j - n/2| / (n/2), a tie counting one half: 1 where the judgments agree, 0 where they split evenly."""
    preference_a: _Fraction | None = None
    """The fraction of valid judgments for response a, a tie counting half; None where a source gives a margin alone."""
    margin_limit: FiniteFloat | None = None
    """What the margin tends to with ever more judgments, |2q - 1|, where the judge's probabilities are known."""
    n_judgments: NonNegativeInt = 0
    """Valid judgments, the n of equation 3."""
    n_invalid: NonNegativeInt = 0
    """Replies that named no winner: counted, never a vote."""

    def signed(self, label: Choice) -> float:
        """The margin for the labelled response: negative where most judgments go against it.

        >>> Margin(pair_id="p", margin=0.6, preference_a=0.2).signed("a")
        -0.6
        """
        p = 0.5 if self.preference_a is None else self.preference_a
        return -self.margin if (p < 0.5 if label == "a" else p > 0.5) else self.margin


class Classification(Record):
    """One of the two categories of a pair, as somebody or something judged it. (Paper, section 3.1.)"""

    pair_id: str
    question: Literal["correct", "distinct"]
    """``correct``: has the prompt a single or multiple correct answers? ``distinct``: do the responses differ?"""
    value: Literal["single", "multiple", "yes", "no"] | None
    """None where the judgments are divided evenly, or none is valid."""
    probability: _Fraction | None = None
    """Of ``multiple``, or of ``yes``: a classifier's, or the share of a judge's valid judgments."""
    origin: _Name
    """Who says so: ``people``, ``source``, ``judge:NAME``, ``prompts-minilm``, ``similarity-minilm``."""
    n: NonNegativeInt = 1
    """Valid judgments that it rests on."""
    n_invalid: NonNegativeInt = 0
    """Replies that named no option: counted, never a vote."""


class Prediction(Record):
    """A reward model's opinion of one pair; of another source, the preference alone."""

    pair_id: str
    model: str
    seed: int | None = None
    """The training seed, where one model was trained several times."""
    reward_a: FiniteFloat | None = None
    reward_b: FiniteFloat | None = None
    preference_a: _Fraction
    """sigma(reward_a - reward_b); where rewards are distributions, integrated over both."""
    calibrated_a: _Fraction | None = None
    """The same preference by the model's calibration, where it has one: what is compared with people."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Of that calibration: what the log-odds were divided by."""
    variance_a: _NonNegative | None = None
    """Of the reward of a, where rewards are distributions; ``reward_a`` is then the mean."""
    variance_b: _NonNegative | None = None

    @model_validator(mode="after")
    def _has_both_rewards_or_none(self) -> Self:
        if (self.reward_a is None) != (self.reward_b is None):
            raise ValueError("one of reward_a and reward_b is missing; give both, or preference_a alone")
        return self


class Metric(Record):
    """One cell of a table: a metric of a model on a group of pairs, or of its difference to a baseline."""

    model: str
    group: str
    """``all``, ``dataset=NAME``, ``domain=in``, ``category=multiple``, ``distinct=no``, joined with ``&``."""
    metric: str
    value: FiniteFloat | None
    """None where the metric is undefined; ``notes`` then say why."""
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    n: NonNegativeInt
    """Pairs that the value rests on."""
    clusters: NonNegativeInt | None = None
    """Distinct groups (prompts) among them: what the interval was resampled over."""
    baseline: str | None = None
    """Set on a paired difference: value = model - baseline on the same resamples."""
    notes: tuple[str, ...] = ()
    """What is to be said beside the value: why there is none, or what it rests on."""
    kind: Kind = "model"
    """What ``model`` names: a reward model; the judge; a trivial baseline (``reference``); what a model that knows the
    true preferences would get against these votes (``ceiling``); or the people themselves (their agreement)."""
    target: str = "votes"
    """What predictions were compared with: ``votes``, ``dawid-skene``, ``mace``, or preferences under a named rule."""
    method: Literal["t", "bca", "zou", "percentile"] | None = None
    """How the interval was made."""
    p_value: _Fraction | None = None
    """Of a paired swap test, on differences."""
    p_holm: _Fraction | None = None
    """The same, of a primary difference, adjusted over all of the evaluation: each model and metric on all pairs, then
    its groups by Holm (`dissensus.stats.resampling.multiplicity.gated_holm`)."""
    seeds: NonNegativeInt | None = None
    """Training seeds that the value is the mean of; of a difference, those of the side that has more."""
    seed_sd: _NonNegative | None = None
    """Standard deviation of the metric between seeds, on the same pairs."""
    data_se: _NonNegative | None = None
    """Standard error of the value for the choice of prompts, from the resamples; seeds are held fixed."""
    role: Literal["primary", "exploratory"] | None = None
    """Of a difference: ``primary`` where it was declared before, ``exploratory`` otherwise. None where nothing is
    compared, and in files of earlier versions."""

    @model_validator(mode="before")
    @classmethod
    def _read_note(cls, data: Any) -> Any:
        """Take the one ``note`` of files of earlier versions, in which semicolons part the notes."""
        if not isinstance(data, Mapping) or "note" not in data:
            return data
        note = data["note"]
        return {**{k: v for k, v in data.items() if k != "note"}, "notes": tuple(note.split("; ")) if note else ()}

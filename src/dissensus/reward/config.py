"""The settings of one training run: what decides a model, and how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from dissensus.errors import ConfigError
from dissensus.reward.objectives import OBJECTIVES, ObjectiveName, objective_of

SHORTEST = 8
"""Tokens that a window has at least."""

_GONE = "compile"
"""A setting of before that altered nothing."""
_Fraction = Annotated[float, Field(ge=0, le=1)]


class Runtime(BaseModel):
    """How a model is trained, logged and looked at, which alters no weight beyond rounding."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    tokens_per_batch: Annotated[int, Field(ge=64)] | None = None
    """Tokens per forward pass, which bounds memory and alters no loss; chosen by the device unless given."""
    gradient_checkpointing: bool = False
    """Keep only the inputs of each layer and compute it again on the way back: less memory, a third more time."""
    fast: bool = True
    """Use our own exact attention and packing where a check on the loaded model passes."""
    logging_steps: PositiveInt = 10
    """Steps between two entries of the log; the last step always has one."""
    checkpoint_steps: PositiveInt = 100
    """Rounded up to a multiple of ``logging_steps``, so that a resumed run logs what an unbroken one does."""
    report_to: tuple[str, ...] = ()
    """Where log entries go besides the folder: ``tensorboard``, ``wandb``, ``mlflow`` and what else transformers
    knows, or ``all``."""


class TrainConfig(BaseModel):
    """How a reward model is trained; saved beside the model as ``dissensus.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: str = "minilm"
    """Backbone: a folder, a Hub id, or ``minilm`` for the packaged all-MiniLM-L6-v2."""
    objective: ObjectiveName = "bradley-terry"
    """``bradley-terry`` (paper, eq. 1), ``margin`` (eq. 4), ``soft`` (cross-entropy to the judgments'
    preference), ``blend`` (cross-entropy to label and judgments weighed together), ``scaled`` (each pair
    weighs as much as its margin), ``mean-variance`` and ``categorical`` (the reward is a distribution)."""
    margin_sign: Literal["unsigned", "signed"] = "unsigned"
    """``unsigned`` is the paper's: a judge majority against the label still earns a margin for it."""
    margin_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """The margin is multiplied by this before it enters the loss."""
    label_weight: _Fraction = 0.5
    """``blend`` trains towards label_weight * own label + (1 - label_weight) * judgments' preference."""
    soft_targets: bool = False
    """``mean-variance`` and ``categorical`` train towards the target of ``blend`` instead of the label."""
    atoms: Annotated[int, Field(ge=2, le=1000)] = 10
    """Rewards that ``categorical`` spreads its probability over, evenly spaced from 0 to 1."""
    center: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Weight of the centre regulariser, the mean of (reward_a + reward_b)^2: it fixes the rewards' free constant.
    Rewards of ``categorical``, from 0 to 1, are drawn to one half."""

    learning_rate: PositiveFloat = 2e-5
    epochs: PositiveInt = 2
    batch_size: PositiveInt = 32
    """Pairs per optimiser step."""
    batching: Literal["length", "prompt"] = "length"
    """``length`` fills batches with pairs of like length; ``prompt`` with pairs that share responses,
    each of which is encoded once: much faster where a prompt has many pairs."""
    max_length: Annotated[int, Field(ge=SHORTEST)] = 512
    """Tokens per prompt and response; the prompt loses its left end first."""
    warmup: _Fraction = 0.1
    """Share of the steps over which the learning rate rises; it then falls linearly to 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: PositiveFloat = 1.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Rewards of the same text must agree within a pair, so dropout is off by default."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """``auto`` uses bfloat16 autocast where the processor has it; head and loss are always float32."""
    lora_rank: PositiveInt | None = None
    """Train low-rank adapters of this rank (PEFT) and the head instead of all weights; merged when saved."""
    lora_alpha: PositiveFloat | None = None
    """Scale of the adapters, twice the rank unless given."""
    calibration: Literal["none", "temperature", "platt"] = "none"
    """Fitted after training on the votes (labels where there are none) of the validation prompts."""
    validation: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of the prompts (groups) held out and scored after every epoch."""
    seed: int = 0

    runtime: Runtime = Runtime()
    """How it is run."""

    @model_validator(mode="before")
    @classmethod
    def _settings_of_the_run_apart(cls, data: Any) -> Any:
        """Take settings of the run that stand beside the others, as in studies and model folders of before."""
        if not isinstance(data, Mapping):
            return data
        apart = {name: data[name] for name in Runtime.model_fields if name in data}
        rest = {name: value for name, value in data.items() if name not in {*apart, _GONE}}
        given = rest.get("runtime", {})
        given = given.model_dump() if isinstance(given, Runtime) else given
        return {**rest, "runtime": {**given, **apart}} if apart else rest

    @property
    def reads_margins(self) -> bool:
        """Whether the objective reads margins, or the preferences that come with them."""
        return objective_of(self).reads is not None

    @property
    def unread(self) -> frozenset[str]:
        """Settings that alter nothing, because the objective does not read them."""
        every = {name for kind in OBJECTIVES.values() for name in kind.loss_settings}
        return frozenset(every.difference(objective_of(self).loss_settings))

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide a model's weights: all but those of the run, of calibration, and unread.

        >>> "runtime" in TrainConfig().deciding()
        False
        >>> TrainConfig(label_weight=0.3).deciding() == TrainConfig().deciding()
        True
        """
        return self.model_dump(mode="json", exclude={"runtime", "calibration", *self.unread})

    def loss(self) -> dict[str, Any]:
        """Return the settings that say which loss a model is trained with."""
        names = {"objective", "center", *objective_of(self).loss_settings}
        return self.model_dump(mode="json", include=names)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        objective_of(self).check_settings()
        if self.lora_alpha is not None and self.lora_rank is None:
            raise ValueError("lora_alpha scales adapters, and there are none; set lora_rank as well")
        if self.calibration != "none" and not self.validation:
            raise ValueError(
                f"calibration '{self.calibration}' is fitted on validation prompts; set validation as well"
            )
        return self


def parse_rates(text: str, *, points: int = 5) -> list[float]:
    """Read ``1e-4..1e-6`` (so many points, evenly spaced on the log scale) or ``1e-4,3e-5,1e-5``; highest first.

    Raises ConfigError for anything else.

    >>> parse_rates("1e-6..1e-4", points=3)
    [0.0001, 1e-05, 1e-06]
    >>> parse_rates("3e-5,1e-4")
    [0.0001, 3e-05]
    """
    try:
        rates = [float(part) for part in text.replace("..", ",").split(",")]
    except ValueError:
        rates = []
    if ".." in text and (len(rates) != 2 or points < 2):
        rates = []
    if not rates or not all(0 < rate < float("inf") for rate in rates):
        raise ConfigError(f"--sweep {text}: expected two rates as in 1e-4..1e-6, or a list as in 1e-4,3e-5,1e-5")
    if ".." in text:
        step = (rates[1] / rates[0]) ** (1 / (points - 1))
        rates = [float(f"{rates[0] * step**i:.3g}") for i in range(points)]
    return sorted(set(rates), reverse=True)

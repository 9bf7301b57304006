"""The settings of one training run."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from dissensus.errors import ConfigError

CONFIG_FILE = "dissensus.json"
"""In a model's folder: how it was trained."""

SHORTEST = 8
"""Tokens that a window has at least."""

Objective = Literal["bradley-terry", "margin", "soft", "blend", "scaled", "mean-variance", "categorical"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
DISTRIBUTED = ("mean-variance", "categorical")
"""Objectives whose rewards are distributions."""

OBJECTIVE_SETTINGS = (
    "objective",
    "margin_sign",
    "margin_scale",
    "label_weight",
    "soft_targets",
    "atoms",
    "center",
)
"""What says which loss a model is trained with."""
_RUN_SETTINGS = frozenset({
    "tokens_per_batch", "gradient_checkpointing", "fast", "compile", "calibration", "logging_steps", "checkpoint_steps"
})  # fmt: skip
"""What says how a model is trained, logged and looked at, and alters no weight beyond rounding."""

_Fraction = Annotated[float, Field(ge=0, le=1)]


class TrainConfig(BaseModel):
    """How a reward model is trained; saved beside the model as ``dissensus.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "minilm"
    """Backbone: a folder, a Hub id, or ``minilm`` for the packaged all-MiniLM-L6-v2."""
    objective: Objective = "bradley-terry"
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
    tokens_per_batch: Annotated[int, Field(ge=64)] | None = None
    """Tokens per forward pass, which bounds memory and alters no loss; chosen by the device unless given."""
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
    gradient_checkpointing: bool = False
    """Keep only the inputs of each layer and compute it again on the way back: less memory, a third more time."""
    fast: bool = True
    """Use our own exact attention and packing where a check on the loaded model passes."""
    compile: bool = False
    """Run what stands between the attentions through ``torch.compile``, which takes a minute and a C++ compiler."""
    lora_rank: PositiveInt | None = None
    """Train low-rank adapters of this rank (PEFT) and the head instead of all weights; merged when saved."""
    lora_alpha: PositiveFloat | None = None
    """Scale of the adapters, twice the rank unless given."""
    calibration: Literal["none", "temperature", "platt"] = "none"
    """Fitted after training on the votes (labels where there are none) of the validation prompts."""
    validation: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of the prompts (groups) held out and scored after every epoch."""
    seed: int = 0
    logging_steps: PositiveInt = 10
    """Steps between two entries of the log; the last step always has one."""
    checkpoint_steps: PositiveInt = 100
    """Rounded up to a multiple of ``logging_steps``, so that a resumed run logs what an unbroken one does."""

    @property
    def reads_margins(self) -> bool:
        """Whether the objective reads margins, or the preferences that come with them."""
        return self.objective in ("margin", "soft", "scaled") or self.blends

    @property
    def blends(self) -> bool:
        """Whether the target is that of ``blend``: own label and judgments, weighed together."""
        return self.objective == "blend" or (self.objective in DISTRIBUTED and self.soft_targets)

    @property
    def unread(self) -> frozenset[str]:
        """Settings that alter nothing, because the objective does not read them."""
        read = {
            **dict.fromkeys(("margin_sign", "margin_scale"), self.objective in ("margin", "scaled")),
            "label_weight": self.blends,
            "soft_targets": self.objective in DISTRIBUTED,
            "atoms": self.objective == "categorical",
        }
        return frozenset(name for name, is_read in read.items() if not is_read)

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide a model's weights: all but those of how it is run and those unread.

        >>> "tokens_per_batch" in TrainConfig().deciding()
        False
        >>> TrainConfig(label_weight=0.3).deciding() == TrainConfig().deciding()
        True
        """
        return self.model_dump(mode="json", exclude=set(_RUN_SETTINGS | self.unread))

    @model_validator(mode="after")
    def _weights_are_not_negative(self) -> Self:
        if self.objective == "scaled" and self.margin_sign == "signed":
            raise ValueError(
                "objective 'scaled' weighs pairs by their margin, which must not be negative: use unsigned"
            )
        return self

    @model_validator(mode="after")
    def _alpha_scales_adapters(self) -> Self:
        if self.lora_alpha is not None and self.lora_rank is None:
            raise ValueError("lora_alpha scales adapters, and there are none; set lora_rank as well")
        return self

    @model_validator(mode="after")
    def _calibration_has_something_to_look_at(self) -> Self:
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

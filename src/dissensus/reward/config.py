"""The settings of one training run."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Objective = Literal["bradley-terry", "margin", "soft", "blend"]
OBJECTIVES: tuple[Objective, ...] = ("bradley-terry", "margin", "soft", "blend")

_Fraction = Annotated[float, Field(ge=0, le=1)]


class TrainConfig(BaseModel):
    """How a reward model is trained; saved beside the model as ``dissensus.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "minilm"
    """Backbone: a folder, a Hub id, or ``minilm`` for the packaged all-MiniLM-L6-v2."""
    objective: Objective = "bradley-terry"
    """``bradley-terry`` (paper, eq. 1), ``margin`` (eq. 4), ``soft`` (cross-entropy to the judgments'
    preference) or ``blend`` (cross-entropy to label and judgments weighed together)."""
    margin_sign: Literal["unsigned", "signed"] = "unsigned"
    """``unsigned`` is the paper's: a judge majority against the label still earns a margin for it."""
    margin_scale: Annotated[float, Field(ge=0)] = 1.0
    """The margin is multiplied by this before it enters the loss."""
    label_weight: _Fraction = 0.5
    """``blend`` trains towards label_weight * own label + (1 - label_weight) * judgments' preference."""

    learning_rate: PositiveFloat = 2e-5
    epochs: PositiveInt = 2
    batch_size: PositiveInt = 32
    """Pairs per optimiser step."""
    micro_batch_size: PositiveInt | None = None
    """Pairs per forward pass; the whole batch at once unless given."""
    batching: Literal["length", "prompt"] = "length"
    """``length`` fills batches with pairs of like length; ``prompt`` with pairs that share responses,
    each of which is encoded once: much faster where a prompt has many pairs."""
    max_length: Annotated[int, Field(ge=8)] = 512
    """Tokens per prompt and response; the prompt loses its left end first."""
    warmup: _Fraction = 0.1
    """Share of the steps over which the learning rate rises; it then falls linearly to 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: PositiveFloat = 1.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Rewards of the same text must agree within a pair, so dropout is off by default."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """``auto`` uses bfloat16 autocast where the processor has it; head and loss are always float32."""
    validation: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of the prompts (groups) held out and scored after every epoch."""
    seed: int = 0
    logging_steps: PositiveInt = 10
    """Steps between two entries of the log; the last step always has one."""
    checkpoint_steps: PositiveInt = 100
    """Rounded up to a multiple of ``logging_steps``, so that a resumed run logs what an unbroken one does."""

    @model_validator(mode="after")
    def _batch_is_whole_micro_batches(self) -> Self:
        micro = self.micro_batch_size or self.batch_size
        if self.batch_size % min(micro, self.batch_size):
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of micro_batch_size {micro}")
        return self

"""The settings of one training run: what decides a model, and how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from dissensus.reward.objectives import OBJECTIVES, ObjectiveName, objective_of
from dissensus.settings import Option, Reads, Settings

CalibrationMethod = Literal["temperature", "platt"]
VALIDATION = 0.1
"""Share of the prompts that is held out where nobody says."""
LEAST_STEPS, FEWEST_PASSES, MOST_PASSES = 60, 2, 10
"""Steps of a run in which something can be learnt, and epochs to that end, where nobody says."""
SHORTEST = 8
"""Tokens that a window has at least."""

_GONE = {"compile", "atoms"}
"""Settings of before that alter nothing."""
_LATER: Mapping[str, object] = {
    "layer_decay": 1.0,
    "head_learning_rate": None,
    "members": 1,
    "hold_out_by": "group",
}
"""Settings that models of before do not have, and the values under which they alter nothing."""
_ELSEWHERE = {
    "lr": "learning_rate",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "warmup_ratio": "warmup",
    "center_rewards_coefficient": "center",
    "save_steps": "checkpoint_steps",
}
"""What other trainers call settings, and what they are called here."""
_Fraction = Annotated[float, Field(ge=0, le=1)]


def refuse_other_names(settings: object) -> None:
    """Raise ValueError for a setting by the name that it has elsewhere."""
    for name in settings if isinstance(settings, Mapping) else ():
        if name in _ELSEWHERE:
            raise ValueError(f"{name}: unknown setting; here it is {_ELSEWHERE[name]}")


class Runtime(Settings):
    """How a model is trained, logged and looked at, which alters no weight beyond rounding."""

    tokens_per_batch: Annotated[Annotated[int, Field(ge=64)] | None, Option(default="by the device")] = None
    """Tokens per forward pass, which bounds memory and alters no loss."""
    gradient_checkpointing: bool = False
    """Keep only the inputs of each layer and compute it again on the way back: less memory, a third more time."""
    fast: bool = True
    """Use our own exact attention and packing where a check on the loaded model passes."""
    logging_steps: PositiveInt = 10
    """Steps between two entries of the log; the last step always has one."""
    checkpoint_steps: PositiveInt = 100
    """Rounded up to a multiple of ``logging_steps``, so that a resumed run logs what an unbroken one does."""
    report_to: tuple[str, ...] = ()
    """Where log entries go besides the folder: azure_ml, clearml, codecarbon, comet_ml, dagshub, dvclive, flyte,
    mlflow, neptune, swanlab, tensorboard, trackio, wandb or all."""


class TrainConfig(Settings):
    """How a reward model is trained; saved beside the model as ``dissensus.json``."""

    model: Annotated[str, Reads("model")] = "minilm"
    """Backbone: a folder, a Hub id, or ``minilm`` for the packaged all-MiniLM-L6-v2."""
    objective: ObjectiveName = "bradley-terry"
    """``bradley-terry`` (paper, eq. 1), ``margin`` (eq. 4), ``soft`` (cross-entropy to the judgments'
    preference), ``blend`` (cross-entropy to label and judgments weighed together), ``brier`` (Brier score to
    the same), ``mean-variance`` (the reward is a distribution)."""
    margin_sign: Literal["unsigned", "signed"] = "unsigned"
    """``unsigned`` is the paper's: a judge majority against the label still earns a margin for it."""
    margin_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """The margin is multiplied by this before it enters the loss."""
    label_weight: Annotated[float, Field(ge=-1, le=1)] = 0.5
    """``blend`` and ``brier`` train towards label_weight * own label + (1 - label_weight) * judgments' preference.
    At 1 ``brier`` reads no judgments; below 0 the target lies beyond the preference, away from the label."""
    soft_targets: bool = False
    """``mean-variance`` trains towards the target of ``blend`` instead of the label."""
    center: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Weight of the centre regulariser, the mean of (reward_a + reward_b)^2: it fixes the rewards' free constant."""
    length_covariate: Annotated[bool | None, Option(default="on where rewards are numbers")] = None
    """Add slope * log(characters of the response) to the reward. The slope is fitted to the training pairs before the
    model and corrected on the validation prompts; ``predict --debias length`` leaves it out."""

    learning_rate: Annotated[PositiveFloat | None, Option(default="1e-4 for minilm, 2e-5 for other backbones")] = None
    """The highest, after the warm-up; it then falls to 0."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The rate of each layer of the backbone is that of the layer above it times this, the topmost having the learning
    rate and the embeddings the lowest; 1 is one rate for all."""
    head_learning_rate: Annotated[PositiveFloat | None, Option(default="the learning rate")] = None
    """Of the head, a pooler included, which may be new."""
    epochs: Annotated[PositiveInt | None, Option(default="2; over few pairs as many as make 60 steps")] = None
    """Passes over the pairs; at most ten unless given."""
    batch_size: PositiveInt = 32
    """Pairs per optimiser step, over all processes."""
    batching: Literal["length", "prompt"] = "length"
    """``length`` fills batches with pairs of like length; ``prompt`` with pairs that share responses,
    each of which is encoded once: much faster where a prompt has many pairs."""
    max_length: Annotated[int, Field(ge=SHORTEST)] = 512
    """Tokens per prompt and response; the prompt loses its left end first."""
    warmup: _Fraction = 0.1
    """Share of the steps over which the learning rate rises; it then falls linearly to 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Of AdamW."""
    max_grad_norm: PositiveFloat = 1.0
    """Longer gradients are cut to this length."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the activations left out. Rewards of the same text must agree within a pair, so none by default."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """``auto`` uses bfloat16 autocast where the processor is faster by it; head and loss are always float32."""
    lora_rank: Annotated[PositiveInt | None, Option(default="all weights")] = None
    """Train low-rank adapters of this rank (PEFT) and the head instead of all weights; merged when saved."""
    lora_alpha: Annotated[PositiveFloat | None, Option(default="twice the rank")] = None
    """Scale of the adapters."""
    calibration: Literal["none", "temperature", "platt"] = "temperature"
    """Fitted after training on the labels (votes where pairs have them) of the validation prompts, and applied to what
    the model predicts; none where validation is 0, or holds fewer than 20 such pairs."""
    validation: Annotated[
        Annotated[float, Field(ge=0, lt=0.5)] | None,
        Option(default="0.1, where there are 10 prompts or more and a tenth holds 20 pairs with a label"),
    ] = None
    """Share of the prompts (groups) held out and scored after every epoch; 0 trains on all of them."""
    hold_out_by: Literal["group", "category"] = "group"
    """What is held out whole, for validation and by members: prompts (groups), or categories, such as data sets or
    debates, for a calibration that holds on new ones."""
    seed: int = 0
    """Decides the new head, the order of the pairs and what is held out."""
    members: Annotated[Annotated[int, Field(ge=1, le=100)] | None, Option(default="4 for few labels, else 1")] = None
    """Models that are trained one after the other, with seeds that come from ``seed``, and are averaged: they err less
    than one, at as many times its cost. Each leaves out prompts of its own, so that all labels say something of
    temperature and length; with ``validation`` all hold out the same. Unless given, 4 where fewer than 5,000 pairs
    have labels, and 1 where there are more, and with validation or lora_rank."""
    average: Literal["weights", "preferences"] = "weights"
    """Of members: ``weights`` starts them from one head and leaves one plain model, whose every weight is the mean of
    theirs, ``preferences`` keeps them all and predicts their mean."""

    runtime: Annotated[Runtime, Option(prefix="")] = Runtime()
    """How it is run."""

    @model_validator(mode="before")
    @classmethod
    def _settings_of_the_run_apart(cls, data: Any) -> Any:
        """Take settings of the run that stand beside the others, as in studies and model folders of before."""
        if not isinstance(data, Mapping):
            return data
        refuse_other_names(data)
        apart = {name: data[name] for name in Runtime.model_fields if name in data}
        gone = {*apart, *_GONE.difference(cls.model_fields)}
        rest = {name: value for name, value in data.items() if name not in gone}
        if rest.get("validation") == 0:
            # Whoever wants every pair trained on need not say that nothing can be fitted then.
            rest = {"calibration": "none", **rest}
        given = rest.get("runtime", {})
        given = given.model_dump() if isinstance(given, Runtime) else given
        return {**rest, "runtime": {**given, **apart}} if apart else rest

    @property
    def rate(self) -> float:
        """The highest learning rate, where nobody says that of a backbone whose best is known, or a careful one."""
        return self.learning_rate or (1e-4 if self.model == "minilm" else 2e-5)

    def passes(self, pairs: int) -> int:
        """Passes over so many pairs: where nobody says, more over few pairs, of which two come to no learning."""
        steps = max(-(-pairs // self.batch_size), 1)
        return self.epochs or min(max(-(-LEAST_STEPS // steps), FEWEST_PASSES), MOST_PASSES)

    @property
    def held_share(self) -> float:
        """Share of the prompts that is held out, where the data are enough for what nobody asked for."""
        return VALIDATION if self.validation is None else self.validation

    @property
    def adds_length(self) -> bool:
        """Whether a multiple of the log length is part of the reward."""
        return not objective_of(self).is_distributed if self.length_covariate is None else self.length_covariate

    @property
    def keeps_members(self) -> bool:
        """Whether the folder holds several models, whose preferences are averaged."""
        return self.has_members and self.average == "preferences"

    @property
    def has_members(self) -> bool:
        """Whether several models are trained; not known before the data where ``members`` is None."""
        return self.members is not None and self.members > 1

    @property
    def reads_margins(self) -> bool:
        """Whether the objective reads margins, or the preferences that come with them."""
        return objective_of(self).reads is not None

    @property
    def unread(self) -> frozenset[str]:
        """Settings that alter nothing, because the objective does not read them."""
        every = {name for kind in OBJECTIVES.values() for name in kind.loss_settings}
        return frozenset(every.difference(objective_of(self).loss_settings))

    def deciding(self) -> dict[str, object]:
        """Return the settings that decide a model's weights: all but those of the run, of calibration, and unread.

        >>> TrainConfig(label_weight=0.3).deciding() == TrainConfig().deciding()
        True
        """
        # A setting that came later and is off decides nothing: runs from before it keep their name.
        off = {name for name, value in _LATER.items() if getattr(self, name) in (value, None)}
        off |= set() if self.has_members else {"average"}
        found = self.model_dump(mode="json", exclude={"runtime", "calibration", "length_covariate", *self.unread, *off})
        return {**found, "length_covariate": True} if self.adds_length else found

    def loss(self) -> dict[str, object]:
        """Return the settings that say which loss a model is trained with."""
        names = {"objective", "center", *objective_of(self).loss_settings}
        return self.model_dump(mode="json", include=names)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        objective = objective_of(self)
        if self.length_covariate and objective.is_distributed:
            raise ValueError(
                f"length_covariate adds to a reward that is a number, and that of objective '{self.objective}' is a "
                "distribution; leave it out, or take another objective"
            )
        if self.lora_alpha is not None and self.lora_rank is None:
            raise ValueError("lora_alpha scales adapters, and there are none; set lora_rank as well")
        if self.calibration != "none" and self.validation == 0:
            raise ValueError(
                f"calibration '{self.calibration}' is fitted on validation prompts; set validation as well"
            )
        return self

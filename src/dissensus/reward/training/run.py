"""One training run from pairs to a folder: checkpointed, resumable, verified before it gets its name."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainingArguments, set_seed

from dissensus.errors import ConfigError, InputError, TrainingError
from dissensus.files.locks import sole_writer
from dissensus.places.cache_folder import default_cache
from dissensus.records import Margin, Pair, plain_text
from dissensus.reward.config import TrainConfig
from dissensus.reward.fast.select import Layout, lay_out_for, settle
from dissensus.reward.length_covariate import LengthSlope, log_ratios
from dissensus.reward.model_record import LogRow, ModelRecord, TrainSummary, last_validation
from dissensus.reward.notices import report, said_once
from dissensus.reward.objectives import objective_of
from dissensus.reward.objectives.targets import Targets, build_targets
from dissensus.reward.serving.calibration import (
    HELD_OUT_LOG_SD,
    Calibration,
    check_enough,
    fit_calibration,
    observed_preferences,
)
from dissensus.reward.serving.reward_model import preference_logits
from dissensus.reward.serving.score import score_texts
from dissensus.reward.text.backbone import checkpoint_activations, load_backbone, report_window
from dissensus.reward.text.batches import Collator, PairBatches
from dissensus.reward.text.encode import Encoding, encoding_of, style_to_train
from dissensus.reward.text.train_data import MEMBERS, Shortened, TrainingData, divide_targets, encode_targets, fill_in
from dissensus.reward.training.checkpoints import MarkWhole, save_model, trained_model
from dissensus.reward.training.ensemble import train_members
from dissensus.reward.training.held_out import validator
from dissensus.reward.training.layer_rates import LayerRates
from dissensus.reward.training.learning_check import LearningCheck
from dissensus.reward.training.lora import add_adapters
from dissensus.reward.training.preflight import check_settings, refuse_ensemble_on_hub
from dissensus.reward.training.run_identity import RunIdentity, find_checkpoint, find_finished
from dissensus.reward.training.sharding import check_readable, is_sharded, spread_of, whole_weights
from dissensus.reward.training.start import Start
from dissensus.reward.training.trainer import ExtraSteps, PairTrainer, ProgressBar
from dissensus.text.encoder import best_device, gains_by_bfloat16, quiet_transformers
from dissensus.text.pretrained import position_limit

TOKENS_ON_CPU, TOKENS_ON_GPU = 2048, 16384
"""Tokens per forward pass: on a CPU as many as its caches hold, on a GPU enough to fill it. Where pairs share texts,
thrice as many: what two forward passes of a step share is read twice."""
NOTHING_HELD = (
    "too few prompts, or labels among a tenth of them, to hold some out: no temperature is fitted; --validation 0.2 "
    "holds out a fifth, and 'dissensus calibrate' fits a temperature on other pairs"
)
FEW_LABELS = (
    "few labels: {members} members are trained, each without its own part of the prompts, whose labels fit temperature "
    "and length, and their {average} are averaged; --members 1 trains one model in a fraction of the time"
)
NOTHING_TO_AVERAGE = (
    "--average is left alone: one model is trained, so there is nothing to average; --members {members} trains several"
)


def train(
    pairs: Sequence[Pair],
    config: TrainConfig,
    out: str | Path,
    *,
    margins: Sequence[Margin] | None = None,
    allow_missing: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
    progress: bool = True,
) -> TrainSummary:
    """Train a reward model and save it to ``out``: a plain ``from_pretrained`` folder with our config.

    Killed anywhere, the same call goes on from the last whole checkpoint in ``out``.part; a finished one with
    the same config, backbone and data is left as it is, and any other is refused, or replaced with
    ``overwrite``. With ``allow_missing``, pairs without a margin are left out and counted. The folder gets its
    name only after the saved model was loaded again and gave the same rewards. Under ``accelerate launch`` every
    process makes the same call; ``batch_size`` counts the pairs of all of them.

    Raises TrainingError for data that the objective cannot use, ConfigError when ``out`` holds another
    run, OutputError when the model cannot be written, or another process is writing it.
    """
    out = Path(out)
    check_settings(config, out)
    targets = build_targets(pairs, margins, config, allow_missing=allow_missing)
    with sole_writer(out), said_once():
        asked, config = config, fill_in(targets, config)
        if asked.members is None and config.has_members:
            report(FEW_LABELS.format(members=config.members, average=config.average))
        if "average" in asked.model_fields_set and not config.has_members:
            report(NOTHING_TO_AVERAGE.format(members=MEMBERS))
        division = divide_targets(targets, config)
        trained, held = division.parts[0]
        if held is None and config.validation is None and config.calibration != "none":
            report(NOTHING_HELD)
        learn = partial(_train, callbacks=callbacks, progress=progress)
        if config.has_members:
            return train_members(division, config, out, learn=learn, overwrite=overwrite)
        return learn(trained, held, config, out, overwrite=overwrite)


@dataclass
class _Prepared:
    """What is trained, and on what."""

    config: TrainConfig
    model: Any
    tokenizer: Any
    encoding: Encoding
    layout: Layout
    data: TrainingData
    held: TrainingData | None
    """For validation."""
    length: LengthSlope | None
    """Of the length covariate, as it stands in the loss."""
    rates: LayerRates | None
    """Learning rates by layer; None where all weights have one."""


def _train(
    targets: Targets,
    held_out: Targets | None,
    config: TrainConfig,
    out: Path,
    *,
    overwrite: bool,
    callbacks: Sequence[TrainerCallback],
    progress: bool,
    head_seed: int | None = None,
) -> TrainSummary:
    """Train one model; its new weights are drawn by ``head_seed`` where that is not its own seed."""
    started = time.perf_counter()
    identity = RunIdentity(targets, config)
    part = out.with_name(out.name + ".part")
    processes = PartialState()
    with processes.main_process_first():
        if (done := find_finished(out, identity, overwrite=overwrite)) is not None:
            return done
        checkpoint = find_checkpoint(part, identity, overwrite=overwrite)
        if checkpoint is not None:
            check_readable(checkpoint, processes.num_processes)
    run = _prepare(targets, held_out, config, config.seed if head_seed is None else head_seed)
    bar = ProgressBar(f"{config.objective}, seed {config.seed}")
    trainer = _trainer(run, identity, part)
    for callback in (*callbacks, *([bar] if progress and processes.is_main_process else [])):
        trainer.add_callback(callback)
    # Weights that are spread over processes cannot be scored with before they are.
    learning = None if is_sharded() else LearningCheck(trained_model(trainer), run.data, run.layout, config)
    # Whatever ends training, what is said of it stands on a line of its own.
    with quiet_transformers(), closing(bar):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    log = [row for entry in trainer.state.log_history if (row := _log_row(entry)) is not None]
    trained, steps = trained_model(trainer), trainer.state.global_step
    calibration, length_slope = _fit_on_held(trained, run)
    note = learning.note(trained, steps=steps, right=trainer.right, counted=trainer.counted) if learning else None
    if note is not None:
        report(note)
    validated = last_validation(log)
    lost = Shortened.of(run.data.encoded, run.data.texts)
    summary = TrainSummary(
        pairs=len(targets.pairs),
        ties_dropped=targets.ties_dropped,
        unlabelled_dropped=targets.unlabelled_dropped,
        unjudged_dropped=targets.unjudged_dropped,
        validation_pairs=len(run.held.texts) if run.held else 0,
        texts=lost.texts,
        texts_truncated=lost.cut,
        responses_cut=lost.responses_cut,
        pairs_alike=lost.pairs_alike,
        layout=run.layout.kind if run.layout.reason is None else f"{run.layout.kind}: {run.layout.reason}",
        processes=spread_of(trainer.accelerator),
        steps=steps,
        resumed_from=int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0,
        seconds=round(time.perf_counter() - started, 1),
        nll=next((row.nll for row in reversed(log) if row.nll is not None), None),
        validation_nll=validated.validation_nll if validated else None,
        validation_accuracy=validated.validation_accuracy if validated else None,
        temperature=calibration.temperature if calibration else None,
        length_slope=length_slope,
        note=note,
    )
    style, fingerprint = run.encoding.style, identity.fingerprint
    record = ModelRecord(config=config, text_style=style, fingerprint=fingerprint, summary=summary, length=run.length)
    save_model(trainer, run.tokenizer, run.layout, run.data.encoded, record, log, calibration, part=part, out=out)
    # Weights, gradients and optimiser sit in reference cycles, and a study trains many models in turn.
    trainer.model = trainer.model_wrapped = trainer.optimizer = trainer.lr_scheduler = None
    trainer.accelerator.free_memory()  # which collects what is left in cycles
    return summary


def _log_row(entry: Mapping[str, float]) -> LogRow | None:
    """Take an entry of transformers' log; None for those of other things."""
    if "eval_nll" in entry:
        names = ("nll", "accuracy", "calibrated_nll")
        scores = {f"validation_{name}": entry[f"eval_{name}"] for name in names if f"eval_{name}" in entry}
        return LogRow(step=int(entry["step"]), epoch=entry["epoch"], **scores)
    return LogRow.model_validate(entry) if "loss" in entry else None


def _prepare(targets: Targets, held_out: Targets | None, config: TrainConfig, head_seed: int) -> _Prepared:
    """Load the backbone, find out how it is fed, and encode the texts."""
    processes = PartialState()
    set_seed(head_seed)
    outputs = objective_of(config).outputs
    made: list[str] = []
    try:
        with whole_weights():
            model, tokenizer = load_backbone(
                config.model, new_head=True, outputs=outputs, dropout=config.dropout, made=made
            )
    except InputError:
        refuse_ensemble_on_hub(config.model)
        raise
    limit = position_limit(model)
    if limit is not None and config.max_length > limit:
        raise ConfigError(
            f"max_length {config.max_length} is more than the {limit} positions of '{config.model}'; lower it"
        )
    report_window(model, config.max_length, config.model)
    if config.runtime.gradient_checkpointing:
        checkpoint_activations(model)
    # A reward model that is trained further reads as it did before.
    start = Start.of(config.model, model, has_reward=not made)
    encoding = encoding_of(tokenizer, config.max_length, start.style or style_to_train(tokenizer))
    # Before the texts are encoded, which may take minutes: what no text can be given to is no fault of the first one.
    layout = lay_out_for(model, pad_id=tokenizer.pad_token_id, fast=config.runtime.fast, sharded=is_sharded())
    layout = settle(model, layout, encoding)
    with processes.main_process_first():
        data = encode_targets(targets, encoding, cache=default_cache() / "tokens")
        held = encode_targets(held_out, encoding) if held_out else None
    start.report_loss_of_length(config)
    length = start.fit_length(model, layout, data, config, sharded=is_sharded())
    # Fitted to rewards that round otherwise in other processes, or that one of them had no memory for.
    length = broadcast_object_list([length])[0]
    data, held = data.with_length(length), held.with_length(length) if held else None
    texts = (text for pair in targets.pairs for text in (pair.prompt, pair.response_a, pair.response_b))
    if encoding.loses_newlines() and any("\n" in plain_text(text) for text in texts):
        report("this tokenizer reads line breaks as spaces: the model sees no paragraphs, lists or code layout")
    by_layer = config.layer_decay < 1 or config.head_learning_rate is not None
    rates = LayerRates(model, config) if by_layer else None
    if config.lora_rank is not None:
        model = add_adapters(model, config.lora_rank, config.lora_alpha, dropout=config.dropout)
    return _Prepared(config, model, tokenizer, encoding, layout, data, held, length, rates)


def _fit_on_held(model: Any, run: _Prepared) -> tuple[Calibration | None, float | None]:
    """Fit the calibration asked for, and with it the slope of the length covariate, which is returned as well.

    Where the held-out pairs do not allow one, say so: the run is not lost for it.
    """
    held, method, length = run.held, run.config.calibration, run.length
    slope = None if length is None else length.value
    if held is None or method == "none":
        return None, slope
    rows, preference, weight = observed_preferences(held.targets.pairs)
    try:
        check_enough(len(rows))
        outputs = score_texts(model, run.layout, held.encoded)[held.texts[rows]]
        gap = preference_logits(objective_of(run.config), outputs)
        if length is not None:
            ratio = log_ratios(held.targets.pairs)[rows]
            slope = length.corrected(gap, ratio, preference, weight)
            gap = gap + slope * ratio
        return fit_calibration(gap, preference, weight, method, log_sd=HELD_OUT_LOG_SD), slope
    except TrainingError as error:
        report(f"not calibrated: {error}")
        return None, slope


def precision_is_bf16(config: TrainConfig) -> bool:
    """Whether all processes train under bfloat16 autocast: asked for, or faster and not asked against; they agree."""
    if config.precision == "auto":
        found = [gains_by_bfloat16("cuda" if torch.cuda.is_available() else "cpu")]
        return bool(broadcast_object_list(found)[0])
    return config.precision == "bf16"


def _trainer(run: _Prepared, identity: RunIdentity, part: Path) -> PairTrainer:
    config, data, held = run.config, run.data, run.held
    by_prompt, size = config.batching == "prompt", config.batch_size
    lengths = data.encoded.lengths
    batches = PairBatches(data.texts, lengths, data.groups, batch_size=size, seed=config.seed, by_prompt=by_prompt)
    arguments = _arguments(config, config.passes(len(data.texts)), len(batches), part)
    by_device = (1 + 2 * by_prompt) * (TOKENS_ON_CPU if best_device() == "cpu" else TOKENS_ON_GPU)
    collator = Collator(
        data.encoded,
        data.texts,
        data.columns,
        lay_out=run.layout,
        budget=config.runtime.tokens_per_batch or by_device,
        by_prompt=by_prompt,
        rank=arguments.process_index,
        processes=arguments.world_size,
    )
    return PairTrainer(
        model=run.model,
        args=arguments,
        train_dataset=range(len(data.texts)),
        eval_dataset=range(1) if held else None,
        data_collator=collator,
        batches=batches,
        objective=objective_of(config),
        pair_ids=[pair.id for pair in data.targets.pairs],
        validate=validator(held, run.layout, config) if held else None,
        rates=run.rates,
        callbacks=[ExtraSteps(len(batches) if held else None), MarkWhole(identity)],
    )


def _arguments(config: TrainConfig, epochs: int, batches: int, part: Path) -> TrainingArguments:
    runtime = config.runtime
    return TrainingArguments(
        output_dir=str(part),
        run_name=part.name.removesuffix(".part"),
        num_train_epochs=epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.rate,
        warmup_steps=round(config.warmup * batches * epochs),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=precision_is_bf16(config),
        use_cpu=best_device() == "cpu",
        seed=config.seed,
        logging_steps=runtime.logging_steps,
        # The filter would write the mean of earlier losses where there is none.
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=-(-runtime.checkpoint_steps // runtime.logging_steps) * runtime.logging_steps,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        report_to=list(runtime.report_to) or "none",
    )

"""One training run from pairs to a folder: checkpointed, resumable, verified before it gets its name."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainingArguments, set_seed

from dissensus.encoder import best_device, quiet_transformers
from dissensus.errors import ConfigError, TrainingError
from dissensus.records import Margin, Pair, Text
from dissensus.reward.batches import Collator, PairBatches
from dissensus.reward.config import TrainConfig
from dissensus.reward.encoding import EncodedText, Encoding
from dissensus.reward.model import load_backbone, position_limit, score_texts
from dissensus.reward.saving import (
    MarkWhole,
    TrainSummary,
    find_checkpoint,
    find_finished,
    fingerprint_of,
    save_model,
)
from dissensus.reward.targets import Targets, build_targets
from dissensus.reward.trainer import LogLastStep, PairTrainer, ProgressBar, fit_to_labels
from dissensus.stats.intervals import number_labels


@dataclass(frozen=True)
class _Data:
    """Encoded texts and what each pair needs of them."""

    targets: Targets
    encoded: list[EncodedText]
    texts: np.ndarray[Any, np.dtype[np.int64]]
    groups: np.ndarray[Any, np.dtype[np.int64]]


def train(
    pairs: Sequence[Pair],
    config: TrainConfig,
    out: str | Path,
    *,
    margins: Sequence[Margin] | None = None,
    allow_missing: bool = False,
    overwrite: bool = False,
    report_to: Sequence[str] = (),
    progress: bool = True,
) -> TrainSummary:
    """Train a reward model and save it to ``out``: a plain ``from_pretrained`` folder with our config.

    Killed anywhere, the same call goes on from the last whole checkpoint in ``out``.part; a finished one with
    the same config, backbone and data is left as it is, and any other is refused, or replaced with
    ``overwrite``. With ``allow_missing``, pairs without a margin are left out and counted. The folder gets its
    name only after the saved model was loaded again and gave the same rewards.

    Raises TrainingError for data that the objective cannot use, ConfigError when ``out`` holds another
    run, OutputError when the model cannot be written.
    """
    out = Path(out)
    started = time.perf_counter()
    targets, held_out = _split(build_targets(pairs, margins, config, allow_missing=allow_missing), config)
    fingerprint = fingerprint_of(targets, config)
    part = out.with_name(out.name + ".part")
    if (done := find_finished(out, fingerprint, overwrite=overwrite)) is not None:
        return done
    checkpoint = find_checkpoint(part, fingerprint, overwrite=overwrite)
    set_seed(config.seed)
    model, tokenizer = load_backbone(config.model, new_head=True, dropout=config.dropout)
    limit = position_limit(model)
    if limit is not None and config.max_length > limit:
        raise ConfigError(
            f"max_length {config.max_length} is more than the {limit} positions of '{config.model}'; lower it"
        )
    encoding = Encoding(tokenizer, config.max_length)
    data = _encode(targets, encoding)
    trainer = _trainer(model, tokenizer, data, held_out, encoding, config, part, fingerprint, report_to)
    if progress:
        trainer.add_callback(ProgressBar(f"{config.objective}, seed {config.seed}"))
    with quiet_transformers():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    log = [entry for entry in trainer.state.log_history if "loss" in entry or "eval_nll" in entry]
    summary = _summarise(data, held_out, log, steps=trainer.state.global_step, checkpoint=checkpoint, started=started)
    # Without accelerate's autocast, the trained model and the reloaded one can be compared to the last digit.
    trained = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    save_model(
        trained,
        tokenizer,
        data.encoded,
        config=config,
        fingerprint=fingerprint,
        summary=summary,
        log=log,
        part=part,
        out=out,
    )
    _release(trainer)
    return summary


def _summarise(
    data: _Data,
    held_out: Targets | None,
    log: list[dict[str, Any]],
    *,
    steps: int,
    checkpoint: Path | None,
    started: float,
) -> TrainSummary:
    targets = data.targets
    return TrainSummary(
        pairs=len(targets.pairs),
        ties_dropped=targets.ties_dropped,
        unlabelled_dropped=targets.unlabelled_dropped,
        unjudged_dropped=targets.unjudged_dropped,
        validation_pairs=len(held_out.pairs) if held_out else 0,
        texts=len(data.encoded),
        texts_truncated=sum(text.truncated for text in data.encoded),
        steps=steps,
        resumed_from=int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0,
        seconds=round(time.perf_counter() - started, 1),
        nll=next((entry["nll"] for entry in reversed(log) if "nll" in entry), None),
    )


def _release(trainer: PairTrainer) -> None:
    """Free weights, gradients and optimiser: they sit in reference cycles, and a study trains many models in turn."""
    trainer.accelerator.free_memory()
    trainer.model = trainer.model_wrapped = trainer.optimizer = trainer.lr_scheduler = None
    gc.collect()


def precision_is_bf16(config: TrainConfig) -> bool:
    """Whether training runs under bfloat16 autocast: asked for, or there and not asked against."""
    if config.precision == "auto":
        if torch.cuda.is_available():
            return bool(torch.cuda.is_bf16_supported())
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return config.precision == "bf16"


def _trainer(
    model: Any,
    tokenizer: Any,
    data: _Data,
    held_out: Targets | None,
    encoding: Encoding,
    config: TrainConfig,
    part: Path,
    fingerprint: str,
    report_to: Sequence[str],
) -> PairTrainer:
    micro = min(config.micro_batch_size or config.batch_size, config.batch_size)
    batches = PairBatches(
        data.texts,
        np.array([len(text.input_ids) for text in data.encoded]),
        data.groups,
        batch_size=micro,
        seed=config.seed,
        by_prompt=config.batching == "prompt",
    )
    steps = -(-len(batches) // (config.batch_size // micro)) * config.epochs
    arguments = TrainingArguments(
        output_dir=str(part),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=config.batch_size // micro,
        learning_rate=config.learning_rate,
        warmup_steps=round(config.warmup * steps),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=precision_is_bf16(config),
        use_cpu=best_device() == "cpu",
        seed=config.seed,
        logging_steps=config.logging_steps,
        # The filter would write the mean of earlier losses where there is none.
        logging_nan_inf_filter=False,
        eval_strategy="epoch" if held_out else "no",
        save_strategy="steps",
        save_steps=-(-config.checkpoint_steps // config.logging_steps) * config.logging_steps,
        save_total_limit=1,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        report_to=list(report_to) or "none",
    )
    columns = {"target": data.targets.target, "margin": data.targets.margin, "label": data.targets.label}
    return PairTrainer(
        model=model,
        args=arguments,
        train_dataset=range(len(data.texts)),
        eval_dataset=range(1) if held_out else None,
        data_collator=Collator(data.encoded, data.texts, columns, pad_id=tokenizer.pad_token_id),
        batches=batches,
        validate=_validator(_encode(held_out, encoding), tokenizer.pad_token_id) if held_out else None,
        callbacks=[LogLastStep(), MarkWhole(fingerprint)],
    )


def _validator(data: _Data, pad_id: int) -> Any:
    label = torch.from_numpy(data.targets.label)

    def validate(model: Any) -> dict[str, float]:
        rewards = torch.from_numpy(score_texts(model, data.encoded, pad_id=pad_id))
        gap = rewards[data.texts[:, 0]] - rewards[data.texts[:, 1]]
        nll, correct, n = fit_to_labels(gap, label).tolist()
        return {"nll": nll / n, "accuracy": correct / n} if n else {}

    return validate


def _split(targets: Targets, config: TrainConfig) -> tuple[Targets, Targets | None]:
    """Hold out whole prompts for validation, chosen by the seed."""
    if not config.validation:
        return targets, None
    names = sorted({pair.group for pair in targets.pairs})
    held = max(round(config.validation * len(names)), 1)
    if held >= len(names):
        raise TrainingError(f"validation needs at least two prompts (groups), the data has {len(names)}")
    order = np.random.default_rng(config.seed).permutation(len(names))
    chosen = {names[index] for index in order[:held]}
    inside = np.array([pair.group in chosen for pair in targets.pairs])
    return _pick(targets, ~inside), _pick(targets, inside)


def _pick(targets: Targets, rows: np.ndarray[Any, np.dtype[np.bool_]]) -> Targets:
    return Targets(
        pairs=[pair for pair, keep in zip(targets.pairs, rows, strict=True) if keep],
        target=targets.target[rows],
        margin=targets.margin[rows],
        label=targets.label[rows],
        ties_dropped=targets.ties_dropped,
        unlabelled_dropped=targets.unlabelled_dropped,
        unjudged_dropped=targets.unjudged_dropped,
    )


def _encode(targets: Targets, encoding: Encoding) -> _Data:
    position: dict[tuple[Text, Text], int] = {}
    rows = [
        [position.setdefault((pair.prompt, response), len(position)) for response in (pair.response_a, pair.response_b)]
        for pair in targets.pairs
    ]
    _, groups = number_labels([pair.group for pair in targets.pairs])
    return _Data(targets, encoding.encode(list(position)), np.array(rows), groups.astype(np.int64))

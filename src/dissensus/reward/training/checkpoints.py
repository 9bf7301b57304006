"""Checkpoints and model folders on disk: whole, or without their name.

Everything is written in ``NAME.part``. A checkpoint counts once it is marked, which happens after its files are
written; the model is loaded again and its rewards compared before the folder is renamed to ``NAME``.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import DistributedType, PartialState
from torch import Tensor
from transformers import TrainerCallback

from dissensus.errors import OutputError, TrainingError
from dissensus.files import write_json
from dissensus.reward.fast.select import Layout
from dissensus.reward.model_record import RECORD_FILE, LogRow, ModelRecord, record_content, write_log
from dissensus.reward.serving.calibration import Calibration, save_calibration
from dissensus.reward.serving.model_card import backbone_name
from dissensus.reward.serving.score import score_texts
from dissensus.reward.text.backbone import load_backbone
from dissensus.reward.text.token_cache import EncodedTexts
from dissensus.reward.training.lora import ADAPTER_FOLDER, is_adapted, merge_adapters, rebuild_adapted, save_adapter
from dissensus.reward.training.run_identity import RunIdentity
from dissensus.reward.training.sharding import whole_weights
from dissensus.reward.training.trainer import WRITE_FAILURES, PairTrainer
from dissensus.text.encoder import quiet_transformers
from dissensus.versions import stamped

REPORTS = "runs"
"""In a model's folder: what reporters wrote while it was trained; where TensorBoard looks, and the Hub."""
_RELOAD_TOLERANCE = 1e-4
_COMPARED = 16
"""Texts that are scored again with the saved model."""


class MarkWhole(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint whose files are all written, with the run that it belongs to."""

    def __init__(self, identity: RunIdentity) -> None:
        self._mark = stamped({"fingerprint": identity.fingerprint, "config": identity.config.deciding()})

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint that was just written, and then remove the ones before, which a cut would go back to."""
        # The others write their random state into the same folder.
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            new = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_json(new / RECORD_FILE, self._mark)
            for old in set(new.parent.glob("checkpoint-*")) - {new}:
                shutil.rmtree(old, ignore_errors=True)


def trained_model(trainer: PairTrainer) -> Any:
    """Return what can be scored with: without accelerate's autocast, to agree with the saved model."""
    if trainer.accelerator.distributed_type == DistributedType.FSDP:
        return trainer.model_wrapped
    return trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)


def save_model(
    trainer: PairTrainer,
    tokenizer: Any,
    layout: Layout,
    encoded: EncodedTexts,
    record: ModelRecord,
    log: Sequence[LogRow],
    calibration: Calibration | None = None,
    *,
    part: Path,
    out: Path,
) -> None:
    """Write model, tokenizer, config and log, load the model again, and give the folder its name.

    Every process makes the call, one writes. Raises OutputError when it cannot be written, TrainingError when the
    saved model gives other rewards.
    """
    accelerator = trainer.accelerator
    some = np.arange(min(_COMPARED, len(encoded)))
    weights = accelerator.get_state_dict(trainer.model_wrapped)
    before = score_texts(trained_model(trainer), layout, encoded, rows=some)
    if accelerator.is_main_process:
        folder = part / "model"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with quiet_transformers():
                _save_weights(trainer, weights, record.config.model, folder)
                tokenizer.save_pretrained(folder)
        except WRITE_FAILURES as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise OutputError(f"{out}: the model cannot be written ({error}); free space and run again") from error
        # As transformers would load and feed it: a lost head must not go unseen.
        with whole_weights():
            reloaded = load_backbone(str(folder), new_head=False)[0].to(trainer.args.device)
        after = score_texts(reloaded, replace(layout, kind="padded"), encoded, rows=some)
        worst = float(np.abs(before - after).max())
        if not worst <= _RELOAD_TOLERANCE * max(1.0, float(np.abs(after).max())):
            raise TrainingError(f"{folder}: the saved model gives rewards {worst:.2g} off those of the trained one")
        write_log(folder, log)
        write_json(folder / RECORD_FILE, record_content(record))
        if calibration is not None:
            save_calibration(folder, calibration)
        _keep_reports(part, folder)
        folder.rename(out)
        shutil.rmtree(part, ignore_errors=True)
    accelerator.wait_for_everyone()


def _save_weights(trainer: PairTrainer, weights: dict[str, Tensor], backbone: str, folder: Path) -> None:
    """Save the plain model from its gathered weights, and the adapters, where it has them, beside it."""
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    if not is_adapted(model):
        model.save_pretrained(folder, state_dict=weights)
        return
    save_adapter(model, folder / ADAPTER_FOLDER, base=backbone_name(backbone), weights=weights)
    if trainer.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        with whole_weights():
            plain, _ = load_backbone(backbone, new_head=True, outputs=model.config.num_labels)
        model = rebuild_adapted(plain, model, weights)
    merge_adapters(model).save_pretrained(folder)


def _keep_reports(part: Path, folder: Path) -> None:
    """Copy what reporters wrote into the run's folder (TensorBoard's events, say) into the model's."""
    for left in part.iterdir():
        if left == folder or left.name.startswith("checkpoint-"):
            continue
        target = folder / REPORTS if left.name == REPORTS else folder / REPORTS / left.name
        target.parent.mkdir(exist_ok=True)
        if left.is_dir():
            shutil.copytree(left, target, dirs_exist_ok=True)
        else:
            shutil.copy2(left, target)

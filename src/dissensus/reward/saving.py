"""What a training run leaves on disk: whole checkpoints, and a model folder that gets its name last.

Everything is written in ``NAME.part``. A checkpoint counts once it is marked, which happens after its files are
written; the model is loaded again and its rewards compared before the folder is renamed to ``NAME``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import DistributedType, PartialState
from numpy.typing import NDArray
from transformers import TrainerCallback

from dissensus.encoder import quiet_transformers, resolve_model
from dissensus.errors import ConfigError, OutputError, TrainingError
from dissensus.files import content_of, write_json, write_text
from dissensus.records import content_id
from dissensus.reward.backbone import load_backbone
from dissensus.reward.calibration import Calibration, save_calibration
from dissensus.reward.card import backbone_name
from dissensus.reward.config import CONFIG_FILE, TrainConfig
from dissensus.reward.data import Shortened
from dissensus.reward.layout import Layout
from dissensus.reward.lora import ADAPTER_FOLDER, is_adapted, merge_adapters, rebuild_adapted, save_adapter
from dissensus.reward.scoring import score_texts
from dissensus.reward.targets import Targets
from dissensus.reward.tokens import EncodedTexts
from dissensus.reward.trainer import WRITE_FAILURES, PairTrainer

LOG_FILE = "training.jsonl"
_RELOAD_TOLERANCE = 1e-4
_COMPARED = 16
"""Texts that are scored again with the saved model."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TrainSummary:
    """What a run did; the counts are pairs unless named otherwise."""

    pairs: int
    ties_dropped: int
    unlabelled_dropped: int
    unjudged_dropped: int
    validation_pairs: int
    texts: int
    """Distinct (prompt, response) texts."""
    texts_truncated: int
    layout: str
    """How the model was fed, and why not faster where it was not."""
    steps: int
    resumed_from: int
    """The step of the checkpoint that this run went on from, 0 for a fresh run."""
    seconds: float
    nll: float | None
    """The last logged Bradley-Terry NLL on the labels."""
    responses_cut: int = 0
    """Texts whose response lost its end, the prompt not being enough."""
    pairs_alike: int = 0
    """Pairs whose two responses differ, and are read as the same tokens."""

    @property
    def lost(self) -> Shortened:
        """What of the texts did not fit into the window."""
        return Shortened(self.texts, self.texts_truncated, self.responses_cut, self.pairs_alike)


class MarkWhole(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint whose files are all written, with the run that it belongs to."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint that was just written."""
        # The others write their random state into the same folder.
        PartialState().wait_for_everyone()
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_json(folder / CONFIG_FILE, {"fingerprint": self.fingerprint})


def fingerprint_of(targets: Targets, config: TrainConfig) -> str:
    """Hash everything that decides the result: config, backbone and, pair by pair, texts, target and margin.

    A backbone in a folder counts with its content, an id of the Hub by its name alone.
    """
    digest = hashlib.sha256(config.model_dump_json().encode())
    digest.update((content_of(resolve_model(config.model)) or "").encode())
    for pair, row in zip(targets.pairs, np.stack([targets.target, targets.margin, targets.label], axis=1), strict=True):
        digest.update(content_id(pair.prompt, pair.response_a, pair.response_b).encode())
        digest.update(pair.group.encode("utf-8", "surrogatepass") + row.tobytes())
    return digest.hexdigest()[:16]


def find_finished(out: Path, fingerprint: str, *, overwrite: bool) -> TrainSummary | None:
    """Return the summary of a finished run of the same config, backbone and data; None where ``out`` is free.

    Raises ConfigError where it holds something else, which ``overwrite`` removes if it is a model of ours.
    """
    if not out.exists():
        return None
    saved = out / CONFIG_FILE
    if not saved.is_file():
        raise ConfigError(f"{out} exists and is no model of ours; choose another --out")
    content = json.loads(saved.read_text())
    if content.get("fingerprint") == fingerprint:
        return TrainSummary(**content["summary"])
    if not overwrite:
        raise ConfigError(
            f"{out} holds a model of another config, backbone or data; choose another --out, or pass --overwrite"
        )
    shutil.rmtree(out)
    return None


def find_checkpoint(part: Path, fingerprint: str, *, overwrite: bool) -> Path | None:
    """Find the newest checkpoint that was written whole; an unmarked one was cut off while saving.

    Raises ConfigError where it belongs to another config, backbone or data, which ``overwrite`` removes.
    """
    whole = [folder for folder in part.glob("checkpoint-*") if (folder / CONFIG_FILE).is_file()]
    if not whole:
        return None
    newest = max(whole, key=lambda folder: int(folder.name.rsplit("-", 1)[1]))
    if json.loads((newest / CONFIG_FILE).read_text()).get("fingerprint") == fingerprint:
        return newest
    if not overwrite:
        raise ConfigError(
            f"{newest} is a checkpoint of another config, backbone or data; choose another --out, or pass --overwrite"
        )
    shutil.rmtree(part)
    return None


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
    config: TrainConfig,
    fingerprint: str,
    summary: TrainSummary,
    log: Sequence[dict[str, Any]],
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
    model = accelerator.unwrap_model(trainer.model_wrapped)
    if accelerator.is_main_process:
        folder = part / "model"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with quiet_transformers():
                if is_adapted(model):
                    save_adapter(model, folder / ADAPTER_FOLDER, base=backbone_name(config.model), weights=weights)
                    if accelerator.distributed_type == DistributedType.FSDP:
                        plain, _ = load_backbone(config.model, new_head=True, outputs=model.config.num_labels)
                        model = rebuild_adapted(plain, model, weights)
                    merge_adapters(model).save_pretrained(folder)
                else:
                    model.save_pretrained(folder, state_dict=weights)
                tokenizer.save_pretrained(folder)
        except WRITE_FAILURES as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise OutputError(f"{out}: the model cannot be written ({error}); free space and run again") from error
        _compare_rewards(before, folder, encoded, some, layout, str(trainer.args.device))
        write_text(folder / LOG_FILE, "".join(json.dumps(_log_row(entry)) + "\n" for entry in log))
        content = {"config": config.model_dump(mode="json"), "fingerprint": fingerprint, "summary": asdict(summary)}
        write_json(folder / CONFIG_FILE, content)
        if calibration is not None:
            save_calibration(folder, calibration)
        folder.rename(out)
        shutil.rmtree(part, ignore_errors=True)
    accelerator.wait_for_everyone()


def _compare_rewards(
    before: NDArray[np.float32], folder: Path, encoded: EncodedTexts, some: Ints, layout: Layout, device: str
) -> None:
    """Load what was saved and score a few texts again, as transformers would: a lost head must not go unseen."""
    reloaded, _ = load_backbone(str(folder), new_head=False)
    padded = replace(layout, kind="padded")
    after = score_texts(reloaded.to(device), padded, encoded, rows=some)
    worst = float(np.abs(before - after).max())
    if not worst <= _RELOAD_TOLERANCE * max(1.0, float(np.abs(after).max())):
        raise TrainingError(f"{folder}: the saved model gives rewards {worst:.2g} off those of the trained one")


def _log_row(entry: dict[str, Any]) -> dict[str, Any]:
    if "eval_nll" in entry:
        return {
            "step": entry["step"],
            "epoch": entry["epoch"],
            "validation_nll": entry["eval_nll"],
            "validation_accuracy": entry["eval_accuracy"],
        }
    return {key: entry[key] for key in ("step", "epoch", "loss", "nll", "accuracy", "learning_rate") if key in entry}

"""What a run is, and what there is of it already; without torch, so that a mistake or a finished run shows at once."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dissensus.errors import ConfigError
from dissensus.files import content_of
from dissensus.records import content_id
from dissensus.reward.config import CONFIG_FILE, TrainConfig
from dissensus.reward.objectives.targets import Targets
from dissensus.reward.text.train_data import Shortened
from dissensus.text.encoder import resolve_model

_FIRST_SETTINGS = {
    "model", "objective", "margin_sign", "margin_scale", "label_weight", "soft_targets", "atoms", "center",
    "learning_rate", "epochs", "batch_size", "tokens_per_batch", "batching", "max_length", "warmup",
    "weight_decay", "max_grad_norm", "dropout", "precision", "gradient_checkpointing", "fast", "compile",
    "lora_rank", "lora_alpha", "calibration", "validation", "seed", "logging_steps", "checkpoint_steps"
}  # fmt: skip
"""All settings there were when a run's fingerprint covered all of them."""


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
    validation_nll: float | None = None
    """The same of the held-out prompts, after the last epoch; None where nothing was held out."""
    validation_accuracy: float | None = None
    temperature: float | None = None
    """Fitted on the held-out votes, where a calibration was asked for; above 1: the model was too sure."""
    note: str | None = None
    """What to beware of: that nothing was learnt."""
    responses_cut: int = 0
    """Texts whose response lost its end, the prompt not being enough."""
    pairs_alike: int = 0
    """Pairs whose two responses differ, and are read as the same tokens."""

    @property
    def lost(self) -> Shortened:
        """What of the texts did not fit into the window."""
        return Shortened(self.texts, self.texts_truncated, self.responses_cut, self.pairs_alike)


class RunIdentity:
    """A run's fingerprint: what decides its model, and by which it is known when it is started again.

    It covers the settings that decide weights (`TrainConfig.deciding`), the backbone and, pair by pair, texts, group,
    target, margin and label. A backbone in a folder counts with its content, wherever it lies, an id of the Hub by its
    name alone. Runs of versions whose fingerprint covered all settings are known by that.
    """

    def __init__(self, targets: Targets, config: TrainConfig) -> None:
        self._targets, self.config = targets, config

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits."""
        deciding = self.config.deciding()
        if self._backbone is not None:
            del deciding["model"]
        return self._hash(json.dumps(deciding, sort_keys=True))

    def matches(self, found: object) -> bool:
        """Whether a run with this fingerprint is this run."""
        return found == self.fingerprint or found == self._first_fingerprint

    @cached_property
    def _first_fingerprint(self) -> str:
        return self._hash(self.config.model_dump_json(include=_FIRST_SETTINGS))

    @cached_property
    def _backbone(self) -> str | None:
        return content_of(resolve_model(self.config.model))

    def _hash(self, settings: str) -> str:
        targets = self._targets
        digest = hashlib.sha256(settings.encode())
        digest.update((self._backbone or "").encode())
        rows = np.stack([targets.target, targets.margin, targets.label], axis=1)
        for pair, row in zip(targets.pairs, rows, strict=True):
            digest.update(content_id(pair.prompt, pair.response_a, pair.response_b).encode())
            digest.update(pair.group.encode("utf-8", "surrogatepass") + row.tobytes())
        return digest.hexdigest()[:16]


def find_finished(out: Path, identity: RunIdentity, *, overwrite: bool) -> TrainSummary | None:
    """Return the summary of a finished run of the same identity; None where ``out`` is free.

    Raises ConfigError where it holds something else, which ``overwrite`` removes if it is a model of ours.
    """
    if not out.exists():
        return None
    saved = out / CONFIG_FILE
    if not saved.is_file():
        raise ConfigError(f"{out} exists and is no model of ours; choose another --out")
    content = _read(saved)
    calibration = _settings(content).get("calibration", "none")
    same = identity.matches(content.get("fingerprint"))
    if same and calibration == identity.config.calibration:
        return TrainSummary(**content["summary"])
    if overwrite:
        shutil.rmtree(out)
        return None
    if same:
        raise ConfigError(
            f"{out} holds this model with calibration '{calibration}'; fit another with 'dissensus calibrate', choose "
            "another --out, or pass --overwrite"
        )
    raise ConfigError(
        f"{out} holds a model of another config, backbone or data; choose another --out, or pass --overwrite"
        f"{_changes(content, identity.config)}"
    )


def find_checkpoint(part: Path, identity: RunIdentity, *, overwrite: bool) -> Path | None:
    """Find the newest checkpoint that was written whole; an unmarked one was cut off while saving.

    Raises ConfigError where it belongs to another config, backbone or data, which ``overwrite`` removes.
    """
    whole = [folder for folder in part.glob("checkpoint-*") if (folder / CONFIG_FILE).is_file()]
    if not whole:
        return None
    newest = max(whole, key=lambda folder: int(folder.name.rsplit("-", 1)[1]))
    content = _read(newest / CONFIG_FILE)
    if identity.matches(content.get("fingerprint")):
        return newest
    if not overwrite:
        raise ConfigError(
            f"{newest} is a checkpoint of another config, backbone or data; choose another --out, or pass --overwrite"
            f"{_changes(content, identity.config)}"
        )
    shutil.rmtree(part)
    return None


def _read(path: Path) -> dict[str, Any]:
    """Read what a run left; nothing where it is damaged, which is another run then."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _settings(content: dict[str, Any]) -> dict[str, Any]:
    found = content.get("config")
    return found if isinstance(found, dict) else {}


def _changes(content: dict[str, Any], config: TrainConfig) -> str:
    """Name the settings that are others than those found, where they were kept."""
    now, then = config.deciding(), _settings(content)
    changed = [f"{name} was {then[name]}, is {value}" for name, value in now.items() if then.get(name, value) != value]
    return f" ({'; '.join(changed)})" if changed else ""

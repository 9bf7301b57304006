"""The identity of a run, by which it is found again: finished, or at a checkpoint. Needs no torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from dissensus.errors import ConfigError, InputError
from dissensus.files import content_of
from dissensus.hashing import identity_of
from dissensus.records import content_id
from dissensus.reward.config import TrainConfig
from dissensus.reward.model_record import RECORD_FILE, ModelRecord, TrainSummary, find_record, model_folders
from dissensus.reward.objectives.targets import Targets
from dissensus.text.encoder import resolve_model


class RunIdentity:
    """A run's fingerprint: what decides its model, and by which it is known when it is started again.

    It covers the settings that decide weights (`TrainConfig.deciding`), the backbone and, pair by pair, texts, group
    (and the category where it decides what is held out), target, margin and label. A backbone in a folder counts with
    its content, wherever it lies, an id of the Hub by its name alone.
    """

    def __init__(self, targets: Targets, config: TrainConfig) -> None:
        self._targets, self.config = targets, config

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits."""
        deciding, backbone = self.config.deciding(), content_of(resolve_model(self.config.model))
        if backbone is not None:
            del deciding["model"]
        return identity_of([json.dumps(deciding, sort_keys=True).encode(), (backbone or "").encode(), *self._rows()])

    def _rows(self) -> Iterator[bytes]:
        targets = self._targets
        rows = np.stack([targets.target, targets.margin, targets.label], axis=1)
        for pair, row in zip(targets.pairs, rows, strict=True):
            content = content_id(pair.prompt, pair.response_a, pair.response_b)
            unit = pair.group + (f"\0{pair.category}" if self.config.hold_out_by == "category" else "")
            yield content.encode() + unit.encode("utf-8", "surrogatepass") + row.tobytes()


def find_finished(out: Path, identity: RunIdentity, *, overwrite: bool) -> TrainSummary | None:
    """Return the summary of a finished run of the same identity; None where ``out`` is free.

    Raises ConfigError where it holds something else, which ``overwrite`` removes if it is a model of ours.
    """
    if not out.exists():
        return None
    if not (out / RECORD_FILE).is_file():
        raise ConfigError(f"{out} exists and is no model of ours; choose another --out")
    found = find_record(out, overwrite=overwrite)
    same = found is not None and found.fingerprint == identity.fingerprint
    if found and same and found.config.calibration == identity.config.calibration and found.summary is not None:
        try:
            model_folders(out)
        except InputError:
            if not overwrite:
                raise
        else:
            return found.summary
    if overwrite:
        shutil.rmtree(out)
        return None
    if found and same:
        raise ConfigError(
            f"{out} holds this model with calibration '{found.config.calibration}'; fit another with 'dissensus "
            "calibrate', choose another --out, or pass --overwrite"
        )
    raise ConfigError(
        f"{out} holds a model of another config, backbone or data; choose another --out, or pass --overwrite"
        f"{changes(found, identity.config)}"
    )


def find_checkpoint(part: Path, identity: RunIdentity, *, overwrite: bool) -> Path | None:
    """Find the newest checkpoint that was written whole; an unmarked one was cut off while saving, and is removed.

    Raises ConfigError where it belongs to another config, backbone or data, which ``overwrite`` removes.
    """
    found_there = [*part.glob("checkpoint-*")]
    whole = [folder for folder in found_there if (folder / RECORD_FILE).is_file()]
    # Shards of other processes in it would be taken for those of its next writing.
    for cut_off in set(found_there).difference(whole):
        shutil.rmtree(cut_off, ignore_errors=True)
    if not whole:
        return None
    newest = max(whole, key=lambda folder: int(folder.name.rsplit("-", 1)[1]))
    found = find_record(newest, overwrite=overwrite)
    if found is not None and found.fingerprint == identity.fingerprint:
        return newest
    if not overwrite:
        raise ConfigError(
            f"{newest} is a checkpoint of another config, backbone or data; choose another --out, or pass --overwrite"
            f"{changes(found, identity.config)}"
        )
    shutil.rmtree(part)
    return None


def changes(found: ModelRecord | None, config: TrainConfig) -> str:
    """Name the settings that are others than those found, where they were kept."""
    now, then = config.deciding(), found.config.deciding() if found else {}
    changed = [f"{name} was {then[name]}, is {value}" for name, value in now.items() if then.get(name, value) != value]
    return f" ({'; '.join(changed)})" if changed else ""

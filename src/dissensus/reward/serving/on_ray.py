"""A reward model on a Ray cluster: windows of pairs are scored by workers, and their files put together in order."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dissensus.cluster.blocks import DEATHS, Beginnings, Block
from dissensus.cluster.places import ShardFolder
from dissensus.cluster.ray_data import Workers, pool
from dissensus.errors import ConfigError, InputError
from dissensus.files import read_records, write_records
from dissensus.files.locks import sole_writer
from dissensus.hashing import short_digest
from dissensus.parts import PartOf
from dissensus.records import Pair, Prediction
from dissensus.reward.notices import report
from dissensus.reward.serving.calibration import Calibration
from dissensus.reward.serving.reward_model import WINDOW, RewardModel
from dissensus.reward.text.train_data import Shortened

_PART = ".part"
_NOTES = ".blocks"


@dataclass(frozen=True)
class Scoring:
    """What decides a prediction."""

    model: str
    name: str
    identity: str
    """A hash of the model's files, or where it is."""
    seed: int | None
    max_length: int | None
    precision: Any
    calibrated: bool | None
    debias: Any


@dataclass(frozen=True)
class Scored:
    """What a run of workers did, and how the model that they loaded predicts."""

    predictions: int
    calibration: Calibration | None
    length_slope: float | None


class ScoringWorker:
    """A process on a cluster that holds a reward model and scores windows of pairs.

    Args:
        scoring: what is loaded, and how it predicts.
        place: the folder that gets a file for each window.
        notes: the folder below, of what is known of windows.
    """

    def __init__(self, scoring: Scoring, place: str, notes: str) -> None:
        self._scoring, self._folder = scoring, ShardFolder(place)
        # What was scored counts in every run: nothing of it is asked again.
        self._blocks = Beginnings(self._folder.folder(_NOTES).folder(notes), "any")
        self._model = RewardModel.load(scoring.model, max_length=scoring.max_length, precision=scoring.precision)

    def __call__(self, name: str, written: bytes) -> dict[str, Any]:
        """Score a window; returns where the predictions are, and what was cut of the texts."""
        block = Block.from_bytes(written)
        found = self._blocks.ended(block)
        if found is None or not self._folder.has(found["file"]):
            found = self._score(block)
        about = {"calibration": self._model.calibration, "length_slope": self._model.length_slope}
        return {**found, **about, "window": int(name), "max_length": self._model.encoding.max_length}

    def _score(self, block: Block) -> dict[str, Any]:
        if self._blocks.deaths(block) >= DEATHS:
            raise InputError(
                f"{len(block.pairs)} pairs from {block.pairs[0].id!r} on: {DEATHS} workers that scored them died; give "
                f"workers more memory, or a shorter --max-length; then remove {self._folder}/{_NOTES}, and run again"
            )
        with self._blocks.begun(block):
            found = self._scored(block)
            self._blocks.end(block, found)
        return found

    def _scored(self, block: Block) -> dict[str, Any]:
        given, cut = self._scoring, list[Shortened]()
        predictions = self._model.predict(
            block.pairs, name=given.name, seed=given.seed, calibrated=given.calibrated, debias=given.debias, lost=cut
        )
        file = f"{block.name}-{self._blocks.notes}.parquet"
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary, "window.parquet")
            write_records(path, predictions)
            self._folder.put(file, path.read_bytes())
        return {"file": file, "rows": len(predictions), "cut": astuple(cut[0])}


def predict_on_ray(
    scoring: Scoring, pairs: Iterable[Pair], out: Path, *, workers: Workers, total: int, progress: bool = True
) -> Scored:
    """Have workers on a Ray cluster predict pairs, and write the predictions to ``out`` in the order of the pairs.

    Windows that are scored wait in ``out``.part, which all machines see; killed, the same call goes on with the others.

    Raises:
        ConfigError: the cluster is not there, or a part was asked for.
        InputError: a window costs every worker its life, or a worker cannot read the model.
        OutputError: another process writes ``out``, or a file cannot be written.
    """
    if isinstance(pairs, PartOf):
        raise ConfigError("--part: parts are for machines that share nothing; leave it out with --engine ray")
    folder = ShardFolder(out.absolute().with_name(out.name + _PART))
    given = {"scoring": scoring, "place": str(folder), "notes": short_digest(repr(scoring))}
    done: dict[int, dict[str, Any]] = {}
    with sole_writer(out), pool(workers, takes_gpu=True) as found:
        bar = tqdm(total=total, desc="predict", unit="pair", disable=not progress)
        with bar:
            for one in found.run(1, functools.partial(_windows, pairs), ScoringWorker, given):
                done[one["window"]] = one
                bar.update(one["rows"])
        count = write_records(out, (row for window in sorted(done) for row in _rows(folder, done[window]["file"])))
        folder.remove()
    lost = sum((Shortened(*one["cut"]) for one in done.values()), Shortened())
    first = next(iter(done.values()), None)
    if first is None:
        return Scored(count, None, None)
    for line in lost.notes(first["max_length"]):
        report(line)
    return Scored(count, first["calibration"], first["length_slope"])


def _windows(pairs: Iterable[Pair], part: int) -> Iterator[tuple[str, bytes]]:
    remaining, window = iter(pairs), 0
    while rows := list(islice(remaining, WINDOW)):
        yield str(window), Block.of(rows).to_bytes()
        window += 1


def _rows(folder: ShardFolder, name: str) -> Iterator[Prediction]:
    return read_records(folder.path(name), Prediction)

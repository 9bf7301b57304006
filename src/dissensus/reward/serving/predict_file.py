"""Predictions of a file of pairs that need not fit into memory; killed anywhere, they go on where they were."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from dissensus.files import read_records, write_records
from dissensus.files.locks import sole_writer
from dissensus.hashing import framed_digest
from dissensus.records import Pair, Prediction
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.text.train_data import Shortened

WINDOW = 8192
"""Pairs that are scored together: sorted by length, each distinct text once."""


def predict_file(
    model: RewardModel,
    pairs: Iterable[Pair],
    out: Path,
    *,
    name: str,
    identity: str,
    seed: int | None = None,
    calibrated: bool = False,
    window: int = WINDOW,
    total: int | None = None,
    progress: bool = False,
) -> int:
    """Predict pairs window by window and write them to ``out``; returns how many. What was cut is reported at the end.

    Finished windows wait in ``out``.part under a hash of ``identity`` (what decides the model), the settings and the
    pairs, so a second call scores only what is missing. ``out`` appears when all are there. Raises OutputError where
    another process is writing it.
    """
    with sole_writer(out):
        part = out.with_name(out.name + ".part")
        settings = f"{identity}\0{name}\0{seed}\0{calibrated}\0{model.encoding.max_length}\0{model.precision}"
        files: list[Path] = []
        lost = Shortened()
        with tqdm(total=total, desc="predict", unit="pair", disable=not progress) as bar:
            for i, rows in enumerate(_windows(pairs, window)):
                stem = f"{i:06d}-{_digest(settings, rows)}"
                file = next(part.glob(f"{stem}-*.parquet"), None)
                if file is None:
                    cut: list[Shortened] = []
                    predictions = model.predict(rows, name=name, seed=seed, calibrated=calibrated, lost=cut)
                    file = part / _with_counts(stem, sum(cut, Shortened()))
                    write_records(file, predictions)
                lost += _counts(file)
                files.append(file)
                bar.update(len(rows))
        count = write_records(out, (row for file in files for row in read_records(file, Prediction)))
        shutil.rmtree(part, ignore_errors=True)
        model.report_shortened(lost)
        return count


def _with_counts(stem: str, lost: Shortened) -> str:
    """Name a window's file so that it says what was cut of its texts, when the command goes on another day."""
    return f"{stem}-{'-'.join(str(count) for count in astuple(lost))}.parquet"


def _counts(file: Path) -> Shortened:
    return Shortened(*map(int, file.stem.split("-")[2:]))


def _windows(pairs: Iterable[Pair], size: int) -> Iterator[list[Pair]]:
    remaining = iter(pairs)
    while rows := list(islice(remaining, size)):
        yield rows


def _digest(settings: str, rows: list[Pair]) -> str:
    texts = (pair.model_dump_json(include={"id", "prompt", "response_a", "response_b"}) for pair in rows)
    return framed_digest(settings, *texts).hex()

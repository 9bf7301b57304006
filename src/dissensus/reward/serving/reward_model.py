"""A reward model: a sequence classifier, read in float32, and the predictions that its outputs mean."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from dissensus.errors import InputError, TrainingError
from dissensus.files import read_records, write_records
from dissensus.files.locks import sole_writer
from dissensus.hashing import framed_digest
from dissensus.messages import log_length
from dissensus.places.addresses import work_place
from dissensus.records import Pair, Prediction, Text
from dissensus.reward.config import SHORTEST, CalibrationMethod, TrainConfig
from dissensus.reward.fast.select import Layout, lay_out_for, settle
from dissensus.reward.length_covariate import log_lengths, no_covariate
from dissensus.reward.model_record import RECORD_FILE, fetch_members, left_record, model_folders, read_record
from dissensus.reward.objectives import Objective, objective_of
from dissensus.reward.serving.calibration import (
    CALIBRATION_FILE,
    Calibration,
    check_observed,
    fit_calibration,
    not_calibrated,
    observed_preferences,
    read_calibration,
)
from dissensus.reward.serving.score import TOKENS_PER_BATCH, memory_reported, score_texts
from dissensus.reward.text.backbone import load_backbone, model_file, report_window
from dissensus.reward.text.encode import Style, encoding_of
from dissensus.reward.text.token_cache import EncodedTexts
from dissensus.reward.text.train_data import Shortened, encode_pairs
from dissensus.text.encoder import best_device, resolve_model
from dissensus.text.pretrained import position_limit, stated_positions

Precision = Literal["fp32", "bf16"]
Debias = Literal["length"]
"""What may be left out of a prediction."""
FloatArray = NDArray[np.float64]

_WIDEST = 8192
"""Tokens of a window that nobody asked for: attention over more may not fit into memory."""
_UNBOUNDED = 10**9
"""Tokenizers without a limit say so with an enormous one."""
_PAIRS_AT_ONCE = 4096
"""Integrating over two distributions takes some hundred numbers a pair."""
WINDOW = 8192
"""Pairs of a file that are scored together: sorted by length, each distinct text once."""


def window_of(model: Any, tokenizer: Any) -> int:
    """Return how many tokens a text may have for a model and its tokenizer, where nobody says: 8192 at most, or 512
    where they do not say either."""
    stated = tokenizer.model_max_length if tokenizer.model_max_length < _UNBOUNDED else None
    limits = [limit for limit in (position_limit(model), stated_positions(model), stated) if limit]
    return max(min(*limits, _WIDEST), SHORTEST) if limits else 512


class RewardModel:
    """Scores responses; ``load`` needs a folder and nothing else."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_length: int,
        config: TrainConfig | None = None,
        calibration: Calibration | None = None,
        precision: Precision = "fp32",
        style: Style | None = None,
        length_slope: float | None = None,
        others: Sequence[Any] = (),
    ) -> None:
        """Take a model, or the first of several members and the ``others``, of one tokenizer and one objective."""
        self.precision = precision
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self.encoding = encoding_of(tokenizer, max_length, style)
        self.objective = objective_of(config or TrainConfig())
        """What the model's outputs mean."""
        self.calibration = calibration
        """Of its predicted probabilities, where that was fitted."""
        self.length_slope = length_slope
        """Times the log of a response's length: added to what the model says of it; None without the covariate."""
        fast = config.runtime.fast if config else True
        self.members: list[tuple[Any, Layout]] = []
        """The models whose preferences are averaged, most often one, and how each is fed."""
        for one in (model, *others):
            layout = lay_out_for(one, pad_id=tokenizer.pad_token_id, fast=fast, training=False)
            self.members.append((one, settle(one, layout, self.encoding)))
        self.layout = self.members[0][1]

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        max_length: int | None = None,
        device: str | None = None,
        precision: Precision = "fp32",
    ) -> Self:
        """Load what ``train`` wrote, ensembles too, or any one-output sequence classifier; a folder or Hub id.

        ``max_length`` defaults to that of training, or to what model and tokenizer were made for (at most 8192, which
        bounds memory). With ``precision`` bf16, weights stay in float32 and matrix products are made in bfloat16: two
        to three times faster where the processor has them, rewards up to some hundredths of their spread apart.
        Raises InputError when there is no such model, a member of it is missing, or it has more than one output.
        """
        if max_length is not None and max_length < SHORTEST:
            raise InputError(f"max_length {max_length} leaves no room beside special tokens; give at least {SHORTEST}")
        members = model_folders(Path(resolve_model(str(folder))))
        try:
            named = [folder] if len(members) == 1 else members
            loaded = [load_backbone(str(one), new_head=False) for one in named]
        except InputError:
            if (fetched := fetch_members(str(folder))) is None:
                raise
            return cls.load(fetched, max_length=max_length, device=device, precision=precision)
        model, tokenizer = loaded[0]
        settings, calibration = (model_file(folder, file) for file in (RECORD_FILE, CALIBRATION_FILE))
        record = left_record(model.config) if settings is None else read_record(settings)
        config, style = (record.config, record.text_style) if record else (None, None)
        outputs = objective_of(config or TrainConfig()).outputs
        for one, _ in loaded:
            if one.config.num_labels != outputs:
                expected = f"'{config.objective}' has {outputs}" if config else "a reward model has one"
                raise InputError(f"{folder}: {expected} output(s), this model has {one.config.num_labels}")
        device = device or best_device()
        with memory_reported(f"the weights of {folder} on {device}", "use a device or a machine with more of it"):
            for one, _ in loaded:
                one.eval().to(device)
        length = max_length or (config.max_length if config else window_of(model, tokenizer))
        if max_length is None and config is None:
            cut = f"{folder}: texts longer than {length} tokens are cut; max_length (--max-length) sets another window"
            print(cut, file=sys.stderr)  # noqa: T201
        limit = position_limit(model)
        if limit is not None and length > limit:
            raise InputError(f"max_length {length} is more than the {limit} positions of {folder}; lower it")
        if config is None or length > config.max_length:
            report_window(model, length, str(folder))
        fitted = None if calibration is None else read_calibration(calibration)
        return cls(
            model,
            tokenizer,
            max_length=length,
            config=config,
            calibration=fitted,
            precision=precision,
            style=style,
            length_slope=record.summary.length_slope if record and record.summary else None,
            others=[one for one, _ in loaded[1:]],
        )

    def outputs(
        self,
        texts: Sequence[tuple[Text, Text]],
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
        progress: bool = False,
    ) -> NDArray[np.float32]:
        """Return the model's outputs for each (prompt, response), shape (texts, outputs); each distinct one once.

        Of several members, shape (members, texts, outputs). What length adds to a reward is no part of them.
        """
        scored = self._outputs(texts, tokens_per_batch=tokens_per_batch, progress=progress)
        return scored if len(self.members) > 1 else scored[0]

    def _outputs(
        self, texts: Sequence[tuple[Text, Text]], *, tokens_per_batch: int, progress: bool
    ) -> NDArray[np.float32]:
        """Return the outputs of each member, shape (members, texts, outputs)."""
        distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        encoded = self.encoding.encode(list(distinct))
        scored = self._score(encoded, tokens_per_batch=tokens_per_batch, progress=progress)
        return scored[:, [distinct[text] for text in texts]]

    def rewards(
        self,
        texts: Sequence[tuple[Text, Text]],
        *,
        debias: Debias | None = None,
        tokens_per_batch: int = TOKENS_PER_BATCH,
        progress: bool = False,
    ) -> NDArray[np.float32]:
        """Return the reward of each (prompt, response), shape (texts,): the mean where it is a distribution, and over
        members where there are several.

        With ``debias`` "length", what length adds is left out. Raises InputError where it adds nothing.
        """
        slope = self._slope(debias)
        outputs = self._outputs(texts, tokens_per_batch=tokens_per_batch, progress=progress)
        each = [self.objective.reward(torch.from_numpy(own)) for own in outputs]
        rewards: NDArray[np.float32] = (each[0] if len(each) == 1 else torch.stack(each).mean(dim=0)).numpy()
        if slope is None:
            return rewards
        return rewards + np.array([slope * log_length(response) for _, response in texts], dtype=np.float32)

    def predict(
        self,
        pairs: Sequence[Pair],
        *,
        name: str,
        seed: int | None = None,
        calibrated: bool | None = None,
        debias: Debias | None = None,
        progress: bool = False,
        lost: list[Shortened] | None = None,
    ) -> list[Prediction]:
        """Predict each pair: its two rewards, and the preference for a that they mean.

        Where the model has a calibration, the calibrated preference as well, beside the raw one; ``calibrated`` False
        leaves it out, True insists on it. With ``debias`` "length", rewards and preferences are without what length
        adds. What of the texts does not fit into the window is reported on stderr, or added to ``lost``.

        Raises InputError where a calibration is insisted on and there is none, there is no length covariate to leave
        out, or the chat template refuses a text; TrainingError where rewards are not numbers.
        """
        if calibrated and self.calibration is None:
            raise InputError(not_calibrated(name))
        added = self._added(pairs, self._slope(debias, name))
        outputs, shortened = self._outputs_of_pairs(pairs, progress=progress)
        if lost is None:
            self.report_shortened(shortened)
        else:
            lost.append(shortened)
        calibration = None if calibrated is False else self.calibration
        return predictions_of(
            pairs, outputs, self.objective, name=name, seed=seed, calibration=calibration, added=added
        )

    def _slope(self, debias: Debias | None, name: str = "") -> float | None:
        """Return the slope of log length, None where nothing is added or it is left out."""
        if debias is not None and self.length_slope is None:
            raise InputError(no_covariate(name))
        return None if debias == "length" else self.length_slope

    @staticmethod
    def _added(pairs: Sequence[Pair], slope: float | None) -> FloatArray | None:
        """Return what length adds to the rewards of a and b, shape (pairs, 2)."""
        return None if slope is None else slope * log_lengths(pairs)

    def report_shortened(self, lost: Shortened) -> None:
        """Say on stderr what of the texts did not fit into the window; nothing where all did."""
        for line in lost.notes(self.encoding.max_length):
            print(line, file=sys.stderr)  # noqa: T201

    def calibrate(
        self, pairs: Sequence[Pair], *, method: CalibrationMethod = "temperature", progress: bool = False
    ) -> Calibration:
        """Fit a calibration on the votes of pairs (their labels where they have none), and predict with it from now on.

        ``save_calibration`` keeps it. The pairs should not have been trained on. Raises TrainingError where no pair
        has votes or a label.
        """
        check_observed(pairs)
        rows, preference, weight = observed_preferences(pairs)
        judged = [pairs[row] for row in rows]
        outputs, lost = self._outputs_of_pairs(judged, progress=progress)
        self.report_shortened(lost)
        added = self._added(judged, self.length_slope)
        gaps = np.stack([preference_logits(self.objective, own, added) for own in outputs])
        self.calibration = fit_calibration(gaps, preference, weight, method)
        return self.calibration

    def gaps(self, pairs: Sequence[Pair], *, progress: bool = False) -> FloatArray:
        """Return each member's log-odds that response a is preferred, raw and without length: (members, pairs)."""
        outputs, _ = self._outputs_of_pairs(pairs, progress=progress)
        return np.stack([preference_logits(self.objective, own) for own in outputs])

    def _outputs_of_pairs(self, pairs: Sequence[Pair], *, progress: bool) -> tuple[NDArray[np.float32], Shortened]:
        """Return outputs of shape (members, pairs, 2, outputs), and what was cut."""
        encoded, texts = encode_pairs(pairs, self.encoding)
        return self._score(encoded, progress=progress)[:, texts], Shortened.of(encoded, texts)

    def _score(
        self, encoded: EncodedTexts, *, tokens_per_batch: int = TOKENS_PER_BATCH, progress: bool
    ) -> NDArray[np.float32]:
        half = self.precision == "bf16"
        each = (
            score_texts(model, layout, encoded, tokens_per_batch=tokens_per_batch, half=half, progress=progress)
            for model, layout in self.members
        )
        return np.stack(list(each))


def preference_logits(
    objective: Objective, outputs: NDArray[np.float32], added: FloatArray | None = None
) -> FloatArray:
    """Return the log-odds that response a is preferred, shape (pairs,): the reward gap of scalar rewards.

    ``outputs`` are those for a and b, shape (pairs, 2, outputs); ``added``, of shape (pairs, 2), is what else belongs
    to the rewards. Raises TrainingError where they are not numbers.
    """
    broken = int((~np.isfinite(outputs)).any(axis=(1, 2)).sum())
    if broken:
        raise TrainingError(f"the model gives rewards that are not numbers for {broken} of {len(outputs)} pairs")
    parts = torch.split(torch.from_numpy(outputs).double(), _PAIRS_AT_ONCE)
    logits: FloatArray = torch.cat([objective.logit(part[:, 0], part[:, 1]) for part in parts]).numpy()
    return logits if added is None else logits + added[:, 0] - added[:, 1]


def predictions_of(
    pairs: Sequence[Pair],
    outputs: NDArray[np.float32],
    objective: Objective,
    *,
    name: str,
    seed: int | None = None,
    calibration: Calibration | None = None,
    added: FloatArray | None = None,
) -> list[Prediction]:
    """Predict each pair from the outputs for a and b, shape (pairs, 2, outputs), by the model of this name.

    Of several members, shape (members, pairs, 2, outputs): preferences and rewards are the means of theirs. ``added``,
    of shape (pairs, 2), is what else belongs to the rewards: what length adds.

    Raises TrainingError where outputs are not numbers.
    """
    if not pairs:
        return []
    members = outputs.reshape(-1, *outputs.shape[-3:])
    logits = np.stack([preference_logits(objective, own, added) for own in members])
    columns = {"preference_a": torch.from_numpy(logits).sigmoid().numpy().mean(axis=0)}
    for i, each in enumerate(torch.from_numpy(members).double().unbind(dim=2)):
        side, reward = "ab"[i], np.stack([objective.reward(one).numpy() for one in each]).mean(axis=0)
        columns[f"reward_{side}"] = reward if added is None else reward + added[:, i]
        variances = [variance.numpy() for one in each if (variance := objective.variance(one)) is not None]
        if variances:
            columns[f"variance_{side}"] = np.stack(variances).mean(axis=0)
    if calibration is not None:
        columns["calibrated_a"] = calibration.preference(logits)
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    temperature = None if calibration is None else calibration.temperature
    return [
        Prediction(
            pair_id=pair.id, model=name, seed=seed, temperature=temperature, **dict(zip(columns, row, strict=True))
        )
        for pair, row in zip(pairs, rows, strict=True)
    ]


def predict_file(
    model: RewardModel,
    pairs: Iterable[Pair],
    out: Path,
    *,
    name: str,
    identity: str,
    seed: int | None = None,
    calibrated: bool | None = None,
    debias: Debias | None = None,
    window: int = WINDOW,
    total: int | None = None,
    progress: bool = False,
) -> int:
    """Predict pairs window by window and write them to ``out``; returns how many. What was cut is reported at the end.

    Finished windows wait in ``out``.part (of `work_place`) under a hash of ``identity`` (what decides the model), the
    settings and the pairs, so a second call scores only what is missing. ``out`` appears when all are there. Raises
    OutputError where another process is writing it.
    """
    with sole_writer(out):
        part = work_place(out).with_name(out.name + ".part")
        settings = f"{identity}\0{name}\0{seed}\0{calibrated}\0{model.encoding.max_length}\0{model.precision}"
        settings += f"\0{debias}" if debias else ""
        files: list[Path] = []
        lost = Shortened()
        with tqdm(total=total, desc="predict", unit="pair", disable=not progress) as bar:
            remaining = iter(pairs)
            while rows := list(islice(remaining, window)):
                texts = (pair.model_dump_json(include={"id", "prompt", "response_a", "response_b"}) for pair in rows)
                stem = f"{len(files):06d}-{framed_digest(settings, *texts).hex()}"
                file = next(part.glob(f"{stem}-*.parquet"), None)
                if file is None:
                    cut: list[Shortened] = []
                    predictions = model.predict(
                        rows, name=name, seed=seed, calibrated=calibrated, debias=debias, lost=cut
                    )
                    # The name says what was cut of the texts, for when the command goes on another day.
                    counts = "-".join(str(count) for count in astuple(cut[0]))
                    file = part / f"{stem}-{counts}.parquet"
                    write_records(file, predictions)
                lost += Shortened(*map(int, file.stem.split("-")[2:]))
                files.append(file)
                bar.update(len(rows))
        count = write_records(out, (row for file in files for row in read_records(file, Prediction)))
        shutil.rmtree(part, ignore_errors=True)
        model.report_shortened(lost)
        return count

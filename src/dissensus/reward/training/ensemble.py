"""An ensemble: members trained one after the other, which become one folder that is used like a single model.

Members are trained in ``NAME.members``, each a run of its own, so that finished ones are kept and the current one goes
on from its checkpoint. The folder gets its name when all are there and averaged: their weights, into a plain model
(model soups: Wortsman et al., 2022, arXiv:2203.05482; of reward models: Ramé et al., 2024, arXiv:2401.12187), or their
preferences (deep ensembles: Lakshminarayanan et al., 2017, arXiv:1612.01474).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from scipy.special import expit

from dissensus.errors import ConfigError, TrainingError
from dissensus.files import write_json
from dissensus.records import Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.length_covariate import LengthSlope, log_ratios
from dissensus.reward.model_record import (
    RECORD_FILE,
    LogRow,
    ModelRecord,
    TrainSummary,
    find_record,
    member_folder,
    read_log,
    read_record,
    record_content,
    write_log,
)
from dissensus.reward.notices import report
from dissensus.reward.serving.calibration import (
    HELD_OUT_LOG_SD,
    Calibration,
    calibrated_nll,
    check_enough,
    fit_calibration,
    mean_nll,
    observed_preferences,
    save_calibration,
)
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.text.backbone import load_backbone
from dissensus.reward.text.train_data import Division
from dissensus.reward.training.checkpoints import REPORTS
from dissensus.reward.training.run_identity import RunIdentity, changes, find_finished
from dissensus.text.encoder import quiet_transformers

Learn = Callable[..., TrainSummary]
"""Trains one model: what on, what is held out, a config, its folder, ``overwrite`` and ``head_seed``."""


def member_config(config: TrainConfig, number: int) -> TrainConfig:
    """Return the settings of a member, counted from 1: those of a single model, under a seed of its own.

    The first has the seed of the ensemble. The others' come from it and their number, so that ensembles of
    neighbouring seeds share no member.
    """
    seed = config.seed
    if number > 1:
        seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1)[0])
    return config.model_copy(update={"members": 1, "seed": seed})


def train_members(division: Division, config: TrainConfig, out: Path, *, learn: Learn, overwrite: bool) -> TrainSummary:
    """Train all members, each on its part, and give their folder its name.

    Every process makes the call, one writes. Members of ``average: weights`` start from the head of the first: weights
    can be averaged where the paths began in one place.

    Raises ConfigError where ``out`` or ``out``.members holds something else, and what ``learn`` raises.
    """
    identity, work = RunIdentity(division.whole, config), out.with_name(out.name + ".members")
    processes = PartialState()
    with processes.main_process_first():
        if (done := find_finished(out, identity, overwrite=overwrite)) is not None:
            if processes.is_main_process and _is_ours(work, identity, overwrite=overwrite):
                shutil.rmtree(work)  # the members of averaged weights, where a run was killed while they were removed
            return done
        if processes.is_main_process:
            _claim(work, identity, overwrite=overwrite)
    head_seed = config.seed if config.average == "weights" else None
    summaries = [
        learn(*part, member_config(config, n), member_folder(work, n), overwrite=overwrite, head_seed=head_seed)
        for n, part in enumerate(division.parts, start=1)
    ]
    if processes.is_main_process:
        _finish(work, out, identity, summaries, division)
    processes.wait_for_everyone()
    found = read_record(out / RECORD_FILE).summary
    assert found is not None  # it was written before the folder got its name
    return found


def _claim(work: Path, identity: RunIdentity, *, overwrite: bool) -> None:
    """Mark the folder of the members as this run's. Raises ConfigError where it is another's, unless overwritten."""
    if _is_ours(work, identity, overwrite=overwrite):
        return
    if work.exists():
        if not overwrite:
            raise ConfigError(
                f"{work} holds members of another config, backbone or data; choose another --out, or pass --overwrite"
                f"{changes(find_record(work), identity.config)}"
            )
        shutil.rmtree(work)
    mark = ModelRecord(config=identity.config, fingerprint=identity.fingerprint)
    write_json(work / RECORD_FILE, record_content(mark))


def _is_ours(work: Path, identity: RunIdentity, *, overwrite: bool) -> bool:
    found = find_record(work, overwrite=overwrite)
    return found is not None and found.fingerprint == identity.fingerprint


_COMPARED, _ALIKE = 512, 0.9
"""Pairs on which averaged weights are compared with their members, and the least cosine of gaps that are alike."""
_OF_TEXTS = ("texts", "texts_truncated", "responses_cut", "pairs_alike")
_APART = (
    "the average of the weights says something else than the mean of the members, so their paths do not meet; use "
    "--average preferences"
)


@dataclass(frozen=True)
class _Fit:
    """How an average does on held-out labels; None where there are none."""

    nll: float | None = None
    accuracy: float | None = None
    calibrated_nll: float | None = None
    calibration: Calibration | None = None
    length_slope: float | None = None
    """Of the length covariate, for all members together."""


def _finish(
    work: Path, out: Path, identity: RunIdentity, summaries: Sequence[TrainSummary], division: Division
) -> None:
    """Average the members, calibrate the average, write its record and log, and give the folder its name."""
    config, members = identity.config, [member_folder(work, n + 1) for n in range(len(summaries))]
    records = [read_record(member / RECORD_FILE) for member in members]
    length = _length_of([record.length for record in records], division) if config.adds_length else None
    folder = work if config.keeps_members else work / "average"
    if not config.keeps_members:
        _average_weights(members, folder)
        _keep_reports(members, folder)
    known = {"config": config, "fingerprint": identity.fingerprint, "summary": None, "length": length}
    record = records[0].model_copy(update=known)
    write_json(folder / RECORD_FILE, record_content(record))
    average = None if config.keeps_members else _Averaged.of(folder, members, division.whole.pairs)
    fit = _fit(folder, members, division, config, average, length)
    summary = _summarise(summaries, fit, division, average)
    logs = [read_log(member) for member in members]
    write_log(folder, [*_mean_log(logs), *_last_row(logs[0], fit)])
    if fit.calibration is not None:
        save_calibration(folder, fit.calibration)
    write_json(folder / RECORD_FILE, record_content(record.model_copy(update={"summary": summary})))
    folder.rename(out)
    shutil.rmtree(work, ignore_errors=True)


def _length_of(slopes: Sequence[LengthSlope | None], division: Division) -> LengthSlope:
    """Return the mean slope in the members' losses, which goes with the mean of their rewards."""
    known = [slope for slope in slopes if slope is not None]
    if len(known) < len(slopes):  # members of an earlier version, which kept none and trained no model further
        return LengthSlope.fit(division.whole)
    return LengthSlope(fmean(one.value for one in known), fmean(one.precision for one in known))


def _average_weights(members: Sequence[Path], folder: Path) -> None:
    """Save a plain model whose every weight is the mean of the members'."""
    shutil.rmtree(folder, ignore_errors=True)
    model, tokenizer = load_backbone(str(members[0]), new_head=False)
    mean: dict[str, Any] = {name: value.double() for name, value in _floats(model).items()}
    for member in members[1:]:
        other, _ = load_backbone(str(member), new_head=False)
        for name, value in _floats(other).items():
            mean[name] += value.double()
    model.load_state_dict({name: (total / len(members)).float() for name, total in mean.items()}, strict=False)
    with quiet_transformers():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _floats(model: Any) -> Mapping[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if value.is_floating_point()}


@dataclass(frozen=True)
class _Averaged:
    """What a model of averaged weights makes of the members' rewards."""

    scale: float
    """The reward gap of the members' mean for one of the model's: averaged weights give smaller gaps."""
    cosine: float
    """Of its gaps and theirs. Paths that began in one place may end in different valleys with nothing between them;
    then the average knows less than any member, whatever that was trained on."""

    @classmethod
    def of(cls, folder: Path, members: Sequence[Path], pairs: Sequence[Pair]) -> _Averaged:
        """Compare them on some of the pairs, whose labels say nothing here."""
        rows = np.linspace(0, len(pairs) - 1, min(len(pairs), _COMPARED)).round().astype(int)
        some = [pairs[row] for row in rows.tolist()]
        mean = np.concatenate([RewardModel.load(one).gaps(some) for one in members]).mean(axis=0)
        found = RewardModel.load(folder).gaps(some)[0]
        common, own = float(found @ mean), float(found @ found)
        if common <= 0:  # nothing was learnt, or nothing is left of it
            return cls(1.0, 0.0 if mean.any() else 1.0)
        return cls(common / own, common / float(np.sqrt(own * (mean @ mean))))


def _fit(
    folder: Path,
    members: Sequence[Path],
    division: Division,
    config: TrainConfig,
    average: _Averaged | None,
    length: LengthSlope | None,
) -> _Fit:
    """Load what was made, and score and calibrate it on the pairs that were held out."""
    scale = average.scale if average else 1.0
    slope = None if length is None else length.value / scale
    left_out = [held for _, held in division.parts if held is not None]
    if not left_out:
        return _Fit(length_slope=slope)
    if division.in_turn:
        # Of each pair by the member that did not see its prompt; in units of the model of averaged weights.
        own = [RewardModel.load(one).gaps(held.pairs) for one, held in zip(members, left_out, strict=True)]
        gaps = np.concatenate(own, axis=1) / scale
        pairs = [pair for held in left_out for pair in held.pairs]
        label = np.concatenate([held.label for held in left_out])
    else:
        pairs, label = left_out[0].pairs, left_out[0].label
        gaps = RewardModel.load(folder).gaps(pairs)
    ratio = log_ratios(pairs)
    with_length = gaps + (slope or 0.0) * ratio
    to_labels = _fit_to_labels(with_length, label.astype(np.float64))
    if config.calibration == "none":
        return replace(to_labels, length_slope=slope)
    rows, preference, weight = observed_preferences(pairs)
    try:
        check_enough(len(rows))
        if length is not None:
            # In turn, the labels that are fitted to are those that the slope came from: no prior, or they count twice.
            length = replace(length, precision=0.0) if division.in_turn else length
            slope = length.corrected(gaps[:, rows].mean(axis=0), ratio[rows], preference, weight)
            with_length = gaps + slope * ratio
        fitted = fit_calibration(with_length[:, rows], preference, weight, config.calibration, log_sd=HELD_OUT_LOG_SD)
        return replace(to_labels, calibration=fitted, length_slope=slope)
    except TrainingError as error:
        report(f"not calibrated: {error}")
        return replace(to_labels, length_slope=slope)


def _fit_to_labels(gaps: NDArray[np.float64], label: NDArray[np.float64]) -> _Fit:
    """Compare a mean of members with the labels of the pairs with a winner, as a single model is compared."""
    decided = label != 0.5
    if not decided.any():
        return _Fit()
    gaps, label = gaps[:, decided], label[decided]
    nll = mean_nll(gaps, label, np.ones_like(label))
    leads = np.sign(expit(gaps).mean(axis=0) - 0.5)
    accuracy = float(np.mean(0.5 * (1 + leads * np.sign(label - 0.5))))
    return _Fit(nll, accuracy, calibrated_nll(gaps, label))


def _summarise(
    summaries: Sequence[TrainSummary], fit: _Fit, division: Division, average: _Averaged | None
) -> TrainSummary:
    """Sum up the members' summaries: their steps and seconds, the mean of their NLL, and how their average does."""
    members = tuple(one.validation_nll for one in summaries if one.validation_nll is not None)
    notes = [f"member {n}: {one.note}" for n, one in enumerate(summaries, start=1) if one.note is not None]
    if average is not None and average.cosine < _ALIKE:
        notes.append(_APART)
        report(_APART)
    known = [one.nll for one in summaries if one.nll is not None]
    # What was counted of texts: each is read by all members, or by all but one.
    readers = len(summaries) - division.in_turn
    counts = {name: round(sum(getattr(one, name) for one in summaries) / readers) for name in _OF_TEXTS}
    return summaries[0].model_copy(
        update={
            **counts,
            "pairs": len(division.whole.pairs),
            "validation_pairs": len(division.whole.pairs) if division.in_turn else summaries[0].validation_pairs,
            "steps": sum(one.steps for one in summaries),
            "resumed_from": max(one.resumed_from for one in summaries),
            "seconds": round(sum(one.seconds for one in summaries), 1),
            "nll": fmean(known) if known else None,
            "validation_nll": fit.nll,
            "validation_accuracy": fit.accuracy,
            "members_nll": members,
            "temperature": fit.calibration.temperature if fit.calibration else None,
            "length_slope": fit.length_slope,
            "note": "; ".join(notes) or None,
        }
    )


def _mean_log(logs: Sequence[Sequence[LogRow]]) -> Iterator[LogRow]:
    """Yield the means of the members' log rows; of a step that one of them did not reach, nothing."""
    names = [name for name in LogRow.model_fields if name not in ("step", "epoch")]
    by_place = [{(row.step, row.validation_nll is None): row for row in log} for log in logs]
    for place, row in by_place[0].items():
        rows = [own[place] for own in by_place if place in own]
        if len(rows) < len(logs):
            continue
        values = {name: [getattr(one, name) for one in rows] for name in names}
        means = {name: None if None in found else fmean(found) for name, found in values.items()}
        yield row.model_copy(update=means)


def _last_row(log: Sequence[LogRow], fit: _Fit) -> list[LogRow]:
    """Return the row of the average itself, after that of the last step."""
    if not log or fit.nll is None:
        return []
    return [
        LogRow(
            step=log[-1].step,
            epoch=log[-1].epoch,
            validation_nll=fit.nll,
            validation_accuracy=fit.accuracy,
            validation_calibrated_nll=fit.calibrated_nll,
        )
    ]


def _keep_reports(members: Sequence[Path], folder: Path) -> None:
    """Keep what reporters wrote of members that go."""
    for member in members:
        if (reports := member / REPORTS).is_dir():
            shutil.copytree(reports, folder / REPORTS / member.name)

"""Training a reward model on pairs, at one learning rate or at the best of several."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import model_validator

from dissensus.reward.choices import Sweep, Value, with_chosen
from dissensus.reward.config import VALIDATION, Runtime, TrainConfig, refuse_other_names
from dissensus.settings import Argument, Option, Reads, Settings, Writes

if TYPE_CHECKING:
    from dissensus.records import Margin, Pair
    from dissensus.reward.model_record import TrainSummary
    from dissensus.reward.training.sweep import SweepSummary

_COUNTED = {"pairs", "ties_dropped", "texts", "texts_truncated", "steps", "resumed_from"}


class TrainSettings(Settings):
    """Train a reward model on PAIRS; killed anywhere, the same command goes on.

    With --sweep one model is trained for each learning rate, with --choose for each value of another setting, and the
    best on validation is kept.
    """

    pairs: Annotated[str, Reads(), Argument()]
    """Pairs with labels or votes: a data set's name, a file or a Hub id."""
    out: Annotated[Path, Writes("folder")]
    """Folder of the trained model."""
    margins: Annotated[Path | None, Reads("file")] = None
    """Margins of 'dissensus margin', for the objectives that read them."""
    training: Annotated[TrainConfig, Option(prefix="")] = TrainConfig()
    """What decides the model, and how it is run."""
    sweep: Annotated[Sweep, Option(prefix="sweep-")] = Sweep()
    """A choice of the learning rate, or of other settings, on held-out labels."""
    allow_missing: bool = False
    """Leave pairs without a margin out, and count them."""
    overwrite: bool = False
    """Replace a model of another config, backbone or data."""

    groups: ClassVar = {
        "Objective": tuple(
            f"training.{name}"
            for name in (
                "objective", "margin_sign", "margin_scale", "label_weight", "soft_targets", "center",
                "length_covariate",
            )
        ),
        "Training": ("training",),
        "Choice of settings on held-out labels": ("sweep",),
        "How it is run, which alters no result": tuple(f"training.runtime.{name}" for name in Runtime.model_fields),
    }  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _by_our_names(cls, data: object) -> object:
        refuse_other_names(data)
        return data


@dataclass(frozen=True, repr=False)
class TrainResult:
    """A model, or several of which the best was kept."""

    out: Path
    config: TrainConfig
    """As it was trained: with what nobody said and the data decided."""
    summary: TrainSummary
    sweep: SweepSummary | None = None

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """Yield what the command prints."""
        yield from self._of_run() if self.sweep is None else self._of_sweep(self.sweep)

    def counts(self) -> Mapping[str, object]:
        """Return what a study keeps of it."""
        done, swept = self.summary, self.sweep
        fits = {"nll": done.nll, "temperature": done.temperature, "length_slope": done.length_slope}
        rounded = {name: None if fit is None else round(fit, 4) for name, fit in fits.items()}
        found = done.model_dump(include=_COUNTED) | rounded
        if swept is None:
            return found | {"learning_rate": self.config.rate, "epochs": self.config.epochs}
        beside = {name: value for name, value in swept.chosen.items() if name != "learning_rate"}
        return found | {"rates": len(swept.rates), "learning_rate": swept.best, "chosen": beside or None}

    def _of_run(self) -> Iterator[str]:
        done = self.summary
        nll = "" if done.nll is None else f", nll {done.nll:.4f}"
        objective = self.config.objective
        yield f"{self.out}: {objective} on {done.pairs} pairs, {done.steps} steps{nll}, {done.seconds:.0f} s"
        if done.validation_nll is not None:
            fit = f"nll {done.validation_nll:.4f}, accuracy {done.validation_accuracy:.3f}"
            yield f"  validation: {fit} on {done.validation_pairs} pairs"
        if done.processes != "one process":
            yield f"  {done.processes}, texts {done.layout}"
        yield from self._of_length()
        if done.members_nll:
            each = ", ".join(f"{nll:.4f}" for nll in done.members_nll)
            in_turn = done.validation_pairs == done.pairs
            average = f"validation is of the mean of their {self.config.average}"
            yield f"  members by themselves: nll {each}; {'each on the prompts it left out' if in_turn else average}"
        yield from self._of_calibration()
        for count, what in (
            (done.ties_dropped, "pairs labelled tie dropped (this objective needs a winner)"),
            (done.unlabelled_dropped, "pairs without a label dropped"),
            (done.unjudged_dropped, "pairs without a margin left out"),
            (done.resumed_from, "was the step of the checkpoint that this run went on from"),
        ):
            if count:
                yield f"  {count} {what}"
        yield from (f"  {line}" for line in done.lost.notes(self.config.max_length))

    def _of_sweep(self, sweep: SweepSummary) -> Iterator[str]:
        best = ", ".join(f"{_words(name)} {_shown(value)}" for name, value in sweep.chosen.items())
        yield f"{self.out}: {best}, the best by validation {sweep.metric}"
        names = {name: max(9, len(_heading(name))) for name in sweep.among}
        calibrated = sweep.metric == "calibrated-nll"
        header = "  ".join(f"{_heading(name):>{width}}" for name, width in names.items())
        trained = "trained" if "epochs" in names else "epochs"
        yield f"  {header} {'nll':>8}{' calibrated' if calibrated else ''} {'accuracy':>9} {trained:>7} {'seconds':>8}"
        for row in sweep.rates:
            given = "  ".join(f"{_shown(row.settings[name]):>{width}}" for name, width in names.items())
            if row.failed is not None:
                yield f"  {given} failed: {row.failed}"
                continue
            mark = "  <- kept" if row.settings == sweep.chosen else ""
            after = f" {row.calibrated_nll:>10.4f}" if calibrated else ""
            fit = f"{row.nll:>8.4f}{after} {row.accuracy:>9.3f} {row.epochs:>7.3g}"
            yield f"  {given} {fit} {row.seconds:>8.0f}{mark}"
        yield from self._of_length()
        yield from self._of_calibration()

    def _of_length(self) -> Iterator[str]:
        if (slope := self.summary.length_slope) is not None:
            yield f"  length: {slope:+.3f} * log(characters of the response) is in the reward"

    def _of_calibration(self) -> Iterator[str]:
        from dissensus.reward.serving.calibration import load_calibration

        if (calibration := load_calibration(self.out)) is not None:
            fitted = f"fitted on {calibration.pairs} pairs ({calibration.votes:g} votes)"
            fit = f"nll {calibration.nll_before:.4f} before, {calibration.nll_after:.4f} after"
            yield f"  {calibration}, {fitted}: {fit}"
            if calibration.note:
                yield f"  {calibration.note}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _heading(name: str) -> str:
    return "rate" if name == "learning_rate" else _words(name)


def _shown(value: Value) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.3g}" if is_number else str(value)


def run(
    settings: TrainSettings,
    *,
    pairs: Sequence[Pair] | None = None,
    margins: Sequence[Margin] | None = None,
    progress: bool = True,
) -> TrainResult:
    """Train; faults of settings and data, and a run that is finished already, show before torch is loaded.

    ``pairs`` and ``margins`` that are in memory stand for those that the settings name.
    """
    from dissensus.files import read_records
    from dissensus.records import Margin
    from dissensus.reward.model_record import RECORD_FILE, read_record
    from dissensus.reward.training.preflight import check_data, check_settings
    from dissensus.sources import read_pairs

    config, among, out = settings.training, settings.sweep.among(settings.training), settings.out
    missing, overwrite = settings.allow_missing, settings.overwrite
    if among and config.validation is None:
        config = config.model_copy(update={"validation": VALIDATION})
        _report(f"--validation {VALIDATION}, since a sweep chooses on held-out prompts")
    check_settings(config, out)
    if margins is None and settings.margins is not None and config.reads_margins:
        margins = list(read_records(settings.margins, Margin))
    every = list(read_pairs(settings.pairs)) if pairs is None else pairs
    done = check_data(every, margins, config, out, allow_missing=missing, overwrite=overwrite or bool(among))
    if done is not None:
        if done.note is not None:
            _report(done.note)
        return TrainResult(out, read_record(out / RECORD_FILE).config, done)
    # Torch is loaded from here on.
    from dissensus.reward.training.run import train
    from dissensus.reward.training.sweep import sweep

    if not among:
        summary = train(
            every, config, out, margins=margins, allow_missing=missing, overwrite=overwrite, progress=progress
        )
        return TrainResult(out, read_record(out / RECORD_FILE).config, summary)
    table = sweep(
        every,
        config,
        settings.sweep.values(),
        out,
        choose={name: values for name, values in among.items() if name != "learning_rate" or not settings.sweep.rates},
        most=settings.sweep.most,
        metric=settings.sweep.chosen_by,
        patience=settings.sweep.patience,
        margins=margins,
        allow_missing=missing,
        overwrite=overwrite,
        progress=progress,
    )
    best = read_record(out / RECORD_FILE).summary
    assert best is not None  # a finished run has one
    return TrainResult(out, config, best, table)


def fingerprint(settings: TrainSettings) -> list[object]:
    """Return what of the settings decides the model."""
    swept = settings.sweep.among(settings.training)
    # What an objective does not read, or what stands at its default as in earlier versions, decides nothing.
    sweep = settings.sweep.model_dump(mode="json", exclude={"choose", "most", "metric"}) if swept else None
    if sweep is not None:
        sweep["metric"] = settings.sweep.chosen_by
        chosen = {name: values for name, values in swept.items() if name != "learning_rate"}
        sweep |= {"choose": chosen, "most": settings.sweep.most} if chosen else {}
    return [settings.training.deciding(), settings.training.calibration, sweep]


def with_choice_of(settings: TrainSettings, first: Path) -> TrainSettings:
    """Take what a sweep chose for another seed, whose model is in ``first``."""
    from dissensus.reward.training.sweep import SWEEP_FILE, read_sweep

    # As much is held out as a sweep holds out, however little that is, so that all seeds train on as many pairs.
    held = {"validation": settings.training.held_share}
    training = with_chosen(settings.training, held | read_sweep(first / SWEEP_FILE).chosen)
    return settings.model_copy(update={"training": training, "sweep": Sweep()})


def idle(settings: TrainSettings) -> Iterator[str]:
    """Name the options that were given and alter nothing, and say why."""
    config, objective, sweep = settings.training, f"objective '{settings.training.objective}'", settings.sweep
    why = {"--" + name.replace("_", "-"): f"{objective} does not read it" for name in config.unread}
    given = {"--" + name.replace("_", "-") for name in config.model_fields_set | settings.model_fields_set}
    names = {"patience": "--patience", "choose": "--choose", "most": "--choose-most", "rates": "--sweep"}
    given |= {names.get(name, f"--sweep-{name}") for name in sweep.model_fields_set}
    if not config.reads_margins:
        why |= dict.fromkeys(("--margins", "--allow-missing"), f"{objective} reads no margins")
    chosen = sweep.choose.keys() - config.unread
    why |= {f"--{name.replace('_', '-')}": "--choose chooses it" for name in chosen}
    if sweep.rates is None:
        why["--sweep-points"] = "it belongs to --sweep"
        if not chosen:
            why |= dict.fromkeys(("--sweep-metric", "--patience"), "it belongs to --sweep")
    else:
        why["--learning-rate"] = "--sweep chooses it"
        if ".." not in sweep.rates:
            why["--sweep-points"] = "--sweep lists its rates"
    if not sweep.choose:
        why["--choose-most"] = "it belongs to --choose"
    elif not chosen:
        why["--choose"] = f"{objective} reads nothing of it"
    return (f"{option} is left alone: {why[option]}" for option in sorted(given & why.keys()))


def _report(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201

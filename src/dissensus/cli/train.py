"""``dissensus train``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click
from click.core import ParameterSource

from dissensus.cli.complete_paths import complete_file, complete_source
from dissensus.cli.outputs import Output, Source, Verb
from dissensus.errors import ConfigError
from dissensus.reward.config import Runtime, TrainConfig
from dissensus.reward.training.reporters import REPORTERS

if TYPE_CHECKING:
    from dissensus.reward.model_record import TrainSummary
    from dissensus.reward.training.sweep import SweepSummary

_SWEEP_VALIDATION = 0.1


def _setting(name: str, about: str, **options: Any) -> Callable[[Any], Any]:
    """Make the option of a setting of `TrainConfig`; its help shows the default and the choices that it has there."""
    field, option = (TrainConfig.model_fields | Runtime.model_fields)[name], name.replace("_", "-")
    options = {"default": field.default, "show_default": True, "help": about} | options
    if isinstance(field.default, bool):
        return click.option(f"--{option}/--no-{option}", **options)
    if get_origin(field.annotation) is Literal:
        # Not a choice of click's, whose message has several lines: the settings themselves refuse other words.
        options |= {"metavar": f"[{'|'.join(get_args(field.annotation))}]"}
    return click.option(f"--{option}", **({"type": type(field.default)} | options))


@click.command("train", cls=Verb)
@click.argument("pairs", type=Source(), shell_complete=complete_source)
@click.option("--out", type=Output("folder"), required=True, help="Folder of the trained model.")
@click.option(
    "--margins",
    "margins_file",
    type=click.Path(path_type=Path),
    show_default="none",
    help="Margins of 'dissensus margin', for the objectives that read them.",
)
@_setting("objective", "What is trained towards.")
@_setting("model", "Backbone: a folder, a Hub id or minilm.", type=Source(), shell_complete=complete_file)
@_setting("margin_sign", "unsigned: the paper's.")
@_setting("margin_scale", "Factor on the margin.")
@_setting("label_weight", "Weight of the own label in 'blend'.")
@_setting("soft_targets", "Targets of 'blend' for distributional rewards.")
@_setting("atoms", "Rewards that 'categorical' spreads over.")
@_setting("center", "Weight of the centre regulariser, (reward_a + reward_b)^2.")
@_setting("learning_rate", "The highest, after the warm-up; it then falls to 0.")
@click.option(
    "--sweep",
    "sweep_rates",
    metavar="RATES",
    show_default="none",
    help="Rates to choose from on validation: 1e-4..1e-6, or 1e-4,3e-5,1e-5.",
)
@click.option("--sweep-points", type=int, default=5, show_default=True, help="Rates in a range.")
@click.option(
    "--sweep-metric",
    type=click.Choice(["nll", "accuracy"]),
    default="nll",
    show_default=True,
    help="What the best rate is chosen by.",
)
@click.option("--patience", type=int, default=1, show_default=True, help="Epochs without a better NLL, in a sweep.")
@_setting("epochs", "Passes over the pairs.")
@_setting("batch_size", "Pairs per optimiser step, over all processes.")
@_setting(
    "tokens_per_batch",
    "Tokens per forward pass: bounds memory, alters no loss.",
    type=int,
    show_default="by the device",
)
@_setting("batching", "prompt: where a prompt has many pairs.")
@_setting("max_length", "Tokens per prompt and response.")
@_setting("warmup", "Share of the steps over which the learning rate rises.")
@_setting("weight_decay", "Of AdamW.")
@_setting("max_grad_norm", "Longer gradients are cut to this length.")
@_setting("dropout", "Share of the activations left out.")
@_setting("precision", "auto: bf16 where the processor has it.")
@_setting("gradient_checkpointing", "Less memory, a third more time.")
@_setting("fast", "Our own exact attention and packing, where its check passes.")
@_setting("lora_rank", "Train adapters of this rank (PEFT) and the head.", type=int, show_default="all weights")
@_setting("lora_alpha", "Scale of the adapters.", type=float, show_default="twice the rank")
@_setting("calibration", "Fitted on the validation votes.")
@_setting("validation", "Share of the prompts held out and scored every epoch.")
@_setting("logging_steps", "Steps between two entries of the log.")
@_setting("checkpoint_steps", "Steps between two checkpoints.")
@_setting("seed", "Decides the new head, the order of the pairs and what is held out.")
@click.option(
    "--report-to",
    multiple=True,
    metavar="NAME",
    show_default="none",
    help=f"{', '.join(REPORTERS)} or all; may be given several times.",
)
@click.option("--allow-missing", is_flag=True, show_default="off", help="Leave pairs without a margin out; count them.")
@click.option(
    "--overwrite", is_flag=True, show_default="off", help="Replace a model of another config, backbone or data."
)
def command(
    pairs: str,
    out: Path,
    margins_file: Path | None,
    sweep_rates: str | None,
    sweep_points: int,
    sweep_metric: Literal["nll", "accuracy"],
    patience: int,
    report_to: tuple[str, ...],
    allow_missing: bool,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Train a reward model on PAIRS; killed anywhere, the same command goes on.

    With --sweep one model is trained for each learning rate and the best on validation is kept.
    """
    from dissensus.files import read_records
    from dissensus.records import Margin
    from dissensus.reward.config import parse_rates
    from dissensus.reward.training.preflight import check_data, check_settings
    from dissensus.sources import read_pairs

    context = click.get_current_context()
    given = {name for name in context.params if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
    if sweep_rates and "learning_rate" in given:
        raise ConfigError("--learning-rate and --sweep say two things; give one of them")
    rates = parse_rates(sweep_rates, points=sweep_points) if sweep_rates else []
    if rates and "validation" not in given:
        settings["validation"] = _SWEEP_VALIDATION
        click.echo(f"--validation {_SWEEP_VALIDATION}, since a sweep chooses on held-out prompts", err=True)
    config = _config({**settings, "report_to": report_to})
    _report_unread(given, config, rates=sweep_rates)
    check_settings(config, out)
    margins = list(read_records(margins_file, Margin)) if margins_file and config.reads_margins else None
    every = list(read_pairs(pairs))
    finished = check_data(every, margins, config, out, allow_missing=allow_missing, overwrite=overwrite or bool(rates))
    if finished is not None:
        _show(out, config, finished)
        if finished.note is not None:
            click.echo(finished.note, err=True)
        return
    # Torch is loaded from here on.
    options: dict[str, Any] = {
        "margins": margins,
        "allow_missing": allow_missing,
        "overwrite": overwrite,
    }
    if rates:
        from dissensus.reward.training.sweep import sweep

        _show_sweep(out, sweep(every, config, rates, out, metric=sweep_metric, patience=patience, **options))
        return
    from dissensus.reward.training.run import train

    _show(out, config, train(every, config, out, **options))


def _config(settings: Mapping[str, Any]) -> TrainConfig:
    from pydantic import ValidationError

    try:
        return TrainConfig(**settings)
    except ValidationError as error:
        raise ConfigError(_first_problem(error.errors()[0])) from error


def _report_unread(given: set[str], config: TrainConfig, *, rates: str | None) -> None:
    """Say which options were given that alter nothing."""
    why = dict.fromkeys(config.unread, f"objective '{config.objective}' does not read it")
    if not config.reads_margins:
        why |= dict.fromkeys(("margins_file", "allow_missing"), f"objective '{config.objective}' reads no margins")
    if rates is None:
        why |= dict.fromkeys(("sweep_points", "sweep_metric", "patience"), "it belongs to --sweep")
    elif ".." not in rates:
        why["sweep_points"] = "--sweep lists its rates"
    for name in sorted(given & why.keys()):
        option = "--margins" if name == "margins_file" else "--" + name.replace("_", "-")
        click.echo(f"{option} is left alone: {why[name]}", err=True)


def _show(out: Path, config: TrainConfig, summary: TrainSummary) -> None:
    nll = f", nll {summary.nll:.4f}" if summary.nll is not None else ""
    click.echo(
        f"{out}: {config.objective} on {summary.pairs} pairs, {summary.steps} steps{nll}, {summary.seconds:.0f} s"
    )
    if summary.validation_nll is not None:
        click.echo(
            f"  validation: nll {summary.validation_nll:.4f}, accuracy {summary.validation_accuracy:.3f} "
            f"on {summary.validation_pairs} pairs"
        )
    _show_calibration(out)
    for count, what in (
        (summary.ties_dropped, "pairs labelled tie dropped (this objective needs a winner)"),
        (summary.unlabelled_dropped, "pairs without a label dropped"),
        (summary.unjudged_dropped, "pairs without a margin left out"),
        (summary.resumed_from, "was the step of the checkpoint that this run went on from"),
    ):
        if count:
            click.echo(f"  {count} {what}")
    for line in summary.lost.notes(config.max_length):
        click.echo(f"  {line}")


def _show_calibration(out: Path) -> None:
    from dissensus.reward.serving.calibration import load_calibration

    calibration = load_calibration(out)
    if calibration is not None:
        click.echo(
            f"  temperature {calibration.temperature:.4g}, fitted on {calibration.pairs} pairs "
            f"({calibration.votes:g} votes): nll {calibration.nll_before:.4f} before, {calibration.nll_after:.4f} after"
        )
        if calibration.note:
            click.echo(f"  {calibration.note}")


def _show_sweep(out: Path, summary: SweepSummary) -> None:
    click.echo(f"{out}: learning rate {summary.best:.3g}, the best by validation {summary.metric}")
    click.echo(f"  {'rate':>9} {'nll':>8} {'accuracy':>9} {'epochs':>7} {'seconds':>8}")
    for row in summary.rates:
        if row.failed is not None:
            click.echo(f"  {row.learning_rate:>9.3g} failed: {row.failed}")
            continue
        mark = "  <- kept" if row.learning_rate == summary.best else ""
        click.echo(
            f"  {row.learning_rate:>9.3g} {row.nll:>8.4f} {row.accuracy:>9.3f} {row.epochs:>7.3g} "
            f"{row.seconds:>8.0f}{mark}"
        )
    _show_calibration(out)


def _first_problem(problem: Any) -> str:
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    option = "--" + str(problem["loc"][-1]).replace("_", "-")
    return f"{option}: {problem['msg']} (found {problem['input']!r})"

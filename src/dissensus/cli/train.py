"""``dissensus train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dissensus.cli.completing import complete_file, complete_source
from dissensus.cli.outputs import Output, Source, Verb
from dissensus.errors import ConfigError
from dissensus.reward.config import OBJECTIVES

if TYPE_CHECKING:
    from dissensus.reward.saving import TrainSummary
    from dissensus.reward.sweep import SweepSummary

_SWEEP_VALIDATION = 0.1


@click.command("train", cls=Verb)
@click.argument("pairs", type=Source(), shell_complete=complete_source)
@click.option("--out", type=Output("folder"), required=True, help="Folder of the trained model.")
@click.option("--margins", "margins_file", type=click.Path(path_type=Path), help="Margins of 'dissensus margin'.")
@click.option("--objective", default="bradley-terry", show_default=True, help=", ".join(OBJECTIVES) + ".")
@click.option(
    "--model",
    type=Source(),
    shell_complete=complete_file,
    default="minilm",
    show_default=True,
    help="Backbone: a folder, a Hub id or minilm.",
)
@click.option("--margin-sign", help="unsigned (the paper's) or signed.")
@click.option("--margin-scale", type=float, help="Factor on the margin.")
@click.option("--label-weight", type=float, help="Weight of the own label in 'blend'.")
@click.option("--soft-targets", is_flag=True, default=None, help="Targets of 'blend' for distributional rewards.")
@click.option("--atoms", type=int, help="Rewards that 'categorical' spreads over.")
@click.option("--center", type=float, help="Weight of the centre regulariser, (reward_a + reward_b)^2.")
@click.option("--learning-rate", type=float)
@click.option("--sweep", "sweep_rates", help="Rates to choose from on validation: 1e-4..1e-6, or 1e-4,3e-5,1e-5.")
@click.option("--sweep-points", type=int, default=5, show_default=True, help="Rates in a range.")
@click.option("--sweep-metric", type=click.Choice(["nll", "accuracy"]), default="nll", show_default=True)
@click.option("--patience", type=int, default=1, show_default=True, help="Epochs without a better NLL, in a sweep.")
@click.option("--epochs", type=int)
@click.option("--batch-size", type=int, help="Pairs per optimiser step, over all processes.")
@click.option("--tokens-per-batch", type=int, help="Tokens per forward pass: bounds memory, alters no loss.")
@click.option("--batching", help="length, or prompt where a prompt has many pairs.")
@click.option("--max-length", type=int, help="Tokens per prompt and response.")
@click.option("--warmup", type=float, help="Share of the steps over which the learning rate rises.")
@click.option("--weight-decay", type=float)
@click.option("--max-grad-norm", type=float)
@click.option("--dropout", type=float)
@click.option("--precision", help="auto, bf16 or fp32.")
@click.option("--gradient-checkpointing", is_flag=True, default=None, help="Less memory, a third more time.")
@click.option("--fast/--no-fast", default=None, help="Our own exact attention and packing, where its check passes.")
@click.option("--compile", is_flag=True, default=None, help="Run the model through torch.compile.")
@click.option("--lora-rank", type=int, help="Train adapters of this rank (PEFT) and the head.")
@click.option("--lora-alpha", type=float, help="Scale of the adapters; twice the rank unless given.")
@click.option("--calibration", help="none, temperature or platt, fitted on the validation votes.")
@click.option("--validation", type=float, help="Share of the prompts held out and scored every epoch.")
@click.option("--logging-steps", type=int)
@click.option("--checkpoint-steps", type=int)
@click.option("--seed", type=int)
@click.option("--report-to", multiple=True, help="wandb, tensorboard …; may be given several times.")
@click.option("--allow-missing", is_flag=True, help="Leave pairs without a margin out, and count them.")
@click.option("--overwrite", is_flag=True, help="Replace a model of another config, backbone or data.")
def command(
    pairs: str,
    out: Path,
    margins_file: Path | None,
    sweep_rates: str | None,
    sweep_points: int,
    sweep_metric: str,
    patience: int,
    report_to: tuple[str, ...],
    allow_missing: bool,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Train a reward model on PAIRS; killed anywhere, the same command goes on.

    With --sweep one model is trained for each learning rate and the best on validation is kept.
    """
    from pydantic import ValidationError

    from dissensus.files import read_records
    from dissensus.records import Margin
    from dissensus.reward.config import TrainConfig, parse_rates
    from dissensus.sources import read_pairs

    if sweep_rates and settings["learning_rate"] is not None:
        raise ConfigError("--learning-rate and --sweep say two things; give one of them")
    rates = parse_rates(sweep_rates, points=sweep_points) if sweep_rates else []
    if rates and settings["validation"] is None:
        settings["validation"] = _SWEEP_VALIDATION
        click.echo(f"--validation {_SWEEP_VALIDATION}, since a sweep chooses on held-out prompts", err=True)
    try:
        config = TrainConfig(**{key: value for key, value in settings.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(_first_problem(error.errors()[0])) from error
    options: dict[str, Any] = {
        "margins": list(read_records(margins_file, Margin)) if margins_file else None,
        "allow_missing": allow_missing,
        "overwrite": overwrite,
        "report_to": report_to,
    }
    if rates:
        from dissensus.reward.sweep import sweep

        chosen = sweep(list(read_pairs(pairs)), config, rates, out, metric=sweep_metric, patience=patience, **options)  # type: ignore[arg-type]
        _show_sweep(out, chosen)
        return
    from dissensus.reward.run import train

    _show(out, config, train(list(read_pairs(pairs)), config, out, **options))


def _show(out: Path, config: Any, summary: TrainSummary) -> None:
    nll = f", nll {summary.nll:.4f}" if summary.nll is not None else ""
    click.echo(
        f"{out}: {config.objective} on {summary.pairs} pairs, {summary.steps} steps{nll}, {summary.seconds:.0f} s"
    )
    for count, what in (
        (summary.ties_dropped, "pairs labelled tie dropped (this objective needs a winner)"),
        (summary.unlabelled_dropped, "pairs without a label dropped"),
        (summary.unjudged_dropped, "pairs without a margin left out"),
        (summary.texts_truncated, f"of {summary.texts} texts cut to {config.max_length} tokens, prompt first"),
        (summary.resumed_from, "was the step of the checkpoint that this run went on from"),
    ):
        if count:
            click.echo(f"  {count} {what}")


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


def _first_problem(problem: Any) -> str:
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    option = "--" + str(problem["loc"][0]).replace("_", "-")
    return f"{option}: {problem['msg']} (found {problem['input']!r})"

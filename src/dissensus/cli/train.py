"""``dissensus train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dissensus.errors import ConfigError
from dissensus.reward.config import OBJECTIVES


@click.command("train")
@click.argument("pairs")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the trained model.")
@click.option("--margins", "margins_file", type=click.Path(path_type=Path), help="Margins of 'dissensus margin'.")
@click.option("--objective", default="bradley-terry", show_default=True, help=", ".join(OBJECTIVES) + ".")
@click.option("--model", default="minilm", show_default=True, help="Backbone: a folder, a Hub id or minilm.")
@click.option("--margin-sign", help="unsigned (the paper's) or signed.")
@click.option("--margin-scale", type=float, help="Factor on the margin.")
@click.option("--label-weight", type=float, help="Weight of the own label in 'blend'.")
@click.option("--learning-rate", type=float)
@click.option("--epochs", type=int)
@click.option("--batch-size", type=int, help="Pairs per optimiser step.")
@click.option("--micro-batch-size", type=int, help="Pairs per forward pass.")
@click.option("--batching", help="length, or prompt where a prompt has many pairs.")
@click.option("--max-length", type=int, help="Tokens per prompt and response.")
@click.option("--precision", help="auto, bf16 or fp32.")
@click.option("--validation", type=float, help="Share of the prompts held out and scored every epoch.")
@click.option("--checkpoint-steps", type=int)
@click.option("--seed", type=int)
@click.option("--report-to", multiple=True, help="wandb, tensorboard …; may be given several times.")
@click.option("--allow-missing", is_flag=True, help="Leave pairs without a margin out, and count them.")
@click.option("--overwrite", is_flag=True, help="Replace a model of another config, backbone or data.")
def command(
    pairs: str,
    out: Path,
    margins_file: Path | None,
    report_to: tuple[str, ...],
    allow_missing: bool,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Train a reward model on PAIRS; killed anywhere, the same command goes on."""
    from pydantic import ValidationError

    from dissensus.files import read_pairs, read_records
    from dissensus.records import Margin
    from dissensus.reward.config import TrainConfig
    from dissensus.reward.run import train

    try:
        config = TrainConfig(**{key: value for key, value in settings.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(_first_problem(error.errors()[0])) from error
    margins = list(read_records(margins_file, Margin)) if margins_file else None
    summary = train(
        list(read_pairs(pairs)),
        config,
        out,
        margins=margins,
        allow_missing=allow_missing,
        overwrite=overwrite,
        report_to=report_to,
    )
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


def _first_problem(problem: Any) -> str:
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    option = "--" + str(problem["loc"][0]).replace("_", "-")
    return f"{option}: {problem['msg']} (found {problem['input']!r})"

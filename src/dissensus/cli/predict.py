"""``dissensus predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from dissensus.cli.complete_paths import complete_file, complete_source
from dissensus.cli.outputs import Output, Source, Verb


@click.command("predict", cls=Verb)
@click.argument("pairs", type=Source(), shell_complete=complete_source)
@click.option(
    "--model",
    type=Source(),
    shell_complete=complete_file,
    required=True,
    help="A trained folder, or any one-output sequence classifier.",
)
@click.option("--out", type=Output(), required=True, help="Predictions: .parquet, .jsonl or .csv.")
@click.option("--name", help="The model's name in tables; its folder's name unless given.")
@click.option("--seed", type=int, help="The training seed, where one model was trained several times.")
@click.option(
    "--max-length", type=int, help="Tokens per prompt and response; as trained, or what the model takes, unless given."
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of matrix products; bf16 is several times faster where the processor has it.",
)
@click.option("--calibrated", is_flag=True, help="Also the preference by the model's calibration ('calibrate').")
def command(
    pairs: str,
    model: str,
    out: Path,
    name: str | None,
    seed: int | None,
    max_length: int | None,
    precision: Literal["fp32", "bf16"],
    calibrated: bool,
) -> None:
    """Score PAIRS with a reward model: window by window, each distinct prompt and response of one once.

    Killed anywhere, the same command goes on with the window that it was at.
    """
    from dissensus.files import PairFile, content_of
    from dissensus.files.writers import check_writable_name
    from dissensus.reward.training.preflight import check_calibrated, check_model, check_window
    from dissensus.sources import read_pairs
    from dissensus.text.encoder import resolve_model

    check_writable_name(out)
    check_window(max_length)
    check_model(model)
    name = name or Path(model).name
    if calibrated:
        check_calibrated(model, name)
    rows = PairFile(pairs, read=read_pairs)
    # Torch is loaded from here on.
    from dissensus.reward.serving.predict_file import predict_file
    from dissensus.reward.serving.reward_model import RewardModel

    scorer = RewardModel.load(model, max_length=max_length, precision=precision)
    count = predict_file(
        scorer,
        rows,
        out,
        name=name,
        identity=content_of(resolve_model(model)) or model,
        seed=seed,
        calibrated=calibrated,
        total=len(rows),
        progress=True,
    )
    click.echo(f"{out}: {count} predictions")

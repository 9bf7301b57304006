"""``dissensus predict``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("predict")
@click.argument("pairs")
@click.option("--model", required=True, help="A trained folder, or any one-output sequence classifier.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Predictions: .parquet, .jsonl or .csv.")
@click.option("--name", help="The model's name in tables; its folder's name unless given.")
@click.option("--seed", type=int, help="The training seed, where one model was trained several times.")
@click.option("--max-length", type=int, help="Tokens per prompt and response; as trained unless given.")
@click.option("--calibrated", is_flag=True, help="Also the preference by the model's calibration ('calibrate').")
def command(
    pairs: str, model: str, out: Path, name: str | None, seed: int | None, max_length: int | None, calibrated: bool
) -> None:
    """Score PAIRS with a reward model; each distinct prompt and response once."""
    from dissensus.files import read_pairs, write_records
    from dissensus.reward.model import RewardModel

    rows = list(read_pairs(pairs))
    scorer = RewardModel.load(model, max_length=max_length)
    predictions = scorer.predict(rows, name=name or Path(model).name, seed=seed, calibrated=calibrated, progress=True)
    count = write_records(out, predictions)
    click.echo(f"{out}: {count} predictions")

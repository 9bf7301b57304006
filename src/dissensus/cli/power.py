"""``dissensus power``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from dissensus.cli.outputs import Verb

if TYPE_CHECKING:
    from dissensus.stats.planning import Plan
    from dissensus.stats.power import Design

_COMPARED = (1, 3, 5, 10)
_FRACTION = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command(cls=Verb)
@click.option("--pairs", default=150, show_default=True, help="In all data sets together.")
@click.option("--annotators", default=3, show_default=True, help="Per pair.")
@click.option("--r", required=True, type=float, help="Pearson's r of the baseline.")
@click.option("--delta", required=True, type=float, help="By how much the model's r is higher.")
@click.option("--true-r", is_flag=True, help="--r and --delta are with the true preferences, not with the annotators.")
@click.option("--between", default=0.8, show_default=True, help="r between the two models' predictions.")
@click.option(
    "--ratings",
    type=click.Choice(["votes", "estimates"]),
    default="votes",
    show_default=True,
    help="votes: a or b. estimates: how many of ten people prefer a.",
)
@click.option("--rater-sd", default=0.18, show_default=True, help="Of an estimate about the true preference.")
@click.option("--preference-sd", default=0.29, show_default=True, help="Of the true preferences; .29: spread evenly.")
@click.option("--data-sets", default=1, show_default=True, help="Of equal size; r is averaged over them.")
@click.option("--per-prompt", default=1, show_default=True, help="Pairs that share a prompt.")
@click.option("--prompt-correlation", default=0.3, show_default=True, help="Of pairs that share a prompt.")
@click.option("--power", "wanted", default=0.8, show_default=True, type=_FRACTION, help="To be reached.")
@click.option("--alpha", default=0.05, show_default=True, type=_FRACTION, help="Level of the test.")
@click.option("--studies", default=2000, show_default=True, type=click.IntRange(100), help="To simulate for a power.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the simulation.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    r: float,
    delta: float,
    true_r: bool,
    wanted: float,
    alpha: float,
    studies: int,
    seed: int,
    as_json: bool,
    **design: Any,
) -> None:
    """Tell how often a test set would find a difference of DELTA in r, and how many pairs it needs.

    Studies of the given design are simulated and tested by exchanging the two models' predictions at random,
    the paired swap test of r. The same two models are then shown with other numbers of annotators per pair.
    """
    from tqdm import tqdm

    from dissensus.stats.planning import SEARCH_STEPS, plan
    from dissensus.stats.power import Design

    asked = Design(r_baseline=r, r_model=r + delta, **design) if true_r else Design.from_observed(r, delta, **design)
    numbers = sorted({*_COMPARED, asked.annotators})
    with tqdm(total=len(numbers) * (1 + len(SEARCH_STEPS)), desc="simulating", unit="size") as bar:
        found = plan(asked, numbers, wanted, alpha=alpha, studies=studies, seed=seed, progress=lambda: bar.update())
    if as_json:
        settings = {"design": asdict(asked), "power": wanted, "alpha": alpha, "studies": studies, "seed": seed}
        click.echo(json.dumps({**settings, "plans": [asdict(row) for row in found]}, indent=2))
    else:
        click.echo(_describe(asked, alpha))
        click.echo(_table(found, asked, wanted))


def _describe(design: Design, alpha: float) -> str:
    kind = "votes" if design.ratings == "votes" else f"estimates (SD {_number(design.rater_sd, 2)})"
    sets = "one data set" if design.data_sets == 1 else f"{design.data_sets} data sets"
    prompts = "" if design.per_prompt == 1 else f", {design.per_prompt} to a prompt"
    return (
        f"{design.pairs} pairs in {sets}{prompts}; {kind}; with the true preferences the baseline has "
        f"r {_number(design.r_baseline)}\nand the model {_number(design.r_model)}; "
        f"r between them {_number(design.between)}; swap test at {_number(alpha, 2)}\n"
    )


def _table(found: list[Plan], design: Design, wanted: float) -> str:
    from dissensus.stats.planning import MOST_PAIRS

    header = (
        "annotators",
        "r perfect",
        "r baseline",
        "r model",
        f"power at {design.pairs} pairs",
        f"pairs for {wanted:.0%}",
    )
    rows = [
        (
            f"{row.annotators}{' *' if row.annotators == design.annotators else '  '}",
            *(_number(r) for r in (row.ceiling, row.r_baseline, row.r_model)),
            f"{row.power:.0%}",
            f"over {MOST_PAIRS}" if row.pairs is None else str(row.pairs),
        )
        for row in found
    ]
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in (header, *rows)]
    return "\n".join(
        [lines[0], "─" * len(lines[0]), *lines[1:], "* the design asked for; r as seen with so many annotators"]
    )


def _number(value: float, digits: int = 3) -> str:
    text = f"{abs(value):.{digits}f}".removeprefix("0")
    return f"−{text}" if value < 0 else text

"""``dissensus power``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from dissensus.cli.outputs import Verb
from dissensus.errors import InputError

if TYPE_CHECKING:
    from dissensus.stats.design.sample_size import Plan
    from dissensus.stats.design.simulated_power import Design

_COMPARED = (1, 3, 5, 10)
_CERTAIN = 0.995
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
@click.option("--seeds", default=1, show_default=True, help="Training seeds of each model.")
@click.option("--seed-sd", default=0.0, show_default=True, help="Of r between a model's seeds; with several seeds.")
@click.option(
    "--between-seeds",
    type=float,
    help="r between two seeds' predictions; .9 unless given, or more where models are as alike.",
)
@click.option("--power", "wanted", default=0.8, show_default=True, type=_FRACTION, help="To be reached.")
@click.option("--alpha", default=0.05, show_default=True, type=_FRACTION, help="Level of all primary tests together.")
@click.option(
    "--tests",
    default=2,
    show_default=True,
    type=click.IntRange(1),
    help="Primary tests that share alpha: models times primary metrics. 2: one model, by r and L1.",
)
@click.option("--studies", default=2000, show_default=True, type=click.IntRange(100), help="To simulate for a power.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the simulation.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    r: float,
    delta: float,
    true_r: bool,
    wanted: float,
    alpha: float,
    tests: int,
    studies: int,
    seed: int,
    as_json: bool,
    **design: Any,
) -> None:
    """Tell how often a test set would find a difference of DELTA in r, and how many pairs it needs.

    Studies of the given design are simulated and tested as evaluate tests them: the two models' predictions are
    exchanged at random, prompt by prompt, and one of several primary tests has its share of alpha. The same two models
    are then shown with other numbers of annotators per pair.

    With one seed the difference is between two trained models, lucky or not. With several (--seeds, --seed-sd) it is
    between the two methods, and more pairs help only so far.
    """
    from tqdm import tqdm

    from dissensus.stats.design.sample_size import SEARCH_STEPS, plan
    from dissensus.stats.design.simulated_power import Design

    asked = Design(r_baseline=r, r_model=r + delta, **design) if true_r else Design.from_observed(r, delta, **design)
    if asked.seeds == 1 and asked.seed_sd:
        raise InputError(
            f"--seed-sd {design['seed_sd']:g} with one seed: a test of one seed each takes what a seed brings for a "
            "difference between the models; give --seeds 2 or more, or leave --seed-sd out"
        )
    numbers, level = sorted({*_COMPARED, asked.annotators}), alpha / tests
    with tqdm(total=len(numbers) * (1 + len(SEARCH_STEPS)), desc="simulating", unit="size") as bar:
        found = plan(asked, numbers, wanted, alpha=level, studies=studies, seed=seed, progress=lambda: bar.update())
    if as_json:
        as_simulated = {**asdict(asked), "between_seeds": asked.seeds_alike if asked.seeds > 1 else None}
        settings = {"design": as_simulated, "power": wanted, "alpha": alpha, "tests": tests, "level": level}
        simulated = {"studies": studies, "seed": seed}
        click.echo(json.dumps({**settings, **simulated, "plans": [asdict(row) for row in found]}, indent=2))
        return
    click.echo(_describe(asked, alpha, tests))
    click.echo(_table(found, asked, wanted))
    click.echo(_foot(found, asked, wanted, level, seed))


def _describe(design: Design, alpha: float, tests: int) -> str:
    kind = "votes" if design.ratings == "votes" else f"estimates (SD {_number(design.rater_sd, 2)})"
    sets = "one data set" if design.data_sets == 1 else f"{design.data_sets} data sets"
    prompts = "" if design.per_prompt == 1 else f", {design.per_prompt} to a prompt"
    shared = "" if tests == 1 else f", a share of {_level(alpha)} for each of {tests} primary tests"
    return (
        f"{design.pairs} pairs in {sets}{prompts}; {kind}; with the true preferences the baseline has "
        f"r {_number(design.r_baseline)}\nand the model {_number(design.r_model)}; "
        f"r between them {_number(design.between)}\n"
        f"{_describe_seeds(design)}\nswap test at {_level(alpha / tests)}{shared}\n"
    )


def _describe_seeds(design: Design) -> str:
    if design.seeds == 1:
        return "one trained model each: a power to tell these two apart, not their methods (--seeds)"
    spread = f"SD of r between seeds {_number(design.seed_sd)} with the true preferences"
    if not design.seed_sd:
        spread = "which have the same r with the true preferences (--seed-sd)"
    return f"{design.seeds} seeds of each method, {spread}; r between their predictions {_number(design.seeds_alike)}"


def _foot(found: list[Plan], design: Design, wanted: float, level: float, seed: int) -> str:
    """Say what a mark means and, where seeds limit the power, how far and what would help."""
    from dissensus.stats.design.sample_size import MOST_SEEDS, find_seeds

    lines = ["* the design asked for; r as seen with so many annotators"]
    [asked] = [row for row in found if row.annotators == design.annotators]
    if asked.limit < _CERTAIN:
        people = "one annotator" if design.annotators == 1 else f"{design.annotators} annotators"
        lines.append(
            f"{design.seeds} seeds that differ so much, and {people}: a power of {asked.limit:.0%} at most, "
            "however many pairs"
        )
    if asked.limit <= wanted:
        needed = find_seeds(design, wanted, alpha=level, seed=seed)
        enough = f"not even {MOST_SEEDS} seeds allow it" if needed is None else f"it takes {needed} seeds or more"
        lines.append(f"no number of pairs reaches {wanted:.0%}: {enough}")
    return "\n".join(lines)


def _table(found: list[Plan], design: Design, wanted: float) -> str:
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
            _pairs(row, wanted),
        )
        for row in found
    ]
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in (header, *rows)]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def _pairs(row: Plan, wanted: float) -> str:
    from dissensus.stats.design.sample_size import MOST_PAIRS

    if row.pairs is not None:
        return str(row.pairs)
    return f"over {MOST_PAIRS}" if row.limit > wanted else "none"


def _number(value: float, digits: int = 3) -> str:
    text = f"{abs(value):.{digits}f}".removeprefix("0")
    return f"−{text}" if value < 0 else text


def _level(alpha: float) -> str:
    """A level with as many digits as it takes.

    >>> [_level(alpha) for alpha in (0.05, 0.025, 0.05 / 6)]
    ['.05', '.025', '.0083']
    """
    return f"{alpha:.2g}".removeprefix("0")

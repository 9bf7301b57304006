"""``dissensus study``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click


@click.command("study")
@click.argument("study")
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder; runs/NAME unless given.")
@click.option("--pairs", help="Replaces the study's pairs: a file, a folder or a Hub id.")
@click.option("--seeds", help="Replaces the study's seeds: 0,1,2.")
@click.option(
    "--out-of-domain",
    "outside",
    metavar="NAME=SOURCE",
    multiple=True,
    help="Replaces the study's sets that are only tested on; repeat.",
)
def command(study: str, out: Path | None, pairs: str | None, seeds: str | None, outside: tuple[str, ...]) -> None:
    """Run STUDY, a YAML file or a preset, from pairs to report.

    Run again, it redoes only what changed; killed anywhere, it goes on where it stopped.
    """
    overrides: dict[str, Any] = {}
    if pairs is not None:
        overrides["pairs"] = pairs
    if seeds is not None:
        overrides["seeds"] = seeds.split(",")
    if outside:
        overrides["out_of_domain"] = dict(_named(given) for given in outside)
    run(study, out or Path("runs") / Path(study).stem, overrides)


def _named(given: str) -> tuple[str, str]:
    name, found, source = given.partition("=")
    if not (name and found and source):
        raise click.BadParameter(f"{given!r}; expected NAME=SOURCE", param_hint="--out-of-domain")
    return name, source


def run(study: str, out: Path, overrides: dict[str, Any]) -> None:
    """Run a study, print its table and where the report is."""
    from dissensus.evaluate.formats import render_brief
    from dissensus.study import load_study, run_study

    command_line = shlex.join(["dissensus", *sys.argv[1:]])
    config = load_study(study, overrides=overrides)
    metrics = run_study(config, out, command=command_line)
    click.echo(render_brief(metrics))
    click.echo(f"report: {out / 'report.html'}")

"""``dissensus study``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from dissensus.cli.complete_paths import complete_source, complete_study
from dissensus.cli.outputs import NamedSource, Output, Source, Verb


@click.command("study", cls=Verb)
@click.argument("study", type=Source(), shell_complete=complete_study)
@click.option("--out", type=Output("run"), help="The run's folder; runs/NAME unless given.")
@click.option(
    "--pairs",
    type=Source(),
    shell_complete=complete_source,
    help="Replaces the study's pairs: a data set, a file, a folder or a Hub id.",
)
@click.option("--seeds", help="Replaces the study's seeds: 0,1,2.")
@click.option(
    "--in-domain",
    "inside",
    type=NamedSource(),
    metavar="NAME=SOURCE",
    multiple=True,
    help="Adds or replaces a set that is trained on; repeat.",
)
@click.option(
    "--out-of-domain",
    "outside",
    type=NamedSource(),
    metavar="NAME=SOURCE",
    multiple=True,
    help="Adds or replaces a set that is only tested on; repeat.",
)
@click.option(
    "--from", "copies", type=Source(), metavar="DIR", help="Folder with copies of public data sets, instead of the Hub."
)
@click.option(
    "--annotations",
    type=Source(),
    metavar="FILE",
    help="Annotations of the test pairs: an export or the database.",
)
@click.option("--scale", metavar="NAME", help="Of a preset: the same study on a smaller machine, as in small.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, with counts, hours and cost, and do nothing.")
def command(
    study: str,
    out: Path | None,
    pairs: str | None,
    seeds: str | None,
    inside: tuple[str, ...],
    outside: tuple[str, ...],
    copies: str | None,
    annotations: str | None,
    scale: str | None,
    dry_run: bool,
) -> None:
    """Run STUDY, a YAML file or a preset, from pairs to report.

    Run again, it redoes only what changed; killed anywhere, it goes on where it stopped. Exit code 3: people are to
    annotate the test pairs before it can end.
    """
    given = {"pairs": pairs, "copies": copies, "annotations": annotations}
    overrides: dict[str, object] = {name: value for name, value in given.items() if value}
    if seeds is not None:
        overrides["seeds"] = seeds.split(",")
    for name, sets in (("in_domain", inside), ("out_of_domain", outside)):
        if sets:
            overrides[name] = dict(_named(one, name) for one in sets)
    if dry_run:
        from dissensus.study import load_study
        from dissensus.study.dry_run import estimate_study

        click.echo(estimate_study(load_study(study, overrides=overrides, scale=scale)))
        return
    name = Path(study).stem if scale is None else f"{study}-{scale}"
    run(study, out or Path("runs") / name, overrides, scale=scale)


def _named(given: str, option: str) -> tuple[str, str]:
    name, found, source = given.partition("=")
    if not (name and found and source):
        raise click.BadParameter(f"{given!r}; expected NAME=SOURCE", param_hint=f"--{option.replace('_', '-')}")
    return name, source


def run(study: str, out: Path, overrides: dict[str, object], *, scale: str | None = None) -> None:
    """Run a study, print its table and where the report is."""
    from dissensus.evaluation.tables.render import render_brief
    from dissensus.study import load_study, run_study

    command_line = shlex.join(["dissensus", *sys.argv[1:]])
    config = load_study(study, overrides=overrides, scale=scale)
    metrics = run_study(config, out, command=command_line, study=study)
    if not metrics:  # people are to be asked first; the run has said so
        sys.exit(3)
    click.echo(render_brief(metrics))
    click.echo(f"report: {out / 'report.html'}")

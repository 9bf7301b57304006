"""``dissensus judge``: pairs in, judgments into a store; one command for each kind of judge."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from dissensus.cli.complete_paths import complete_source
from dissensus.cli.options import DescribedArgument, parameters_of, step_command
from dissensus.cli.outputs import Database, Output, Source
from dissensus.cluster.ray_data import Workers
from dissensus.errors import ConfigError, InputError, JudgeError
from dissensus.files.database_url import StorePlace
from dissensus.judges.base import JudgeSettings, kinds
from dissensus.parts import Part
from dissensus.settings import nearest


def _run(
    settings: JudgeSettings,
    pairs: str | None,
    store: StorePlace | None,
    part: Part | None,
    shards: str | None,
    quiet: bool,
    probe: bool = False,
    **cluster: Any,
) -> None:
    from dissensus.sources import pair_file
    from dissensus.steps import judge

    if probe:
        click.echo(settings.probe(refresh=True).describe())  # type: ignore[attr-defined]
        return
    if pairs is None:
        raise click.UsageError("Missing PAIRS.")
    if store is None:
        raise click.UsageError("Missing option '--store'.")
    workers = Workers(**{name: value for name, value in cluster.items() if value is not None})
    if shards and part is None and not workers.are_on_ray:
        raise ConfigError("--shards: are of a part; give one with --part, of a whole run --part 1/1")
    # The whole file is read before anything is loaded or paid for: a fault in its last line shows now.
    asked = pair_file(pairs, part)
    summary = judge.run(
        settings, asked, store, sources=[pairs], progress=not quiet, shards=shards or "", workers=workers
    )
    for line in summary.lines():
        click.echo(line)
    if summary.was_interrupted:
        click.echo("dissensus: stopped; run the same command again to go on", err=True)
        sys.exit(130)
    if summary.nothing_judged:
        raise JudgeError(summary.nothing_judged)


def _read_part(ctx: click.Context, param: click.Parameter, text: str | None) -> Part | None:
    try:
        return None if text is None else Part.parse(text)
    except ValueError as error:
        raise ConfigError(f"--part: {error}") from error


class _Judges(click.Group):
    """A command for each kind of judge that makes judgments."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, str(kinds()[name].__doc__).partition("\n")[0]) for name in self.list_commands(ctx)]
        with formatter.section("Judges"):
            formatter.write_dl(rows)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, kind in kinds().items() if not kind.has_own_store]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        kind = kinds()[name]
        extra: list[click.Parameter] = [
            DescribedArgument(
                ["pairs"],
                about="A file of pairs, or a data set by name.  [required]",
                type=Source(),
                required=False,
                metavar="PAIRS",
                shell_complete=complete_source,
            ),
            click.Option(
                ["--store"],
                type=Output("store"),
                help="The judgments: an SQLite file or a postgresql:// URL.  [required]",
            ),
            click.Option(
                ["--part"],
                callback=_read_part,
                metavar="I/N",
                help="Of the prompts only the I-th of N parts, such as 3/8; judged into the folder STORE.parts.",
            ),
            click.Option(
                ["--shards"],
                type=Database(),
                metavar="PLACE",
                help="Folder or address (s3://…) for the shards of a part, or on Ray; beside the store by default.",
            ),
            *parameters_of(Workers),
            click.Option(["--quiet"], is_flag=True, help="No progress."),
        ]
        if hasattr(kind, "probe"):
            about = "Print what the server really supports, and ask nothing else."
            extra.append(click.Option(["--probe"], is_flag=True, help=about))
        command = step_command(name, kind, _run, extra=extra)
        command.params = [param for param in command.params if param.name != "name"]  # it is the command's
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the spelling of version 0.1, ``judge PAIRS --judge NAME``, and print that of today."""
        known = self.list_commands(ctx)
        if args and args[0] not in (*known, *ctx.help_option_names):
            is_old = args[0].startswith("-") or any(arg.partition("=")[0] == "--judge" for arg in args)
            name, rest = (args[0], []) if not is_old and _is_a_word(args[0]) else _without_name(args)
            if name not in known:
                raise InputError(f"no judge is called {name!r}; {nearest(name, known)}")
            args = [name, *rest]
            click.echo(f"dissensus: this is now: dissensus judge {shlex.join(args)}", err=True)
        return super().parse_args(ctx, args)


def _is_a_word(text: str) -> bool:
    """Tell whether a text can be no pairs: no file, no data set by name, no id of the Hub."""
    from dissensus.sources import find_source

    return not Path(text).exists() and "/" not in text and "." not in text and find_source(text) is None


def _without_name(args: list[str]) -> tuple[str, list[str]]:
    """Take ``--judge NAME`` out of arguments; returns the name, that of a committee without one, and the rest."""
    name, rest = "committee", list[str]()
    remaining = iter(args)
    for arg in remaining:
        option, equals, value = arg.partition("=")
        if option == "--judge":
            name = value if equals else next(remaining, "")
        else:
            rest.append(arg)
    return name, rest


@click.command(name="judge", cls=_Judges)
def command(**_: Any) -> None:
    """Judge PAIRS and keep the judgments in a store.

    Judgments that the store has are not made again, so a run that was stopped goes on where it was.
    """

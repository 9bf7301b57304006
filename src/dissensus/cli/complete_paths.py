"""What a shell completes where an argument is more than a file: a data set by name, a study by its preset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem


def complete_source(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a file or a folder; where no file begins so, the name of a public data set."""
    if _begins_a_file(incomplete):
        return complete_file(ctx, parameter, incomplete)
    from dissensus.sources.catalogue import SOURCES

    return _names(SOURCES, incomplete) or complete_file(ctx, parameter, incomplete)


def complete_study(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a preset; a file where one begins so, or where no preset does."""
    if incomplete and _begins_a_file(incomplete):
        return complete_file(ctx, parameter, incomplete)
    return complete_preset(ctx, parameter, incomplete) or complete_file(ctx, parameter, incomplete)


def complete_preset(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a shipped study."""
    # Their files are looked at instead of the study's settings, which take half a second to import.
    return _names(sorted(file.stem for file in _PRESETS.glob("*.yaml")), incomplete)


def complete_file(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Leave it to the shell, which knows files best."""
    return [CompletionItem(incomplete, type="file")]


_PRESETS = Path(__file__).parents[1] / "study" / "presets"


def _begins_a_file(incomplete: str) -> bool:
    head, slash, name = incomplete.rpartition("/")
    try:
        return any(file.name.startswith(name) for file in Path(head + slash or ".").expanduser().iterdir())
    except (OSError, RuntimeError):
        return False


def _names(known: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in known if name.startswith(incomplete)]

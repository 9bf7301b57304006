"""``dissensus completion``: the shell's script that completes verbs, options and files."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from dissensus.cli.outputs import Verb


@click.command("completion", cls=Verb)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL; for bash: eval "$(dissensus completion bash)" in ~/.bashrc."""
    from dissensus.cli import group

    found = get_completion_class(shell)
    assert found is not None  # click knows all three
    # Bash's own class runs bash to check its version; the script itself needs no bash here.
    script = found(group, {}, "dissensus", "_DISSENSUS_COMPLETE")
    click.echo(script.source_template % script.source_vars())

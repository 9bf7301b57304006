"""The command line: a verb is its step, or a module here where it is more than that; imported when called."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

from dissensus import __version__
from dissensus.cli.terminal import visible_output
from dissensus.errors import DissensusError, MissingDependencyError
from dissensus.plugins import load_plugins

VERBS = {
    "pairs": "Read a data set, a Hub id or a file into pairs.",
    "split": "Split pairs into pairs to train on and pairs to test with, by whole prompts.",
    "classify": "Put pairs into the paper's categories.",
    "judge": "Sample n judgments per pair into a store.",
    "judgments": "List, check, export, import and compare judgments.",
    "margin": "Turn judgments into margins and preferences.",
    "aggregate": "Make one preference of several people's votes, under a rule.",
    "train": "Train a reward model.",
    "calibrate": "Calibrate predicted probabilities on votes.",
    "predict": "Score pairs with a trained reward model.",
    "push": "Put a trained model on the Hugging Face Hub.",
    "evaluate": "Compare predictions with the votes of people.",
    "tables": "Print the tables of a scorecard again, in any format.",
    "annotate": "Serve pairs to people, who annotate them in their browsers.",
    "annotations": "Export, import and verify annotations; invite people, revoke access.",
    "power": "Plan a test set: how many pairs a difference needs.",
    "report": "Make the page of a run.",
    "study": "Run everything from one YAML; resumes where it stopped.",
    "demo": "Run the study of a simulated population, offline.",
    "new": "Write a study of your own, every setting explained.",
    "completion": "Print the script that completes commands in a shell.",
}
STEPS: dict[str, str] = {}
"""The modules of steps that lie outside of ``dissensus.steps``, by verb."""

_EXTRAS = {
    **dict.fromkeys(("torch", "transformers", "accelerate", "tokenizers"), "train"),
    "matplotlib": "report",
    **dict.fromkeys(("datasets", "huggingface_hub"), "hub"),
    "peft": "lora",
    "trl": "trl",
    "aiohttp": "server",
    **dict.fromkeys(("fastapi", "sqlalchemy", "uvicorn", "starlette", "nh3", "markdown_it"), "annotate"),
    "psycopg": "postgres",
    "vllm": "vllm",
}
"""Packages to the extra that brings them."""


class _LazyGroup(click.Group):
    """Imports a verb when it is called, so that ``--help`` answers at once."""

    def make_context(self, *args: Any, **rest: Any) -> click.Context:
        load_plugins()
        return super().make_context(*args, **rest)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        if name in STEPS or importlib.util.find_spec(f"dissensus.cli.{name}") is None:
            from dissensus.cli.options import command_of_step

            return command_of_step(name, STEPS.get(name, ""))
        command = importlib.import_module(f"dissensus.cli.{name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or say which one may be meant."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=1)
            raise click.UsageError(f"No verb is called {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else "."))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # As click does it, but with the words above: it would import every verb to read what each says of itself.
        verbs = [CompletionItem(verb, help=words) for verb, words in VERBS.items() if verb.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="dissensus")
def group() -> None:
    """Reward models that know when people disagree.

    Every verb takes files and gives files. Results go to stdout, progress to stderr.
    """


def main() -> None:
    """Run the command line; a user's error is one line and exit code 2."""
    refuse_other_systems(os.name)
    # Plugins of pydantic have no part in it, and to look for them takes as long as all else that a help page needs.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    with visible_output():
        _run()


def refuse_other_systems(name: str) -> None:
    """Exit where the system (as `os.name` calls it) is not POSIX: locks, signals and renames are others there."""
    if name != "posix":
        click.echo("dissensus: needs Linux, macOS or another POSIX system; on Windows, run it in WSL", err=True)
        sys.exit(2)


def _run() -> None:
    try:
        group.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        message = " ".join(error.format_message().split())
        command = getattr(getattr(error, "ctx", None), "command_path", "dissensus")
        click.echo(f"dissensus: {message} See: {command} --help", err=True)
        sys.exit(error.exit_code)
    except DissensusError as error:
        click.echo(f"dissensus: {error}", err=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        click.echo(f"dissensus: {MissingDependencyError(package, extra=_EXTRAS[package], need='this')}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("dissensus: stopped; run the same command again to go on", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has gone; keep the interpreter from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)

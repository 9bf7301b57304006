"""``dissensus classify``: pairs into the paper's two categories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dissensus.cli.complete_paths import complete_file, complete_source
from dissensus.cli.outputs import Output, Source, Verb
from dissensus.errors import ConfigError


@click.command("classify", cls=Verb)
@click.argument("pairs", type=Source(), shell_complete=complete_source)
@click.option("--out", required=True, type=Output(), help="The pairs with their categories.")
@click.option(
    "--by",
    type=click.Choice(["offline", "local", "server", "vllm"]),
    default="offline",
    show_default=True,
    help="The shipped classifiers, or a language model that is asked the paper's own questions.",
)
@click.option(
    "--model",
    type=Source(),
    shell_complete=complete_file,
    help="Of local, vllm and server: a folder, a Hub id, or the server's name for it.",
)
@click.option("--base-url", help="Of server: such as http://127.0.0.1:8000/v1.")
@click.option("--mode", type=click.Choice(["sample", "exact"]), default="exact", show_default=True)
@click.option("--n", type=int, default=1, show_default=True, help="Answers to each question; the majority counts.")
@click.option("--store", type=Output("store"), help="Keeps a model's answers; needed with one.")
@click.option("--price", type=(float, float), help="Dollars per million tokens read, and written.")
@click.option("--max-cost", type=float, help="Stop before more dollars than these are spent.")
@click.option(
    "--people",
    type=Source(),
    help="Pairs with people's categories, or an annotation database: says how far they agree.",
)
@click.option("--categories", type=Output(), help="Write each category with its origin here.")
@click.option("--replace", is_flag=True, help="Replace categories that pairs have already.")
def command(
    pairs: str,
    out: Path,
    by: str,
    store: Path | None,
    people: str | None,
    categories: Path | None,
    replace: bool,
    **options: Any,
) -> None:
    """Put PAIRS into the paper's categories: single or multiple correct answers; distinguishable or not.

    A category that a pair has already is kept: people's come first. Killed anywhere, the same command goes on.
    """
    from dissensus.annotate.exchange.annotated_pairs import read_annotations
    from dissensus.files import write_records
    from dissensus.files.writers import check_writable_name
    from dissensus.sources import read_pairs
    from dissensus.study.categories import classify, describe_agreement
    from dissensus.study.parts import Categories
    from dissensus.taxonomy import agreement_with_people, classify_pairs, known_classifications

    for path in filter(None, (out, categories)):
        check_writable_name(path)
    if by == "offline" and (given := _given_for_a_model()):
        raise ConfigError(f"{', '.join(given)}: for a language model; say which with --by local, server or vllm")
    if by != "offline" and store is None:
        raise ConfigError(f"--by {by}: name a store for the model's answers, as in --store judgments.db")
    settings = Categories() if by == "offline" else Categories(name="judge", judge=_judge(by, options))
    rows = list(read_pairs(pairs))
    found = classify(rows, settings, store or Path())
    classified, changes = classify_pairs(rows, found, replace=replace)
    click.echo(f"{out}: {write_records(out, classified)} pairs")
    for question, title in (("correct", "single or multiple"), ("distinct", "distinguishable")):
        values = [one.category if question == "correct" else one.distinct for one in classified]
        shares = ", ".join(f"{value} {values.count(value)}" for value in sorted({v for v in values if v}))
        click.echo(
            f"  {title}: {shares or 'none'} (set {changes.set[question]}, kept {changes.kept[question]}, "
            f"undecided {changes.undecided[question]})"
        )
    if people:
        agreements = agreement_with_people(read_annotations(people), found)
        if not agreements:
            raise ConfigError(f"--people {people}: has no category of any of these pairs ({out} was written)")
        click.echo(f"agreement with {people}\n{describe_agreement(agreements)}")
    if categories:
        every = [*known_classifications(rows, origin="source"), *found]
        click.echo(f"{categories}: {write_records(categories, every)} categories with their origins")


def _given_for_a_model() -> list[str]:
    """List the options of a language model that were given."""
    context = click.get_current_context()
    names = ("model", "base_url", "mode", "n", "store", "price", "max_cost")
    given = [name for name in names if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    return [f"--{name.replace('_', '-')}" for name in given]


def _judge(by: str, options: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from dissensus.files.rows.bad_rows import describe
    from dissensus.study.judge_stage import ModelJudge

    if options["model"] is None:
        raise ConfigError(f"--by {by}: no model; give a folder, a Hub id or the server's name for it with --model")
    given = {
        name: options[name] for name in ("model", "base_url", "mode", "n", "max_cost") if options[name] is not None
    }
    if options["price"]:
        given |= dict(zip(("price_prompt", "price_reply"), options["price"], strict=True))
    try:
        return ModelJudge(name=by, **given)
    except ValidationError as error:
        raise ConfigError(f"--by {by}: {describe(error)}") from error

"""``dissensus split``: pairs to train on and pairs to test with, by whole prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from dissensus.cli.complete_paths import complete_source
from dissensus.cli.outputs import Output, Source, Verb

if TYPE_CHECKING:
    from dissensus.records import Pair

By = Literal["group", "category", "dataset"]

_SHARE = 0.2


@click.command("split", cls=Verb)
@click.argument("pairs", type=Source(), shell_complete=complete_source)
@click.option("--out-train", type=Output(), required=True, help="Pairs that are not held out.")
@click.option("--out-test", type=Output(), required=True, help="Pairs that are held out.")
@click.option(
    "--by",
    type=click.Choice(["group", "category", "dataset"]),
    default="group",
    show_default=True,
    help="What is held out whole; a group is a prompt, unless the pairs name another.",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help=f"Share of the values of --by that is held out; {_SHARE} unless --count or --name is given.",
)
@click.option("--count", type=click.IntRange(1), help="How many of them are held out, instead.")
@click.option(
    "--name", "names", multiple=True, help="One that is held out, instead, as in --by category --name math; repeat."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the draw.")
def command(
    pairs: str,
    out_train: Path,
    out_test: Path,
    by: By,
    share: float | None,
    count: int | None,
    names: tuple[str, ...],
    seed: int,
) -> None:
    """Split PAIRS into pairs to train on and pairs to test with, as a study's hold_out does.

    Whole groups go to one side or the other, never single pairs; pairs of domain "out" are held out always. The same
    pairs and options give the same split, in whatever order the rows stand. Split the first file again for a third.
    """
    if sum((share is not None, count is not None, bool(names))) > 1:
        raise click.UsageError("give one of --share, --count and --name")
    from dissensus.files import write_records
    from dissensus.files.writers import check_writable_name
    from dissensus.sources import read_pairs
    from dissensus.sources.holdout import HoldOut, apart_from, check_groups_stay_whole, prompts_of, split_pairs

    for path in (out_train, out_test):
        check_writable_name(path)
    if share is None and count is None and not names:
        share = _SHARE
    train, test = split_pairs(
        list(read_pairs(pairs)), HoldOut(by=by, share=share, count=count, names=names or None, seed=seed)
    )
    check_groups_stay_whole(train, test)
    for path, part in ((out_train, train), (out_test, test)):
        write_records(path, part)
        click.echo(
            "\n".join(
                [f"{path}: {len(part)} pairs, {len({pair.group for pair in part})} groups", *_summary_lines(part, by)]
            )
        )
    if shared := len(train) - len(apart_from(train, prompts_of(test))):
        click.echo(
            f"dissensus: {shared} pairs to train on have the text of a prompt that is held out, under another group; "
            "pairs without a group are grouped by their text",
            err=True,
        )


def _summary_lines(pairs: Sequence[Pair], by: By) -> list[str]:
    """Say what is in a part: its labels and votes, and how many pairs of each category or data set it has."""
    labels = Counter(pair.label for pair in pairs if pair.label is not None)
    shown = ", ".join(f"{label} {n}" for label, n in sorted(labels.items()))
    lines = [f"  with label  {labels.total()}" + (f" ({shown})" if shown else "")]
    lines.append(f"  with votes  {sum(pair.votes is not None for pair in pairs)}")
    if by != "group":
        found = Counter(str(getattr(pair, by)) for pair in pairs)
        lines += [f"  {by} {name}: {n}" for name, n in sorted(found.items())]
    return lines

"""The step ``split``: pairs to train on and pairs to test with, by whole prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from dissensus.errors import ConfigError
from dissensus.settings import Argument, Option, Reads, Settings, Writes

if TYPE_CHECKING:
    from dissensus.records import Pair

By = Literal["group", "category", "dataset"]
_SHARE = 0.2


class HoldOut(Settings):
    """Which pairs are kept for evaluation: whole groups, never single rows."""

    by: By = "group"
    """What is held out whole; a group is a prompt, unless the pairs name another."""
    count: PositiveInt | None = None
    """How many values of ``by`` are drawn by the seed."""
    share: Annotated[float | None, Field(gt=0, lt=1), Option(default=f"{_SHARE} unless --count or --name is given")] = (
        None
    )
    """The share of the values of ``by`` that is drawn, instead."""
    names: Annotated[tuple[str, ...] | None, Option("--name")] = None
    """The values themselves, instead, as in --by category --name math."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the draw."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(given is not None for given in (self.count, self.share, self.names)) != 1:
            raise ValueError("give one of count, share and names")
        return self


def with_share(given: Any) -> Any:
    """Hold out the usual share where nothing is said of how much."""
    if isinstance(given, dict) and not given.keys() & {"share", "count", "names"}:
        return {**given, "share": _SHARE}
    return given


class SplitSettings(Settings):
    """Split PAIRS into pairs to train on and pairs to test with, as a study's hold_out does.

    Whole groups go to one side or the other, never single pairs; pairs of domain "out" are held out always. The same
    pairs and options give the same split, in whatever order the rows stand. Split the first file again for a third.
    """

    pairs: Annotated[str, Argument(), Reads()]
    """A file, a folder, a Hub id or a data set's name."""
    out_train: Annotated[Path, Writes()]
    """Pairs that are not held out."""
    out_test: Annotated[Path, Writes()]
    """Pairs that are held out."""
    hold_out: Annotated[HoldOut, Option(prefix=""), BeforeValidator(with_share)] = HoldOut(share=_SHARE)
    """What is held out."""


@dataclass(frozen=True)
class SplitResult:
    """What went where."""

    by: By
    parts: tuple[tuple[Path, Sequence[Pair]], ...]
    """The files, and their pairs."""

    def lines(self) -> list[str]:
        """Say of each file what is in it: labels and votes, and pairs of each category or data set."""
        lines = []
        for path, pairs in self.parts:
            labels = Counter(pair.label for pair in pairs if pair.label is not None)
            shown = ", ".join(f"{label} {n}" for label, n in sorted(labels.items()))
            values = Counter(str(getattr(pair, self.by)) for pair in pairs) if self.by != "group" else Counter[str]()
            lines += [
                f"{path}: {len(pairs)} pairs, {len({pair.group for pair in pairs})} groups",
                f"  with label  {labels.total()}" + (f" ({shown})" if shown else ""),
                f"  with votes  {sum(pair.votes is not None for pair in pairs)}",
                *(f"  {self.by} {name}: {n}" for name, n in sorted(values.items())),
            ]
        return lines


def run(settings: SplitSettings) -> SplitResult:
    """Split pairs and write both parts.

    Raises:
        ConfigError: a part would be empty, or a group on both sides.
        InputError: the pairs cannot be read.
        OutputError: a file cannot be written.
    """
    from dissensus.files import write_records
    from dissensus.files.writers import check_writable_name
    from dissensus.sources import read_pairs

    for path in (settings.out_train, settings.out_test):
        check_writable_name(path)
    train, test = split(list(read_pairs(settings.pairs)), settings.hold_out)
    parts = ((settings.out_train, train), (settings.out_test, test))
    for path, pairs in parts:
        write_records(path, pairs)
    return SplitResult(settings.hold_out.by, parts)


def split(pairs: Sequence[Pair], hold_out: HoldOut) -> tuple[list[Pair], list[Pair]]:
    """Split as `split_pairs` does, and say which pairs to train on have the text of a prompt that is held out.

    Raises ConfigError where a part would be empty, or a group on both sides.
    """
    from dissensus.files.source import print_notice

    train, test = split_pairs(pairs, hold_out)
    both = {pair.group for pair in train} & {pair.group for pair in test}
    if both:
        raise ConfigError(
            f"{len(both)} groups have pairs of domain out, which are held out always, and pairs to train on (first: "
            f"{min(both)[:60]!r}); give the pairs of a group one domain"
        )
    if shared := len(train) - len(apart_from(train, prompts_of(test))):
        print_notice(
            f"{shared} pairs to train on have the text of a prompt that is held out, under another group; pairs "
            "without a group are grouped by their text"
        )
    return train, test


def prompts_of(pairs: Iterable[Pair]) -> set[str]:
    """Name the prompts of pairs, to find them again in other sets: sets group by what they know, so by text as well."""
    return {key for pair in pairs for key in prompt_keys(pair)}


def apart_from(pairs: Iterable[Pair], prompts: set[str]) -> list[Pair]:
    """Keep the pairs of none of these prompts, as ``prompts_of`` names them."""
    return [pair for pair in pairs if prompts.isdisjoint(prompt_keys(pair))]


def prompt_keys(pair: Pair) -> tuple[str, str]:
    """Name the prompt of a pair by its group and by its text, without case and runs of white space."""
    from dissensus.records import plain_text

    return f"group {pair.group}", f"text {' '.join(plain_text(pair.prompt).split()).casefold()}"


def split_pairs(pairs: Sequence[Pair], hold_out: HoldOut) -> tuple[list[Pair], list[Pair]]:
    """Split into training and test pairs by whole values of a column; domain ``out`` is test always.

    Raises ConfigError when a part would be empty, a held-out name does not occur, or a pair has no value.
    """
    inside = [pair for pair in pairs if pair.domain != "out"]
    held = _held_out(inside, hold_out)
    train = [pair for pair in inside if _held_value(pair, hold_out) not in held]
    test = [pair for pair in pairs if pair.domain == "out" or _held_value(pair, hold_out) in held]
    shared = {pair.group for pair in train} & {pair.group for pair in test if pair.domain != "out"}
    if shared:
        raise ConfigError(
            f"holding out by {hold_out.by} leaves {len(shared)} prompts (groups) on both sides; hold out by group"
        )
    if not train or not test:
        raise ConfigError(
            f"holding out by {hold_out.by} leaves {len(train)} pairs to train on and {len(test)} to test; "
            "hold out less or more"
        )
    return train, test


def _held_out(pairs: Sequence[Pair], hold_out: HoldOut) -> set[str]:
    import numpy as np

    values = sorted({_held_value(pair, hold_out) for pair in pairs})
    if hold_out.names is not None:
        missing = sorted(set(hold_out.names) - set(values))
        if missing:
            raise ConfigError(
                f"holding out by name: no {hold_out.by} '{missing[0]}'; the data has: {', '.join(values[:20])}"
            )
        return set(hold_out.names)
    count = hold_out.count if hold_out.count is not None else max(round((hold_out.share or 0) * len(values)), 1)
    if count >= len(values):
        raise ConfigError(f"holding out {count} of {len(values)} values of {hold_out.by} leave nothing to train on")
    order = np.random.default_rng(hold_out.seed).permutation(len(values))
    return {values[index] for index in order[:count]}


def _held_value(pair: Pair, hold_out: HoldOut) -> str:
    value = value_of(pair, hold_out.by)
    if value is None:
        raise ConfigError(f"holding out by {hold_out.by}: pair '{pair.id}' has no {hold_out.by}; hold out by group")
    return value


def value_of(pair: Pair, by: By) -> str | None:
    """Return what a pair belongs to."""
    return {"group": pair.group, "category": pair.category, "dataset": pair.dataset}[by]

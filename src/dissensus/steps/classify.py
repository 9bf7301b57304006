"""Categories: pairs into the paper's two, by shipped classifiers or by a language model with the paper's questions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, ValidationError, model_validator

from dissensus.errors import ConfigError
from dissensus.files.database_url import StorePlace
from dissensus.judges.base import AnyJudge, JudgeSettings, parse_settings
from dissensus.parts import InParts, PartOf
from dissensus.settings import Argument, Option, Reads, Settings, Writes

if TYPE_CHECKING:
    from dissensus.records import Classification, Pair
    from dissensus.taxonomy import Agreement, Question
    from dissensus.taxonomy.classification import Changes


class Categories(Settings):
    """Where the categories of pairs come from that people have not put into any."""

    name: Literal["offline", "judge"] = "offline"
    """``offline``: the shipped classifiers; ``judge``: a language model with the paper's own questions."""
    judge: AnyJudge | None = None
    """The model, for ``judge``; its template and order are given by the questions."""

    @model_validator(mode="after")
    def _judge_is_named(self) -> Self:
        if (self.name == "judge") != (self.judge is not None):
            raise ValueError("name: judge and the settings of one (judge: …) belong together")
        if self.judge is not None and not self.judge.takes_templates:
            raise ValueError(f"judge: {self.judge.name} cannot be asked a question; choose a language model")
        return self


_FOR_A_MODEL = ("model", "base_url", "mode", "n", "store", "price", "max_cost", "judge")


class ClassifySettings(InParts):
    """Put PAIRS into the paper's categories: single or multiple correct answers; distinguishable or not.

    A category that a pair has already is kept: people's come first. Killed anywhere, the same command goes on.
    """

    groups: ClassVar = {"Language models": _FOR_A_MODEL}

    pairs: Annotated[str, Reads(), Argument()]
    """Pairs."""
    out: Annotated[Path, Writes()]
    """The pairs with their categories."""
    by: Literal["offline", "local", "server", "vllm"] = "offline"
    """The shipped classifiers, or a language model that is asked the paper's own questions."""
    people: Annotated[str | None, Reads()] = None
    """Pairs with people's categories, or an annotation database: says how far they agree."""
    categories: Annotated[Path | None, Writes()] = None
    """Write each category with its origin here."""
    replace: bool = False
    """Replace categories that pairs have already."""
    model: Annotated[str | None, Reads("model")] = None
    """A folder, a Hub id, or the server's name for it."""
    base_url: str | None = None
    """Of a server, such as http://127.0.0.1:8000/v1."""
    mode: Literal["sample", "exact"] = "exact"
    """Sampled replies, or probabilities read off the model."""
    n: PositiveInt = 1
    """Answers to each question; the majority counts."""
    store: Annotated[StorePlace | None, Writes("store")] = None
    """Keeps a model's answers; needed with one."""
    price: str | None = None
    """Dollars per million tokens of prompt and reply, such as 0.5/1.5."""
    max_cost: NonNegativeFloat | None = None
    """Stop before more dollars than these are spent."""
    judge: Annotated[dict[str, Any], Option(is_hidden=True)] = Field(default_factory=dict)
    """Any other setting of the model, as in a study."""

    def how(self) -> Categories:
        """Return where categories come from.

        Raises:
            ConfigError: an option of a model is given without one, or something of one is missing or wrong.
        """
        if self.by == "offline":
            strange = [f"--{name.replace('_', '-')}" for name in _FOR_A_MODEL if name in self.model_fields_set]
            if strange:
                raise ConfigError(
                    f"{', '.join(strange)}: for a language model; say which with --by local, server or vllm"
                )
            return Categories()
        if self.store is None:
            raise ConfigError(f"--by {self.by}: name a store for the model's answers, as in --store judgments.db")
        if self.model is None:
            raise ConfigError(
                f"--by {self.by}: no model; give a folder, a Hub id or the server's name for it with --model"
            )
        from dissensus.files.rows.bad_rows import describe

        given = {name: getattr(self, name) for name in ("model", "base_url", "mode", "n", "price", "max_cost")}
        chosen = {name: value for name, value in given.items() if value is not None}
        try:
            return Categories(name="judge", judge=parse_settings({"name": self.by, **chosen, **self.judge}))
        except ValidationError as error:
            raise ConfigError(f"--by {self.by}: {describe(error)}") from error


@dataclass(frozen=True)
class Classified:
    """Pairs with their categories, and everything that is to be reported of them."""

    pairs: list[Pair]
    known: list[Classification]
    """Those that pairs had."""
    machine: list[Classification]
    agreement: list[Agreement]
    """Of the machine with those that pairs had."""
    changes: Changes

    @property
    def classifications(self) -> list[Classification]:
        """All of them, with their origins."""
        return [*self.known, *self.machine]

    def counts(self, origin: str) -> dict[str, float]:
        """List what a record of a run keeps; ``origin`` is whose the categories are that pairs had."""
        kappas = {f"kappa_{a.question}": round(a.kappa.value, 2) for a in self.agreement if a.kappa.low is not None}
        return {"set": sum(self.changes.set.values()), f"by_{origin}": sum(self.changes.kept.values()), **kappas}


@dataclass(frozen=True)
class ClassifyResult:
    """Pairs with categories that were written to a file."""

    settings: ClassifySettings
    found: Classified
    people: Sequence[Agreement]

    def lines(self) -> list[str]:
        """Say what was found, one thing a line."""
        settings, found, changes = self.settings, self.found, self.found.changes
        lines = [f"{settings.out}: {len(found.pairs)} pairs"]
        titles: dict[Question, str] = {"correct": "single or multiple", "distinct": "distinguishable"}
        for question, title in titles.items():
            values = Counter(one.category if question == "correct" else one.distinct for one in found.pairs)
            shares = ", ".join(f"{value} {values[value]}" for value in sorted(filter(None, values)))
            lines.append(
                f"  {title}: {shares or 'none'} (set {changes.set[question]}, kept {changes.kept[question]}, "
                f"undecided {changes.undecided[question]})"
            )
        if settings.people:
            lines += [f"agreement with {settings.people}", *describe_agreement(self.people)]
        if settings.categories:
            lines.append(f"{settings.categories}: {len(found.classifications)} categories with their origins")
        return lines


def run(settings: ClassifySettings) -> ClassifyResult:
    """Put pairs into categories and write them.

    Raises:
        ConfigError: a setting is missing or does not fit, or people have no category of any of these pairs.
        JudgeError: the model cannot be asked, or left questions open.
        OutputError: a file cannot be written.
    """
    from dissensus.annotate.exchange.annotated_pairs import read_annotations
    from dissensus.files import write_records
    from dissensus.files.parts_folder import note_part
    from dissensus.files.writers import check_writable_name
    from dissensus.sources import read_pairs
    from dissensus.taxonomy import agreement_with_people

    for path in filter(None, (settings.out, settings.categories)):
        check_writable_name(path)
    how = settings.how()
    rows, part = list(read_pairs(settings.pairs)), settings.chosen_part
    if part is not None:
        cut = PartOf(rows, part)
        note_part(settings.out, cut)
        rows = list(cut)
    found = classify(rows, how, settings.store or Path(), replace=settings.replace)
    write_records(settings.out, found.pairs)
    agreements: list[Agreement] = []
    if settings.people:
        agreements = agreement_with_people(read_annotations(settings.people), found.machine)
        if not agreements and settings.part is None:
            raise ConfigError(
                f"--people {settings.people}: has no category of any of these pairs ({settings.out} was written)"
            )
    if settings.categories:
        write_records(settings.categories, found.classifications)
    return ClassifyResult(settings, found, agreements)


def classify(
    pairs: Sequence[Pair],
    how: Categories,
    store: StorePlace,
    *,
    origin: str = "source",
    replace: bool = False,
    progress: bool = True,
) -> Classified:
    """Put pairs into categories where they have none; a model's answers are kept in ``store``, none is asked twice.

    Whether a prompt has several correct answers is asked once for each prompt. ``origin`` is whose the categories are
    that pairs have, ``people`` or ``source``; with ``replace`` these go. Raises JudgeError where the model cannot be
    asked, or left questions open.
    """
    from dissensus.taxonomy import agreement_with_people, classify_offline, classify_pairs, known_classifications
    from dissensus.taxonomy.classification import QUESTIONS

    machine: list[Classification] = []
    if not pairs:  # a part may have none
        pass
    elif how.judge is None:
        from dissensus.taxonomy.classifiers import MAX_LENGTH
        from dissensus.text.encoder import load_encoder

        encoder = load_encoder("minilm", max_length=MAX_LENGTH)
        machine = list(classify_offline(pairs, encoder, progress=progress))
    else:
        asked = [_ask(pairs, question, how.judge, store, progress=progress) for question in QUESTIONS]
        machine = [one for found in asked for one in found]
    classified, changes = classify_pairs(pairs, machine, replace=replace)
    known = known_classifications(pairs, origin=origin)
    return Classified(classified, known, machine, agreement_with_people(pairs, machine), changes)


def _ask(
    pairs: Sequence[Pair], question: Question, judge: JudgeSettings, store: StorePlace, *, progress: bool
) -> list[Classification]:
    from dissensus.steps import judge as judging
    from dissensus.taxonomy import classifications_from_judgments, one_pair_per_prompt
    from dissensus.taxonomy.classification import TEMPLATES

    # The options stand in a fixed order, so nothing is swapped.
    asking = judge.model_copy(update={"template": TEMPLATES[question], "order": "ab"})
    groups = one_pair_per_prompt(pairs) if question == "correct" else {pair.id: [pair.id] for pair in pairs}
    asked = [pair for pair in pairs if pair.id in groups]
    summary = judging.run(asking, asked, store, progress=progress)
    summary.check_complete()
    said = judging.judgments(asking, summary.judge, asked, store)
    found = classifications_from_judgments(said, question, origin=f"judge:{summary.judge}")
    return [one.model_copy(update={"pair_id": same}) for one in found for same in groups[one.pair_id]]


def agreement_rows(agreements: Sequence[Agreement]) -> list[Mapping[str, object]]:
    """Lay agreement with people out as JSON-able rows; what is undefined is null."""
    return [
        {
            "question": one.question,
            "origin": one.origin,
            "n": one.n,
            "raw": None if math.isnan(one.raw) else one.raw,
            "kappa": None if math.isnan(one.kappa.value) else one.kappa.value,
            "low": one.kappa.low,
            "high": one.kappa.high,
            "undecided": one.undecided,
            "note": one.note,
            "counts": [
                {"people": people, "machine": machine, "pairs": n} for (people, machine), n in one.counts.items()
            ],
        }
        for one in agreements
    ]


def describe_agreement(agreements: Sequence[Agreement]) -> list[str]:
    """Say in the lines of a table how far categories agree with people's."""
    asked = {"correct": "single or multiple correct answers", "distinct": "distinguishable or not"}
    lines = []
    for one in agreements:
        interval = "" if one.kappa.low is None else f" [{one.kappa.low:.2f}, {one.kappa.high:.2f}]"
        kappa = one.note if math.isnan(one.kappa.value) else f"kappa {one.kappa.value:.2f}{interval}"
        lines.append(f"  {asked[one.question]}: {one.n} pairs, {one.raw:.0%} agree, {kappa}")
        for (people, machine), n in one.counts.items():
            lines.append(f"    people {people:9} {one.origin} {machine:9} {n}")
        if one.undecided:
            lines.append(f"    {one.undecided} pairs are undecided")
    return lines

"""Published verdicts as judges: what language models said that were asked elsewhere, read from a file.

Two layouts are told apart by their columns: rows of pairs with a column ``judges``, or flat rows of one verdict each,
such as `dissensus.judges.store.export` writes (docs/formats.md). All verdicts are in the pair's own terms: 1 is
response a, 0 is response b and 0.5 a tie. The order shown is known for all verdicts of a judge or for none: those of
unknown order, stored as ``ab`` among others, would look like position bias.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from dissensus.errors import InputError
from dissensus.files.readers import Row, decode_json, kind_of, read_rows
from dissensus.files.rows.bad_rows import Faults
from dissensus.files.rows.cells import name_of
from dissensus.files.rows.chat import text_of
from dissensus.files.rows.columns import Notice
from dissensus.files.source import print_notice
from dissensus.hashing import short_digest
from dissensus.judges.runner import Question
from dissensus.judges.store.keys import content_of
from dissensus.records import Judgment, Label, Order, Pair, content_id

_TEXTS = ("prompt", "response_a", "response_b")
_ORDERS: dict[str, Order] = {"ab": "ab", "ba": "ba"}
_REMEDY = "fix the row"
_SAMPLES = 2**63
"""SQLite's integers end here."""


@dataclass(frozen=True)
class Verdict:
    """One published verdict, in the pair's own terms."""

    choice: Label | None
    probability_a: float | None = None
    reply: str = ""
    persona: str = ""


Place = tuple[str, Order, int]
"""What a verdict is of: the pair's id, the order shown and the sample."""


class PublishedVerdicts:
    """A judge whose answers are in a file: it can be asked what is there, and nothing else."""

    def __init__(self, short_name: str, verdicts: Mapping[Place, Verdict]) -> None:
        """Keep the verdicts; the digest in the name is over all of them, whatever pairs they are asked of."""
        self.verdicts = dict(sorted(verdicts.items(), key=lambda item: item[0]))
        self._of_pair: dict[str, list[Place]] = {}
        for place in self.verdicts:
            self._of_pair.setdefault(place[0], []).append(place)
        digest = short_digest(json.dumps([(*place, *_content(verdict)) for place, verdict in self.verdicts.items()]))
        # Verdicts that were exported under their full name are the same judge.
        self.name = short_name if short_name.endswith(f"-{digest}") else f"{short_name}-{digest}"

    def __len__(self) -> int:
        """Count the verdicts, those on pairs that nobody asks about included."""
        return len(self.verdicts)

    def questions(self, pair: Pair) -> Sequence[Question]:
        """List a question for each verdict on the pair; none where it was not judged."""
        return [Question(pair, sample, order) for _, order, sample in self._of_pair.get(pair.id, ())]

    def answer(self, questions: Sequence[Question]) -> Iterator[Judgment]:
        """Read the verdicts off."""
        for question in questions:
            pair_id, order, sample = place = (question.pair.id, question.order, question.sample)
            yield Judgment(pair_id=pair_id, judge=self.name, sample=sample, order=order, **vars(self.verdicts[place]))


def read_published(path: Path, pairs: Sequence[Pair], *, notice: Notice = print_notice) -> dict[str, PublishedVerdicts]:
    """Read the judges of a file (.jsonl, .jsonl.gz, .parquet, .csv or a .json list), by their short names.

    ``judges`` maps a name to P(a) by the order shown (``AB``, ``BA``, or ``first=MODEL``, where ``model_a`` and
    ``model_b`` name models), or to P(a) alone where it is unknown; a list holds repetitions. Flat rows have ``pair_id``
    or ``id``, ``judge``, ``choice`` (a, b, tie, or null for a reply that named no winner) or ``probability_a``; where
    known ``order``, ``sample``, ``reply``, ``persona``. Without ``sample``, rows of one pair and order are repetitions.
    Aggregates (``mean_…``) are passed over, and so is a null outside a list, which Parquet fills in.

    Joined to ``pairs`` by id (a row of a pair without an id: by its texts). Verdicts on other pairs are told to
    ``notice`` and never asked for. Reading a file again gives judges of the same names, so that storing them again
    adds nothing.

    Raises:
        InputError: a row that is not understood, with file and line; a verdict that is there twice; a pair whose texts
            differ from those in the file; no verdict on any of the pairs.
    """
    found = _Found({pair.id: pair for pair in pairs})
    fault = Faults(remedy=_REMEDY)
    for row in read_rows(path, fault):
        try:
            found.read(row)
        except ValueError as error:
            fault(row.place, str(error))
    total = sum(map(len, found.verdicts.values()))
    if not total:
        raise InputError(
            f"{path}: no verdicts; expected rows of pairs with a column judges that names some, "
            "or rows with pair_id, judge and choice or probability_a"
        )
    judges = {name: PublishedVerdicts(name, verdicts) for name, verdicts in found.verdicts.items()}
    judges = {name: judge for name, judge in judges.items() if any(judge.questions(pair) for pair in pairs)}
    if not judges:
        raise InputError(
            f"{path}: {total} verdicts, none of them on one of the {len(pairs)} pairs; "
            "give the pairs that were judged, with the ids of the file"
        )
    if found.others:
        notice(f"{path}: {found.others} verdicts are on pairs that were not given; they are left out")
    if unordered := [name for name in judges if not found.ordered[name]]:
        notice(f"{path}: no order shown for {', '.join(unordered)}; stored as ab, so position bias cannot be seen")
    return judges


def is_flat(path: Path) -> bool:
    """Tell whether a file begins with a flat row: a verdict, and no texts of the pair that it is about."""
    row = next(iter(read_rows(path, Faults(remedy=_REMEDY))), None)
    return row is not None and "judge" in row.values and not row.values.keys() & {"judges", "prompt"}


class _Found:
    """The verdicts read so far, of every judge."""

    def __init__(self, pairs: Mapping[str, Pair]) -> None:
        self._pairs = pairs
        self.verdicts: dict[str, dict[Place, Verdict]] = {}
        self.ordered: dict[str, bool] = {}
        """Whether the order shown is known, by judge."""
        self.others = 0

    def read(self, row: Row) -> None:
        """Take a row of either layout. Raises ValueError."""
        values = row.values
        if "judges" in values:
            self._read_pair(values)
        elif "judge" in values and values.keys() & {"pair_id", "id"}:
            pair_id = name_of(values.get("pair_id"), "pair_id") or _required(values.get("id"), "pair_id")
            judge = _required(values["judge"], "judge")
            order = values.get("order")
            if order is not None and order not in tuple(_ORDERS):
                raise ValueError(f"order is {kind_of(order)}; expected ab, ba or nothing")
            self._add(judge, pair_id, _ORDERS.get(order or ""), _sample(values.get("sample")), _flat_verdict(values))
        else:
            columns = ", ".join(map(str, values)) or "none"
            raise ValueError(
                f"expected a pair with a column judges, or the columns pair_id, judge and choice or probability_a; "
                f"found {columns}"
            )

    def _read_pair(self, values: Mapping[str, Any]) -> None:
        judges = values["judges"]
        if isinstance(judges, str):  # a CSV cell
            judges = decode_json(judges)
        if judges is None:
            return
        if not isinstance(judges, dict):
            raise ValueError(f"judges is {kind_of(judges)}; expected an object from judge to verdicts")
        pair_id = self._pair_id(values)
        for name, given in judges.items():
            judge = _required(name, "a judge's name")
            for order, listed in _by_order(given, values, f"judges.{judge}"):
                if listed and (pair_id, order or "ab", 0) in self.verdicts.get(judge, {}):
                    raise ValueError(
                        f"verdicts of {judge} on pair {pair_id!r} in order {order or 'ab'} are there already; "
                        "give repetitions as a list"
                    )
                for value in listed:
                    self._add(judge, pair_id, order, None, _verdict(value, f"judges.{judge}"))

    def _pair_id(self, values: Mapping[str, Any]) -> str:
        """Name the pair of a row and make sure that it is the pair that was given."""
        name = name_of(values.get("id"), "id")
        if name is not None and not all(values.get(column) for column in _TEXTS):
            return name
        prompt, a, b = (text_of(values.get(column), column) for column in _TEXTS)
        content = content_id(prompt, a, b)
        pair = self._pairs.get(name or content)
        if pair is not None and content_of(pair) != content:
            raise ValueError(f"pair {pair.id!r} has other texts here than among the pairs given; give the pairs judged")
        return name or content

    def _add(self, judge: str, pair_id: str, order: Order | None, sample: int | None, verdict: Verdict) -> None:
        if self.ordered.setdefault(judge, order is not None) != (order is not None):
            here, before = ("unknown", "given") if order is None else ("given", "unknown")
            raise ValueError(
                f"the order shown is {here} for {judge} here and was {before} before; give it for all its verdicts or "
                "for none"
            )
        known = self.verdicts.setdefault(judge, {})
        place = (pair_id, order or "ab", sample or 0)
        while sample is None and place in known:
            place = (pair_id, place[1], place[2] + 1)
        if place in known:
            raise ValueError(
                f"sample {sample} of {judge} on pair {pair_id!r} in order {place[1]} is there twice; "
                "number the samples apart, whatever the persona, or leave the column out"
            )
        known[place] = verdict
        self.others += pair_id not in self._pairs


def _content(verdict: Verdict) -> tuple[object, ...]:
    """What a verdict adds to its judge's digest; no persona, as in most files, adds nothing.

    A tie adds what it did when it was kept without a choice, so that a judge stored then is the same judge today.
    """
    *said, persona = astuple(replace(verdict, choice=None) if verdict.choice == "tie" else verdict)
    return (*said, persona) if persona else tuple(said)


def _required(value: Any, column: str) -> str:
    name = name_of(value, column)
    if name is None:
        raise ValueError(f"{column} is empty; expected a name")
    return name


def _by_order(given: Any, values: Mapping[str, Any], where: str) -> Iterator[tuple[Order | None, list[Any]]]:
    """List what a judge said of a pair by the order shown, None where that is unknown.

    An aggregate (``mean_…``) is no judgment; nor is a null outside a list, which Parquet fills in.
    """
    for key, listed in given.items() if isinstance(given, dict) else [("", given)]:
        if listed is not None and not key.startswith("mean_"):
            order = _order_of(key, values, where) if isinstance(given, dict) else None
            yield order, listed if isinstance(listed, list) else [listed]


def _order_of(key: str, values: Mapping[str, Any], where: str) -> Order:
    if key.lower() in _ORDERS:
        return _ORDERS[key.lower()]
    a, b, first = values.get("model_a"), values.get("model_b"), key.removeprefix("first=")
    if first == key:
        raise ValueError(f"{where} has the key {key!r}; expected first=MODEL, AB, BA or an aggregate called mean_…")
    if a == b or first not in (a, b):
        raise ValueError(f"{where} has the key {key!r}, but model_a is {kind_of(a)} and model_b {kind_of(b)}")
    return "ab" if first == a else "ba"


def _verdict(value: Any, where: str) -> Verdict:
    """Read P(a); a null among repetitions is a reply that named no winner."""
    if value is None:
        return Verdict(None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{where} is {kind_of(value)}; expected the probability of a, from 0 to 1 (0.5: a tie)")
    if value == 0.5:
        return Verdict("tie", 0.5, "tie")
    return Verdict("a" if value > 0.5 else "b", float(value))


def _flat_verdict(values: Mapping[str, Any]) -> Verdict:
    choice, probability = _choice(values.get("choice")), _number(values.get("probability_a"))
    reply, persona = values.get("reply") or "", name_of(values.get("persona"), "persona") or ""
    if not isinstance(reply, str):
        raise ValueError(f"reply is {kind_of(reply)}; expected text")
    read = _verdict(probability, "probability_a")
    if choice is None and probability is None:
        if "choice" not in values:
            raise ValueError("neither choice nor probability_a is there; give one of them")
        if reply == "tie":  # a vote as it was exported when ties had no choice
            return Verdict("tie", 0.5, reply, persona)
    if "tie" in (choice, read.choice) and choice in ("tie", None):
        if probability not in (None, 0.5):
            raise ValueError(f"choice is a tie beside a probability_a of {probability}; give one of them")
        return Verdict("tie", 0.5, reply or "tie", persona)
    if choice is None and probability is not None and "choice" in values:
        raise ValueError(
            f"choice is null beside a probability_a of {probability}; leave probability_a empty where no winner was "
            "named, or give the choice"
        )
    return Verdict(choice or read.choice, read.probability_a, reply, persona)


def _choice(value: Any) -> Label | None:
    """Read a choice. A capital A is refused: it may be the response shown first as well as the pair's own a."""
    if isinstance(value, str) and value.strip().lower() == "tie":
        return "tie"
    if value not in (None, "a", "b"):
        raise ValueError(f"choice is {kind_of(value)}; expected a, b, tie, or null where no winner was named")
    choice: Label | None = value
    return choice


def _number(value: Any) -> Any:
    """Read a CSV cell as a number where it is one."""
    with suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


def _sample(value: Any) -> int | None:
    number = _number(value)
    if number is None:
        return None
    whole = isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number < _SAMPLES
    if not whole or number != int(number):
        raise ValueError(f"sample is {kind_of(value)}; expected a whole number from 0")
    return int(number)

"""One reading of a public data set: rows in, checked against their schema; pairs out, and what became of every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dissensus.files.readers import Fault, Row
from dissensus.files.rows.bad_rows import describe
from dissensus.files.rows.merge import Merged, votes_of
from dissensus.files.source import Labelled
from dissensus.files.trl import orient
from dissensus.records import Annotator, Label, Margin, Message, Pair, Text, Vote, Votes, content_id, plain_text
from dissensus.sources.hub_table import Table


class SourceRow(BaseModel):
    """The columns of a row that a reader uses; others are left alone. Types are strict: no number out of text."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Turn(SourceRow):
    """One message of a chat."""

    role: Annotated[str, Field(min_length=1)]
    content: str


R = TypeVar("R", bound=SourceRow)


class Reading:
    """What a reader is given: validated rows of the tables that are read, and where it reports what became of them."""

    def __init__(
        self,
        dataset: str,
        tables: Sequence[Table],
        rows: Callable[[Table], Iterator[Row]],
        fault: Fault,
        *,
        has_people: bool = False,
    ) -> None:
        self.dataset = dataset
        self.tables = tables
        self.fault = fault
        self.counts: Counter[str] = Counter()
        """What was dropped, repeated or remarkable, in words."""
        self.annotators: dict[str, Annotator] = {}
        """People who voted, with what the source says of them."""
        self.has_people = has_people
        self._rows = rows
        self._seen: dict[int, int] = {}
        self._contents: dict[str, str] = {}

    def rows(self, model: type[R], table: str = "") -> Iterator[tuple[Row, R]]:
        """Stream the rows of the tables of that name, each validated; a bad one goes to ``fault`` with its place."""
        for described in self.tables:
            if described.name != table:
                continue
            for row in self._rows(described):
                try:
                    yield row, model.model_validate(row.values)
                except ValidationError as error:
                    self.fault(row.place, describe(error))

    def count(self, what: str, n: int = 1) -> None:
        """Count something that is reported when all is read."""
        self.counts[what] += n

    def pair(
        self,
        row: Row,
        texts: tuple[Text, Text, Text],
        *,
        label: Label | None = None,
        votes: Votes | None = None,
        source_id: str | None = None,
        margin: float | None = None,
        group: str | None = None,
        category: str | None = None,
    ) -> Iterator[Labelled]:
        """Make a pair of prompt and both responses; nothing, and counted, where a text is empty or they are the same.

        ``source_id`` is the source's own name of the pair, made unique by the data set's; without one the id is a hash
        of the texts. Where nobody votes, a pair that came before, in either orientation, is dropped and counted.
        """
        prompt, a, b = (self._whole(text) for text in texts)
        for what, text in (("prompt", prompt), ("response", a), ("response", b)):
            if not plain_text(text).strip():
                self.count(f"dropped: an empty {what}")
                return
        if a == b:
            self.count("dropped: both responses the same")
            return
        name = content_id(prompt, a, b) if source_id is None else f"{self.dataset}:{source_id}"
        if source_id is not None and not self._is_new(name, content_id(prompt, a, b), row):
            return
        try:
            for vote in votes.annotations or () if votes else ():
                if vote.annotator is not None:
                    self.annotators.setdefault(vote.annotator, Annotator(id=vote.annotator))
            pair = Pair(
                id=name,
                prompt=prompt,
                response_a=a,
                response_b=b,
                label=label,
                votes=votes,
                dataset=self.dataset,
                category=category,
                group=group or "",
            )
        except ValidationError as error:
            self.fault(row.place, describe(error))
            return
        if self.has_people or self._is_fresh(pair):
            yield pair, None if margin is None else Margin(pair_id=name, margin=margin)

    def oriented(
        self, row: Row, texts: tuple[Text, Text, Text], *, is_tie: bool = False, **fields: Any
    ) -> Iterator[Labelled]:
        """Make a pair of prompt, chosen and rejected response, in an order that says nothing; otherwise as `pair`."""
        prompt, chosen, rejected = texts
        a, b, label = orient(prompt, chosen, rejected)
        return self.pair(row, (prompt, a, b), label="tie" if is_tie else label, **fields)

    def _is_new(self, name: str, content: str, row: Row) -> bool:
        """Tell whether an id of the source comes for the first time; it may not come again with other texts."""
        if name not in self._contents:
            self._contents[name] = content
            return True
        if self._contents[name] == content:
            self.count("dropped: a pair that came before")
        else:
            self.fault(row.place, f"the id {name!r} came before with other texts; ids name one pair each")
        return False

    def _is_fresh(self, pair: Pair) -> bool:
        """Tell whether a pair comes for the first time, whatever its label then was; counts it otherwise."""
        a, b = plain_text(pair.response_a), plain_text(pair.response_b)
        key = hash((plain_text(pair.prompt), *sorted((a, b))))
        verdict = hash({"a": a, "b": b}.get(pair.label or "", pair.label))
        if key not in self._seen:
            self._seen[key] = verdict
            return True
        same = self._seen[key] == verdict
        self.count("dropped: a pair that came before" + ("" if same else ", with another label"))
        return False

    def _whole(self, text: Text) -> Text:
        """Replace halves of surrogate pairs, which JSON can escape and UTF-8 cannot hold."""
        if isinstance(text, str):
            try:
                text.encode()
            except UnicodeEncodeError:
                self.count("texts with half a character, replaced by �")
                return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return text
        return tuple(Message(role=turn.role, content=str(self._whole(turn.content))) for turn in text)


def side_of(strength: float) -> Label:
    """Turn a strength that is positive for response a into a label."""
    return "tie" if strength == 0 else "a" if strength > 0 else "b"


def one_vote(vote: Label, annotator: str | None) -> Votes | None:
    """Make the votes on a pair of which one person has said something."""
    return votes_of([Vote(annotator=annotator, vote=vote)])


def messages(turns: Sequence[Turn]) -> tuple[Message, ...]:
    """Turn a source's chat into ours."""
    return tuple(Message(role=turn.role, content=turn.content) for turn in turns)


def merge_votes(found: Iterator[Labelled], reading: Reading) -> Iterator[Labelled]:
    """Make one pair of all that have the same texts in either orientation, with the votes of all.

    The first orientation stands. Of a pair that comes once nothing changes. Of several, the label is the majority's and
    the margin the size of the mean of the margins, signed by their labels; 0 where that mean is against the majority.
    One annotator's same vote twice is one, different ones are a tie. Holds all pairs in memory: votes on a pair may lie
    far apart.
    """
    kept: dict[tuple[Text, ...], Merged] = {}
    for pair, margin in found:
        key, swapped = (pair.prompt, pair.response_a, pair.response_b), (pair.prompt, pair.response_b, pair.response_a)
        merged = kept.setdefault(swapped if swapped in kept else key, Merged(pair, margin))
        said = pair.votes.annotations or () if pair.votes else ()
        is_named = any(vote.annotator is not None for vote in said)
        if not is_named and pair.id == merged.first.id and pair.votes in merged.rows:
            reading.count("dropped: a pair that came before")  # a row again, and not other people's
            continue
        merged.add(pair, margin, reading.count)
    for merged in kept.values():
        yield merged.settle(reading.count)

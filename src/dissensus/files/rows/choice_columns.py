"""Columns of choices among a source's first rows: a label, votes, or a column for each annotator, in words and numbers
of other tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from dissensus.errors import InputError
from dissensus.files.readers import Values
from dissensus.files.rows.cells import bare_number, is_blank
from dissensus.files.rows.choice_words import OURS, SIDES, Words
from dissensus.files.rows.columns import CHOICES, ColumnMap, is_person, may_be_responses, people_among, plain_name
from dissensus.files.rows.votes import COUNTS, are_preferences, counts_by_side, entries, have_votes, listed

_MODELS = (("model_a", "model_b"), ("model_1", "model_2"), ("response_a_model", "response_b_model"))
_FINE = (None, *SIDES)


class ChoiceColumns:
    """Finds out where a source says who won, and how that is written, and reads it."""

    def __init__(self, mapping: ColumnMap) -> None:
        self._mapping = mapping
        self._named = {
            theirs: ours[-1] for ours, theirs in mapping.ours.items() if ours in ("response_a", "response_b")
        }
        self._people: list[str] = []
        self._are_people_found = False
        self._known = -1
        self._refused: set[str] = set()
        self._blank: tuple[str, ...] = ()
        """Columns that have said nothing so far, and may yet."""
        self._label = "label"
        self._has_label = self._has_votes = self._has_ids = False
        self._votes_are_odd = False
        self._words = self._votes = Words("label")
        self._own_votes: dict[str, Words] = {}
        """Of annotators whose values were said to mean something of their own."""
        self.are_repeated = False
        """Whether several rows may be choices, or votes, of one pair."""

    def is_news(self, row: Values) -> bool:
        """Whether a row is to be looked at first: it says who won where all rows before were blank, or is the first."""
        for name in self._blank:
            if (value := row.get(name)) is not None and _says(value):
                return True
        return len(self._mapping.candidates) > self._known

    def look(self, rows: Sequence[Values], prompt: str) -> None:
        """Take in the first rows, or those from one on that is news; ``prompt`` is a column that is taken.

        Raises InputError for ``values`` of columns that are not there.
        """
        had_label, had_votes = self._has_label, self._has_votes
        self._find_people(rows)
        self._find_label(rows)
        self._has_label |= any(not is_blank(row.get(self._label)) for row in rows)
        self._has_votes |= bool(self._people) or have_votes(rows)
        self._has_ids |= any(not is_blank(row.get("id")) for row in rows)
        self._leave_candidates(rows, prompt)
        self._check_given()
        if not had_label:
            theirs = self._mapping.ours.get("label", self._label)
            self._words = Words(theirs, self._mapping.meanings("label", theirs, "vote"), self._named)
        if not had_votes:
            self._take_words_of_votes(rows)
        for row in rows:
            self.observe(row)
        self.are_repeated |= self._mapping.voters.are_rows or (
            not self._has_ids if self._has_votes else self._mapping.layout == "trl" or self._has_label
        )

    def _take_words_of_votes(self, rows: Sequence[Values]) -> None:
        column = "vote" if self._people else self._mapping.ours.get("votes", "votes")
        given = self._mapping.meanings("votes", "vote", column)
        shares = any(are_preferences(row.get("votes")) for row in rows)
        shares |= any("preference" in plain_name(name) for name in self._people)
        self._votes = Words(column, given, self._named, ours="votes", may_be_shares=shares)
        self._votes_are_odd = bool(given)
        self._own_votes = {
            name: Words(name, given | self._mapping.meanings(name), self._named, ours="votes")
            for name in self._people
            if self._mapping.values.get(name)
        }

    def _find_people(self, rows: Sequence[Values]) -> None:
        if self._mapping.voters.are_columns:
            self._people = list(self._mapping.voters.votes)
            return
        found = [name for name in self._candidates() if is_person(name)]
        if self._are_people_found:  # annotators whom later rows bring join the others
            self._people += [name for name in people_among(found) if name not in self._people]
        if not self._seeks_people or have_votes(rows):
            return
        given = self._mapping.meanings("vote", "votes", *found)
        filled = {name for name in found if any(not is_blank(row.get(name)) for row in rows)}
        odd = {name for name in filled if not self._is_readable(name, rows, given)}
        readable = people_among([name for name in found if name not in odd])
        voted = [name for name in readable if name in filled]
        if not given and _may_be_of_responses(voted, rows):
            one, two = voted
            self._mapping.say(
                f"columns {one} and {two} are left alone: their numbers may be of one annotator each, or of one "
                f"response each; votes={[one, two]} reads them as votes of two annotators, "
                f"columns={ {'votes_a': one, 'votes_b': two} } as how many prefer each response"
            )
            self._refused.update(voted)
        elif len(voted) > 1:
            self._people = readable
            self._are_people_found = True
            self._mapping.say(
                f"votes are read from the columns {', '.join(readable)}, one for each annotator; "
                "columns={'votes': ''} leaves them alone"
            )

    def _find_label(self, rows: Sequence[Values]) -> None:
        if self._people or not self._seeks_label:
            return
        if have_votes(rows) or any(not is_blank(row.get("label")) for row in rows):
            return
        named = [name for wanted in CHOICES for name in self._candidates() if plain_name(name) == wanted]
        for name in named:
            if self._is_readable(name, rows, self._mapping.meanings("label", name)):
                self._label = name
                self._mapping.say(f"column {name} is read as label; columns={{'label': ''}} leaves it alone")
                return
        for name in self._candidates():
            value = next((row[name] for row in rows if not is_blank(row.get(name))), None)
            if name in named and value is not None:
                self._mapping.say(
                    f"column {name} is left alone; if it says who won, say what each of its values means, as in "
                    f"columns={ {'label': name} } {Words(name).meaning({value: 'a'})}"
                )
                self._refused.add(name)
                return

    def _leave_candidates(self, rows: Sequence[Values], prompt: str) -> None:
        """Name the candidates that hold nothing of ours; those that are blank so far may yet."""
        self._known = len(self._mapping.candidates)
        used = {self._label, prompt, *self._people}
        rest = [name for name in self._candidates() if name not in used]
        open_ = [name for name in rest if self._may_be_ours(name) and not any(_says(row.get(name)) for row in rows)]
        left = [name for name in rest if name not in open_]
        self._refused.update(left)
        self._mapping.leave(left)
        ours = [name for name, has in ((self._label, self._has_label), ("votes", self._has_votes)) if not has]
        self._blank = () if self._mapping.layout == "trl" else (*ours, *open_)

    def _candidates(self) -> list[str]:
        return [name for name in self._mapping.candidates if name not in self._refused]

    def _may_be_ours(self, name: str) -> bool:
        """Whether a column that is blank so far would be read if it held who won."""
        return self._seeks_people if is_person(name) else self._seeks_label and plain_name(name) in CHOICES

    @property
    def _seeks_people(self) -> bool:
        return not self._has_votes and self._mapping.layout == "pairs" and "votes" not in self._mapping.left_alone

    @property
    def _seeks_label(self) -> bool:
        is_named = "label" in (*self._mapping.ours, *self._mapping.left_alone)
        return self._mapping.layout == "pairs" and not (self._has_label or self._has_votes or is_named)

    def _is_readable(self, name: str, rows: Sequence[Values], given: Mapping[str, str]) -> bool:
        words = Words(name, given)
        return all(words.can_read(row[name], _models(row)) for row in rows if not is_blank(row.get(name))) and any(
            not is_blank(row.get(name)) for row in rows
        )

    def _check_given(self) -> None:
        theirs = {self._mapping.ours.get(name, name) for name in OURS}
        known = ("label", "vote", "votes", "domain", "distinct", *theirs, self._label, *self._people, *self._blank)
        for name, values in self._mapping.values.items():
            if name not in known:
                raise InputError(
                    f"values of {name}: is no column of choices here; choose from {', '.join(dict.fromkeys(known))}, "
                    f"or name it: columns={ {'label': name} }"
                )
            column = next((ours for ours in OURS if name in (ours, self._mapping.ours.get(ours))), "label")
            for value, ours in values.items():
                if ours not in OURS[column]:
                    raise InputError(
                        f"values={ {name: {value: ours}} }: {column} is {', '.join(filter(None, OURS[column]))}"
                    )

    def observe(self, row: Values) -> None:
        """Take note of one row's choices."""
        if self._mapping.layout == "trl":
            return
        label = row.get(self._label)
        if label not in _FINE and not (isinstance(label, str) and label in _models(row)):
            self._words.observe([label])
        if self._people:
            for name in self._people:
                self._own_votes.get(name, self._votes).observe([row.get(name)])
        elif row.get("votes") is not None:
            said = listed(row["votes"])
            if said is None or any(not isinstance(vote, Mapping) or vote.get("vote") not in SIDES for vote in said):
                self._votes_are_odd = True
                with suppress(ValueError):  # reported when its turn comes
                    self._votes.observe(vote for _, vote in entries(row["votes"], self._sides(row)))

    @property
    def is_open(self) -> bool:
        """Whether more rows are needed to tell what numbers mean."""
        return any(words.is_open for words in self._all_words)

    def decide(self) -> None:
        """Settle what numbers mean, with a notice. Raises InputError where they may mean several things."""
        for words in self._all_words:
            if notice := words.decide():
                self._mapping.say(notice)
        if self._words.is_share:  # an estimate is a vote: whose it is says a column, or no id
            self.are_repeated = self._mapping.voters.are_rows or not self._has_ids

    @property
    def _all_words(self) -> tuple[Words, ...]:
        return (self._words, self._votes, *self._own_votes.values())

    def close(self) -> None:
        """Name the candidates that were blank to the end."""
        self._mapping.leave([name for name in self._blank if name in self._mapping.candidates])

    @property
    def are_plain(self) -> bool:
        """Whether rows are in our terms as they stand, but perhaps for their labels."""
        return not (self._people or self._votes_are_odd or self._mapping.values) and self._label == "label"

    def is_fine(self, row: Values) -> bool:
        """Whether a row's label is in our terms."""
        return self._mapping.layout == "trl" or row.get(self._label) in _FINE

    def read(self, row: Values) -> Values:
        """Add to a copy of a row what it says in our terms. Raises ValueError for a choice that cannot be read."""
        label = None if self._mapping.layout == "trl" else row.get(self._label)
        if self._words.is_share:
            share = self._words.share(label)
            row |= {"label": None, "votes": None if share is None else [{"estimate": share}]}
        elif label is not None:
            row["label"] = self._words.read(label, _models(row))
        if self._people:
            said = {name: self._vote(row.get(name), _models(row), name) for name in self._people}
            row["votes"] = [{"annotator": name, **vote} for name, vote in said.items() if vote is not None]
        elif self._votes_are_odd and row.get("votes") is not None:
            row |= self._votes_in(row)
        return row

    def _votes_in(self, row: Values) -> Values:
        """Read a row's ``votes`` in any shape: counts into their columns, anything else as a list."""
        names = self._sides(row)
        counts = counts_by_side(row["votes"], names)
        if counts and not any(name in row for name in COUNTS):
            return {"votes": None} | {f"votes_{side}": counts.get(side, 0) for side in SIDES}
        if counts is not None:
            return {"votes": [{"vote": side} for side in SIDES for _ in range(counts.get(side, 0))]}
        said = []
        for given, vote in entries(row["votes"], names):
            rest = dict(given) if isinstance(given, Mapping) else {"annotator": given}
            read = self._vote(vote, names)
            if read is not None or rest.get("estimate") is not None:
                said.append({**rest, **(read or {"vote": None})})
        return {"votes": said}

    def _sides(self, row: Values) -> dict[str, str]:
        """Map what the two responses are called in a row, by the names of their columns or models, to their sides."""
        return {**self._named, **_models(row)}

    def _vote(self, value: Any, names: Mapping[str, str], column: str | None = None) -> Values | None:
        """Return what one person said, a side or an estimate; None for an empty value. Raises ValueError."""
        words = self._votes if column is None else self._own_votes.get(column, self._votes)
        if words.is_share:
            share = words.share(value, column)
            return None if share is None else {"estimate": share}
        side = words.read(value, names, column)
        return None if side is None else {"vote": side}


def _may_be_of_responses(names: Sequence[str], rows: Sequence[Values]) -> bool:
    """Whether two columns have bare numbers alone, which may say something of a response each and not be votes.

    So with names that responses may have as well (``label_0``, ``votes_1``), and where the two always differ, as the
    ids of two raters or a 1 for the better response do.
    """
    if len(names) != 2:
        return False
    filled = [[bare_number(row[name]) for name in names if not is_blank(row.get(name))] for row in rows]
    if any(None in numbers for numbers in filled):
        return False
    sums = [sum(number for number in numbers if number is not None) for numbers in filled if len(numbers) == 2]
    return may_be_responses(names) or (len(sums) > 1 and set(sums) in ({1.0}, {3.0}))


def _says(value: Any) -> bool:
    """Whether a value may say who won: one of a label, or votes of somebody."""
    return not is_blank(value) and value not in ([], {})


def _models(row: Values) -> dict[str, str]:
    """Map the names of the two models of a row to their sides; nothing where they are the same."""
    for a, b in _MODELS:
        one, two = row.get(a), row.get(b)
        if isinstance(one, str) and isinstance(two, str) and one != two:
            return {one: "a", two: "b"}
    return {}

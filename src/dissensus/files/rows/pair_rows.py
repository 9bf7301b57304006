"""A flat row to a Pair and back; what its cells mean is said where they are: chat, votes, cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dissensus.files.readers import Values, kind_of
from dissensus.files.rows.cells import flag_of, name_of
from dissensus.files.rows.chat import text_of, text_value, tools_beside, tools_of
from dissensus.files.rows.choice_words import OURS, SIDES
from dissensus.files.rows.columns import DESCRIPTIVE
from dissensus.files.rows.row_notes import Notes
from dissensus.files.rows.shared_prompt import split_texts
from dissensus.files.rows.votes import votes_of_row
from dissensus.records import Message, Pair, Text, Vote, content_id, plain_text


def pair_from_row(row: Mapping[str, Any], notes: Notes | None = None) -> Pair:
    """Build a pair from a flat row; raises ValueError with one line on a bad value.

    What is not read of it (``competence`` of a vote, …) is added to ``notes``, as is a prompt that the responses
    have again.
    """
    prompt, a, b = texts_of(row, ("response_a", "response_b"), notes)
    label = None if row.get("label") == "" else row.get("label")
    if label not in (None, *SIDES):
        raise ValueError(f"label is {kind_of(label)}; expected a, b, tie or nothing")
    return Pair(
        id=name_of(row.get("id"), "id", notes) or content_id(prompt, a, b),
        prompt=prompt,
        response_a=a,
        response_b=b,
        label=label,
        label_is_a_vote=flag_of(row.get("label_is_a_vote"), "label_is_a_vote"),
        votes=votes_of_row(row, notes),
        **descriptive(row, notes),
    )


def texts_of(row: Mapping[str, Any], names: tuple[str, str], notes: Notes | None = None) -> tuple[Text, Text, Text]:
    """Read prompt and both responses, whose columns are ``names``; the tools of a chat go onto its first turn.

    Without a prompt of its own, a trainer's row has it at the start of both. Raises ValueError.
    """
    is_given = names == ("response_a", "response_b") or row.get("prompt") not in (None, "", [])
    prompt = text_of(row.get("prompt"), "prompt", notes) if is_given else None
    one, two = text_of(row.get(names[0]), names[0], notes), text_of(row.get(names[1]), names[1], notes)
    if one == two and not is_given:
        raise ValueError(f"{names[0]} and {names[1]} are the same")
    prompt, one, two = split_texts(prompt, one, two, names, notes)
    tools = row.get("tools")
    if tools is None and not isinstance(prompt, str):
        tools = next(filter(None, (tools_beside(row.get(name)) for name in ("prompt", *names))), None)
    return _with_tools(prompt, tools, (one, two), notes), one, two


def _with_tools(prompt: Text, given: Any, responses: tuple[Text, Text], notes: Notes | None) -> Text:
    if given is None or not (tools := tools_of(given)):
        return prompt
    if isinstance(prompt, str):
        if not any(turn.tool_calls for text in responses if not isinstance(text, str) for turn in text):
            if notes is not None:
                notes.count("pairs of plain text had tools, which only a chat can have; they are left alone")
            return prompt
        prompt = (Message(role="user", content=prompt),)
    return (prompt[0].model_copy(update={"tools": tools}), *prompt[1:])


def descriptive(row: Mapping[str, Any], notes: Notes | None = None) -> Values:
    """Take the columns that describe a pair (data set, domain, …), those that are not empty. Raises ValueError."""
    named = {}
    for column in DESCRIPTIVE:
        if (value := row.get(column)) is None or (name := name_of(value, column, notes)) is None:
            continue
        if column in OURS and name not in OURS[column]:
            raise ValueError(
                f"{column} is {kind_of(name)}; expected {' or '.join(OURS[column])}; leave the column alone: "
                f"--column {column}="
            )
        named[column] = name
    return named


def _listed(vote: Vote) -> Values:
    said = {"annotator": vote.annotator, "vote": vote.vote}
    return said if vote.estimate is None else {**said, "estimate": vote.estimate}


def row_from_pair(pair: Pair) -> Values:
    """Flatten a pair. The group is null where it is the prompt, so that the prompt is not stored twice.

    >>> row = row_from_pair(Pair(id="1", prompt="Why?", response_a="So.", response_b="No.", votes={"a": 2, "b": 1}))
    >>> row["votes_a"], row["group"], row["votes"]
    (2, None, None)
    """
    votes = pair.votes
    listed = votes.annotations if votes else None
    return {
        "id": pair.id,
        "prompt": text_value(pair.prompt),
        "response_a": text_value(pair.response_a),
        "response_b": text_value(pair.response_b),
        "label": pair.label,
        "label_is_a_vote": pair.label_is_a_vote,
        "dataset": pair.dataset,
        "domain": pair.domain,
        "category": pair.category,
        "distinct": pair.distinct,
        "group": None if pair.group == plain_text(pair.prompt) else pair.group,
        "votes_a": votes.a if votes else None,
        "votes_b": votes.b if votes else None,
        "votes_tie": votes.tie if votes else None,
        "votes": [_listed(vote) for vote in listed] if listed else None,
    }

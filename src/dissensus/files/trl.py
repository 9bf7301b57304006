"""TRL's preference rows, ``chosen`` and ``rejected``, to pairs and back.

Standard (text) and conversational (lists of role and content), with the prompt in its own column or inside both
texts, and an optional ``margin``. Formats: https://huggingface.co/docs/trl/dataset_formats.

Which of the two becomes ``response_a`` comes from a hash of prompt and response: the same two responses always
stand the same way round, whichever was chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dissensus.files.readers import Values, kind_of
from dissensus.files.rows.bad_rows import Notes
from dissensus.files.rows.cells import name_of
from dissensus.files.rows.chat import text_value
from dissensus.files.rows.columns import leave_alone
from dissensus.files.rows.pair_rows import descriptive, texts_of
from dissensus.records import Choice, Margin, Message, Pair, Text, content_id

TRL_COLUMNS: Mapping[str, Any] = {"id": str, "prompt": Text, "chosen": Text, "rejected": Text}


def pair_from_trl(row: Mapping[str, Any], notes: Notes | None = None) -> tuple[Pair, Margin | None]:
    """Build a labelled pair, and its margin where the row has one, as ``pair_from_row`` does; raises ValueError."""
    prompt, chosen, rejected = split_prompt(row, notes)
    a, b, label = orient(prompt, chosen, rejected)
    pair = Pair(
        id=name_of(row.get("id"), "id", notes) or content_id(prompt, a, b),
        prompt=prompt,
        response_a=a,
        response_b=b,
        label=label,
        **descriptive(row, notes),
    )
    margin = row.get("margin")
    if margin is None:
        return pair, None
    if isinstance(margin, bool) or not isinstance(margin, int | float | str):
        raise ValueError(f"margin is {kind_of(margin)}; expected a number; {leave_alone('margin')}")
    return pair, Margin.model_validate({"pair_id": pair.id, "margin": margin})


def orient(prompt: Text, chosen: Text, rejected: Text) -> tuple[Text, Text, Choice]:
    """Put two responses in an order that carries no information; returns response a, response b and the label.

    The order is that of their hashes, salted with the prompt, so that a response found under several prompts does not
    always come first.
    """
    a, b = sorted((chosen, rejected), key=lambda text: content_id(prompt, text, text))
    return a, b, "a" if a == chosen else "b"


def split_prompt(row: Mapping[str, Any], notes: Notes | None = None) -> tuple[Text, Text, Text]:
    """Return (prompt, chosen, rejected), taking the prompt from the common start where it has no column.

    A string prompt beside whole conversations gives way to the messages that both share, as in TRL. A prompt that the
    responses have again is taken out of them.

    >>> split_prompt({"chosen": "The sky is blue.", "rejected": "The sky is grey."})
    ('The sky is', ' blue.', ' grey.')
    """
    prompt, chosen, rejected = texts_of(row, ("chosen", "rejected"), notes)
    if chosen == rejected:
        raise ValueError("chosen and rejected are the same")
    return prompt, chosen, rejected


def trl_from_pair(pair: Pair, *, conversational: bool, tools_apart: bool = True) -> Values:
    """Return the TRL row of a pair labelled a or b; text becomes messages where asked or where any part is chat.

    ``tools_apart``: tools that the prompt tells of become a column, as TRL has them.
    """
    chosen, rejected = (pair.response_a, pair.response_b) if pair.label == "a" else (pair.response_b, pair.response_a)
    texts: dict[str, Text] = {"prompt": pair.prompt, "chosen": chosen, "rejected": rejected}
    if conversational or not all(isinstance(text, str) for text in texts.values()):
        for name, text in texts.items():
            if isinstance(text, str):
                texts[name] = (Message(role="user" if name == "prompt" else "assistant", content=text),)
    row: Values = {"id": pair.id} | {name: text_value(text) for name, text in texts.items()}
    if tools_apart and not isinstance(pair.prompt, str) and pair.prompt[0].tools:
        row["tools"] = row["prompt"][0].pop("tools")
    return row

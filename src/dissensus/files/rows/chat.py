"""Prompts and responses as files have them: text, and chat messages in the shapes of several tools.

Messages are objects with ``role`` and ``content`` (or ShareGPT's ``from`` and ``value``), one of them or a list, one
object of lists, or an object that has them under ``messages``. Content is text or a list of parts, of which only text
can be read. Tool calls are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from dissensus.files.readers import Values, decode_json, kind_of
from dissensus.files.rows.bad_rows import Notes
from dissensus.files.rows.cells import decode_cell, unicode_of
from dissensus.files.rows.columns import CONVERSATIONS, leave_alone
from dissensus.records import Message, Text, is_empty

_ROLE_KEYS = ("role", "from", "speaker", "author")
_CONTENT_KEYS = ("content", "value", "text", "message", "parts")
_SPEAKERS = {
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "ai", "bot", "model", "function_call"), "assistant"),
    **dict.fromkeys(("observation", "function_response"), "tool"),
}
"""ShareGPT's names of who speaks; what stands under ``role`` is kept as it is."""
_ANSWERING = ("tool", "function", "ipython")
_TEXT_PARTS = (None, "text", "input_text", "output_text", "refusal")


def text_of(value: Any, column: str, notes: Notes | None = None) -> Text:
    """Read plain text or chat messages; raises ValueError on anything else. ``notes`` gets keys that are not read."""
    if isinstance(value, str):
        if not value.strip():
            raise ValueError(f"{column} is empty")
        return unicode_of(value, column)
    if value is None:
        raise ValueError(f"{column} is missing or null")
    turns = _turns(value)
    if turns is None:
        raise ValueError(f"{column} is {kind_of(value)}; expected text or a list of role and content")
    notes = notes or Notes()
    if isinstance(value, Mapping) and _inner(value):
        notes.unused.update(
            key for key, part in value.items() if part is not None and key not in (*CONVERSATIONS, "tools")
        )
    messages = tuple(_message(turn, f"{column}[{i}]", notes) for i, turn in enumerate(turns))
    if is_empty(messages):
        raise ValueError(f"{column} is empty")
    return messages


def text_value(text: Text) -> str | list[Values]:
    """Turn a text into what a file holds: itself, or a list of messages; calls and tools are lists in them."""
    if isinstance(text, str):
        return text
    turns = [turn.as_turn() for turn in text]
    for turn, message in zip(turns, text, strict=True):
        if message.tools:
            turn["tools"] = json.loads(message.tools)
    return turns


def is_conversation(value: Any) -> bool:
    """Whether a value is made of messages and of nothing else: one, a list, or an object of lists."""
    turns = _turns(value)
    return bool(turns) and all(
        isinstance(turn, Mapping) and isinstance(turn.get(_key(turn, _ROLE_KEYS)), str) and _says(turn)
        for turn in turns or ()
    )


def begins_with_a_prompt(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the first of some messages is not an assistant's: who answers does not begin."""
    key = _key(messages[0], _ROLE_KEYS)
    speaker = str(messages[0].get(key)).lower()
    return (speaker if key == "role" else _SPEAKERS.get(speaker, speaker)) != "assistant"


def conversation_of(text: Any) -> Any:
    """Return the messages that a cell holds as text; the value itself where it holds none."""
    if not isinstance(text, str) or not any(key in text for key in _ROLE_KEYS):
        return text
    found = decode_cell(text)
    return found if is_conversation(found) else text


def tools_beside(value: Any) -> Any:
    """Return the tools that stand beside the messages of an object, as in OpenAI's preferences; None for none."""
    return value.get("tools") if isinstance(value, Mapping) and _inner(value) else None


def tools_of(value: Any) -> str | None:
    """Read a column of tools, a list or its JSON text, as JSON text; None where there are none. Raises ValueError."""
    if isinstance(value, str):
        value = decode_cell(value) if value.strip() else None
        if value is None:
            raise ValueError(f"tools is text that is no JSON list; {leave_alone('tools')}")
    if not value:
        return None
    if not isinstance(value, list):
        raise ValueError(f"tools is {kind_of(value)}; expected a list; {leave_alone('tools')}")
    return _as_text(value, "tools")


def _turns(value: Any) -> list[Any] | None:
    """List the messages of a value in any of the shapes; None where it has none of them."""
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, Mapping):
        return None
    role, content = _key(value, _ROLE_KEYS), _key(value, _CONTENT_KEYS)
    if isinstance(value.get(role), list):  # an object of lists, as `datasets` stores a Sequence of objects
        lists = {key: part for key, part in value.items() if isinstance(part, list)}
        if len({len(part) for part in lists.values()}) > 1:
            return None
        return [dict(zip(lists, turn, strict=True)) for turn in zip(*lists.values(), strict=True)]
    if role in value and (content in value or value.get("tool_calls")):
        return [value]
    inner = value[next(iter(value))] if len(value) == 1 else _inner(value)
    return inner if isinstance(inner, list) and is_conversation(inner) else None


def _inner(value: Mapping[str, Any]) -> Any:
    """Return the messages of an object that has them beside other things, such as tools."""
    return next((value[name] for name in CONVERSATIONS if value.get(name)), None)


def _key(turn: Mapping[str, Any], known: tuple[str, ...]) -> str:
    return next((key for key in known if turn.get(key) is not None), known[0])


def _says(turn: Mapping[str, Any]) -> bool:
    return isinstance(turn.get(_key(turn, _CONTENT_KEYS)), str | list) or bool(turn.get("tool_calls"))


def _message(turn: Any, place: str, notes: Notes) -> Message:
    if not isinstance(turn, Mapping):
        raise ValueError(f"{place} is {kind_of(turn)}; expected an object with role and content")
    role_key, content_key = _key(turn, _ROLE_KEYS), _key(turn, _CONTENT_KEYS)
    speaker = turn.get(role_key)
    if not isinstance(speaker, str) or not speaker:
        raise ValueError(f"{place}.{role_key} is {kind_of(speaker)}; expected text")
    role = speaker if role_key == "role" else _SPEAKERS.get(speaker.lower(), speaker)
    calls = _calls(turn, place)
    content = turn.get(content_key)
    if role_key != "role" and speaker.lower() == "function_call" and not calls:
        calls, content = _spoken_call(content, f"{place}.{content_key}"), ""
    answering = {key: turn.get(key) for key in ("name", "tool_call_id")} if role in _ANSWERING else {}
    if len(turn) > 2:
        read = {role_key, content_key, "tool_calls", "function_call", "tools", *answering}
        # Arrow fills the keys that a turn does not have with null.
        notes.unused.update(key for key, value in turn.items() if key not in read and value is not None)
    text = "" if content is None and calls else _content(content, f"{place}.{content_key}")
    return Message(
        role=unicode_of(role, f"{place}.{role_key}"),
        content=unicode_of(text, f"{place}.{content_key}"),
        tool_calls=calls,
        tools=tools_of(turn.get("tools") or None),
        **{key: unicode_of(str(value), f"{place}.{key}") for key, value in answering.items() if value is not None},
    )


def _content(value: Any, place: str) -> str:
    if isinstance(value, str):
        return value
    parts = [value] if isinstance(value, Mapping) else value
    if not isinstance(parts, list):
        raise ValueError(f"{place} is {kind_of(value)}; expected text")
    return "".join(part if isinstance(part, str) else _part(part, f"{place}[{i}]") for i, part in enumerate(parts))


def _part(part: Any, place: str) -> str:
    if not isinstance(part, Mapping):
        raise ValueError(f"{place} is {kind_of(part)}; expected a part of text")
    kind = part.get("type")
    text = part.get("text") if part.get("text") is not None else part.get("content")
    if kind == "refusal":
        text = part.get("refusal")
    if kind in _TEXT_PARTS and isinstance(text, str):
        return text
    name = kind or ", ".join(str(key) for key, value in part.items() if value is not None) or "nothing"
    raise ValueError(f"{place} is a part of another kind than text ({str(name)[:40]}); only text can be read")


def _calls(turn: Mapping[str, Any], place: str) -> str | None:
    value = turn.get("tool_calls")
    if not value and turn.get("function_call"):  # the older form, of one call
        value = [{"type": "function", "function": turn["function_call"]}]
    if isinstance(value, str):
        value = decode_cell(value)
    if not value:
        return None
    if not isinstance(value, list) or not all(isinstance(call, Mapping) for call in value):
        raise ValueError(f"{place}.tool_calls is {kind_of(value)}; expected a list of calls")
    return _as_text([_call(call) for call in value], f"{place}.tool_calls")


def _spoken_call(value: Any, place: str) -> str:
    found = decode_cell(value) if isinstance(value, str) else value
    calls = found if isinstance(found, list) else [found]
    if not calls or not all(isinstance(call, Mapping) and call.get("name") for call in calls):
        raise ValueError(f"{place} is {kind_of(value)}; expected a call as JSON with name and arguments")
    return _as_text([_call({"type": "function", "function": call}) for call in calls], place)


def _call(call: Mapping[str, Any]) -> Values:
    """Take a call with its arguments as an object, as chat templates want them, where they are JSON text."""
    function = call.get("function")
    inner = dict(function) if isinstance(function, Mapping) else dict(call)
    with suppress(ValueError):
        arguments = decode_json(inner["arguments"]) if isinstance(inner.get("arguments"), str) else None
        if isinstance(arguments, dict):
            inner["arguments"] = arguments
    return {**call, "function": inner} if isinstance(function, Mapping) else inner


def _as_text(value: Any, place: str) -> str:
    return unicode_of(json.dumps(_without_nulls(value), ensure_ascii=False, separators=(",", ":")), place)


def _without_nulls(value: Any) -> Any:
    """Leave out keys that are null: Arrow gives every object the keys of all the others."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value

"""Prompts and responses: plain text, or chat messages with their tool calls; and what identifies a pair of them."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from dissensus.hashing import identity_of


def _as_json(value: Any) -> Any:
    """Take a list or its JSON text as JSON text, which stays as it is written; nothing for an empty list."""
    if isinstance(value, list | tuple):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value else None
    if not isinstance(value, str):
        return value
    entries = json.loads(value)
    if not isinstance(entries, list):
        raise ValueError("expected a JSON list")
    return value if entries else None


_JsonText = Annotated[str | None, BeforeValidator(_as_json)]


class Message(BaseModel):
    """One turn of a chat transcript; calls and tools become JSON text, which can be hashed and stored in one column."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Annotated[str, Field(min_length=1)]
    content: str
    tool_calls: _JsonText = None
    """The tools that this turn calls, with their arguments: a JSON list in the shape of TRL and OpenAI."""
    name: str | None = None
    """Of a tool's turn: which tool answers."""
    tool_call_id: str | None = None
    """Of a tool's turn: which call it answers."""
    tools: _JsonText = None
    """On the first turn of a prompt: the tools that a model may call, a JSON list that chat templates take."""

    @model_serializer(mode="wrap")
    def _without_nulls(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        return {key: value for key, value in handler(self).items() if value is not None}

    @property
    def calls(self) -> list[dict[str, object]]:
        """The tool calls as objects; none is an empty list."""
        return json.loads(self.tool_calls) if self.tool_calls else []

    @property
    def said(self) -> str:
        """The content, and each call in a line of its own.

        >>> call = {"type": "function", "function": {"name": "price", "arguments": {"item": "figs"}}}
        >>> Message(role="assistant", content="", tool_calls=[call]).said
        'price({"item": "figs"})'
        """
        if not self.tool_calls:
            return self.content
        return "\n".join([*filter(None, [self.content]), *map(_call_as_text, self.calls)])

    def as_turn(self) -> dict[str, object]:
        """Return the turn as chat templates take it: role, content, and calls as objects where there are any."""
        named = {"tool_calls": self.calls or None, "name": self.name, "tool_call_id": self.tool_call_id}
        spoken = {"role": self.role, "content": self.content}
        return {**spoken, **{key: value for key, value in named.items() if value is not None}}


def _call_as_text(call: dict[str, object]) -> str:
    inner = call.get("function")
    function = inner if isinstance(inner, dict) else call
    arguments = function.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f"{function.get('name', 'tool')}({text})"


Text = str | tuple[Message, ...]
"""A prompt or response: plain text, or chat messages."""


def plain_text(text: Text) -> str:
    """Render a text for people and for encoders that know no chat: turns as ``role: content``.

    >>> plain_text((Message(role="user", content="Hi"), Message(role="assistant", content="Hello.")))
    'user: Hi\\n\\nassistant: Hello.'
    """
    if isinstance(text, str):
        return text
    if len(text) == 1:
        return text[0].said
    return "\n\n".join(f"{turn.role}: {turn.said}" for turn in text)


def log_length(text: Text) -> float:
    """Return the natural logarithm of a text's length in characters, one added so that an empty text has one.

    >>> log_length("")
    0.0
    """
    return math.log(len(plain_text(text)) + 1)


def is_empty(text: Text) -> bool:
    """Whether a text says nothing: no words, and no tool is called."""
    return not (text.strip() if isinstance(text, str) else any(turn.said.strip() for turn in text))


def content_id(prompt: Text, response_a: Text, response_b: Text) -> str:
    """Identify a pair by its content: 16 hex digits of a SHA-256 over prompt and both responses, in order."""
    parts = [t if isinstance(t, str) else [_identity(m) for m in t] for t in (prompt, response_a, response_b)]
    blob = json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return identity_of([blob])


def _identity(message: Message) -> list[str]:
    return [message.role, message.content, *filter(None, (message.tool_calls, message.tools))]

"""Markdown of prompts and responses as safe HTML: nothing in it runs, loads or imitates the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pydantic import BaseModel

from dissensus.records import Text

_TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "span", "strong",
    "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_LEVELS_BELOW_THE_PAGE = 3  # h1 to h3 are the page's own
_HH_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant): ?")
_HH_ROLES = {"Human": "user", "Assistant": "assistant"}
_ROLES = {"user", "assistant", "system", "tool"}


class Turn(BaseModel):
    """Who speaks, and what, as HTML that is safe to insert."""

    role: str  # user, assistant, system, tool; other names are ``other``, for they may tell whose response it is
    html: str


@lru_cache(maxsize=1024)
def render(text: str) -> str:
    """Render Markdown. HTML in it is shown as text, images as their descriptions and addresses.

    >>> render("**Yes**, <b>no</b> ![x](https://a.example/b.png)")
    '<p><strong>Yes</strong>, &lt;b&gt;no&lt;/b&gt; <span class="image">[image: x (https://a.example/b.png)]</span></p>\\n'
    """
    return nh3.clean(
        _markdown.render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes={"span": {"image"}},
        url_schemes={"http", "https", "mailto"},
        url_relative="deny",
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


def render_turns(text: Text, role: str = "assistant") -> list[Turn]:
    """Render a text as turns: chat messages, a transcript in the style of HH-RLHF, or one turn of ``role``.

    >>> [turn.role for turn in render_turns("Human: Hi\\n\\nAssistant: Hello.\\n\\nHuman: Bye")]
    ['user', 'assistant', 'user']
    """
    turns = [(m.role, m.said) for m in text] if not isinstance(text, str) else _transcript(text) or [(role, text)]
    said = [(speaker, content) for speaker, content in turns if content.strip()]
    return [Turn(role=speaker if speaker in _ROLES else "other", html=render(content)) for speaker, content in said]


def _transcript(text: str) -> list[tuple[str, str]]:
    text = text.strip()
    starts = list(_HH_TURN.finditer(text))
    if len(starts) < 2 or starts[0].start() != 0:
        return []
    ends = [start.start() for start in starts[1:]] + [len(text)]
    return [(_HH_ROLES[start[1]], text[start.end() : end]) for start, end in zip(starts, ends, strict=True)]


class _Renderer(RendererHTML):
    def image(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[index]
        words = self.renderInlineAsText(token.children or [], options, env)
        return f'<span class="image">[image: {escapeHtml(words)} ({escapeHtml(str(token.attrs["src"]))})]</span>'

    def heading_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        return f"<{_lower(tokens[index].tag)}>"

    def heading_close(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        return f"</{_lower(tokens[index].tag)}>\n"


def _lower(tag: str) -> str:
    return f"h{min(6, int(tag[1]) + _LEVELS_BELOW_THE_PAGE)}"


_markdown = MarkdownIt(
    "commonmark", {"html": False, "breaks": True, "linkify": False, "maxNesting": 100}, renderer_cls=_Renderer
).enable(["table", "strikethrough"])

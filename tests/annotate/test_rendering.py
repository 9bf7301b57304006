"""Texts become safe HTML: nothing runs, loads, or pretends to be the page."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissensus.annotate.web.markdown import render, render_turns
from dissensus.records import Message

from ..report.payloads import PAYLOADS

TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "span", "strong",
    "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {("a", "href"), ("a", "title"), ("a", "rel"), ("a", "target"), ("ol", "start"), ("span", "class")}


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def _check(html):
    for tag, attributes in Tags(html).found:
        assert tag in TAGS
        assert {(tag, name) for name in attributes} <= ATTRIBUTES
        assert attributes.get("class", "image") == "image"
        assert attributes.get("href", "https:").startswith(("https:", "http:", "mailto:"))
        if tag == "a":
            assert "noopener" in attributes["rel"]


@pytest.mark.parametrize(
    "frame", ["{}", "# {}", "> - **{}**", "[{0}]({0})", "![{0}]({0})", "|{0}|\n|-|\n|{0}|", "```{0}\n{0}\n```"]
)
def test_no_payload_becomes_anything_but_text(frame):
    for payload in PAYLOADS:
        _check(render(frame.format(payload)))


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_no_text_does(text):
    _check(render(text))


SHOWN = {
    "before ![a *cat*](https://evil.example/cat.png 'x') after": ["[image: a cat (https://evil.example/cat.png)]"],
    "**bold** `code`\n\n1. one\n\n```python\nx < 1\n```": ["<strong>bold</strong>", "<code>code<", "<ol>", "x &lt; 1"],
    "line\nbreak\n\n| a | b |\n|---|---|\n| 1 | 2 |": ["line<br", "<td>1</td>"],
    "a <b>bold</b> claim": ["&lt;b&gt;"],
    "> " * 40 + "deep": ["deep"],
    "\n".join("  " * n + f"- item {n}" for n in range(20)): ["item 19"],
}


@pytest.mark.parametrize("text", SHOWN)
def test_what_markdown_is_for_is_kept_and_html_and_images_are_shown_as_text(text):
    html = render(text)
    assert "<img" not in html
    for part in SHOWN[text]:
        assert part in html


def test_headings_stay_below_the_pages_own():
    assert [tag for tag, _ in Tags(render("# one\n## two\n###### six")).found] == ["h4", "h5", "h6"]


def test_chats_are_turns_and_roles_tell_nothing():
    chat = (Message(role="user", content="Hi"), Message(role="gpt-4-turbo", content="Hello."))
    assert [(turn.role, turn.html.strip()) for turn in render_turns(chat)] == [
        ("user", "<p>Hi</p>"),
        ("other", "<p>Hello.</p>"),
    ]


def test_transcripts_of_hh_rlhf_are_turns():
    text = "\n\nHuman: What is H: ?\n\nAssistant: A letter.\n\nSo it is.\n\nHuman: Thanks\n\nAssistant:"
    turns = render_turns(text, "user")
    assert [turn.role for turn in turns] == ["user", "assistant", "user"]
    assert "So it is." in turns[1].html
    [single] = render_turns("Human: nature is a topic", "user")
    assert "Human: nature" in single.html


@pytest.mark.parametrize("text", ["> " * 5000 + "deep", "[" * 5000, "*" * 20_000, "- " * 3000 + "x", "`" * 9999])
def test_deeply_nested_texts_are_got_through(text):
    _check(render(text))

"""Every message that the troubleshooting page quotes still stands in the source."""

import ast
import re
from functools import cache

from .docs_pages import DOCS, ROOT

PAGE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")


@cache
def _texts() -> frozenset[str]:
    """All strings of the source, with a mark where a value is put in."""
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / "src").rglob("*.py"))
    return frozenset(_text(node) for tree in trees for node in ast.walk(tree))


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""


def _quoted() -> list[str]:
    """What stands in the first cell of each row, and in lists."""
    cells = re.findall(r"^(?:\| |- )(`.*?`)(?: \||$)", PAGE, flags=re.M)
    return [quote for cell in cells for quote in re.findall(r"`([^`]+)`", cell)]


def _stands(quote: str) -> bool:
    parts = quote.strip("… ").split("…")
    longest, pattern = max(parts, key=len), re.compile(".*".join(map(re.escape, parts)), flags=re.S)
    return any(longest in text and pattern.search(text) for text in _texts())


def test_every_message_stands_in_the_source():
    quoted = _quoted()
    assert len(quoted) > 350
    assert [quote for quote in quoted if not _stands(quote)] == []


def test_no_message_is_explained_twice():
    quoted = _quoted()
    assert len(set(quoted)) == len(quoted)

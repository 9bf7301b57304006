"""Every message that the troubleshooting page quotes still stands in the source."""

import ast
import re
from functools import cache

from .docs_pages import DOCS, ROOT

END = "\1"
PAGE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")


@cache
def _texts() -> str:
    """All strings of the source, an end mark behind each, and a mark where a value is put in."""
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in sorted((ROOT / "src").rglob("*.py")))
    return END.join({_text(node) for tree in trees for node in ast.walk(tree)})


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


def test_every_message_stands_in_the_source():
    quoted = _quoted()
    assert len(quoted) > 350
    gone = []
    for quote in quoted:
        if not re.search(f"[^{END}]*".join(map(re.escape, quote.strip("… ").split("…"))), _texts()):
            gone.append(quote)
    assert gone == [], "the page quotes messages that the source does not have"


def test_no_message_is_explained_twice():
    quoted = _quoted()
    assert len(set(quoted)) == len(quoted)

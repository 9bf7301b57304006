"""The documentation site builds without a warning, stands alone, and its notebook runs."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        loads = {"script": "src", "img": "src", "iframe": "src", "a": "href"}
        name = loads.get(tag) or ("href" if tag == "link" and values.get("rel") in ("stylesheet", "icon") else None)
        if name and values.get(name):
            self.found.append((tag, values[name]))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return out


def test_every_page_is_in_the_navigation_and_every_link_leads_somewhere(site):
    pages = {}
    for file in site.rglob("*.html"):
        links = _Links()
        links.feed(file.read_text(encoding="utf-8"))
        pages[file] = links
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} <= {file.stem for file in pages}
    for file, links in pages.items():
        if file.name == "404.html":  # its links are absolute, for whatever was not found
            continue
        for tag, target in links.found:
            if re.match(r"https?:|//", target):
                assert tag == "a", f"{file.name} loads {target}"
                continue
            if target.startswith(("data:", "mailto:", "javascript:")):
                continue
            path, _, anchor = target.partition("#")
            there = (file.parent / path.partition("?")[0]).resolve() if path else file
            assert there.exists(), f"{file.name}: {target}"
            if anchor and there in pages and tag == "a":
                assert anchor in pages[there].ids, f"{file.name}: {target}"


def test_search_and_reference_are_there(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    words = " ".join(entry["text"] for entry in index["docs"])
    assert "margins_from_judgments" in (site / "reference" / "judging.html").read_text(encoding="utf-8")
    assert "Bradley-Terry" in words


def test_the_notebook_runs_and_is_kept_without_outputs(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("DISSENSUS_CACHE", str(tmp_path))
    notebook = nbformat.read(ROOT / "docs" / "method.ipynb", as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    printed = "".join(out.get("text", "") for c in notebook.cells if c.cell_type == "code" for out in c.outputs)
    assert "of the pairs are contested" in printed
    assert len(re.findall(r"r with the truth 0?\.?-?\d", printed)) == 3

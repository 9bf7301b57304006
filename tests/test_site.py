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


def test_the_site(tmp_path):
    """One test, since the notebook runs while the site is built, and would run once for each process."""
    site = tmp_path / "site"
    _build(site, tmp_path / "cache")
    _every_page_is_in_the_navigation_and_every_link_leads_somewhere(site)
    _search_and_reference_are_there(site)
    _the_notebook_ran_and_is_kept_without_outputs(site)


def _build(out, cache):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "DISSENSUS_CACHE": str(cache)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert not re.search("^WARNING", done.stderr, flags=re.M), done.stderr


def _every_page_is_in_the_navigation_and_every_link_leads_somewhere(site):
    pages = {}
    for file in site.rglob("*.html"):
        links = _Links()
        links.feed(file.read_text(encoding="utf-8"))
        pages[file] = links
    expected = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}
    assert expected <= {file.relative_to(site) for file in pages}
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


def _search_and_reference_are_there(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    words = " ".join(entry["text"] for entry in index["docs"])
    assert "margins_from_judgments" in (site / "reference" / "judging.html").read_text(encoding="utf-8")
    assert "Bradley-Terry" in words


def _the_notebook_ran_and_is_kept_without_outputs(site):
    import nbformat

    notebook = nbformat.read(ROOT / "docs" / "method.ipynb", as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    page = (site / "method.html").read_text(encoding="utf-8")
    assert "% of the pairs are contested" in re.sub(r"<[^>]*>", "", page)
    found = [float(r) for r in re.findall(r"r with the truth (0\.\d+), L1", page)]
    assert len(found) == 2
    assert min(found) > 0.5  # it is shown as something that works
    assert page.count('src="data:image/png') == 3
    assert "IProgress not found" not in page

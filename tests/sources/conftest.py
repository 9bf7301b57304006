from pathlib import Path

import pytest

from dissensus.sources import open_source

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def read():
    """Read a fixture: its pairs with their margins, what was counted, and the people."""

    def _read(name, split=None, root=FIXTURES):
        opened = open_source(name, split=split, root=root, notice=lambda _: None)
        found = list(opened)
        return found, dict(opened.report.counts), {one.id: one.attributes for one in opened.report.annotators}

    return _read

import pytest


@pytest.fixture
def short_head(monkeypatch):
    """Twenty rows are looked at together instead of a thousand."""
    monkeypatch.setattr("dissensus.files.rows.infer_columns._HEAD", 20)

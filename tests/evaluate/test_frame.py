import sys

import pytest

from dissensus import evaluate_predictions, metrics_frame
from dissensus.errors import InputError
from dissensus.records import Metric


@pytest.fixture
def rows(make_study):
    return evaluate_predictions(*make_study(), baseline="base", n_resamples=20, n_swaps=9)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_holds_every_row_and_every_field(library, rows):
    frames = pytest.importorskip(library)
    frame = metrics_frame(rows, library)
    assert isinstance(frame, frames.DataFrame)
    assert list(frame.columns) == list(Metric.model_fields)
    assert len(frame) == len(rows)
    for name in ("model", "metric", "group", "n"):
        assert list(frame[name]) == [getattr(row, name) for row in rows]
    values = frame["value"].to_numpy()
    assert values[0] == rows[0].value
    assert len(metrics_frame([], library)) == 0


def test_a_library_that_is_not_there_is_named(monkeypatch, rows):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(InputError, match="needs polars, which is not installed: pip install polars"):
        metrics_frame(rows, "polars")
    with pytest.raises(ValueError, match="give 'pandas' or 'polars'"):
        metrics_frame(rows, "spark")

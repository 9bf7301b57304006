"""The rows of a scorecard as a data frame."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any, Literal

from dissensus.errors import InputError
from dissensus.records import Metric


def metrics_frame(metrics: Iterable[Metric], library: Literal["pandas", "polars"] = "pandas") -> Any:
    """Put metrics into a data frame: a row for each, a column for each field of `Metric`, in their order.

    Args:
        metrics: as `evaluate_predictions` returns them, or `read_records` reads them from ``scores.json``.
        library: whose data frame; it has to be installed.

    Raises:
        InputError: the library is not installed.
        ValueError: it is none of the two.
    """
    if library not in ("pandas", "polars"):
        raise ValueError(f"library is {library!r}; give 'pandas' or 'polars'")
    try:
        frames = importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise InputError(
            f"a {library} data frame needs {library}, which is not installed: pip install {library}"
        ) from error
    rows = [{**metric.model_dump(), "notes": "; ".join(metric.notes)} for metric in metrics]
    columns = {name: [row[name] for row in rows] for name in Metric.model_fields}
    # Columns may be empty at first: the type is that of all rows.
    return frames.DataFrame(columns) if library == "pandas" else frames.DataFrame(columns, infer_schema_length=None)

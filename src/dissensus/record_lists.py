"""Lists of records that show themselves as tables and turn into those of other libraries."""

from __future__ import annotations

from typing import Any, TypeVar

from dissensus.errors import MissingDependencyError
from dissensus.records import Metric, Record

R = TypeVar("R", bound=Record)
_ROWS, _CELL, _WIDTH = 5, 28, 110


class Records(list[R]):
    """Records of one kind: a list that shows itself as a table and turns into one of another library."""

    def to_arrow(self) -> Any:
        """Return a ``pyarrow.Table``: the rows and columns that the records' Parquet file has."""
        return self._table("arrow")

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame``. Raises InputError where pandas is not installed."""
        return self._table("pandas")

    def to_polars(self) -> Any:
        """Return a ``polars.DataFrame``. Raises InputError where polars is not installed."""
        return self._table("polars")

    def to_dataset(self) -> Any:
        """Return a ``datasets.Dataset``. Raises MissingDependencyError where the extra ``hub`` is not installed."""
        try:
            from datasets import Dataset
        except ModuleNotFoundError as error:
            raise MissingDependencyError("datasets", extra="hub", need="a Dataset") from error
        return Dataset(self.to_arrow())

    def _table(self, library: Any) -> Any:
        from dissensus.files.dataframes import to_frame

        return to_frame(self, library)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        if not self:
            return "no records"
        rows = [{key: _cell(value) for key, value in row.model_dump().items()} for row in self[:_ROWS]]
        shown = [key for key in rows[0] if any(row[key] for row in rows)]
        widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in shown}
        while len(shown) > 1 and sum(widths[key] + 2 for key in shown) > _WIDTH:
            shown.pop()
        table = [{key: key for key in shown}, *rows]
        lines = ["  ".join(f"{row[key]:{widths[key]}}" for key in shown).rstrip() for row in table]
        rest = [f"… {len(self) - len(rows):,} more"] if len(self) > len(rows) else []
        return "\n".join([f"{len(self):,} × {type(self[0]).__name__}", *lines, *rest])


class Scorecard(Records[Metric]):
    """The rows of an evaluation: every metric of every model on every group. It shows the tables that matter first."""

    def __repr__(self) -> str:
        from dissensus.evaluation.tables.render import render_brief

        return render_brief(self) if self else "no records"

    def table(self, form: str = "terminal") -> str:
        """Return all tables as ``terminal``, ``markdown``, ``latex``, ``csv`` or ``json``."""
        from dissensus.evaluation.tables.render import render

        return render(self, form)


def _cell(value: object) -> str:
    if value is None or value == "" or value == () or value == {}:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, dict):
        value = ", ".join(f"{key} {one}" for key, one in value.items() if one)
    text = " ".join(str(value).split())
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"

"""Columns whose numbers stand for names that the table itself says: the ``ClassLabel`` features of ``datasets``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dissensus.files.readers import Values


def classes_of(features: Any) -> Values:
    """Keep the columns that hold classes at any depth, of the features of a ``Dataset`` or as JSON has them.

    >>> classes_of({"label": {"names": ["b", "a"], "_type": "ClassLabel"}, "id": {"dtype": "int64", "_type": "Value"}})
    {'label': {'names': ['b', 'a'], '_type': 'ClassLabel'}}
    """
    found = features.to_dict() if hasattr(features, "to_dict") else features
    return {name: part for name, part in found.items() if _has_classes(part)} if isinstance(found, Mapping) else {}


def _has_classes(feature: Any) -> bool:
    if isinstance(feature, Mapping):
        return feature.get("_type") == "ClassLabel" or any(map(_has_classes, feature.values()))
    return isinstance(feature, list) and any(map(_has_classes, feature))


def classes_of_schema(metadata: Mapping[bytes, bytes] | None) -> Values:
    """Read the classes that `datasets` notes in the schema of an Arrow table or a Parquet file."""
    try:
        return classes_of(json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"])
    except (ValueError, KeyError, TypeError):  # another tool's note, or none
        return {}


def with_names(values: Values, classes: Mapping[str, Any]) -> Values:
    """Write the classes of a row by their names; one that is not known is nothing.

    >>> with_names({"label": 1, "id": 1}, {"label": {"names": ["b", "a"], "_type": "ClassLabel"}})
    {'label': 'a', 'id': 1}
    """
    return values | {name: _named(values[name], classes[name]) for name in classes if name in values}


def _named(value: Any, feature: Any) -> Any:
    if isinstance(feature, list):  # a list, as older versions write it
        feature = {"feature": feature[0]}
    if not isinstance(feature, Mapping):
        return value
    inner = feature.get("feature", feature)  # objects in lists may be an object of lists
    if isinstance(value, list):
        return [_named(part, inner) for part in value]
    if isinstance(value, Mapping):
        return {key: _named(part, inner.get(key)) for key, part in value.items()}
    if feature.get("_type") != "ClassLabel" or type(value) is not int:
        return value
    names = feature.get("names") or ()
    # -1 is how `datasets` writes that a class is not known.
    return None if value == -1 else names[value] if 0 <= value < len(names) else value

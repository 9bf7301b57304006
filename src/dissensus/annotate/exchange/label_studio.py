"""Label Studio's exports.

::

    JSON            a list of tasks, each with its data and its annotations, which say who, what and whether cancelled
    JSON_MIN, CSV   one row per annotation: the data's columns, a column per question, annotator and annotation_id

Questions are the labelling config's names (``from_name``). Choices, ratings, numbers, texts, the pairwise tag and the
ranker are read. Annotations that were cancelled are skips here; the short forms leave them out themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from dissensus.annotate.exchange.other_tools import FIELDS, Found, Gathering, Names, read_objects
from dissensus.errors import InputError
from dissensus.files.readers import decode_json, kind_of
from dissensus.records import Pair

_OF_ANNOTATIONS = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "history")
"""Columns of the short forms that are neither the data's nor questions."""
_KEYS = ("selected", "choices", "rating", "number", "text", "ranker")
_RENAMED = "_data_"
"""Before a column of the data in a CSV, where a question is called the same."""


def read_label_studio(path: Path, names: Names | None = None) -> Found:
    """Read pairs and answers. Raises InputError with file and task."""
    names = names or Names()
    gathering = Gathering(path, names)
    for number, task in enumerate(read_objects(path, "Label Studio"), 1):
        place = f"{path}: task {task.get('id', number)}"
        read = _read_row if "annotator" in task and "annotation_id" in task else _read_task
        read(task, names, gathering, place)
    return gathering.found()


def _read_task(task: Mapping[str, Any], names: Names, gathering: Gathering, place: str) -> None:
    data, given, drafts = task.get("data"), task.get("annotations"), task.get("drafts")
    if not isinstance(data, dict) or not isinstance(given, list):
        raise InputError(f"{place}: no data or annotations; export the project as JSON, JSON_MIN or CSV")
    pair = gathering.pair(data, data.get("id", task.get("id")), place)
    gathering.left_out["drafts"] += len(drafts) if isinstance(drafts, list) else 0
    for annotation in given:
        if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
            raise InputError(f"{place}: an annotation is {kind_of(annotation)}; expected an object with a result")
        person, at = _person(annotation, "completed_by", pair, gathering, place), _time(annotation)
        if annotation.get("was_cancelled"):
            gathering.skip(pair, person, "cancelled in Label Studio", place, at)
        else:
            values = dict(_values(annotation["result"], names, gathering, place))
            gathering.add(pair, person, values, place, _seconds(annotation), at)


def _read_row(row: Mapping[str, Any], names: Names, gathering: Gathering, place: str) -> None:
    data = {name: _of_data(value) for name, value in row.items() if name not in _OF_ANNOTATIONS[1:]}
    data |= {name.removeprefix(_RENAMED): value for name, value in data.items() if name.startswith(_RENAMED)}
    pair = gathering.pair(data, row.get("id"), place)
    # A column of data cannot be told from one of a question.
    no_questions = {*_OF_ANNOTATIONS, *(names.theirs(name) for name in FIELDS)}
    columns = [name for name in row if name not in no_questions and not name.startswith(_RENAMED)]
    gathering.may_ask.update(dict.fromkeys(columns))
    if row["annotation_id"] not in (None, ""):
        values = {name: _of_question(row[name], place) for name in columns}
        person = _person(row, "annotator", pair, gathering, place)
        gathering.add(pair, person, values, place, _seconds(row), _time(row))


def _of_data(value: Any) -> Any:
    """Read a chat out of a cell of a CSV; everything else is as it is."""
    found = _from_json(value)
    is_chat = isinstance(found, list) and found and all(isinstance(turn, dict) and "content" in turn for turn in found)
    return found if is_chat else value


def _of_question(value: Any, place: str) -> Any:
    """Read a result of a short form: a text, or results as they are in the long form, the last of which counts."""
    found = _from_json(value)
    if isinstance(found, list) and found:
        found = found[-1]
    return _value(found, place) if isinstance(found, dict) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("[", "{"):
        with suppress(ValueError):
            return decode_json(value)
    return value


def _values(results: list[Any], names: Names, gathering: Gathering, place: str) -> Iterator[tuple[str, Any]]:
    for result in results:
        if isinstance(result, dict) and result.get("type") == "relation":
            continue  # a line between two results, which says nothing itself
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(value, dict) or not isinstance(result.get("from_name"), str):
            raise InputError(f"{place}: a result is {kind_of(result)}; expected an object with from_name and value")
        question = result["from_name"]
        gathering.asked[question] = None
        found = _value(value, place)
        if question == names.theirs("choice") and "selected" in value:
            # The pairwise tag's left is what its toName names first.
            found = names.response_at(found, str(result.get("to_name")).split(",")) or found
        yield question, found


def _value(value: Mapping[str, Any], place: str) -> Any:
    """Return what a result says; the whole of it where it is of a kind that is not known."""
    key = next((key for key in _KEYS if key in value), None)
    if key is None:
        return dict(value)
    found = value[key]
    if key != "ranker":  # several choices are no ranking of them
        return " ".join(map(str, found)) if isinstance(found, list) else found
    if isinstance(found, dict) and list(found) == ["rank"]:
        return found["rank"]
    boxes = ", ".join(map(str, found)) if isinstance(found, dict) else kind_of(found)
    raise InputError(f"{place}: a ranker sorts into {boxes}, which have no order; expected one list, called rank")


def _seconds(annotation: Mapping[str, Any]) -> float | None:
    try:
        lead = float(annotation["lead_time"])
    except (KeyError, TypeError, ValueError):
        return None
    return min(86_400.0, lead) if lead >= 0 else None


def _person(annotation: Mapping[str, Any], key: str, pair: Pair, gathering: Gathering, place: str) -> str:
    if key not in annotation:
        raise InputError(f"{place}: an annotation does not say who made it ({key}); export it again")
    person = annotation[key]
    if isinstance(person, Mapping):
        person = person.get("email") or person.get("id")
    if person in (None, ""):
        return gathering.somebody(pair)  # what a user said who was deleted since stays, without them
    return f"annotator {person}" if str(person).isdigit() else str(person)


def _time(annotation: Mapping[str, Any]) -> int | None:
    text = annotation.get("updated_at") or annotation.get("created_at")
    try:
        return round(datetime.fromisoformat(str(text)).timestamp() * 1000)
    except ValueError:
        return None

"""Label Studio's JSON export: a list of tasks, each with its data and its annotations.

An annotation's results are named by the labelling config's ``from_name``. Choices, ratings, numbers, texts and the
pairwise tag are read; annotations that were cancelled there are skips here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from dissensus.annotate.foreign import Foreign, Found, Names, newest, read_list
from dissensus.errors import InputError
from dissensus.files.reading import kind_of

TOOL = "Label Studio"


def read_label_studio(path: Path, names: Names | None = None) -> Found:
    """Read pairs and answers. Raises InputError with file and task."""
    names = names or Names()
    names.check()
    pairs, answers, empty = [], [], 0
    for number, task in enumerate(read_list(path, TOOL), 1):
        place = f"{path}: task {task.get('id', number)}"
        data, given = task.get("data"), task.get("annotations")
        if not isinstance(data, dict) or not isinstance(given, list):
            raise InputError(f"{place}: no data or annotations; export it as JSON, not as JSON-MIN or CSV")
        pair = names.pair(data, data.get("id", task.get("id")), place)
        pairs.append(pair)
        for annotation in given:
            answer = _answer(annotation, pair.id, names, place)
            answers += [answer] if answer else []
            empty += answer is None
    kept, replaced = newest(answers)
    return Found(pairs, kept, empty + replaced)


def _answer(annotation: Any, pair_id: str, names: Names, place: str) -> Foreign | None:
    if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
        raise InputError(f"{place}: an annotation is {kind_of(annotation)}; expected an object with a result")
    person, at = _person(annotation.get("completed_by"), place), _time(annotation)
    if annotation.get("was_cancelled"):
        return Foreign(pair_id, person, "skip", None, reason="cancelled in Label Studio", at=at)
    lead = annotation.get("lead_time")
    seconds = min(86_400.0, float(lead)) if isinstance(lead, int | float) and lead >= 0 else None
    said = names.said(dict(_values(annotation["result"], place)), seconds, place)
    return None if said is None else Foreign(pair_id, person, "answer", said, at=at)


def _values(results: list[Any], place: str) -> Iterator[tuple[str, Any]]:
    for result in results:
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(value, dict) or "from_name" not in result:
            raise InputError(f"{place}: a result is {kind_of(result)}; expected an object with from_name and value")
        for key in ("selected", "choices", "rating", "number", "text"):
            if key in value:
                found = value[key]
                single = isinstance(found, list) and len(found) == 1
                yield result["from_name"], found[0] if single else " ".join(found) if isinstance(found, list) else found
                break


def _person(completed_by: Any, place: str) -> str:
    if isinstance(completed_by, Mapping):
        completed_by = completed_by.get("email") or completed_by.get("id")
    if completed_by in (None, ""):
        raise InputError(f"{place}: an annotation does not say who made it (completed_by); export it again")
    return completed_by if isinstance(completed_by, str) else f"annotator {completed_by}"


def _time(annotation: Mapping[str, Any]) -> int | None:
    text = annotation.get("updated_at") or annotation.get("created_at")
    try:
        return round(datetime.fromisoformat(str(text)).timestamp() * 1000)
    except ValueError:
        return None

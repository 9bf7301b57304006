"""Answers from Label Studio and Argilla, in the formats that those write."""

import json

import pytest
from click.testing import CliRunner

from dissensus.annotate import integrity
from dissensus.annotate.argilla import read_argilla
from dissensus.annotate.export import read_annotated
from dissensus.annotate.foreign import Names
from dissensus.annotate.imports import import_foreign
from dissensus.annotate.label_studio import read_label_studio
from dissensus.annotate.store import AnnotationStore
from dissensus.cli import group
from dissensus.errors import InputError


def _result(name, kind, **value):
    return {"value": value, "id": "Dx_a", "from_name": name, "to_name": "pair", "type": kind, "origin": "manual"}


def _annotation(number, person, result, **rest):
    return {
        "id": number, "completed_by": person, "result": result, "was_cancelled": False, "ground_truth": False,
        "created_at": f"2026-03-0{number}T10:00:00.000000Z", "updated_at": f"2026-03-0{number}T10:00:30.000000Z",
        "draft_created_at": None, "lead_time": 31.5, "prediction": {}, "result_count": len(result),
        "unique_id": f"0000-{number}", "import_id": None, "last_action": None, "bulk_created": False, "task": 1,
        "project": 3, "updated_by": 1, "parent_prediction": None, "parent_annotation": None, "last_created_by": None,
    } | rest  # fmt: skip


def _task(number, annotations, **data):
    return {
        "id": number, "annotations": annotations, "file_upload": "pairs.json", "drafts": [], "predictions": [],
        "data": {"question": f"Question {number}?", "answer1": "Yes.", "answer2": "No."} | data, "meta": {},
        "created_at": "2026-03-01T09:00:00.000000Z", "updated_at": "2026-03-01T09:00:00.000000Z", "inner_id": number,
        "total_annotations": len(annotations), "cancelled_annotations": 0, "total_predictions": 0, "comment_count": 0,
        "unresolved_comment_count": 0, "last_comment_updated_at": None, "project": 3, "updated_by": 1,
        "comment_authors": [],
    }  # fmt: skip


WHOLE = [
    _result("pick", "pairwise", selected="left"),
    _result("correct", "choices", choices=["There is only one single correct choice to this prompt."]),
    _result("distinct", "choices", choices=["yes"]),
    _result("people", "rating", rating=7),
    _result("note", "textarea", text=["Two", "lines"]),
]
NAMES = Names(
    {"prompt": "question", "response_a": "answer1", "response_b": "answer2"}, {"choice": "pick", "estimate": "people"}
)


def _write(path, rows):
    path.write_text(json.dumps(rows))
    return path


def test_label_studio(tmp_path):
    number = _result("people", "number", number=2)
    tasks = [
        _task(1, [_annotation(1, 7, WHOLE), _annotation(2, {"id": 8, "email": "g@lab.example"}, [*WHOLE[:3], number])]),
        _task(2, [_annotation(3, 7, [], was_cancelled=True), _annotation(4, 8, WHOLE), _annotation(5, 8, [number])]),
        _task(3, []),
    ]
    found = read_label_studio(_write(tmp_path / "ls.json", tasks), NAMES)
    assert [pair.id for pair in found.pairs] == ["1", "2", "3"]
    first, second, skipped, newest = found.answers
    assert first.said.model_dump() == {
        "correct": "single", "distinct": "yes", "estimate": 7, "choice": "a", "note": "Two lines", "seconds": 31.5,
    }  # fmt: skip
    assert (first.annotator, second.annotator) == ("annotator 7", "g@lab.example")
    assert second.said.estimate == 2
    assert skipped.kind == "skip"
    assert (newest.said.estimate, newest.said.correct) == (2, None)  # of somebody's two, the newer
    assert found.left_out == 1


def _record(number, responses, **rest):
    fields = {"prompt": [{"role": "user", "content": f"Question {number}?"}], "response_a": "Yes.", "response_b": "No."}
    return {"id": f"r{number}", "fields": fields, "metadata": {}, "suggestions": {}, "vectors": {}, "_server_id": "x",
            "responses": responses} | rest  # fmt: skip


def test_argilla_nested_and_flat_are_the_same(tmp_path):
    users = ["11111111-aaaa", "22222222-bbbb"]
    values = {"correct": ["multiple", "single"], "distinct": ["no", "yes"], "estimate": [5, 9], "note": ["ok", "?"]}
    nested = [
        _record(
            1, {q: [{"value": v, "user_id": u} for v, u in zip(vs, users, strict=True)] for q, vs in values.items()}
        )
    ]
    flat = [{"id": "r1", **nested[0]["fields"]}]
    for question, found in values.items():
        flat[0] |= {f"{question}.responses": found, f"{question}.responses.users": users}
        flat[0] |= {f"{question}.responses.status": ["submitted"] * 2, f"{question}.suggestion": None}
    one, other = (read_argilla(_write(tmp_path / f"{n}.json", rows)) for n, rows in enumerate((nested, flat)))
    assert one == other
    assert [answer.said.estimate for answer in one.answers] == [5, 9]
    assert one.pairs[0].prompt[0].content == "Question 1?"


def test_argillas_discarded_are_skips_and_drafts_are_left_out(tmp_path):
    statuses = [("submitted", "u1"), ("discarded", "u2"), ("draft", "u3")]
    responses = [{"value": 4, "user_id": user, "status": status} for status, user in statuses]
    found = read_argilla(_write(tmp_path / "a.json", [_record(1, {"estimate": responses})]))
    assert [(answer.annotator, answer.kind) for answer in found.answers] == [("u1", "answer"), ("u2", "skip")]
    assert found.left_out == 1


def test_imported_answers_count_up_to_k_and_read_as_votes(tmp_path):
    only_picked = [
        _annotation(n, n, [_result("pick", "pairwise", selected="left" if n < 3 else "right")]) for n in (1, 2, 3, 4)
    ]
    found = read_label_studio(_write(tmp_path / "ls.json", [_task(1, only_picked)]), NAMES)
    result = CliRunner().invoke(
        group,
        ["annotations", "import", str(tmp_path / "ls.json"), "--db", str(tmp_path / "a.db"), "--from", "label-studio",
         "--field", "prompt=question", "--field", "response_a=answer1", "--field", "response_b=answer2",
         "--question", "choice=pick"],
        catch_exceptions=False,
    )  # fmt: skip
    assert "1 pairs, 4 answers of 4 people" in result.stdout
    with AnnotationStore(tmp_path / "a.db") as store:
        assert integrity.check(store) == []
        [pair] = read_annotated(store)
        assert (pair.votes.a, pair.votes.b) == (2, 1)  # three count, the fourth is surplus
        with pytest.raises(InputError, match="answers pair '1' twice"):
            import_foreign(store, found)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({"a": 1}, "expected a list of objects, as Label Studio exports it"),
        ([{"id": 4, "question": "x"}], "task 4: no data or annotations"),
        ([_task(5, [], answer1=None)], "task 5: response_a is missing"),
        ([_task(6, [_annotation(1, None, WHOLE)])], "does not say who made it"),
        ([_task(7, [_annotation(1, 1, [{"value": 3}])])], "expected an object with from_name and value"),
        ([_task(8, [_annotation(1, 1, [_result("people", "rating", rating=11)])])], r"people is a number \(11\)"),
        ([_task(9, [_annotation(1, 1, [_result("correct", "choices", choices=["Ja"])])])], "--value correct:Ja=single"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_remedy(rows, told, tmp_path):
    with pytest.raises(InputError, match=told):
        read_label_studio(_write(tmp_path / "ls.json", rows), NAMES)


def test_names_and_values_are_mapped_or_refused(tmp_path):
    file = _write(
        tmp_path / "ls.json", [_task(9, [_annotation(1, 1, [_result("correct", "choices", choices=["Ja"])])])]
    )
    with pytest.raises(InputError, match=r"no field 'prompt'; found question, answer1, answer2; name it: --field"):
        read_label_studio(file)
    mapped = Names(NAMES.fields, {}, {("correct", "Ja"): "single"})
    assert read_label_studio(file, mapped).answers[0].said.correct == "single"
    for wrong in (Names({"question": "x"}), Names({}, {"left": "x"}), Names({}, {}, {("note", "x"): "y"})):
        with pytest.raises(InputError, match="is none of our"):
            read_label_studio(file, wrong)

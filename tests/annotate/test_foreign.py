"""Answers from Label Studio, in the formats that it writes."""

import json
import re
import shlex

import pytest
from click.testing import CliRunner

from dissensus.annotate.analysis.combine_answers import Rules
from dissensus.annotate.exchange.export import read_annotated
from dissensus.annotate.exchange.imports import import_foreign
from dissensus.annotate.exchange.label_studio import read_label_studio
from dissensus.annotate.exchange.other_tools import Names
from dissensus.annotate.project import verify
from dissensus.annotate.project.store import AnnotationStore
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
PICKS = Names({"prompt": "question", "response_a": "answer1", "response_b": "answer2"}, {"choice": "pick"})
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
    assert found.left_out == {"drafts": 0, "replaced by a newer one of the same person": 1}


FIELDS = ["--field", "prompt=question", "--field", "response_a=answer1", "--field", "response_b=answer2"]


def _import(folder, tasks, *more, question="choice=pick"):
    """Import a file of these tasks into the project of a folder."""
    file = _write(folder / "ls.json", tasks)
    arguments = ["annotations", "import", str(file), "--db", str(folder / "a.db"), "--from", "label-studio", *FIELDS]
    arguments += ["--question", question] if question else []
    return CliRunner().invoke(group, [*arguments, *more])


def _picked(*sides):
    return [_annotation(n, n, [_result("pick", "pairwise", selected=side)]) for n, side in enumerate(sides, 1)]


PICKED = _picked("left", "left", "right", "right", "right")


def _votes(database):
    with AnnotationStore(database) as store:
        assert verify.check(store) == []
        return [(pair.votes.a, pair.votes.b) for pair in read_annotated(store)]


def test_a_new_project_takes_as_many_people_per_pair_as_the_file_has(tmp_path):
    done = _import(tmp_path, [_task(1, PICKED), _task(2, PICKED[:2])])
    assert done.stdout.endswith("ls.json: 2 pairs, 7 answers of 5 people; 5 people per pair\n")
    assert _votes(tmp_path / "a.db") == [(2, 3), (2, 0)]


def test_the_next_export_of_the_same_project_adds_what_is_new(tmp_path):
    _import(tmp_path, [_task(1, PICKED), _task(2, PICKED[:2])])
    changed = [*_picked("right"), *PICKED[1:]]
    gone = _annotation(6, 6, [], was_cancelled=True)
    done = _import(tmp_path, [_task(1, changed), _task(2, [*PICKED[:3], gone]), _task(3, PICKED[:1])])
    assert done.stdout.endswith("ls.json: 3 pairs, 2 answers of 6 people, 1 skipped; 5 people per pair\n")
    assert done.stderr == (
        "7 answers of people who have answered those pairs here were passed over; "
        "1 of them say something else in the file, as a new --db would have it\n"
    )
    assert _votes(tmp_path / "a.db") == [(2, 3), (2, 1), (1, 0)]
    with AnnotationStore(tmp_path / "a.db") as store:
        done = import_foreign(store, read_label_studio(tmp_path / "ls.json", PICKS))
    assert (done.answers, done.skips, done.there, done.changed) == (0, 0, 10, 1)


def test_what_deleted_users_said_comes_in(tmp_path):
    picks = [annotation | {"completed_by": None} for annotation in _picked("left", "right")]
    done = _import(tmp_path, [_task(1, [*picks, *PICKED[2:3]]), _task(2, picks[:1])])
    assert done.stdout.endswith("ls.json: 2 pairs, 4 answers of 3 people; 3 people per pair\n")
    assert done.stderr.startswith("3 answers do not say whose they are, as those of deleted users")
    assert _votes(tmp_path / "a.db") == [(1, 2), (1, 0)]


def test_answers_that_do_not_count_are_told_with_what_to_do(tmp_path):
    done = _import(tmp_path, [_task(1, PICKED), _task(2, PICKED)], "--annotators", "3")
    assert "4 answers do not count, for the project takes 3 people per pair" in done.stderr
    assert "--annotators 5" in done.stderr
    assert _votes(tmp_path / "a.db") == [(2, 1), (2, 1)]
    done = _import(tmp_path, [_task(3, PICKED)])
    assert "2 answers do not count" in done.stderr  # a project that is there keeps its number


def test_where_some_give_an_estimate_and_others_a_choice_everybody_has_a_vote(tmp_path):
    chosen, low = _result("pick", "pairwise", selected="left"), _result("people", "rating", rating=3)
    mixed = [_annotation(1, 1, [chosen]), _annotation(2, 2, [chosen]), _annotation(3, 3, [low])]
    estimated = [_annotation(n, n, [chosen, low]) for n in (1, 2, 3)]
    _import(tmp_path, [_task(1, mixed), _task(2, estimated)], "--question", "estimate=people")
    assert _votes(tmp_path / "a.db") == [(2, 1), (3, 0)]
    with AnnotationStore(tmp_path / "a.db") as store:
        first, second = (pair.votes for pair in read_annotated(store))
        assert (first.preference, second.preference) == (pytest.approx(2 / 3), pytest.approx(0.3))
        assert read_annotated(store, Rules(estimates="median"))[0].votes == first
    arguments = ["annotations", "export", str(tmp_path / "a.db"), "--out", str(tmp_path / "a.jsonl")]
    assert CliRunner().invoke(group, arguments).stderr.startswith("1 pairs have estimates of some people")


def test_questions_that_the_file_has_not_are_told_with_those_that_it_has(tmp_path):
    note = _result("note", "textarea", text=["so"])
    results = [_result("preference", "choices", choices=["a"]), note]
    tasks = [_task(1, [_annotation(1, 1, results), _annotation(2, 2, results)])]
    for question, more, told in (
        (None, [], "none of its questions is called .*; found preference, note; .*--question choice=preference"),
        ("choice=prefrence", [], "--question choice=prefrence: no such question; found preference, note"),
        ("choice=preference", ["--question", "note=comment"], "no such question; found preference, note"),
    ):
        done = _import(tmp_path, tasks, *more, question=question)
        assert isinstance(done.exception, InputError)
        assert re.search(told, str(done.exception))
        assert not (tmp_path / "a.db").exists()
    done = _import(tmp_path, tasks, question="choice=preference")
    assert "2 answers of 2 people" in done.stdout
    assert done.stderr == ""


def test_questions_that_are_not_read_drafts_and_columns_of_another_meaning_are_told(tmp_path):
    results = [_result("pick", "pairwise", selected="left"), _result("tone", "choices", choices=["warm"])]
    task = _task(1, [_annotation(1, 1, results), _annotation(2, 2, results[1:])], domain="law") | {"drafts": [{}, {}]}
    done = _import(tmp_path, [task])
    assert done.stderr.splitlines() == [
        "2 left out: drafts",
        "1 left out: without an answer to what was asked for",
        "columns that mean something else than ours and were left out: domain",
        "questions that were not read: tone",
    ]


def _ranker(*names, **boxes):
    return _result("pick", "ranker", ranker=boxes or {"rank": list(names)})


def test_a_ranker_is_a_choice(tmp_path):
    def read(*results):
        annotations = [_annotation(n, n, [result]) for n, result in enumerate(results, 1)]
        found = read_label_studio(_write(tmp_path / "ls.json", [_task(1, annotations)]), PICKS)
        return [answer.said.choice for answer in found.answers]

    assert read(_ranker("answer2", "answer1"), _ranker("answer1", "other", "answer2")) == ["b", "a"]
    with pytest.raises(InputError, match=r"pick ranks x, y; .* name them: --value 'choice:x=a' --value 'choice:y=b'"):
        read(_ranker("x", "y"))
    with pytest.raises(InputError, match="sorts into best, worst, which have no order"):
        read(_ranker(best=["answer1"], worst=["answer2"]))
    named = Names(PICKS.fields, PICKS.questions, {("choice", "x"): "b", ("choice", "y"): "a"})
    file = _write(tmp_path / "ls.json", [_task(1, [_annotation(1, 1, [_ranker("x", "y")])])])
    assert read_label_studio(file, named).answers[0].said.choice == "b"


SWAPPED = Names({"prompt": "question", "response_a": "answer2", "response_b": "answer1"}, {"choice": "pick"})
LEFT_IS_A = Names(PICKS.fields, PICKS.questions, {("choice", "left"): "a", ("choice", "right"): "b"})


@pytest.mark.parametrize(
    ("shown", "names", "left"),
    [
        ("answer1,answer2", PICKS, "a"),
        ("answer2,answer1", PICKS, "b"),
        ("answer2, answer1", SWAPPED, "a"),
        ("B,A", PICKS, "b"),
        ("text-2,text-1", PICKS, "a"),  # names that say nothing
        ("answer2,answer2", PICKS, "a"),
        ("answer2,answer1", LEFT_IS_A, "a"),  # what is told goes before
    ],
)
def test_left_is_the_response_that_the_pairwise_tag_names_first(shown, names, left, tmp_path):
    picks = [_result("pick", "pairwise", selected=side) | {"to_name": shown} for side in ("left", "right")]
    task = _task(1, [_annotation(n, n, [pick]) for n, pick in enumerate(picks, 1)])
    found = read_label_studio(_write(tmp_path / "ls.json", [task]), names)
    assert [answer.said.choice for answer in found.answers] == [left, "b" if left == "a" else "a"]


def test_several_choices_are_no_ranking(tmp_path):
    both = _annotation(1, 1, [_result("pick", "choices", choices=["answer1", "answer2"])])
    file = _write(tmp_path / "ls.json", [_task(1, [both])])
    with pytest.raises(InputError, match="--value 'choice:answer1 answer2=a'"):
        read_label_studio(file, PICKS)
    mapped = Names(PICKS.fields, PICKS.questions, {("choice", "answer1 answer2"): "tie"})
    assert read_label_studio(file, mapped).answers[0].said.choice == "tie"


def test_names_of_fields_go_before_ours(tmp_path):
    data = {"response_a": "No.", "response_b": "Yes."}
    result = _result("choice", "choices", choices=["response_b"])
    file = _write(tmp_path / "ls.json", [_task(1, [_annotation(1, 1, [result])], **data)])
    swapped = Names({"prompt": "question", "response_a": "response_b", "response_b": "response_a"})
    [answer] = read_label_studio(file, swapped).answers
    assert answer.said.choice == "a"  # of the pair whose response a is called response_b there


# As label-studio-sdk 2.1.2 writes them; the first pair has nobody's answer yet.
JSON_MIN = [
    {"question": "Q0?", "answer1": "x", "answer2": "y", "id": 1, "annotator": None, "annotation_id": None,
     "created_at": None, "updated_at": None, "lead_time": None},
    {"question": "Q1?", "answer1": "x", "answer2": "y", "id": 2, "pick": [{"selected": "right"}],
     "correct": "single", "people": [{"rating": 4}], "note": {"text": ["Two", "lines"]}, "annotator": "g@lab.example",
     "annotation_id": 3, "created_at": "2026-03-03T10:00:00Z", "updated_at": "2026-03-03T10:00:30Z", "lead_time": 3.5},
    {"question": "Q1?", "answer1": "x", "answer2": "y", "id": 2, "pick": [{"selected": "left"}], "annotator": 7,
     "annotation_id": 4, "created_at": "2026-03-04T10:00:00Z", "updated_at": "2026-03-04T10:00:30Z", "lead_time": 1},
]  # fmt: skip
CSV = (
    '"annotation_id","annotator","correct","created_at","id","lead_time","note","people","pick","_data_note",'
    '"question","answer1","answer2","updated_at"\n'
    '"","","","",1,"","","","","in data","Q0?","x","y",""\n'
    '3,"g@lab.example","single","2026-03-03T10:00:00Z",2,3.5,"{""text"":[""Two"",""lines""]}","[{""rating"":4}]",'
    '"[{""selected"":""right""}]","in data","Q1?","x","y","2026-03-03T10:00:30Z"\n'
    '4,"7","","2026-03-04T10:00:00Z",2,1,"","","[{""selected"":""left""}]","in data","Q1?","x","y",'
    '"2026-03-04T10:00:30Z"\n'
)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_the_short_forms_say_the_same(form, tmp_path):
    file = tmp_path / f"short.{form}"
    file.write_text(CSV if form == "csv" else json.dumps(JSON_MIN))
    found = read_label_studio(file, NAMES)
    assert [pair.id for pair in found.pairs] == ["1", "2"]
    one, other = found.answers
    assert (one.annotator, other.annotator) == ("g@lab.example", "annotator 7")
    assert one.said.model_dump() == {
        "correct": "single", "distinct": None, "estimate": 4, "choice": "b", "note": "Two lines", "seconds": 3.5,
    }  # fmt: skip
    assert (other.said.choice, other.said.estimate) == ("a", None)
    with pytest.raises(InputError, match=r"--question choice=pik: no such question; found .*pick"):
        read_label_studio(file, Names(NAMES.fields, {"choice": "pik"}))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["a"], "expected a JSON object, found text .*; export it from Label Studio as JSON again"),
        ([{"id": 4, "question": "x"}], "task 4: no data or annotations"),
        ([_task(5, [], answer1=None)], "task 5: response_a is missing"),
        (
            [_task(6, [{key: value for key, value in _annotation(1, 1, WHOLE).items() if key != "completed_by"}])],
            "does not say who made it",
        ),
        ([_task(7, [_annotation(1, 1, [{"value": 3}])])], "expected an object with from_name and value"),
        (
            [_task(7, [_annotation(1, 1, [_result(["a"], "rating", rating=1)])])],
            "expected an object with from_name and value",
        ),
        ([_task(7, [_annotation(1, "\ud800", WHOLE)])], "task 7: the annotator's name holds half a character"),
        (
            [_task(7, [_annotation(1, "\ud800", WHOLE) | {"was_cancelled": True}])],
            "task 7: the annotator's name holds half a character",
        ),
        ([_task(8, [_annotation(1, 1, [_result("people", "rating", rating=11)])])], r"people is a number \(11\)"),
        (
            [_task(9, [_annotation(1, 1, [_result("correct", "choices", choices=["Ja"])])])],
            "--value 'correct:Ja=single'",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_remedy(rows, told, tmp_path):
    with pytest.raises(InputError, match=told):
        read_label_studio(_write(tmp_path / "ls.json", rows), NAMES)


def test_options_that_a_message_names_are_as_a_shell_takes_them(tmp_path):
    said = [_result("correct", "choices", choices=["it's one"])]
    with pytest.raises(InputError) as caught:
        read_label_studio(_write(tmp_path / "ls.json", [_task(9, [_annotation(1, 1, said)])]), NAMES)
    assert "correct:it's one=single" in shlex.split(str(caught.value).partition("map it: ")[2])
    said = [_result("my pick", "choices", choices=["left"])]
    with pytest.raises(InputError) as caught:
        read_label_studio(_write(tmp_path / "ls.json", [_task(9, [_annotation(1, 1, said)])]), Names(NAMES.fields))
    assert "choice=my pick" in shlex.split(str(caught.value).partition("which is which: ")[2])


def test_names_and_values_are_mapped_or_refused(tmp_path):
    file = _write(
        tmp_path / "ls.json", [_task(9, [_annotation(1, 1, [_result("correct", "choices", choices=["Ja"])])])]
    )
    with pytest.raises(InputError, match=r"no field 'prompt'; found question, answer1, answer2; name it: --field"):
        read_label_studio(file)
    mapped = Names(NAMES.fields, {}, {("correct", "Ja"): "single"})
    assert read_label_studio(file, mapped).answers[0].said.correct == "single"
    for wrong in (Names({"question": "x"}), Names({}, {"left": "x"}), Names({}, {}, {("note", "x"): "y"})):
        with pytest.raises(InputError, match=r"unknown (name|question); choose from"):
            read_label_studio(file, wrong)


def test_a_relation_between_results_of_label_studio_says_nothing_itself(tmp_path):
    relation = {"type": "relation", "from_id": "one", "to_id": "two", "direction": "right"}
    choice = _result("pick", "pairwise", selected="left")
    path = _write(tmp_path / "export.json", [_task(1, [_annotation(1, 1, [choice, relation])])])
    [answer] = read_label_studio(path, PICKS).answers
    assert answer.said is not None
    assert answer.said.choice == "a"

"""Answers from Label Studio, in the formats that it writes."""

import json
import shlex

import pytest

from dissensus.annotate.analysis.combine_answers import Rules
from dissensus.annotate.exchange.export import export, read_annotated
from dissensus.annotate.exchange.label_studio import read_label_studio
from dissensus.annotate.exchange.other_tools import Names
from dissensus.annotate.project import verify
from dissensus.annotate.project.store import AnnotationStore
from dissensus.errors import InputError


def _result(name, kind, **value):
    return {"value": value, "id": "Dx_a", "from_name": name, "to_name": "pair", "type": kind, "origin": "manual"}


def _pick(side, **rest):
    return _result("pick", "pairwise", selected=side) | rest


def _annotation(number, person, *result, **rest):
    return {
        "id": number, "completed_by": person, "result": [*result], "was_cancelled": False, "ground_truth": False,
        "created_at": f"2026-03-0{number}T10:00:00.000000Z", "updated_at": f"2026-03-0{number}T10:00:30.000000Z",
        "draft_created_at": None, "lead_time": 31.5, "prediction": {}, "unique_id": f"0000-{number}", "task": 1,
    } | rest  # fmt: skip


def _task(number, annotations, **data):
    return {
        "id": number, "annotations": annotations, "file_upload": "pairs.json", "drafts": [], "predictions": [],
        "data": {"question": f"Question {number}?", "answer1": "Yes.", "answer2": "No."} | data, "meta": {},
    }  # fmt: skip


WHOLE = [
    _pick("left"),
    _result("correct", "choices", choices=["There is only one single correct choice to this prompt."]),
    _result("distinct", "choices", choices=["yes"]),
    _result("people", "rating", rating=7),
    _result("note", "textarea", text=["Two", "lines"]),
]
FIELDS = {"prompt": "question", "response_a": "answer1", "response_b": "answer2"}
PICKS = Names(FIELDS, {"choice": "pick"})
NAMES = Names(FIELDS, {"choice": "pick", "estimate": "people"})


def _write(path, rows):
    path.write_text(json.dumps(rows))
    return path


def _read(folder, *annotations, names=PICKS, **data):
    """What a file of one task with these annotations comes to."""
    return read_label_studio(_write(folder / "ls.json", [_task(9, annotations, **data)]), names)


def _choices(folder, *results, **rest):
    annotations = [_annotation(n, n, result) for n, result in enumerate(results, 1)]
    return [answer.said.choice for answer in _read(folder, *annotations, **rest).answers]


def test_label_studio(tmp_path):
    number = _result("people", "number", number=2)
    email = {"id": 8, "email": "g@lab.example"}
    tasks = [
        _task(1, [_annotation(1, 7, *WHOLE), _annotation(2, email, *WHOLE[:3], number)]),
        _task(2, [_annotation(3, 7, was_cancelled=True), _annotation(4, 8, *WHOLE), _annotation(5, 8, number)]),
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


def _import(folder, tasks, *more, question="choice=pick"):
    """Import a file of these tasks into the project of a folder."""
    from .people import annotations  # other tests load this file by itself, for what it writes

    fields = [part for ours, theirs in FIELDS.items() for part in ("--field", f"{ours}={theirs}")]
    question = ["--question", question] if question else []
    file = _write(folder / "ls.json", tasks)
    return annotations("import", file, "--db", folder / "a.db", "--from", "label-studio", *fields, *question, *more)


def _picked(*sides):
    return [_annotation(n, n, _pick(side)) for n, side in enumerate(sides, 1)]


PICKED = _picked("left", "left", "right", "right", "right")


def _votes(folder):
    with AnnotationStore(folder / "a.db") as store:
        assert verify.check(store) == []
        return [(pair.votes.a, pair.votes.b) for pair in read_annotated(store)]


def test_a_new_project_takes_as_many_people_as_the_file_has_and_the_next_export_adds_what_is_new(tmp_path):
    done = _import(tmp_path, [_task(1, PICKED), _task(2, PICKED[:2])])
    assert done.stdout.endswith("ls.json: 2 pairs, 7 answers of 5 people; 5 people per pair\n")
    assert _votes(tmp_path) == [(2, 3), (2, 0)]
    changed = [*_picked("right"), *PICKED[1:]]
    gone = _annotation(6, 6, was_cancelled=True)
    tasks = [_task(1, changed), _task(2, [*PICKED[:3], gone]), _task(3, PICKED[:1])]
    done = _import(tmp_path, tasks)
    assert done.stdout.endswith("ls.json: 3 pairs, 2 answers of 6 people, 1 skipped; 5 people per pair\n")
    assert done.stderr == (
        "7 answers of people who have answered those pairs here were passed over; "
        "1 of them say something else in the file, as a new --db would have it\n"
    )
    assert _votes(tmp_path) == [(2, 3), (2, 1), (1, 0)]
    done = _import(tmp_path, tasks)
    assert "3 pairs, 0 answers of 6 people; " in done.stdout
    assert done.stderr.startswith("10 answers of people who have answered")


def test_what_deleted_users_said_comes_in(tmp_path):
    picks = [annotation | {"completed_by": None} for annotation in _picked("left", "right")]
    done = _import(tmp_path, [_task(1, [*picks, *PICKED[2:3]]), _task(2, picks[:1])])
    assert done.stdout.endswith("ls.json: 2 pairs, 4 answers of 3 people; 3 people per pair\n")
    assert done.stderr.startswith("3 answers do not say whose they are, as those of deleted users")
    assert _votes(tmp_path) == [(1, 2), (1, 0)]


def test_answers_that_do_not_count_are_told_with_what_to_do(tmp_path):
    done = _import(tmp_path, [_task(1, PICKED), _task(2, PICKED)], "--annotators", "3")
    assert "4 answers do not count, for the project takes 3 people per pair" in done.stderr
    assert "--annotators 5" in done.stderr
    assert _votes(tmp_path) == [(2, 1), (2, 1)]
    done = _import(tmp_path, [_task(3, PICKED)])
    assert "2 answers do not count" in done.stderr  # a project that is there keeps its number


def test_where_some_give_an_estimate_and_others_a_choice_everybody_has_a_vote(tmp_path):
    chosen, low = _pick("left"), _result("people", "rating", rating=3)
    mixed = [_annotation(1, 1, chosen), _annotation(2, 2, chosen), _annotation(3, 3, low)]
    estimated = [_annotation(n, n, chosen, low) for n in (1, 2, 3)]
    _import(tmp_path, [_task(1, mixed), _task(2, estimated)], "--question", "estimate=people")
    assert _votes(tmp_path) == [(2, 1), (3, 0)]
    with AnnotationStore(tmp_path / "a.db") as store:
        first, second = (pair.votes for pair in read_annotated(store))
        assert (first.preference, second.preference) == (pytest.approx(2 / 3), pytest.approx(0.3))
        assert read_annotated(store, Rules(estimates="median"))[0].votes == first
        assert export(store, tmp_path / "a.jsonl").notes[0].startswith("1 pairs have estimates of some people")


def test_questions_that_the_file_has_not_are_told_with_those_that_it_has(tmp_path):
    results = [_result("preference", "choices", choices=["a"]), _result("note", "textarea", text=["so"])]
    tasks = [_task(1, [_annotation(1, 1, *results), _annotation(2, 2, *results)])]
    for question, more, told in (
        (None, [], "none of its questions is called .*; found preference, note; .*--question choice=preference"),
        ("choice=prefrence", [], "--question choice=prefrence: no such question; found preference, note"),
        ("choice=preference", ["--question", "note=comment"], "no such question; found preference, note"),
    ):
        with pytest.raises(InputError, match=told):
            _import(tmp_path, tasks, *more, question=question)
        assert not (tmp_path / "a.db").exists()
    done = _import(tmp_path, tasks, question="choice=preference")
    assert "2 answers of 2 people" in done.stdout
    assert done.stderr == ""


def test_questions_that_are_not_read_drafts_and_columns_of_another_meaning_are_told(tmp_path):
    results = [_pick("left"), _result("tone", "choices", choices=["warm"])]
    task = _task(1, [_annotation(1, 1, *results), _annotation(2, 2, results[1])], domain="law") | {"drafts": [{}, {}]}
    assert _import(tmp_path, [task]).stderr.splitlines() == [
        "2 left out: drafts",
        "1 left out: without an answer to what was asked for",
        "columns that mean something else than ours and were left out: domain",
        "questions that were not read: tone",
    ]


def _ranker(*names, **boxes):
    return _result("pick", "ranker", ranker=boxes or {"rank": list(names)})


def test_a_ranker_is_a_choice_and_several_choices_are_no_ranking(tmp_path):
    rankers = [_ranker("answer2", "answer1"), _ranker("answer1", "other", "answer2")]
    assert _choices(tmp_path, *rankers) == ["b", "a"]
    with pytest.raises(InputError, match=r"pick ranks x, y; .* name them: --value 'choice:x=a' --value 'choice:y=b'"):
        _choices(tmp_path, _ranker("x", "y"))
    named = Names(PICKS.fields, PICKS.questions, {("choice", "x"): "b", ("choice", "y"): "a"})
    assert _choices(tmp_path, _ranker("x", "y"), names=named) == ["b"]
    with pytest.raises(InputError, match="sorts into best, worst, which have no order"):
        _choices(tmp_path, _ranker(best=["answer1"], worst=["answer2"]))
    both = _result("pick", "choices", choices=["answer1", "answer2"])
    with pytest.raises(InputError, match="--value 'choice:answer1 answer2=a'"):
        _choices(tmp_path, both)
    mapped = Names(PICKS.fields, PICKS.questions, {("choice", "answer1 answer2"): "tie"})
    assert _choices(tmp_path, both, names=mapped) == ["tie"]


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
    picks = [_pick(side, to_name=shown) for side in ("left", "right")]
    assert _choices(tmp_path, *picks, names=names) == [left, "b" if left == "a" else "a"]


def test_names_of_fields_go_before_ours(tmp_path):
    result = _result("choice", "choices", choices=["response_b"])
    swapped = Names({"prompt": "question", "response_a": "response_b", "response_b": "response_a"})
    found = _choices(tmp_path, result, names=swapped, response_a="No.", response_b="Yes.")
    assert found == ["a"]  # of the pair whose response a is called response_b there


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


NOBODY = {key: value for key, value in _annotation(1, 1, *WHOLE).items() if key != "completed_by"}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["a"], "expected a JSON object, found text .*; export it from Label Studio as JSON again"),
        ([{"id": 4, "question": "x"}], "task 4: no data or annotations"),
        ([_task(5, [], answer1=None)], "task 5: response_a is missing"),
        ([_task(6, [NOBODY])], "does not say who made it"),
        ([_task(7, [_annotation(1, 1, {"value": 3})])], "expected an object with from_name and value"),
        ([_task(7, [_annotation(1, 1, _result(["a"], "rating", rating=1))])], "expected an object with from_name and"),
        ([_task(7, [_annotation(1, "\ud800", *WHOLE)])], "task 7: the annotator's name holds half a character"),
        ([_task(7, [_annotation(1, "\ud800", was_cancelled=True)])], "task 7: the annotator's name holds half a"),
        ([_task(8, [_annotation(1, 1, _result("people", "rating", rating=11))])], r"people is a number \(11\)"),
        ([_task(9, [_annotation(1, 1, _result("correct", "choices", choices=["Ja"]))])], "--value 'correct:Ja=single'"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_remedy(rows, told, tmp_path):
    with pytest.raises(InputError, match=told):
        read_label_studio(_write(tmp_path / "ls.json", rows), NAMES)


@pytest.mark.parametrize(
    ("result", "names", "before", "option"),
    [
        (_result("correct", "choices", choices=["it's one"]), NAMES, "map it: ", "correct:it's one=single"),
        (_result("my pick", "choices", choices=["left"]), Names(FIELDS), "which is which: ", "choice=my pick"),
    ],
)
def test_options_that_a_message_names_are_as_a_shell_takes_them(result, names, before, option, tmp_path):
    with pytest.raises(InputError) as caught:
        _read(tmp_path, _annotation(1, 1, result), names=names)
    assert option in shlex.split(str(caught.value).partition(before)[2])


def test_names_and_values_are_mapped_or_refused_and_relations_say_nothing(tmp_path):
    relation = {"type": "relation", "from_id": "one", "to_id": "two", "direction": "right"}
    said = _annotation(1, 1, _result("correct", "choices", choices=["Ja"]), relation)
    with pytest.raises(InputError, match=r"no field 'prompt'; found question, answer1, answer2; name it: --field"):
        _read(tmp_path, said, names=None)
    mapped = Names(FIELDS, {}, {("correct", "Ja"): "single"})
    assert _read(tmp_path, said, names=mapped).answers[0].said.correct == "single"
    for wrong in (Names({"question": "x"}), Names({}, {"left": "x"}), Names({}, {}, {("note", "x"): "y"})):
        with pytest.raises(InputError, match="unknown name; choose from"):
            _read(tmp_path, said, names=wrong)

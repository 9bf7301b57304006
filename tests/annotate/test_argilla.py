"""Answers from Argilla, in the formats that its versions write."""

import json

import pytest

from dissensus.annotate.exchange.argilla import read_argilla
from dissensus.annotate.exchange.export import read_annotated
from dissensus.annotate.exchange.other_tools import Names
from dissensus.annotate.project.store import AnnotationStore
from dissensus.errors import InputError
from dissensus.files.writers import write_rows

FIELDS = {"prompt": [{"role": "user", "content": "Question?"}], "response_a": "Yes.", "response_b": "No."}
U1, U2, U3 = (f"{n}0000000-0000-0000-0000-000000000000" for n in (1, 2, 3))


def _nested(responses, status="pending"):
    """A record as Argilla 2.8.0 writes it with to_json: no status of a response."""
    given = {q: [{"value": v, "user_id": u} for u, v in said.items()] for q, said in responses.items()}
    return {"id": "r1", "fields": FIELDS, "metadata": {}, "suggestions": {}, "responses": given, "vectors": {},
            "status": status, "_server_id": "x"}  # fmt: skip


def _flat(responses, statuses=None):
    """The same with to_list(flatten=True)."""
    record = {"id": "r1", "status": "pending", "_server_id": "x", **FIELDS, "choice.suggestion": "a"}
    for question, said in responses.items():
        record[f"{question}.responses"] = list(said.values())
        record[f"{question}.responses.users"] = list(said)
        record[f"{question}.responses.status"] = [(statuses or {}).get(user, "submitted") for user in said]
    return record


def _of_version_1(responses, statuses=None):
    """A record of a FeedbackDataset."""
    users = list(dict.fromkeys(user for said in responses.values() for user in said))
    given = [
        {"user_id": user, "values": {q: {"value": said[user]} for q, said in responses.items() if user in said},
         "status": (statuses or {}).get(user, "submitted")}
        for user in users
    ]  # fmt: skip
    return {"external_id": "r1", "fields": FIELDS, "metadata": {}, "vectors": {}, "responses": given, "suggestions": []}


def _hub(responses, statuses=None):
    """A row that FeedbackDataset pushed to the Hub."""
    record = {**FIELDS, "external_id": "r1", "metadata": "{}"}
    for question, said in responses.items():
        record[question] = [
            {"user_id": user, "value": value, "status": (statuses or {}).get(user, "submitted")}
            for user, value in said.items()
        ]
        record[f"{question}-suggestion"] = None
        record[f"{question}-suggestion-metadata"] = {"type": None, "score": None, "agent": None}
    return record


def _struct(responses, statuses=None):
    """The same where a list of objects became an object of lists."""
    record = _hub(responses, statuses)
    for question in responses:
        rows = record[question]
        record[question] = {name: [row[name] for row in rows] for name in ("user_id", "value", "status")}
    return record


SHAPES = [_flat, _of_version_1, _hub, _struct]
SHAPE_NAMES = ["flat", "version 1", "hub", "struct"]


def _read(folder, *records, names=None, **rest):
    (folder / "records.json").write_text(json.dumps(records))
    return read_argilla(folder / "records.json", names, **rest)


def _said(found):
    return [answer.said and answer.said.model_dump(exclude_none=True, exclude={"note"}) for answer in found.answers]


@pytest.mark.parametrize("shape", SHAPES, ids=SHAPE_NAMES)
def test_all_shapes_say_the_same(shape, tmp_path):
    values = {"correct": {U1: "multiple", U2: "single"}, "estimate": {U1: 5, U2: 9}, "note": {U2: "?"}}
    found = _read(tmp_path, shape(values))
    assert _said(found) == [{"correct": "multiple", "estimate": 5}, {"correct": "single", "estimate": 9}]
    assert [answer.annotator for answer in found.answers] == [U1, U2]
    assert [answer.said.note for answer in found.answers] == ["", "?"]
    [pair] = found.pairs
    assert (pair.id, pair.prompt[0].content) == ("r1", "Question?")
    assert found.left_out == {}


@pytest.mark.parametrize("shape", SHAPES, ids=SHAPE_NAMES)
def test_discarded_responses_are_skips_and_drafts_are_left_out(shape, tmp_path):
    found = _read(tmp_path, shape({"choice": {U1: "a", U2: "b", U3: "b"}}, {U2: "discarded", U3: "draft"}))
    assert [(answer.annotator, answer.kind) for answer in found.answers] == [(U1, "answer"), (U2, "skip")]
    assert found.left_out == {"drafts": 1}


def test_responses_without_values_are_skips_and_without_a_user_of_different_people(tmp_path):
    record = _of_version_1({"choice": {U1: "a", U2: "b"}})
    record["responses"].append({"user_id": U2, "values": None, "status": "discarded"})
    for response in record["responses"]:
        response["user_id"] = None
    answers = _read(tmp_path, record).answers
    assert [answer.annotator for answer in answers] == ["unknown 1", "unknown 2", "unknown 3"]
    assert [answer.kind for answer in answers] == ["answer", "answer", "skip"]


RANKS = [
    (["response_b", "response_a"], "b"),
    ([{"value": "response_b", "rank": 2}, {"value": "response_a", "rank": 1}], "a"),
    ([{"value": "response_a", "rank": 1}, {"value": "response_b", "rank": 1}], "tie"),
    ({"value": ["response_a", "response_b"], "rank": [2, 1]}, "b"),
    ([{"value": "response_b"}, {"value": "response_a"}], "b"),
    (["other", "response_a", "response_b"], "a"),
]


@pytest.mark.parametrize(("ranking", "choice"), RANKS)
def test_a_ranking_of_the_two_responses_is_a_choice(ranking, choice, tmp_path):
    for shape in SHAPES:
        assert _said(_read(tmp_path, shape({"choice": {U1: ranking}}))) == [{"choice": choice}]


@pytest.mark.parametrize(
    ("ranking", "told"),
    [
        (["x", "y"], "choice ranks x, y; .* name them: --value 'choice:x=a' --value 'choice:y=b'"),
        (["response_a", "x"], "choice ranks response_a, x; which of them the two responses are is not known"),
        (["response_a", "response_a"], "which of them the two responses are is not known"),
        (["response_a", "tie", "response_b"], "which of them the two responses are is not known"),
        ([{"value": "response_a", "rank": 1}, {"value": "response_b", "rank": None}], "is a list; expected one of a"),
    ],
)
def test_a_ranking_that_does_not_name_the_two_is_refused_and_never_mapped_whole(ranking, told, tmp_path):
    with pytest.raises(InputError, match=told) as refusal:
        _read(tmp_path, _flat({"choice": {U1: ranking}}))
    assert "[" not in str(refusal.value).split("--value")[-1]


@pytest.mark.parametrize(
    ("responses", "told"),
    [
        ({"choice": {U1: ["response_a", "response_b"], U2: ["response_b"]}}, "one name in some answers and several in"),
        ({"estimate": {U1: ["response_a", "response_b"]}}, "a ranking is a choice: --question choice=estimate"),
    ],
)
def test_several_labels_are_no_ranking_and_rankings_answer_no_other_question(responses, told, tmp_path):
    with pytest.raises(InputError, match=told):
        _read(tmp_path, _flat(responses))


def test_without_statuses_nothing_is_taken_for_an_answer_unless_told_to(tmp_path):
    record = _nested({"choice": {U1: "a", U2: "b"}})
    for shown in (record, _nested({"choice": {U1: "a"}}), {**record, "status": "completed"}):
        with pytest.raises(InputError, match=r"record r1: responses have no status.*to_list\(flatten=True\)"):
            _read(tmp_path, shown)
    found = _read(tmp_path, record, assume_submitted=True)
    assert _said(found) == [{"choice": "a"}, {"choice": "b"}]
    assert found.assumed == 2
    flat = _flat({"choice": {U1: "a"}})
    del flat["choice.responses.status"]
    with pytest.raises(InputError, match="have no status"):
        _read(tmp_path, flat)


def test_the_only_response_to_a_completed_record_was_submitted(tmp_path):
    found = _read(tmp_path, _nested({"choice": {U1: ["response_b", "response_a"]}, "note": {U1: "x"}}, "completed"))
    assert _said(found) == [{"choice": "b"}]
    assert found.assumed == 0


@pytest.mark.parametrize("form", ["json", "jsonl", "parquet"])
def test_the_forms_that_datasets_writes_are_read(form, tmp_path):
    rows = [{**_flat({"choice": {U1: ["response_b", "response_a"]}}), "prompt": "Question?"}]
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    elif form == "jsonl":
        write_rows(tmp_path / "r.jsonl", rows, dict.fromkeys(rows[0], str))
    else:  # JSON Lines under another name
        (tmp_path / "r.json").write_text("".join(f"{json.dumps(row)}\n" for row in rows * 2))
    assert _said(read_argilla(tmp_path / f"r.{form}")) == [{"choice": "b"}]


def test_what_is_assumed_is_told(tmp_path):
    from .people import annotations  # other tests load this file by itself, for what it writes

    (tmp_path / "r.json").write_text(json.dumps([_nested({"choice": {U1: "a", U2: "b", U3: "b"}})]))
    arguments = ["import", tmp_path / "r.json", "--db", tmp_path / "a.db", "--from", "argilla"]
    with pytest.raises(InputError, match="have no status"):
        annotations(*arguments)
    assert not (tmp_path / "a.db").exists()
    done = annotations(*arguments, "--assume-submitted")
    assert "3 answers of 3 people" in done.stdout
    assert "3 responses have no status and were taken for submitted" in done.stderr
    with AnnotationStore(tmp_path / "a.db") as store:
        [pair] = read_annotated(store)
    assert (pair.votes.a, pair.votes.b) == (1, 2)
    with pytest.raises(InputError, match="--assume-submitted is for Argilla"):
        annotations("import", tmp_path / "r.json", "--db", "y", "--assume-submitted")


@pytest.mark.parametrize("shape", SHAPES, ids=SHAPE_NAMES)
def test_questions_of_other_names_are_told(shape, tmp_path):
    record = shape({"preference": {U1: "a"}, "comment": {U1: "x"}})
    with pytest.raises(InputError, match="found preference, comment; say which is which: --question choice=preference"):
        _read(tmp_path, record)
    assert _said(_read(tmp_path, record, names=Names({}, {"choice": "preference"}))) == [{"choice": "a"}]
    with pytest.raises(InputError, match="--question choice=pref: no such question; found preference, comment"):
        _read(tmp_path, record, names=Names({}, {"choice": "pref"}))

import json

import pytest

from dissensus.files import read_pairs, write_records
from dissensus.files.rows.pair_rows import pair_from_row, row_from_pair
from dissensus.records import Pair, Vote, Votes, content_id

ROW = {"prompt": "Why?", "response_a": "So.", "response_b": "No."}


def test_the_id_comes_from_the_content_and_the_group_from_the_prompt():
    pair = pair_from_row(ROW)
    assert pair.id == content_id("Why?", "So.", "No.")
    assert pair.group == "Why?"
    assert pair_from_row(ROW | {"id": 17, "group": 3}).id == "17"


def test_a_list_of_votes_gives_the_counts():
    votes = [{"annotator": 7, "vote": "a"}, {"annotator": None, "vote": "tie"}, {"vote": "a"}]
    found = pair_from_row(ROW | {"votes": votes}).votes
    assert (found.a, found.b, found.tie) == (2, 0, 1)
    assert [vote.annotator for vote in found.annotations] == ["7", None, None]
    assert pair_from_row(ROW | {"votes": votes, "votes_a": 2, "votes_b": 0, "votes_tie": 1}).votes == found


def test_a_count_of_ties_is_optional_and_whole_floats_are_counts():
    assert pair_from_row(ROW | {"votes_a": 2.0, "votes_b": 1}).votes == Votes(a=2, b=1)


@pytest.mark.parametrize(
    "nobody", [{}, {"votes_a": 0, "votes_b": 0, "votes_tie": 0}, {"votes_a": None, "votes_b": None}, {"votes": []}]
)
def test_where_nobody_voted_there_are_no_votes(nobody):
    assert pair_from_row(ROW | nobody).votes is None


def test_estimates_are_read_beside_votes_or_in_their_place():
    row = {
        "prompt": "p",
        "response_a": "x",
        "response_b": "y",
        "votes": [{"annotator": "v", "estimate": 0.7}, {"annotator": "w", "vote": "b", "estimate": 0.5}],
    }
    votes = pair_from_row(row).votes
    assert (votes.a, votes.b, votes.tie) == (1, 1, 0)
    assert votes.ratings == (0.7, 0.5)
    assert votes.preference == pytest.approx(0.6)
    assert pair_from_row(row_from_pair(pair_from_row(row))) == pair_from_row(row)
    with pytest.raises(ValueError, match=r"votes\[0\].estimate is .*; expected the fraction of people that prefers a"):
        pair_from_row({**row, "votes": [{"estimate": 7}]})
    with pytest.raises(ValueError, match="estimates of some annotators and not of others"):
        pair_from_row({**row, "votes": [{"vote": "a", "estimate": 0.7}, {"vote": "b"}]})


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.parquet", "pairs.csv"])
def test_that_a_label_is_a_vote_survives_every_format(tmp_path, name):
    pairs = [
        Pair(id=str(drawn), prompt="p", response_a="x", response_b="y", label="a", label_is_a_vote=drawn)
        for drawn in (True, False, None)
    ]
    write_records(tmp_path / name, pairs)
    assert list(read_pairs(tmp_path / name)) == pairs
    with pytest.raises(ValueError, match=r"label_is_a_vote is .*expected true, false or nothing"):
        pair_from_row(ROW | {"label_is_a_vote": "perhaps"})


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.parquet", "pairs.csv"])
def test_estimates_survive_every_format(tmp_path, name):
    said = [Vote(annotator=str(k), vote="a", estimate=0.6 + k / 10) for k in range(3)]
    pairs = [
        Pair(id="e", prompt="p", response_a="x", response_b="y", votes=Votes(a=3, b=0, annotations=said)),
        Pair(id="v", prompt="q", response_a="x", response_b="y", votes=Votes(a=1, b=0, annotations=[Vote(vote="a")])),
    ]
    write_records(tmp_path / name, pairs)
    assert list(read_pairs(tmp_path / name)) == pairs


def test_keys_of_single_votes_that_we_do_not_read_are_named(tmp_path):
    row = ROW | {"votes": [{"vote": "a", "competence": 0.9, "from": "x"}]}
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    notices = []
    assert len(list(read_pairs(tmp_path / "x.jsonl", notice=notices.append))) == 1
    assert notices == ["keys of votes or chat messages left alone, unknown here: competence, from"]


def test_keys_of_chat_messages_that_we_do_not_read_are_named(tmp_path):
    turns = [{"role": "user", "content": "Hi", "name": "Ann", "tool_calls": None}]
    (tmp_path / "x.jsonl").write_text(json.dumps(ROW | {"prompt": turns}))
    notices = []
    assert len(list(read_pairs(tmp_path / "x.jsonl", notice=notices.append))) == 1
    assert notices == ["keys of votes or chat messages left alone, unknown here: name"]


def test_columns_are_renamed(tmp_path):
    row = {"question": "Why?", "prompt": "ours, but not meant", "answer_0": "So.", "answer_1": "No."}
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    columns = {"prompt": "question", "response_a": "answer_0", "response_b": "answer_1", "group": "question"}
    notices = []
    (pair,) = read_pairs(tmp_path / "x.jsonl", columns=columns, notice=notices.append)
    assert (pair.prompt, pair.response_a, pair.response_b, pair.group) == ("Why?", "So.", "No.", "Why?")


def test_two_columns_can_be_swapped(tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps(ROW))
    columns = {"response_a": "response_b", "response_b": "response_a"}
    (pair,) = read_pairs(tmp_path / "x.jsonl", columns=columns)
    assert (pair.response_a, pair.response_b) == ("No.", "So.")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "rows", "votes"),
    [
        ("arguments", 12_063, 62_248),
        ("vicuna80", 2_240, 6_720),
        ("pandalm", 839, 2_835),
        ("qa_feedback", 3_000, 3_000),
        ("hh_harmless", 2_303, 0),
        ("llm_jury", 168, 0),
    ],
)
def test_real_files_are_read_whole_and_survive_every_format(real_data_dir, tmp_path, name, rows, votes):
    source = real_data_dir / f"{name}.jsonl.gz"
    pairs = list(read_pairs(source, notice=lambda text: None))
    assert len(pairs) == rows
    assert sum(pair.votes.n for pair in pairs if pair.votes) == votes
    pairs = pairs[:800]
    for form in ("jsonl", "parquet", "csv"):
        write_records(tmp_path / f"x.{form}", pairs)
        assert list(read_pairs(tmp_path / f"x.{form}", notice=pytest.fail)) == pairs

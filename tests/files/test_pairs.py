import pytest

from dissensus.files import read_pairs, write_records
from dissensus.files.rows.pair_rows import pair_from_row, row_from_pair
from dissensus.records import Votes, content_id

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


@pytest.mark.parametrize(
    ("more", "unread"),
    [
        ({"votes": [{"vote": "a", "competence": 0.9, "from": "x"}]}, "competence, from"),
        ({"prompt": [{"role": "user", "content": "Hi", "name": "Ann", "tool_calls": None}]}, "name"),
    ],
)
def test_keys_of_votes_and_messages_that_we_do_not_read_are_named(more, unread):
    notices = []
    assert len(list(read_pairs([ROW | more], notice=notices.append))) == 1
    assert notices == [f"keys of votes or chat messages left alone, unknown here: {unread}"]


def test_columns_are_renamed_and_can_be_swapped():
    row = {"question": "Why?", "prompt": "ours, but not meant", "answer_0": "So.", "answer_1": "No."}
    columns = {"prompt": "question", "response_a": "answer_0", "response_b": "answer_1", "group": "question"}
    (pair,) = read_pairs([row], columns=columns, notice=pytest.fail)
    assert (pair.prompt, pair.response_a, pair.response_b, pair.group) == ("Why?", "So.", "No.", "Why?")
    (pair,) = read_pairs([ROW], columns={"response_a": "response_b", "response_b": "response_a"})
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
    pairs = pairs[:200]
    for form in ("jsonl", "parquet", "csv"):
        write_records(tmp_path / f"x.{form}", pairs)
        assert list(read_pairs(tmp_path / f"x.{form}", notice=pytest.fail)) == pairs

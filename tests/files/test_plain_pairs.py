"""Contents of pairs read by column are those of pairs, or are not read so."""

import pytest

from dissensus.files import read_pairs, write_records
from dissensus.files.rows.plain_pairs import read_contents
from dissensus.messages import content_id
from dissensus.records import Message, Pair


def make_pairs(**fields):
    texts = ({"id": f"p{i}", "prompt": f"Why {i}?", "response_a": "So.", "response_b": f"No {i}."} for i in range(3))
    return [Pair(**{"label": "a", **own, **fields}) for own in texts]


def test_contents_are_those_of_the_pairs(tmp_path):
    write_records(tmp_path / "pairs.parquet", make_pairs())
    ids, digests = read_contents(tmp_path / "pairs.parquet")
    pairs = list(read_pairs(tmp_path / "pairs.parquet"))
    assert ids == [pair.id for pair in pairs]
    contents = [content_id(pair.prompt, pair.response_a, pair.response_b) for pair in pairs]
    assert [f"{digest:016x}" for digest in digests] == contents


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": (Message(role="user", content="Hi"),)},
        {"prompt": "Why?", "response_a": "Why? So.", "response_b": "Why? No."},
        {"prompt": '[{"role": "user", "content": "Hi"}]'},
        {"id": "p"},
        {"prompt": "Why?", "response_b": "No."},
    ],
    ids=["chat", "the prompt again", "chat as text", "one id", "the same texts"],
)
def test_what_needs_a_closer_look_is_left_to_it(tmp_path, fields):
    write_records(tmp_path / "pairs.parquet", make_pairs(**fields))
    assert read_contents(tmp_path / "pairs.parquet") is None


def test_other_files_are_left_to_their_readers(tmp_path):
    write_records(tmp_path / "pairs.jsonl", make_pairs())
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    for name in ("pairs.jsonl", "torn.parquet", "none.parquet"):
        assert read_contents(tmp_path / name) is None

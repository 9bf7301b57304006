import sys

import pytest

from dissensus.errors import InputError, MissingDependencyError
from dissensus.files import read_pairs, write_records
from dissensus.records import Message, Pair, Vote, Votes

datasets = pytest.importorskip("datasets")

CHAT = (Message(role="user", content="Hi"), Message(role="assistant", content="Yes?"))


def some(start, n=4, **more):
    return [Pair(id=str(i), prompt=f"p {i}", response_a="a", response_b="b", **more) for i in range(start, start + n)]


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", cache)
    datasets.disable_progress_bars()


def test_a_folder_of_parquet_is_read_in_the_order_of_its_names(tmp_path):
    write_records(tmp_path / "part-1.parquet", some(4))
    write_records(tmp_path / "part-0.parquet", some(0))
    assert list(read_pairs(tmp_path)) == some(0, 8)


def test_shards_of_several_splits_are_never_mixed(tmp_path):
    write_records(tmp_path / "train-00000-of-00002.parquet", some(0))
    write_records(tmp_path / "train-00001-of-00002.parquet", some(4))
    write_records(tmp_path / "test.parquet", some(8))
    with pytest.raises(InputError, match="several splits; name one, split='NAME': test, train"):
        list(read_pairs(tmp_path))
    assert list(read_pairs(tmp_path, split="train")) == some(0, 8)
    assert list(read_pairs(tmp_path, split="test")) == some(8)
    with pytest.raises(InputError, match="no split 'dev'; found test, train"):
        list(read_pairs(tmp_path, split="dev"))


def test_several_files_of_one_split_belong_together(tmp_path):
    write_records(tmp_path / "train-a.parquet", some(0))
    write_records(tmp_path / "train-b.parquet", some(4))
    assert list(read_pairs(tmp_path)) == list(read_pairs(tmp_path, split="train")) == some(0, 8)


def test_a_bad_row_in_a_folder_is_named_by_its_file(tmp_path):
    write_records(tmp_path / "a.parquet", some(0))
    write_records(tmp_path / "b.parquet", some(3, label="tie"))
    with pytest.raises(InputError, match=r"b.parquet:1: id '3' came before"):
        list(read_pairs(tmp_path))


def test_a_file_has_no_splits(tmp_path):
    write_records(tmp_path / "x.jsonl", some(0))
    with pytest.raises(InputError, match="a single file has no splits"):
        list(read_pairs(tmp_path / "x.jsonl", split="train"))


def conversations(n):
    user, assistant = (turn.model_dump() for turn in CHAT)
    return [
        {"question": i, "chosen": [user, assistant], "rejected": [user, assistant | {"content": str(i)}]}
        for i in range(n)
    ]


def test_a_folder_made_by_save_to_disk(tmp_path):
    data = datasets.Dataset.from_list(conversations(4))
    data.save_to_disk(tmp_path / "one")
    notices = []
    found = list(read_pairs(tmp_path / "one", notice=notices.append))
    assert len(found) == 4
    assert all(pair.prompt == CHAT[:1] and CHAT[1:] in (pair.response_a, pair.response_b) for pair in found)
    assert notices == ["columns left alone, unknown here: question"]

    datasets.DatasetDict(train=data, test=data.select(range(1))).save_to_disk(tmp_path / "two")
    with pytest.raises(InputError, match="several splits; name one, split='NAME': train, test"):
        list(read_pairs(tmp_path / "two"))
    with pytest.raises(InputError, match="no split 'dev'; name one, split='NAME': train, test"):
        list(read_pairs(tmp_path / "two", split="dev"))
    assert len(list(read_pairs(tmp_path / "two", split="test", notice=notices.append))) == 1


def test_columns_and_votes_through_datasets(tmp_path):
    rows = [
        {"question": "Why?", "answer_0": "a", "answer_1": "b", "votes": [{"annotator": "x", "vote": "a"}]},
        {"question": "Why?", "answer_0": "c", "answer_1": "d", "votes": None},
    ]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "x")
    columns = {"prompt": "question", "response_a": "answer_0", "response_b": "answer_1"}
    one, two = read_pairs(tmp_path / "x", columns=columns)
    assert one.votes == Votes(a=1, b=0, annotations=(Vote(annotator="x", vote="a"),))
    assert two.votes is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning:datasets", "ignore::ResourceWarning")
def test_a_folder_that_load_dataset_understands(tmp_path):
    (tmp_path / "data").mkdir()
    write_records(tmp_path / "data" / "train.jsonl", some(0))
    assert list(read_pairs(tmp_path / "data", split="train")) == some(0)
    assert list(read_pairs(tmp_path / "data")) == some(0)


def test_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match="datasets cannot read this folder"):
        list(read_pairs(tmp_path))


def test_an_id_that_cannot_be_reached_is_one_line_with_the_remedy():
    with pytest.raises(InputError, match=r"org/none: cannot be read from the Hub .*; check the id, the split and"):
        list(read_pairs("org/none"))


def test_without_datasets_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dissensus\[hub\]'"):
        list(read_pairs("org/name"))

"""Tables in memory, files that other tools open, and the order of a path and its records."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dissensus.errors import InputError
from dissensus.files import read_pairs, read_records, write_records, write_trl
from dissensus.records import Annotator, Message, Pair, Vote, Votes

datasets = pytest.importorskip("datasets")

PAIRS = [
    Pair(id=str(i), prompt=f"p {i}", response_a="x", response_b="y", votes=Votes(a=1, b=i, annotations=votes))
    for i, votes in enumerate([(Vote(annotator="v", vote="a"),), (Vote(vote="a"), Vote(annotator="w", vote="b"))])
]


@pytest.fixture
def path(tmp_path):
    write_records(tmp_path / "x.parquet", PAIRS)
    return tmp_path / "x.parquet"


TABLES = {
    "pandas": pd.read_parquet,
    "pandas with an index": lambda path: pd.read_parquet(path).set_index(pd.Index([5, 3])),
    "arrow": pq.read_table,
    "datasets": lambda path: datasets.Dataset.from_pandas(pd.read_parquet(path)),
    "a stream of datasets": lambda path: datasets.Dataset.from_pandas(pd.read_parquet(path)).to_iterable_dataset(),
    "a split": lambda path: datasets.DatasetDict(train=datasets.Dataset.from_pandas(pd.read_parquet(path))),
    "rows": lambda path: pq.read_table(path).to_pylist(),
    "a reader that is used up": lambda path: pq.read_table(path).to_reader(),
    "polars": lambda path: pytest.importorskip("polars").read_parquet(path),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_in_memory_gives_the_pairs_of_its_file(path, kind):
    assert list(read_pairs(TABLES[kind](path), notice=pytest.fail)) == PAIRS


def test_a_notice_about_columns_comes_once_for_tables_of_the_same_columns(capsys):
    frame = pd.DataFrame({"prompt": ["p"], "response_a": ["x"], "response_b": ["y"], "note of one": [1]})
    for source, said in ((frame, 1), (frame, 0), (frame.assign(label="a"), 1), (frame[:1].to_dict("records"), 0)):
        list(read_pairs(source))
        assert capsys.readouterr().err.count("columns left alone, unknown here: note of one\n") == said


def test_a_misspelt_option_is_no_option(path):
    with pytest.raises(TypeError, match="no option is called 'colums'; there are columns, split"):
        read_pairs(path, colums={"prompt": "question"})


CLASSES = {
    "Dataset": lambda data, folder: data,
    "a stream of datasets": lambda data, folder: data.to_iterable_dataset(),
    "arrow": lambda data, folder: data.data.table,
    "save_to_disk": lambda data, folder: data.save_to_disk(folder / "saved") or folder / "saved",
    "parquet": lambda data, folder: data.to_parquet(folder / "x.parquet") and folder / "x.parquet",
}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("names", [["b", "a"], ["tie", "a", "b"], ["a", "b"], ["2", "1"]], ids=str)
def test_classes_are_read_by_the_names_that_the_data_set_gives(tmp_path, kind, names):
    column = datasets.ClassLabel(names=names)
    texts = {name: datasets.Value("string") for name in ("prompt", "response_a", "response_b")}
    features = datasets.Features(texts | {"label": column, "votes": [{"vote": column}]})
    rows = [
        {"prompt": f"p {i}", "response_a": "x", "response_b": "y", "label": name, "votes": [{"vote": name}]}
        for i, name in enumerate([*names, None])
    ]
    source = CLASSES[kind](datasets.Dataset.from_list(rows, features=features), tmp_path)
    expected = [{"1": "a", "2": "b"}.get(name, name) for name in names]
    found = list(read_pairs(source, notice=lambda _: None))
    assert [pair.label for pair in found] == [*expected, None]
    assert [pair.votes.annotations[0].vote for pair in found[:-1]] == expected


def test_a_table_of_text_and_chats_is_read_by_its_rows():
    turns = [{"role": "user", "content": "Hi"}]
    frame = pd.DataFrame(
        {"prompt": ["p", turns], "response_a": ["x", "x"], "response_b": ["y", "y"], "label": ["a", None]}
    )
    one, two = read_pairs(frame)
    assert (one.prompt, one.label) == ("p", "a")
    assert (two.prompt, two.label) == ((Message(role="user", content="Hi"),), None)


def test_what_pandas_makes_of_whole_numbers_and_gaps_is_undone():
    frame = pd.DataFrame(
        {"id": [1, None], "prompt": "p", "response_a": ["x", "z"], "response_b": "y", "votes_a": [2, None]}
    )
    frame["votes_b"] = [1.0, None]
    one, two = read_pairs(frame, notice=lambda text: None)
    assert one.id == "1"
    assert (one.votes.a, one.votes.b) == (2, 1)
    assert two.votes is None


def test_a_bad_row_or_source_is_named():
    with pytest.raises(InputError, match="DataFrame:2: prompt is empty"):
        list(read_pairs(pd.DataFrame({"prompt": ["p", ""], "response_a": ["x", "x"], "response_b": ["y", "y"]})))
    with pytest.raises(InputError, match="int: is no source of pairs; give the name of a file"):
        list(read_pairs(3))
    with pytest.raises(InputError, match="can be read once only"):
        list(read_pairs(iter([])))
    with pytest.raises(InputError, match="there are several splits; name one, split='NAME': a, b"):
        list(read_pairs({"a": [], "b": []}))


@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv"])
def test_records_come_first_or_the_path_does(tmp_path, form):
    one, two = tmp_path / f"x.{form}", tmp_path / f"y.{form}"
    assert write_records(one, PAIRS) == write_records(PAIRS, two) == 2
    assert one.read_bytes() == two.read_bytes()
    labelled = [pair.model_copy(update={"label": "a"}) for pair in PAIRS]
    assert write_trl(one, labelled) == write_trl(labelled, str(two)) == 2
    assert one.read_bytes() == two.read_bytes()
    with pytest.raises(TypeError, match="expected a path and records"):
        write_records(PAIRS, PAIRS)


PEOPLE = [Annotator(id="u", attributes={"age": "35", "note": "a, b"}), Annotator(id="v")]


def test_annotators_are_opened_by_every_reader_of_parquet(tmp_path):
    path = tmp_path / "people.parquet"
    write_records(path, PEOPLE)
    assert list(read_records(path, Annotator)) == PEOPLE
    as_rows = [{"name": "age", "value": "35"}, {"name": "note", "value": "a, b"}]
    assert list(pd.read_parquet(path)["attributes"][0]) == as_rows
    loaded = datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded[0]["attributes"] == as_rows
    assert pytest.importorskip("polars").read_parquet(path)["attributes"][0].to_list() == as_rows


def test_annotators_written_as_a_map_are_still_read(tmp_path):
    schema = pa.schema([("id", pa.string()), ("attributes", pa.map_(pa.string(), pa.string()))])
    rows = [{"id": one.id, "attributes": list(one.attributes.items())} for one in PEOPLE]
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "old.parquet")
    assert list(read_records(tmp_path / "old.parquet", Annotator)) == PEOPLE


TEXTS = ["42", "null", "3.50", '{"a": 1}', "true", "[1]"]


@pytest.mark.parametrize("where", ["train.jsonl", "data/train.jsonl", "train/0.jsonl", "part.jsonl.gz"])
def test_a_folder_of_json_lines_keeps_texts_beside_chats(tmp_path, where):
    import gzip

    rows = [{"prompt": f"p {t}", "response_a": t, "response_b": [{"role": "assistant", "content": "x"}]} for t in TEXTS]
    path = tmp_path / "set" / where
    path.parent.mkdir(parents=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if where.endswith("gz") else text)
    (tmp_path / "set" / "README.md").write_text("---\nlicense: mit\n---\n")
    assert [pair.response_a for pair in read_pairs(tmp_path / "set")] == TEXTS
    if "train" in where:
        assert len(list(read_pairs(tmp_path / "set", split="train"))) == len(TEXTS)
        with pytest.raises(InputError, match="no split 'test'; found train"):
            list(read_pairs(tmp_path / "set", split="test"))


def test_a_folder_of_several_formats_is_refused(tmp_path):
    for name in ("x.jsonl", "y.csv"):
        write_records(tmp_path / name, PAIRS)
    with pytest.raises(InputError, match=r"holds files of several formats \(csv, jsonl\); name one file"):
        list(read_pairs(tmp_path))

"""What is written is what is read, in every format."""

import gzip
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissensus.errors import OutputError
from dissensus.files import read_pairs, read_records, sha256_of, to_frame, write_records
from dissensus.records import Annotator, Judgment, Margin, Message, Metric, Pair, Prediction, Vote, Votes

FORMATS = ["jsonl", "jsonl.gz", "parquet", "csv", "json"]

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
sides = st.sampled_from(["a", "b", "tie"])


@st.composite
def votes(draw):
    estimates = draw(st.sampled_from([st.none(), st.floats(0, 1)]))  # of all, or of nobody
    people = st.none() | st.just("ann")
    listed = draw(st.lists(st.builds(Vote, annotator=people, vote=sides, estimate=estimates), min_size=1))
    counts = {side: sum(vote.vote == side for vote in listed) for side in ("a", "b", "tie")}
    return Votes(**counts, annotations=draw(st.sampled_from([None, tuple(listed)])))


pairs = st.builds(
    Pair,
    id=texts,
    prompt=texts,
    response_a=texts,
    response_b=texts,
    label=st.none() | sides,
    label_is_a_vote=st.none() | st.booleans(),
    dataset=st.none() | texts,
    domain=st.sampled_from([None, "in", "out"]),
    category=st.none() | texts,
    distinct=st.sampled_from([None, "yes", "no"]),
    group=st.just("") | texts,
    votes=st.none() | votes(),
)


@pytest.mark.parametrize("form", FORMATS)
@given(written=st.lists(pairs, unique_by=lambda pair: pair.id, min_size=1))
@settings(max_examples=12, deadline=None)
def test_pairs_come_back_as_they_went(form, written, tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / f"x.{form}"
    assert write_records(path, written) == len(written)
    assert list(read_pairs(path, notice=pytest.fail)) == written
    assert list(read_records(path, Pair)) == written


DUMPED = {
    "a list": lambda rows, folder: rows,
    "pairs themselves": lambda rows, folder: [Pair.model_validate(row) for row in rows],
    "jsonl": lambda rows, folder: _lines(folder / "x.jsonl", map(json.dumps, rows)),
    "csv": lambda rows, folder: pd.DataFrame(rows).to_csv(folder / "x.csv", index=False) or folder / "x.csv",
    "arrow": lambda rows, folder: pa.Table.from_pylist(rows),
}


def _lines(path, lines):
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("given", DUMPED.values(), ids=DUMPED)
def test_pairs_as_pydantic_dumps_them_are_pairs_again(given, tmp_path):
    listed = Votes(a=1, b=1, tie=1, annotations=[Vote(annotator=f"w{i}", vote=side) for i, side in enumerate("ab")] +
                   [Vote(vote="tie")])  # fmt: skip
    written = [
        Pair(id=f"p{i}", prompt=f"q{i}", response_a="x", response_b="y", label="a", votes=votes)
        for i, votes in enumerate([listed, Votes(a=3, b=2), None])
    ]
    rows = [pair.model_dump(mode="json") for pair in written]
    assert list(read_pairs(given(rows, tmp_path), notice=pytest.fail)) == written


RECORDS = [
    [
        Judgment(pair_id="1", judge="j", sample=0, choice=None),
        Judgment(pair_id="1", judge="j", sample=1, order="ba", choice="a", probability_a=0.1, reply='"x",\r\ny'),
    ],
    [Margin(pair_id="1", margin=0.2), Margin(pair_id="2", margin=-1, preference_a=1 / 3, n_judgments=3, n_invalid=1)],
    [
        Prediction(pair_id="1", model="m", reward_a=0.1, reward_b=1e-300, preference_a=0.5),
        Prediction(pair_id="1", model="m", seed=3, reward_a=1, reward_b=2, preference_a=0.25),
        Prediction(pair_id="1", model="of preferences alone", preference_a=1),
    ],
    [Metric(model="m", group="all", metric="pearson", value=None, n=0, notes=("no pairs", "not; one"))],
    [Annotator(id="user0", attributes={"gender": "Female", "age": ""}), Annotator(id="7")],
    [],
]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("written", RECORDS, ids=["judgment", "margin", "prediction", "metric", "annotator", "none"])
def test_records_come_back_as_they_went(tmp_path, form, written):
    path = tmp_path / f"x.{form}"
    assert write_records(path, iter(written)) == len(written)
    assert list(read_records(path, type(written[0]) if written else Margin)) == written


@pytest.mark.parametrize("library", ["arrow", "pandas", "polars"])
@pytest.mark.parametrize("written", RECORDS, ids=["judgment", "margin", "prediction", "metric", "annotator", "none"])
def test_records_come_back_from_a_frame_as_they_went(library, written):
    if library == "polars":
        pytest.importorskip("polars")
    frame = to_frame(written, library)
    assert list(read_records(frame, type(written[0]) if written else Margin)) == written
    assert len(frame) == len(written)


@pytest.mark.parametrize("library", ["arrow", "pandas"])
def test_pairs_come_back_from_a_frame_as_they_went(library):
    chat = (Message(role="user", content="Hi"),)
    listed = Votes(a=1, b=1, annotations=(Vote(annotator="w", vote="a"), Vote(vote="b")))
    written = [
        Pair(id=f"{i}", prompt=chat, response_a="x", response_b="y", votes=v) for i, v in enumerate([None, listed])
    ]
    assert list(read_pairs(to_frame(written, library), notice=pytest.fail)) == written
    assert list(read_records(written, Pair)) == written
    with pytest.raises(ValueError, match="library is 'R'; give 'pandas', 'polars' or 'arrow'"):
        to_frame(written, "R")


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "parquet", "json"])
def test_chat_is_kept(tmp_path, form):
    turns = (
        Message(role="user", content="Hi"),
        Message(role="assistant", content=""),
        Message(role="user", content="?"),
    )
    pair = Pair(id="1", prompt=turns, response_a=(Message(role="assistant", content="A"),), response_b="text")
    write_records(tmp_path / f"x.{form}", [pair])
    assert list(read_pairs(tmp_path / f"x.{form}")) == [pair]


def test_what_a_format_cannot_hold_is_said_with_another_format(tmp_path):
    chat = Pair(id="1", prompt=(Message(role="user", content="Hi"),), response_a="a", response_b="b")
    text = Pair(id="2", prompt="Hi", response_a="a", response_b="b")
    with pytest.raises(OutputError, match=r"x.csv: prompt holds chat messages.*write .jsonl or .parquet"):
        write_records(tmp_path / "x.csv", [chat])
    for mixed in ([chat, text], [text, chat]):
        with pytest.raises(OutputError, match=r"x.parquet: prompt is text in some rows and chat.*write .jsonl"):
            write_records(tmp_path / "x.parquet", mixed)
        write_records(tmp_path / "x.jsonl", mixed)
        assert list(read_pairs(tmp_path / "x.jsonl")) == mixed
    with pytest.raises(OutputError, match="unknown extension"):
        write_records(tmp_path / "x.txt", [text])
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


def test_columns_keep_their_types_where_the_first_batches_are_null(tmp_path):
    bare = [Pair(id=str(i), prompt="p", response_a="a", response_b="b") for i in range(8_200)]
    voted = Pair(
        id="v", prompt="p", response_a="a", response_b="b", votes=Votes(a=1, b=0, annotations=(Vote(vote="a"),))
    )
    write_records(tmp_path / "x.parquet", [*bare, voted])
    schema = pq.read_schema(tmp_path / "x.parquet")
    assert schema.field("votes_a").type == pa.int64()
    assert schema.field("label").type == pa.string()
    assert schema.field("votes").type == pa.list_(
        pa.struct([("annotator", pa.string()), ("vote", pa.string()), ("estimate", pa.float64())])
    )
    assert pq.ParquetFile(tmp_path / "x.parquet").num_row_groups == 3
    assert list(read_pairs(tmp_path / "x.parquet"))[-1] == voted
    write_records(tmp_path / "m.parquet", [Margin(pair_id="1", margin=1)])
    assert pq.read_schema(tmp_path / "m.parquet").field("preference_a").type == pa.float64()


def test_lines_end_in_a_newline_only(tmp_path):
    odd = "one\u2028two\u2029three\x85four\x0bfive\x1csix\r\nseven"
    path = tmp_path / "x.jsonl"
    path.write_text(
        json.dumps({"prompt": odd, "response_a": odd, "response_b": "b"}, ensure_ascii=False) + "\n", newline=""
    )
    (pair,) = read_pairs(path)
    assert pair.prompt == odd
    write_records(tmp_path / "y.jsonl", [pair])
    assert len((tmp_path / "y.jsonl").read_text().splitlines()) == 1
    assert list(read_pairs(tmp_path / "y.jsonl")) == [pair]


def test_equal_pairs_give_equal_bytes(tmp_path):
    pair = Pair(id="1", prompt="p", response_a="a", response_b="b")
    for form in FORMATS:
        for name in ("x", "y"):
            write_records(tmp_path / f"{name}.{form}", [pair])
        assert sha256_of(tmp_path / f"x.{form}") == sha256_of(tmp_path / f"y.{form}")


def test_a_byte_order_mark_and_long_cells_are_read(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("prompt,response_a,response_b\n" + "p" * 200_000 + ",a,b\n", encoding="utf-8-sig")
    assert len(next(read_pairs(path)).prompt) == 200_000
    (tmp_path / "x.jsonl").write_text('{"prompt":"p","response_a":"a","response_b":"b"}', encoding="utf-8-sig")
    assert next(read_pairs(tmp_path / "x.jsonl")).prompt == "p"


def test_a_gzip_of_several_members_is_read_whole(tmp_path):
    line = b'{"prompt":"%d","response_a":"a","response_b":"b"}\n'
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(line % 1) + gzip.compress(line % 2))
    assert [pair.prompt for pair in read_pairs(tmp_path / "x.jsonl.gz")] == ["1", "2"]

"""What is read and written at addresses is what is read and written here; on a local S3 server, and at fsspec's own."""

import errno
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dissensus as ds
from dissensus.cli import STEPS, VERBS
from dissensus.errors import ConfigError, InputError, OutputError
from dissensus.files import content_of, write_text
from dissensus.files.locks import sole_writer
from dissensus.judges.base import kinds
from dissensus.places.addresses import Address, is_address, path_of, work_place
from dissensus.records import Pair, Prediction, Votes
from dissensus.settings import Reads, Settings, Writes

fsspec = pytest.importorskip("fsspec")
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402  # only where fsspec is

Run = Callable[..., tuple[int, str, str]]
PAIRS = [
    Pair(
        id=f"p{i:02d}",
        prompt=f"prompt {i // 3}",
        response_a=f"yes {i}",
        response_b=f"no {i}",
        label="ab"[i % 2],
        dataset="d",
        votes=Votes(a=i % 4, b=3 - i % 4),
    )
    for i in range(24)
]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of a local S3 server, found by the library's own variables."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    named = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**named, "AWS_DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
        fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def test_a_way_through_all_verbs_at_addresses_gives_the_same_bytes(
    bucket: str, tmp_path: Path, run: Run, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISSENSUS_CACHE", str(tmp_path / "cache"))
    raw = tmp_path / "raw.jsonl"
    ds.write_records(raw, PAIRS)
    ds.write_records(f"{bucket}/raw.jsonl", PAIRS)

    def way(place: str) -> None:
        own = tmp_path / f"{is_address(place)}.db"
        done = [
            run("pairs", f"{place}/raw.jsonl", "--out", f"{place}/pairs.parquet"),
            run("pairs", f"{place}/raw.jsonl", "--out", f"{place}/parts.csv", "--part", "1/2"),
            run("pairs", f"{place}/raw.jsonl", "--out", f"{place}/parts.csv", "--part", "2/2"),
            run(
                "split",
                f"{place}/parts.csv.parts",
                "--out-train",
                f"{place}/train.jsonl.gz",
                "--out-test",
                f"{place}/test.tsv",
            ),
            run("judge", "votes", f"{place}/pairs.parquet", "--store", own, "--quiet"),
            run("judgments", "export", "--store", own, "--out", f"{place}/judgments.parquet"),
            run("margin", f"{place}/pairs.parquet", "--store", own, "--out", f"{place}/margins.csv"),
            run(
                "predict",
                f"{place}/pairs.parquet",
                "--model",
                tiny_bert,
                "--name",
                "m",
                "--out",
                f"{place}/preds.parquet",
            ),
            run(
                *("evaluate", f"{place}/pairs.parquet", "--predictions", f"{place}/preds.parquet", "--resamples", 50),
                *("--swaps", 50, "--judgments", f"{place}/judgments.parquet", "--out", f"{place}/scores.json"),
            ),
            run("tables", f"{place}/scores.json", "--format", "csv"),
        ]
        assert [code for code, *_ in done] == [0] * len(done), done

    way(bucket)
    way(str(tmp_path))
    there = {file.relative_to(path_of(bucket)).as_posix(): file.read_bytes() for file in path_of(bucket).rglob("*")}
    assert there == {name: (tmp_path / name).read_bytes() for name in there}
    assert len(there) == 12
    assert content_of(f"{bucket}/pairs.parquet") == content_of(tmp_path / "pairs.parquet")
    assert not list((tmp_path / "cache").rglob("*.part"))


@pytest.mark.parametrize("place", ["memory://table", "."])
def test_a_partitioned_folder_is_one_table(place: str, memory: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    folder = path_of(place) / "pairs.parquet"
    for category in ("a b", "single"):
        own = [
            pair.model_copy(update={"category": category})
            for pair in PAIRS
            if (pair.id > "p11") == (category == "single")
        ]
        rows = tmp_path / "rows.parquet"
        ds.write_records(rows, own)
        key = f"category={category.replace(' ', '%20')}"
        content = pq.read_table(rows).drop_columns("category")
        pq.write_table(content, rows)
        _put(folder / "year=2024" / key / "part-00000-c000.snappy.parquet", rows.read_bytes())
    for other in ("_SUCCESS", "_metadata", ".part.crc", "_temporary/0/part-1.parquet", "year=2024/.hidden.parquet"):
        _put(folder / other, b"no rows")
    found = list(ds.read_pairs(str(folder), notice=lambda _: None))
    assert [pair.model_copy(update={"category": None}) for pair in found] == PAIRS
    assert [pair.category for pair in found] == ["a b"] * 12 + ["single"] * 12
    _put(folder / "year=2025" / "category=x" / "p.parquet", _parquet({"id": ["q"]}))
    with pytest.raises(
        InputError, match=r"year=2025/category=x/p.parquet: has no column 'dataset', .*, unlike .*same columns"
    ):
        list(ds.read_pairs(str(folder), notice=lambda _: None))


def test_records_are_read_from_partitions_with_their_keys(tmp_path: Path) -> None:
    rows = {"pair_id": ["p"], "preference_a": [0.25]}
    for seed in (0, 10):
        _put(tmp_path / "t" / "model=m" / f"seed={seed}" / "x.parquet", _parquet(rows))
    found = list(ds.read_records(tmp_path / "t", Prediction))
    assert [(row.model, row.seed, row.preference_a) for row in found] == [("m", 0, 0.25), ("m", 10, 0.25)]
    _put(tmp_path / "t" / "model=m" / "seed=11" / "x.parquet", _parquet({**rows, "preference_a": ["much"]}))
    with pytest.raises(InputError, match=r"seed=11/x.parquet: has 'preference_a' as string, not double, unlike"):
        list(ds.read_records(tmp_path / "t", Prediction))
    _put(tmp_path / "t" / "seed=1" / "x.parquet", _parquet(rows))
    with pytest.raises(InputError, match=r"lies below the keys seed, where .* has model/seed"):
        list(ds.read_records(tmp_path / "t", Prediction))


def test_an_address_stays_one() -> None:
    address = path_of("s3://bucket/folder/pairs.jsonl.gz")
    assert isinstance(address, Address)
    assert [str(one) for one in (address, address.parent, address.with_name("x"), address.parent / "y")] == [
        "s3://bucket/folder/pairs.jsonl.gz",
        "s3://bucket/folder",
        "s3://bucket/folder/x",
        "s3://bucket/folder/y",
    ]
    assert str(path_of("zip://a.csv::s3://bucket/x.zip")) == "zip://a.csv::s3://bucket/x.zip"
    assert path_of("file:///tmp/x") == Path("/tmp/x")
    assert not any(
        map(is_address, ("postgresql://host/db", "sqlite:///x.db", "org/name", "hh-rlhf:helpful-base", "c:/x"))
    )
    with pytest.raises(InputError, match="has to be on this machine; copy it here"):
        os.fspath(address)
    for wrong, words in (
        ("s3://", "empty"),
        ("s3://b//x", "empty"),
        ("hdfs:///x", "the host"),
        ("ftp://me:pw@h/x", "password"),
    ):
        with pytest.raises(InputError, match=words) as error:
            path_of(wrong)
        assert "pw" not in str(error.value)


def all_settings() -> Iterator[type[Settings]]:
    """The settings of every verb, and of every judge."""
    yield from kinds().values()
    for verb in VERBS:
        module = STEPS.get(verb, f"dissensus.steps.{verb}")
        if importlib.util.find_spec(module) is not None:
            found = vars(importlib.import_module(module)).values()
            yield from (one for one in found if isinstance(one, type) and issubclass(one, Settings))


HERE_ALONE = """
    db encoder folder model root runs template tls_cert tls_key to
    ClassifySettings.store ImportSettings.store MergeSettings.store TrainSettings.out
"""
"""What cannot be at an address. A new setting is put here, or takes addresses."""


def test_every_table_of_every_verb_takes_an_address_or_says_why_not() -> None:
    refused = set()
    for settings in {*all_settings()}:
        for name, field in settings.model_fields.items():
            for mark in (one for one in field.metadata if isinstance(one, Reads | Writes)):
                try:
                    settings.load({name: "s3://bucket/x.jsonl"})
                except ConfigError as error:
                    if "is an address, and this has to be on this machine; " in str(error):
                        refused.add(f"{settings.__name__}.{name}")
                        continue
                # Where other settings are missing, what becomes of this one is asked of the settings' own way.
                given = settings._know_addresses({name: "s3://bucket/x.jsonl"})[name]
                assert str(given) == "s3://bucket/x.jsonl", (settings, name)
                assert mark.takes_addresses
    listed = set(HERE_ALONE.split())
    assert {name for name in refused if not {name, name.rpartition(".")[2]} & listed} == set()
    assert all(any(name.endswith(one) for name in refused) for one in listed)


class Elsewhere(MemoryFileSystem):
    """A store that can be told to refuse, and where a file is there while it is being written."""

    protocol = "elsewhere"
    store: dict[str, Any] = {}  # noqa: RUF012  # as fsspec has it
    pseudo_dirs = [""]  # noqa: RUF012
    refusal: Exception | None = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.removeprefix("elsewhere:")))

    seen: list[str] = []  # noqa: RUF012

    def put_file(self, lpath: str, rpath: str, **how: Any) -> None:
        self.seen.append(rpath)
        if self.refusal is not None:
            self.pipe_file(rpath, b"half")
            raise self.refusal
        super().put_file(lpath, rpath, **how)

    def info(self, path: str, **how: Any) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        found: dict[str, Any] = super().info(path, **how)
        return found


@contextmanager
def elsewhere(refusal: Exception | None = None) -> Iterator[Elsewhere]:
    fsspec.register_implementation("elsewhere", Elsewhere, clobber=True)
    system = fsspec.filesystem("elsewhere")
    Elsewhere.refusal = refusal
    try:
        yield system
    finally:
        Elsewhere.refusal = None
        Elsewhere.store.clear()
        Elsewhere.seen.clear()


def test_a_store_that_refuses_gets_nothing_and_what_was_written_is_kept(
    run: Run, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ds.write_records(tmp_path / "in.jsonl", PAIRS)
    with elsewhere(PermissionError(errno.EACCES, "Access Denied")) as system:
        code, _, said = run("pairs", tmp_path / "in.jsonl", "--out", "elsewhere://b/out.jsonl")
        assert (code, list(system.store)) == (2, [])
        assert "elsewhere://b/out.jsonl: cannot be put there (Access Denied); check your credentials" in said
        kept = Path(said.strip().rpartition(" ")[2])
        assert kept.read_bytes() == (tmp_path / "in.jsonl").read_bytes()
        code, _, said = run("pairs", "elsewhere://b/in.jsonl", "--out", tmp_path / "out.jsonl")
        assert code == 2
        assert "elsewhere://b/in.jsonl: cannot be read (Access Denied); check your credentials" in said
    assert "Traceback" not in said


def test_where_files_grow_in_sight_they_are_written_under_another_name() -> None:
    with elsewhere() as system:
        ds.write_records("elsewhere://b/out.jsonl", PAIRS)
        ds.write_records("elsewhere://b/out.jsonl", PAIRS[:3])
        assert all(name.startswith("/b/.out.jsonl.") for name in system.seen)
        assert list(system.store) == ["/b/out.jsonl"]
        assert list(ds.read_pairs("elsewhere://b/out.jsonl")) == PAIRS[:3]


def test_a_full_disk_on_the_way_leaves_nothing(memory: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match=r"memory://b/x.json: disk full .*free space and run again"):
        write_text("memory://b/x.json", "{}")
    assert not memory.store
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_is_named(bucket: str, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for source, words in (
        (f"{bucket}/none.jsonl", "no such file at that address; check the bucket and the name"),
        ("s3://nobody/x.jsonl", "no such file"),
        ("gs://b/x.jsonl", "gcsfs, which is not installed; run: pip install gcsfs"),
        ("what://b/x.jsonl", "Protocol not known: what"),
    ):
        code, _, said = run("pairs", source, "--out", out)
        assert (code, out.exists()) == (2, False)
        assert words in said.strip().rpartition("\n")[2]
    code, _, said = run("pairs", bucket, "--out", "s3://nobody/out.jsonl")
    assert code == 2


def test_an_address_that_is_read_is_not_written_over_and_one_run_writes(memory: Any, run: Run, tmp_path: Path) -> None:
    ds.write_records("memory://b/x.jsonl", PAIRS)
    for out in ("memory://b/x.jsonl", "memory://b//x.jsonl"):
        code, _, said = run("pairs", "memory://b/x.jsonl", "--out", out)
        assert code == 2
        assert "stays as it is; name another" in said or "empty" in said
    code, _, said = run("judge", "votes", "memory://b/x.jsonl", "--store", "s3://b/store.db")
    assert code == 2
    assert "has to be on this machine; name a file of this machine or a postgresql:// URL" in said
    with sole_writer(path_of("memory://b/y.jsonl")):
        assert list(work_place(path_of("memory://b/y.jsonl")).parent.glob(".*.lock"))
    code, _, said = run("predict", "memory://b/x.jsonl", "--model", "s3://b/model", "--out", tmp_path / "p.csv")
    assert code == 2
    assert "--model: s3://b/model is an address, and this has to be on this machine; copy it here" in said


def _put(path: Path, content: bytes) -> None:
    if isinstance(path, Address):
        fsspec.filesystem("memory").pipe(str(path), content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _parquet(columns: dict[str, Any]) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), out)
    return out.getvalue().to_pybytes()

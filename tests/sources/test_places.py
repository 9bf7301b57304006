"""Where a public data set is read from: the Hub at a revision, copies in many layouts, a file."""

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest

from dissensus.errors import ConfigError, InputError
from dissensus.files import read_pairs as read_any
from dissensus.sources import SOURCES, find_source, open_source, read_pairs

FIXTURES = Path(__file__).parent / "fixtures"


def rows_of(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def parquet(path, rows):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def texts(name, root=None, split=None):
    return [pair for pair, _ in open_source(name, root=root, split=split, notice=lambda _: None)]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("webgpt", "default/train/0000.parquet"),
        ("multipref", "data/train-00000-of-00001.parquet"),
        ("chatbot-arena", "train.parquet"),
        ("arena-140k", "default/train/0000.parquet"),
    ],
)
def test_parquet_holds_the_same_rows_as_json(name, place, tmp_path):
    """Arrow fills what a row does not have with null, and structs with nulls."""
    [file] = (FIXTURES / name).rglob("train.jsonl")
    parquet(tmp_path / place, rows_of(file))
    assert texts(name, tmp_path) == texts(name, FIXTURES)


def test_shards_are_read_in_order(tmp_path):
    rows = rows_of(FIXTURES / "synthetic-instruct" / "data" / "train.jsonl")
    parquet(tmp_path / "data" / "train-00000-of-00002.parquet", rows[:2])
    parquet(tmp_path / "data" / "train-00001-of-00002.parquet", rows[2:])
    assert texts("synthetic-instruct", tmp_path) == texts("synthetic-instruct", FIXTURES)


@pytest.mark.parametrize("folder", ["HannahRoseKirk/prism-alignment", "prism-alignment", "prism", "."])
def test_a_mirror_may_go_by_the_hubs_names_or_ours(folder, tmp_path):
    shutil.copytree(FIXTURES / "prism", tmp_path / folder, dirs_exist_ok=True)
    assert len(texts("prism", tmp_path)) == 5


def test_a_copy_of_prism_without_the_survey_has_people_without_attributes(tmp_path):
    shutil.copy(FIXTURES / "prism" / "utterances.jsonl", tmp_path)
    opened = open_source("prism", root=tmp_path, notice=lambda _: None)
    assert len(list(opened)) == 5
    assert [one.attributes for one in opened.report.annotators] == [{}, {}]


def test_compressed_files_as_the_repository_has_them(tmp_path):
    for part in ("helpful-base", "harmless-base"):
        (tmp_path / part).mkdir()
        text = (FIXTURES / "hh-rlhf" / part / "train.jsonl").read_bytes()
        (tmp_path / part / "train.jsonl.gz").write_bytes(gzip.compress(text))
    assert texts("hh-rlhf:helpful-base", tmp_path) == texts("hh-rlhf:helpful-base", FIXTURES)
    with pytest.raises(InputError, match=r"no train rows of hh-rlhf; looked for helpful-online/train.jsonl.gz"):
        texts("hh-rlhf", tmp_path)


def test_one_file_can_stand_for_one_table_alone(tmp_path):
    file = tmp_path / "any-name.jsonl"
    shutil.copy(FIXTURES / "hh-rlhf" / "helpful-base" / "train.jsonl", file)
    assert len(texts("hh-rlhf:helpful-base", file)) == 3
    with pytest.raises(InputError, match="has several tables; give the folder that holds them, or name"):
        texts("hh-rlhf", file)


def test_a_folder_of_save_to_disk(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    rows = rows_of(FIXTURES / "helpsteer3" / "preference" / "train.jsonl")
    datasets.DatasetDict(train=datasets.Dataset.from_list(rows)).save_to_disk(tmp_path / "all")
    assert texts("helpsteer3", tmp_path / "all") == texts("helpsteer3", FIXTURES)


def test_what_the_hub_is_asked_for(monkeypatch):
    """Script data sets are read from the Hub's conversion; a revision is passed on; tables of a split one by one."""
    datasets = pytest.importorskip("datasets")
    asked = []

    def load_dataset(hub, name=None, **options):
        asked.append((hub, name, {k: v for k, v in options.items() if v is not None and k != "streaming"}))
        return []

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("dissensus.sources.dataset.commit_of", lambda hub, revision: None)
    for name in ("webgpt", "summarize-from-feedback:axis", "hh-rlhf@abc123", "prism", "multipref", "helpsteer2"):
        with pytest.raises(InputError, match="no pair in its"):
            texts(name)
    converted = {"revision": "refs/convert/parquet"}
    assert asked == [
        (
            "openai/webgpt_comparisons",
            None,
            {"data_files": {"train": "default/train/*.parquet"}, "split": "train", **converted},
        ),
        (
            "openai/summarize_from_feedback",
            None,
            {"data_files": {"validation": "axis/validation/*.parquet"}, "split": "validation", **converted},
        ),
        *(
            ("Anthropic/hh-rlhf", None, {"data_dir": part, "split": "train", "revision": "abc123"})
            for part in ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")
        ),
        ("HannahRoseKirk/prism-alignment", "utterances", {"split": "train"}),
        ("HannahRoseKirk/prism-alignment", "survey", {"split": "train"}),
        ("allenai/multipref", "default", {"split": "train"}),
        ("nvidia/HelpSteer2", None, {"data_dir": "preference", "split": "train"}),
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_hubs_library_reads_a_repository_laid_out_as_on_the_hub(monkeypatch, tmp_path):
    """The call that would go to the Hub, made by the real library on a folder in place of the id."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("dissensus.sources.dataset.commit_of", lambda hub, revision: "1a2b3c")
    real = datasets.load_dataset

    def load_dataset(hub, *arguments, **options):
        source = next(source for source in SOURCES.values() if source.hub == hub)
        return real(str(tmp_path / source.name), *arguments, **{**options, "revision": None})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    shutil.copytree(FIXTURES / "hh-rlhf", tmp_path / "hh-rlhf")
    parquet(tmp_path / "webgpt/default/train/0000.parquet", rows_of(FIXTURES / "webgpt/default/train.jsonl"))
    assert texts("webgpt") == texts("webgpt", FIXTURES)
    told = []
    found = [pair for pair, _ in open_source("hh-rlhf:helpful-base", notice=told.append)]
    assert found == texts("hh-rlhf:helpful-base", FIXTURES)
    assert told[0] == "Anthropic/hh-rlhf is at 1a2b3c; to pin it: hh-rlhf:helpful-base@1a2b3c"


def test_a_bad_row_of_the_hub_is_named_by_its_number(monkeypatch):
    datasets = pytest.importorskip("datasets")
    good = {"prompt": "p", "chosen": "c", "rejected": "r"}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: [good, good | {"chosen": 3}])
    monkeypatch.setattr("dissensus.sources.dataset.commit_of", lambda hub, revision: None)
    with pytest.raises(
        InputError, match=r"Dahoas/synthetic-instruct-gptj-pairwise:2: chosen is a number \(3\); expected text"
    ):
        texts("synthetic-instruct")


def test_names_parts_and_splits():
    source, part, revision = find_source("nvidia/HelpSteer2:ratings@main")
    assert (source.name, part, revision) == ("helpsteer2", "ratings", "main")
    assert find_source("org/unknown") is find_source("pairs.jsonl") is None
    with pytest.raises(ConfigError, match="has no part 'axes'; it has comparisons, axis"):
        find_source("summarize-from-feedback:axes")
    with pytest.raises(ConfigError, match="no split 'test'; it has train"):
        open_source("webgpt", split="test")
    with pytest.raises(ConfigError, match="no data set 'helpster3'; did you mean 'helpsteer3'"):
        open_source("helpster3")
    with pytest.raises(ConfigError, match="a folder has no revisions"):
        open_source("webgpt@abc", root="somewhere")


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prism").mkdir()
    assert find_source("prism") is None
    (tmp_path / "x.jsonl").write_text('{"prompt": "p", "response_a": "a", "response_b": "b"}\n')
    assert list(read_pairs("x.jsonl")) == list(read_any("x.jsonl"))


def test_nothing_there_lists_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"no train rows of multipref; looked for default/train/\*.parquet"):
        texts("multipref", tmp_path)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'none'}: no such folder")):
        texts("multipref", tmp_path / "none")


def test_the_list_says_everything_of_a_set():
    for source in SOURCES.values():
        assert all((source.what, source.rows, source.licence, source.votes, source.hub.count("/") == 1)), source.name
        assert all(source.splits(part) for part in source.parts), source.name


def test_the_papers_six_sets_are_known_by_the_names_of_its_tables():
    from dissensus.evaluation.paper_numbers import IN_DOMAIN, OUT_OF_DOMAIN, paper_dataset

    for domain, names in (("in", IN_DOMAIN), ("out", OUT_OF_DOMAIN)):
        assert {source.name for source in SOURCES.values() if source.paper == domain} >= set(names)
    assert paper_dataset("ultrafeedback-binarized") == "ultrafeedback"


def test_a_mirror_can_be_read_from_inside(tmp_path, monkeypatch):
    shutil.copytree(FIXTURES / "hh-rlhf", tmp_path / "hh-rlhf")
    monkeypatch.chdir(tmp_path)
    assert find_source("hh-rlhf") is None  # the folder hides the data set …
    assert texts("hh-rlhf", ".") == texts("hh-rlhf", FIXTURES)  # … unless a place for data sets is named


def test_openais_own_names_of_folders(tmp_path):
    shutil.copytree(FIXTURES / "summarize-from-feedback" / "axis", tmp_path / "axis_evals")
    found = texts("summarize-from-feedback:axis", tmp_path, "test")
    assert found == texts("summarize-from-feedback:axis", FIXTURES, "test")
    assert found


def test_a_saved_set_of_all_parts_is_read_once(tmp_path):
    import datasets

    rows = [row for file in sorted((FIXTURES / "hh-rlhf").rglob("train.jsonl*")) for row in _lines(file)]
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}).save_to_disk(tmp_path / "saved")
    opened = open_source("hh-rlhf", root=tmp_path / "saved", notice=lambda _: None)
    assert {pair.id for pair, _ in opened} == {pair.id for pair in texts("hh-rlhf", FIXTURES)}
    assert opened.report.counts["dropped: a pair that came before"] < len(rows)
    parquet(tmp_path / "converted" / "default" / "train" / "0000.parquet", rows)
    assert texts("hh-rlhf", tmp_path / "converted") == texts("hh-rlhf", tmp_path / "saved")
    with pytest.raises(InputError, match="no train rows of hh-rlhf"):  # of all four: which these are is not known
        texts("hh-rlhf:helpful-base", tmp_path / "converted")


def _lines(file):
    text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return [json.loads(line) for line in text.decode().splitlines()]


def test_the_commit_to_pin_is_of_what_was_read(monkeypatch):
    asked = []
    monkeypatch.setattr("dissensus.sources.dataset.commit_of", lambda hub, revision: asked.append(revision))
    monkeypatch.setattr("dissensus.sources.dataset.hub_rows", lambda *_: iter(()))
    for name in ("webgpt", "hh-rlhf", "webgpt@abc"):
        with pytest.raises(InputError, match="no pair in its"):
            list(open_source(name, notice=lambda _: None))
    assert asked == ["refs/convert/parquet", None, "abc"]

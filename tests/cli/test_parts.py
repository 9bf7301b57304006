"""Parts: cut by a hash of the prompt that never changes, each written to its own place, read together as one table."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import dissensus as ds
from dissensus.errors import ConfigError, InputError
from dissensus.files.parts_folder import read_record
from dissensus.parts import Part, PartOf, index_of
from dissensus.records import Message, Pair, Prediction, Votes
from dissensus.steps.pairs import PairsSettings
from dissensus.steps.predict import PredictSettings

Run = Callable[..., tuple[int, str, str]]
PAIRS = [
    Pair(id=f"p{i}", prompt=f"prompt {i // 3}", response_a=f"yes {i}", response_b=f"no {i}", label="a", dataset="d")
    for i in range(60)
]


def test_the_hash_is_that_of_today():
    """What one machine calls part 3/8, another one calls so for ever."""
    chat = (Message(role="system", content="Be brief."), Message(role="user", content="Hi"))
    prompts = ["prompt 0", "prompt 1", "Wie heißt du? \U0001f600", "prompt 2", chat]
    pairs = [Pair(id="x", prompt=p, response_a="a", response_b="b") for p in prompts]
    indices = [[index_of(pair, count) for pair in pairs] for count in (8, 1000, 1)]
    assert indices == [[5, 6, 1, 5, 8], [515, 665, 49, 605, 968], [1, 1, 1, 1, 1]]
    assert PartOf(PAIRS, Part(1, 8)).digest == "5e4ef799ff442d95b75bf7e8f29dacfa"


def test_every_prompt_is_in_one_part_whatever_the_order_and_the_format(tmp_path: Path):
    shuffled = random.Random(0).sample(PAIRS, len(PAIRS))
    ds.write_records(tmp_path / "p.parquet", PAIRS)
    ds.write_records(tmp_path / "p.csv", shuffled)
    parts = [{p.id for p in ds.read_pairs(PAIRS, part=f"{i}/4")} for i in range(1, 5)]
    for other in ("p.parquet", "p.csv"):
        assert parts == [{p.id for p in ds.read_pairs(tmp_path / other, part=f"{i}/4")} for i in range(1, 5)]
    assert sorted(name for part in parts for name in part) == sorted(pair.id for pair in PAIRS)
    assert all(len({index_of(p, 4) for p in PAIRS if p.prompt == prompt}) == 1 for prompt in {p.prompt for p in PAIRS})
    # A part is two of twice as many, so a cut can be made finer and keep what was done.
    assert all((index_of(pair, 8) + 1) // 2 == index_of(pair, 4) for pair in PAIRS)
    assert (
        PartOf(PAIRS, Part(1, 2)).digest == PartOf(shuffled, Part(2, 3)).digest != PartOf(PAIRS[1:], Part(1, 2)).digest
    )


def test_whatever_a_part_writes_has_a_place_of_its_own(tmp_path: Path):
    settings = PairsSettings(source="x", out=tmp_path / "a.jsonl.gz", margins="m.csv", part="03/8")
    assert settings.out == tmp_path / "a.jsonl.gz.parts" / "3-of-8.jsonl.gz"
    assert settings.margins == Path("m.csv.parts/3-of-8.csv")
    assert PairsSettings.load(settings.model_dump()).out == settings.out
    assert PredictSettings(pairs="x", model="m", out="o").out == Path("o")
    with pytest.raises(ConfigError, match="annotators: is of the whole source"):
        PairsSettings.load({"source": "x", "out": "o.jsonl", "annotators": "a.jsonl", "part": "1/2"})


@pytest.mark.parametrize(
    ("part", "why"),
    [("0/8", "there are 1/8 to 8/8"), ("9/8", "there are 1/8 to 8/8"), ("a/b", "give I/N"), ("1/0", "there is none")],
)
def test_what_is_no_part_is_said(run: Run, part: str, why: str):
    for verb in (["pairs", "x.jsonl", "--out", "o.jsonl"], ["judge", "votes", "x.jsonl", "--store", "j.db"]):
        code, _, err = run(*verb, "--part", part)
        assert (code, err.count("\n")) == (2, 1)
        assert f"--part: {part!r} is no part" in err
        assert why in err
    with pytest.raises(ConfigError, match="part: "):
        ds.read_pairs(PAIRS, part=part)


def test_a_folder_of_parts_is_a_table(run: Run, tmp_path: Path):
    source, out = tmp_path / "p.jsonl", tmp_path / "q.jsonl"
    folder = tmp_path / "q.jsonl.parts"
    ds.write_records(source, PAIRS)
    (tmp_path / "c.yaml").write_text("part: 3/3")
    for given in (["--part", "1/3"], ["--part", "2/3"], ["--config", tmp_path / "c.yaml"]):
        assert run("pairs", source, "--out", out, *given)[0] == 0
    assert sorted(p.id for p in ds.read_pairs(folder)) == sorted(p.id for p in PAIRS)
    assert sorted(p.id for p in ds.read_records(folder, Pair)) == sorted(p.id for p in PAIRS)
    record = read_record(folder / "1-of-3.jsonl")
    assert (record.total, record.digest) == (60, PartOf(PAIRS, Part(1, 3)).digest)
    with pytest.raises(InputError, match=r"q\.jsonl: no such file; its parts are in .*q\.jsonl\.parts"):
        ds.read_pairs(out)

    (folder / "2-of-3.csv").touch()
    with pytest.raises(InputError, match=r"part 2/3 is there twice \(2-of-3.csv, 2-of-3.jsonl\)"):
        ds.read_pairs(folder)
    (folder / "2-of-3.csv").unlink()
    (folder / "2-of-3.jsonl").rename(folder / "2-of-4.jsonl")
    with pytest.raises(InputError, match=r"different numbers of parts \(2 of /3, 1 of /4\)"):
        ds.read_pairs(folder)
    (folder / "2-of-4.jsonl").unlink()
    with pytest.raises(InputError, match="part 2/3 is missing; run the same command with --part 2/3"):
        ds.read_pairs(folder)
    ds.write_records(source, PAIRS[:50])
    run("pairs", source, "--out", out, "--part", "2/3")
    with pytest.raises(InputError, match=r"is part 2/3 of other pairs \(50\) than part 1/3 \(60\)"):
        ds.read_pairs(folder)


def test_a_part_without_pairs_is_a_part(run: Run, tmp_path: Path):
    ds.write_records(tmp_path / "p.jsonl", PAIRS[:3])
    for i in range(1, 4):
        assert run("pairs", tmp_path / "p.jsonl", "--out", tmp_path / "q.parquet", "--part", f"{i}/3")[0] == 0
        if not ds.read_pairs(PAIRS[:3], part=f"{i}/3"):  # nothing is classified, and no encoder loaded
            assert run("classify", tmp_path / "p.jsonl", "--out", tmp_path / "c.jsonl", "--part", f"{i}/3")[0] == 0
    assert len(ds.read_pairs(tmp_path / "q.parquet.parts")) == 3
    assert sum(1 for _ in (tmp_path / "c.jsonl.parts").glob("*.jsonl")) == 2


def test_judging_in_parts_from_the_command_line_and_from_python(run: Run, tmp_path: Path):
    source, store = tmp_path / "p.jsonl", tmp_path / "j.db"
    pairs = [pair.model_copy(update={"votes": Votes(a=2, b=1)}) for pair in PAIRS]
    ds.write_records(source, pairs)
    (tmp_path / "c.yaml").write_text(f"part: 2/2\nstore: {store}\nquiet: true")
    code, out, _ = run("judge", "votes", source, "--config", tmp_path / "c.yaml")
    assert code == 0
    assert f"part       2/2, 30 of 60 pairs; shards in {store}.parts/2-of-2.shards" in out
    found = ds.judge(source, "votes", part="1/2", store=store, progress=False)
    assert {judgment.pair_id for judgment in found} == {pair.id for pair in ds.read_pairs(source, part="1/2")}
    code, out, err = run("judgments", "merge", f"{store}.parts", "--store", store, "--pairs", source)
    assert (code, err) == (0, "")
    (judge,) = {judgment.judge for judgment in found}
    assert out.splitlines() == [
        f"judge      {judge}",
        f"answers    180 of 2 parts: 180 new in {store}, 0 already there",
        "holes      none: all 60 questions about 60 pairs are answered",
    ]
    whole = ds.judge(source, "votes", progress=False)
    assert ds.judge(source, "votes", store=store, progress=False) == whole


def test_predictions_of_parts_are_read_as_one_file(tmp_path: Path):
    said = [Prediction(pair_id=pair.id, model="m", preference_a=i / 99) for i, pair in enumerate(PAIRS)]
    for part in (Part(1, 2), Part(2, 2)):
        own = [one for one, pair in zip(said, PAIRS, strict=True) if part.has(pair)]
        ds.write_records(part.place(tmp_path / "m.csv"), own)
    found = ds.read_records(tmp_path / "m.csv.parts", Prediction)
    assert sorted(found, key=lambda one: one.preference_a) == said
    (tmp_path / "m.csv.parts" / "1-of-2.csv").unlink()
    with pytest.raises(InputError, match="part 1/2 is missing"):
        list(ds.read_records(tmp_path / "m.csv.parts", Prediction))

"""What the package promises at its front door."""

import ast
import asyncio
import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import dissensus as ds
from dissensus.errors import ConfigError, InputError
from dissensus.records import Judgment, Margin, Pair, Votes


@pytest.fixture(scope="module")
def voted() -> list[Pair]:
    rng = np.random.default_rng(0)
    return [
        Pair(
            id=f"p{i}",
            prompt=f"question {i // 2}",
            response_a="yes, surely" + " indeed" * int(rng.integers(4)),
            response_b="no, never" + " ever" * int(rng.integers(4)),
            votes=Votes(a=int(rng.integers(1, 6)), b=int(rng.integers(1, 6))),
        )
        for i in range(40)
    ]


@pytest.fixture(scope="module")
def judgments(voted: list[Pair]) -> list[Judgment]:
    return ds.judge(voted, "votes", label_is_a_vote=False, progress=False)


def test_the_stub_names_what_there_is_and_nothing_more():
    stub = ast.parse(Path(ds.__file__).with_name("__init__.pyi").read_text())
    named = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert named == {*dir(ds)} >= {*ds.__all__}
    assert all(getattr(ds, name) is not None for name in named)
    with pytest.raises(AttributeError, match="dissensus attribute nothing"):
        ds.nothing  # noqa: B018
    assert len(named) <= 30, "one screen"


def test_help_is_one_screen_a_function_and_imports_nothing_heavy():
    text = pydoc.render_doc(ds, renderer=pydoc.plaintext)
    assert "ds.judge(pairs" in text
    assert len(text.splitlines()) < 350
    for name in ("evaluate", "judge", "load_model", "margins", "predict", "read_pairs", "report", "split", "train"):
        assert inspect.isfunction(getattr(ds, name))
        assert len(pydoc.render_doc(getattr(ds, name), renderer=pydoc.plaintext).splitlines()) < 40
    code = "import sys, dissensus; dir(dissensus); print([m for m in sys.modules if m.startswith('dissensus.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['dissensus._version']\n"


def test_settings_say_of_each_field_what_it_is():
    text = pydoc.render_doc(ds.TrainConfig, renderer=pydoc.plaintext)
    assert "learning_rate: The highest, after the warm-up" in text
    assert ds.TrainConfig.__doc__.count("\n") > len(ds.TrainConfig.model_fields)


def test_tables_of_every_library_are_pairs_and_back(voted: list[Pair]):
    pairs = ds.read_pairs(voted)
    tables = [pairs.to_arrow(), pairs.to_pandas(), pairs.to_dataset(), [pair.model_dump() for pair in voted]]
    assert all(ds.read_pairs(table) == voted for table in tables)
    assert pa.RecordBatchReader.from_stream(pairs).read_all() == pairs.to_arrow()
    pytest.importorskip("polars")
    assert ds.read_pairs(pairs.to_polars()) == voted


def test_from_pairs_to_a_scorecard(voted: list[Pair], judgments: list[Judgment], tmp_path: Path):
    margins = ds.margins(judgments.to_pandas(), voted)
    assert margins == ds.margins(judgments)
    first = voted[0].votes
    assert margins[0].margin == pytest.approx(abs(first.a - first.b) / first.n)  # |sum j - n/2| / (n/2)
    ds.write_records(tmp_path / "margins.parquet", margins)
    assert list(ds.read_records(tmp_path / "margins.parquet", Margin)) == margins
    said = [{"pair_id": m.pair_id, "model": "m", "reward_a": 0, "reward_b": 0, "preference_a": m.preference_a}
            for m in margins]  # fmt: skip
    scores = ds.evaluate(voted, said, resamples=20, swaps=0)
    assert next(row.value for row in scores if (row.model, row.metric, row.group) == ("m", "l1", "all")) == 0
    assert "Pearson" in repr(scores)
    assert scores.table("csv").startswith("table,")


def test_results_show_a_small_table(voted: list[Pair]):
    lines = repr(ds.read_pairs(voted)).splitlines()
    assert lines[0] == "40 × Pair"
    assert lines[1].split() == ["id", "prompt", "response_a", "response_b", "group", "votes"]
    assert lines[2].startswith("p0  question 0")
    assert lines[-1] == "… 35 more"
    assert max(map(len, lines)) <= 110
    assert repr(ds.Records()) == "no records"


def test_a_notebook_has_a_loop_of_its_own(voted: list[Pair]):
    async def cell() -> int:
        return len(ds.judge(voted, "votes", label_is_a_vote=False, progress=False))

    assert asyncio.run(cell()) == sum(pair.votes.n for pair in voted)


def test_a_store_keeps_what_was_judged(voted: list[Pair], tmp_path: Path):
    store = tmp_path / "judgments.db"
    settings = {"name": "votes", "label_is_a_vote": False}
    assert ds.judge(voted[:3], settings, store=store, progress=False)
    assert store.is_file()


def test_a_label_is_drawn_from_the_votes(voted: list[Pair]):
    pairs = ds.read_pairs(voted, label="one-vote")
    assert {pair.label for pair in pairs} == {"a", "b"}
    assert pairs == ds.read_pairs(ds.read_pairs(voted).to_arrow(), label="one-vote")
    assert all(pair.label_is_a_vote for pair in pairs)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda pairs: ds.judge(pairs, "comittee"), ConfigError, "no judge is called 'comittee'; did you mean 'commi"),
        (lambda pairs: ds.judge(pairs, "committee", m=3), ConfigError, "m: unknown setting"),
        (lambda pairs: ds.train(pairs, "m", objectiv="blend"), ConfigError, "did you mean 'objective'"),
        (lambda pairs: ds.train(pairs, "m", config=ds.TrainConfig(), seed=1), ConfigError, "not both"),
        (lambda pairs: ds.read_pairs(7), InputError, "int: is no source of pairs"),
        (lambda pairs: ds.load_model("./nowhere"), InputError, "no such folder"),
    ],
)
def test_what_is_wrong_is_one_line(voted: list[Pair], call, error: type[Exception], message: str):
    with pytest.raises(error) as caught:
        call(voted)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)

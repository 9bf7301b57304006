from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dissensus.files import read_records, write_records
from dissensus.records import Pair, Prediction
from dissensus.reward.serving.reward_model import RewardModel, predict_file


@pytest.mark.parametrize("window", [1, 5, 1000])
def test_windows_change_no_prediction(tiny_bert: Path, pairs: list[Pair], tmp_path: Path, window: int):
    model = RewardModel.load(tiny_bert)
    count = predict_file(model, pairs, tmp_path / "p.parquet", name="m", identity="x", window=window)
    assert count == len(pairs)
    found = list(read_records(tmp_path / "p.parquet", Prediction))
    for one, other in zip(found, model.predict(pairs, name="m"), strict=True):
        assert one.pair_id == other.pair_id
        assert one.reward_a == pytest.approx(other.reward_a, abs=1e-5)
    assert not (tmp_path / "p.parquet.part").exists()


def test_a_killed_run_scores_what_is_missing(tiny_bert, pairs, tmp_path, monkeypatch):
    model, out = RewardModel.load(tiny_bert), tmp_path / "p.jsonl"
    scored: list[str] = []
    inner = RewardModel.predict

    def dies(self: RewardModel, rows: list[Pair], **options: object) -> list[Prediction]:
        if len(scored) == 8:
            raise KeyboardInterrupt
        scored.extend(row.id for row in rows)
        return inner(self, rows, **options)

    with monkeypatch.context() as patch:
        patch.setattr(RewardModel, "predict", dies)
        with pytest.raises(KeyboardInterrupt):
            predict_file(model, pairs, out, name="m", identity="x", window=4)
    assert not out.exists()
    asked: list[str] = []

    def counted(self: RewardModel, rows: list[Pair], **options: object) -> list[Prediction]:
        asked.extend(row.id for row in rows)
        return inner(self, rows, **options)

    monkeypatch.setattr(RewardModel, "predict", counted)
    predict_file(model, pairs, out, name="m", identity="x", window=4)
    assert scored + asked == [pair.id for pair in pairs]
    assert [row.pair_id for row in read_records(out, Prediction)] == [pair.id for pair in pairs]


def test_another_model_starts_anew(tiny_bert: Path, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model, out = RewardModel.load(tiny_bert), tmp_path / "p.parquet"

    def stops(path: Path, rows: Iterable[Prediction]) -> int:
        if path == out:
            raise KeyboardInterrupt
        return write_records(path, rows)

    monkeypatch.setattr("dissensus.reward.serving.reward_model.write_records", stops)
    for count, (identity, name) in enumerate((("x", "m"), ("y", "m"), ("x", "n"), ("x", "m"))):
        with pytest.raises(KeyboardInterrupt):
            predict_file(model, pairs, out, name=name, identity=identity, window=100)
        assert len(list((tmp_path / "p.parquet.part").iterdir())) == min(count + 1, 3)


def test_what_was_cut_is_counted_across_windows_and_interruptions(tiny_bert, pairs, tmp_path, monkeypatch, capsys):
    model, out = RewardModel.load(tiny_bert, max_length=9), tmp_path / "p.jsonl"
    long = [pair.model_copy(update={"prompt": "why how " * 20 + pair.id}) for pair in pairs]
    inner, calls = RewardModel.predict, []

    def dies(self: RewardModel, rows: list[Pair], **options: Any) -> list[Prediction]:
        calls.append(len(rows))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return inner(self, rows, **options)

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(RewardModel, "predict", dies)
        with pytest.raises(KeyboardInterrupt):
            predict_file(model, long, out, name="m", identity="x", window=4)
    assert "cut to" not in capsys.readouterr().err
    predict_file(model, long, out, name="m", identity="x", window=4)
    assert "48 of 48 texts cut to 9 tokens, prompt first" in capsys.readouterr().err
    # So is it of what is in memory.
    for work in (lambda: model.predict(long, name="m"), lambda: model.calibrate(long)):
        work()
        assert "48 of 48 texts cut to 9 tokens, prompt first" in capsys.readouterr().err

"""The verbs of a model: train, predict, and the study that does all of it."""

import sys
from pathlib import Path

import pytest

from dissensus.cli import main
from dissensus.files import read_records, write_records
from dissensus.records import Margin, Pair, Prediction


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dissensus", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def files(tmp_path: Path, pairs: list[Pair], margins: list[Margin]) -> Path:
    write_records(tmp_path / "pairs.parquet", [*pairs, pairs[0].model_copy(update={"id": "tied", "label": "tie"})])
    write_records(tmp_path / "margins.parquet", [*margins, Margin(pair_id="tied", margin=0, preference_a=0.5)])
    return tmp_path


def test_train_then_predict(run, files: Path, tiny_bert: Path):
    settings = ["--model", tiny_bert, "--epochs", 1, "--max-length", 32, "--batch-size", 8]
    pairs, margins = files / "pairs.parquet", files / "margins.parquet"
    train = ["train", pairs, "--margins", margins, "--objective", "margin", *settings, "--out", files / "m"]
    code, out, _ = run(*train)
    assert code == 0
    assert "margin on 24 pairs, 3 steps" in out
    assert "1 pairs labelled tie dropped" in out
    code, out, _ = run("predict", pairs, "--model", files / "m", "--out", files / "p.jsonl", "--seed", 3)
    assert (code, out) == (0, f"{files / 'p.jsonl'}: 25 predictions\n")
    rows = list(read_records(files / "p.jsonl", Prediction))
    assert {(row.model, row.seed) for row in rows} == {("m", 3)}
    code, _, err = run(*train, "--learning-rate", 0.5)
    assert code == 2
    assert err.count("\n") == 1
    assert "holds a model of another config" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objective", "hinge"], "--objective: Input should be 'bradley-terry', 'margin', 'soft'"),
        (["--objective", "margin"], "objective 'margin' needs margins; make them with 'dissensus margin'"),
        (["--epochs", "0"], "--epochs: Input should be greater than 0"),
        (["--calibration", "platt"], "calibration 'platt' is fitted on validation prompts; set validation as well"),
        (["--objective", "scaled", "--margin-sign", "signed"], "must not be negative: use unsigned"),
        (["--lora-alpha", "8"], "lora_alpha scales adapters, and there are none; set lora_rank as well"),
        (["--sweep", "fast"], "--sweep fast: expected two rates as in 1e-4..1e-6"),
        (["--sweep", "1e-4..1e-6", "--learning-rate", "1e-5"], "give one of them"),
    ],
)
def test_a_wrong_setting_is_one_line(run, files: Path, tiny_bert: Path, arguments: list[str], message: str):
    code, out, err = run("train", files / "pairs.parquet", "--model", tiny_bert, "--out", files / "m", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert [line for line in err.splitlines() if not line.startswith("dissensus: ")] == []


def test_a_study_that_is_wrong_is_one_line(run, tmp_path: Path):
    study = tmp_path / "study.yaml"
    study.write_text("pairs: x.jsonl\nbaseline: m\nmodels: {m: {objective: hinge}}\n")
    code, _, err = run("study", study, "--out", tmp_path / "run")
    assert code == 2
    assert err.startswith(f"dissensus: {study}: models.m.objective: unknown objective 'hinge'")
    assert not (tmp_path / "run").exists()


def test_a_study_of_a_file_that_is_not_there(run, tmp_path: Path):
    code, _, err = run("study", "real-votes", "--pairs", tmp_path / "none.jsonl", "--out", tmp_path / "run")
    assert code == 2
    assert "none.jsonl" in err.splitlines()[-1]


def test_an_unknown_verb_lists_the_verbs(run):
    code, _, err = run("trian")
    assert code == 2
    assert "No such command 'trian'" in err


def test_a_sweep_prints_its_table(run, files: Path, tiny_bert: Path):
    settings = ["--model", tiny_bert, "--epochs", 1, "--max-length", 32, "--batch-size", 8]
    code, out, err = run("train", files / "pairs.parquet", *settings, "--sweep", "1e-3,1e-5", "--out", files / "m")
    assert code == 0
    assert "--validation 0.1, since a sweep chooses on held-out prompts" in err
    assert out.count("<- kept") == 1
    assert [line.split()[0] for line in out.splitlines()[-2:]] == ["0.001", "1e-05"]
    assert (files / "m" / "sweep.json").is_file()

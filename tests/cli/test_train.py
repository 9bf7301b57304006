"""The verbs of a model: train, predict, and the study that does all of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dissensus.files import read_records, write_records
from dissensus.records import Margin, Pair, Prediction


@pytest.fixture
def files(tmp_path: Path, pairs: list[Pair], margins: list[Margin]) -> Path:
    tied = pairs[0].model_copy(update={"id": "tied", "label": "tie", "response_b": "another answer"})
    write_records(tmp_path / "pairs.parquet", [*pairs, tied])
    write_records(tmp_path / "margins.parquet", [*margins, Margin(pair_id="tied", margin=0, preference_a=0.5)])
    return tmp_path


def test_train_then_predict(run, files: Path, tiny_bert: Path):
    settings = ["--model", tiny_bert, "--epochs", 1, "--max-length", 32, "--batch-size", 8]
    pairs, margins = files / "pairs.parquet", files / "margins.parquet"
    train = ["train", pairs, "--margins", margins, "--objective", "margin", *settings, "--out", files / "m"]
    train += ["--average", "preferences"]
    code, out, err = run(*train)
    assert code == 0
    assert "margin on 24 pairs, 3 steps" in out
    assert "--average is left alone: one model is trained, so there is nothing to average; --members 4" in err
    assert "1 pairs labelled tie dropped" in out
    code, out, _ = run("predict", pairs, "--model", files / "m", "--out", files / "p.jsonl", "--seed", 3)
    assert (code, out.splitlines()[0]) == (0, f"{files / 'p.jsonl'}: 25 predictions")
    assert "length is in the rewards" in out
    rows = list(read_records(files / "p.jsonl", Prediction))
    assert {(row.model, row.seed) for row in rows} == {("m", 3)}
    for part in ("1/2", "2/2"):
        predict = ["predict", pairs, "--model", files / "m", "--out", files / "p.jsonl", "--seed", 3]
        assert run(*predict, "--part", part)[0] == 0
    by_id = {row.pair_id: row for row in read_records(files / "p.jsonl.parts", Prediction)}
    assert [by_id[row.pair_id].preference_a for row in rows] == pytest.approx([row.preference_a for row in rows])
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
        (["--calibration", "platt", "--validation", "0"], "calibration 'platt' is fitted on validation prompts; set"),
        (
            ["--objective", "scaled"],
            "--objective: 'scaled' is no longer trained: measured on real votes it is no better",
        ),
        (["--lora-alpha", "8"], "lora_alpha scales adapters, and there are none; set lora_rank as well"),
        (["--sweep", "fast"], "--sweep: fast: expected two rates as in 1e-4..1e-6"),
        (["--set", "lr=1e-4"], "lr: unknown setting; here it is learning_rate"),
        (["--set", "num_train_epochs=3"], "num_train_epochs: unknown setting; here it is epochs"),
        (["--report-to", "tensorbord"], "--report-to tensorbord: expected one of"),
        (["--model", "./nowhere"], "cannot load model './nowhere': no such folder; give a folder, a Hub id or"),
        (["--model", __file__], "it is a file; give a folder"),
    ],
)
def test_a_wrong_setting_is_one_line(run, files: Path, tiny_bert: Path, arguments: list[str], message: str):
    code, out, err = run("train", files / "pairs.parquet", "--model", tiny_bert, "--out", files / "m", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_study_that_is_wrong_is_one_line(run, tmp_path: Path):
    study = tmp_path / "study.yaml"
    study.write_text("pairs: x.jsonl\nbaseline: m\nmodels: {m: {objective: hinge}}\n")
    code, _, err = run("study", study, "--out", tmp_path / "run")
    assert code == 2
    assert err.startswith(f"dissensus: {study}: models.m.objective: Input should be 'bradley-terry', ")
    assert not (tmp_path / "run").exists()


def test_a_study_of_a_file_that_is_not_there_and_an_unknown_verb(run, tmp_path: Path):
    code, _, err = run("study", "real-votes", "--pairs", tmp_path / "none.jsonl", "--out", tmp_path / "run")
    assert code == 2
    assert "none.jsonl" in err.splitlines()[-1]
    message = "dissensus: No verb is called 'trian'; did you mean 'train'? See: dissensus --help\n"
    assert run("trian")[::2] == (2, message)


def test_a_sweep_prints_its_table(run, files: Path, tiny_bert: Path):
    settings = ["--model", tiny_bert, "--epochs", 1, "--max-length", 32, "--batch-size", 8]
    code, out, err = run("train", files / "pairs.parquet", *settings, "--sweep", "1e-3,1e-5", "--out", files / "m")
    assert code == 0
    assert "--validation 0.1, since a sweep chooses on held-out prompts" in err
    assert out.count("<- kept") == 1
    assert [line.split()[0] for line in out.splitlines()[2:4]] == ["0.001", "1e-05"]
    assert (files / "m" / "sweep.json").is_file()


def test_a_choice_prints_its_table(run, files: Path, tiny_bert: Path):
    settings = [
        "--model",
        tiny_bert,
        "--max-length",
        32,
        "--batch-size",
        8,
        "--validation",
        0.3,
        "--learning-rate",
        1e-3,
    ]
    choose = ["--choose", "epochs=1,2", "--choose", "label_weight=0,1"]
    code, out, _ = run("train", files / "pairs.parquet", *settings, *choose, "--out", files / "m")
    assert code == 0
    assert "the best by validation calibrated-nll" in out
    # Bradley-Terry reads no label weight.
    assert "label" not in out
    assert [line.split()[0] for line in out.splitlines()[2:4]] == ["1", "2"]
    assert out.count("<- kept") == 1


def test_faults_show_before_torch_is_loaded(files: Path, tiny_bert: Path):
    """Of options, of input files, of data and of the place to write to: torch alone takes seconds."""
    (files / "bad.jsonl").write_text('{"prompt": "why", "response_a": "a"}\n')
    (files / "empty").mkdir()
    pairs, out = str(files / "pairs.parquet"), ["--out", str(files / "m")]
    predictions = ["--out", str(files / "p.jsonl")]
    runs = [
        ["train", str(files / "none.jsonl"), *out],
        ["train", str(files / "bad.jsonl"), *out],
        ["train", pairs, *out, "--epochs", "0"],
        ["train", pairs, *out, "--model", str(files / "empty")],
        ["train", pairs, *out, "--objective", "blend"],
        ["train", pairs, *out, "--objective", "blend", "--margins", str(files / "none.jsonl")],
        ["train", pairs, "--out", str(files / "empty")],
        ["train", pairs, "--out", str(files / "bad.jsonl" / "m")],
        ["train", pairs, "--out", str(tiny_bert), "--model", str(tiny_bert), "--overwrite"],
        ["train", pairs, *out, "--sweep", "1e-3,1e-4", "--objective", "soft"],
        ["calibrate", str(files / "none.jsonl"), "--model", str(tiny_bert)],
        ["calibrate", pairs, "--model", str(files / "empty")],
        ["train", pairs, *out, "--model", "m" * 300],
        ["predict", str(files / "none.jsonl"), "--model", str(tiny_bert), *predictions],
        ["predict", str(files / "bad.jsonl"), "--model", str(tiny_bert), *predictions],
        ["predict", pairs, "--model", str(files / "empty"), *predictions],
        ["predict", pairs, "--model", "m" * 300, *predictions],
        ["predict", pairs, "--model", str(tiny_bert), "--calibrated", *predictions],
        ["predict", pairs, "--model", str(tiny_bert), "--max-length", "0", *predictions],
    ]
    code = """
import json, sys
from dissensus.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["dissensus", *arguments]
    try:
        main()
    except SystemExit as stop:
        assert stop.code == 2, arguments
    else:
        raise AssertionError(arguments)
    assert not {"torch", "transformers"} & set(sys.modules), arguments
"""
    done = subprocess.run([sys.executable, "-c", code, json.dumps(runs)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == len(runs) + 1  # the sweep says what it holds out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--margins", "none.parquet"], "--margins is left alone: objective 'bradley-terry' reads no margins"),
        (["--label-weight", "0.5"], "--label-weight is left alone: objective 'bradley-terry' does not read it"),
        (["--patience", "2"], "--patience is left alone: it belongs to --sweep"),
        (["--allow-missing"], "--allow-missing is left alone"),
        (["--sweep", "1e-4,1e-5", "--learning-rate", "1e-5"], "--learning-rate is left alone: --sweep chooses it"),
    ],
)
def test_an_option_that_alters_nothing_is_told_of(run, files: Path, arguments: list[str], message: str):
    """The run itself ends at once, at a place that holds something else."""
    (files / "taken").mkdir()
    code, _, err = run("train", files / "pairs.parquet", "--out", files / "taken", *arguments)
    assert code == 2
    assert err.splitlines()[0].startswith(message)
    assert len(err.splitlines()) == 2 + ("--sweep" in arguments)


def test_the_run_shows_validation_and_temperature(run, files: Path, tiny_bert: Path, more_pairs: list[Pair]):
    write_records(files / "pairs.parquet", more_pairs)
    settings = ["--model", tiny_bert, "--epochs", 1, "--max-length", 32, "--batch-size", 8, "--learning-rate", 1e-3]
    train = ["train", files / "pairs.parquet", *settings, "--out", files / "m"]
    shown = [run(*train) for _ in range(2)]
    # The second time the run is there already, and is told of as before.
    assert shown[0][:2] == shown[1][:2]
    lines = shown[0][1].splitlines()
    assert lines[1].startswith("  validation: nll 0.")
    assert lines[1].endswith(" on 240 pairs")
    assert lines[2].startswith("  length: ")
    assert lines[3].startswith("  members by themselves: nll 0.")
    assert lines[4].startswith("  temperature ")
    assert "fitted on 240 pairs (240 votes): nll" in lines[4]
    assert shown[0][2].count("few labels: 4 members are trained") == 1
    assert "few labels" not in shown[1][2]
    assert (files / "m" / "model.safetensors").is_file(), "a plain model, whatever it was made of"
    code, _, err = run(*train, "--calibration", "none")
    assert code == 2
    assert "holds this model with calibration 'temperature'; fit another with 'dissensus calibrate'" in err

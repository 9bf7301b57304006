import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from dissensus.cli import group
from dissensus.errors import InputError, OutputError
from dissensus.files import read_records, write_records
from dissensus.records import Margin, Metric, Pair, Prediction, Votes
from dissensus.run_records import read_manifest
from dissensus.study import StudyConfig, run_study, work

from . import fakes
from .fakes import fake_stages


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISSENSUS_CACHE", str(folder))
        yield folder


REAL: dict[str, Any] = {"models": {"plain": {}, "margin": {"objective": "margin"}}, "seeds": [0]}


def _settings(backbone: Path, **changes: Any) -> dict[str, Any]:
    return {
        "pairs": "simulated",
        "simulation": {"prompts": 24, "responses_per_prompt": 3, "votes_per_pair": 5},
        "label": "one-vote",
        "hold_out": {"by": "group", "share": 0.3},
        "judge": {"name": "committee", "n": 4, "encoder": str(backbone), "max_length": 32},
        "training": {
            "model": str(backbone),
            "epochs": 1,
            "batch_size": 8,
            "max_length": 32,
            "logging_steps": 1,
            "checkpoint_steps": 1,
            "learning_rate": 0.001,
        },
        "models": {"plain": {}, "margin": {"objective": "margin"}, "blend": {"objective": "blend"}},
        "baseline": "plain",
        "seeds": [0, 1],
        "evaluation": {"resamples": 50, "swaps": 99},
        **changes,
    }


def _run(settings: dict[str, Any], out: Path) -> tuple[list[Metric], list[str]]:
    said: list[str] = []
    metrics = run_study(StudyConfig.model_validate(settings), out, say=said.append, progress=False)
    return metrics, said


def _redone(said: list[str]) -> set[str]:
    """The stages that were not kept."""
    return {line.split("] ")[1].removesuffix(" …") for line in said if line.endswith(" …")}


@pytest.fixture(scope="module")
def original(tiny_bert: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "run"
    with fake_stages():
        _run(_settings(tiny_bert), folder)
    return folder


@pytest.fixture(scope="module")
def real(tiny_bert: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose models are trained in earnest."""
    folder = tmp_path_factory.mktemp("real") / "run"
    _run(_settings(tiny_bert, **REAL), folder)
    return folder


@pytest.fixture
def finished(original: Path, tmp_path: Path) -> Path:
    """A finished run of its own for each test."""
    return Path(shutil.copytree(original, tmp_path / "run"))


def test_pairs_in_report_out(real: Path):
    metrics = list(read_records(real / "scores.json", Metric))
    assert {m.model for m in metrics if m.kind == "model"} == {"plain", "margin"}
    assert {m.model for m in metrics if m.kind == "judge"} == {"committee"}
    assert {m.model for m in metrics if m.kind == "reference"} == {"one half", "longer response", "one person"}
    assert {m.kind for m in metrics} >= {"ceiling", "people"}
    assert {m.metric for m in metrics} >= {"pearson", "pearson_symmetric", "spearman", "l1", "brier", "accuracy"}
    assert any(m.baseline == "plain" for m in metrics)
    test = list(read_records(real / "pairs/test.parquet", Pair))
    train = list(read_records(real / "pairs/train.parquet", Pair))
    assert {p.group for p in train}.isdisjoint({p.group for p in test})
    assert {m.pair_id for m in read_records(real / "margins.parquet", Margin)} == {p.id for p in train}
    predictions = list(read_records(real / "predictions/margin.parquet", Prediction))
    assert {(p.pair_id, p.seed) for p in predictions} == {(p.id, 0) for p in test}
    assert "</html>" in (real / "report.html").read_text()


def test_votes_stay_out_of_training(finished: Path):
    train = list(read_records(finished / "pairs/train.parquet", Pair))
    assert all(pair.votes is None and pair.label in ("a", "b", "tie") for pair in train)


def test_the_manifest_says_how_the_run_was_made(finished: Path):
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["config"] == yaml.safe_load((finished / "study.yaml").read_text())
    assert {"python", "torch", "transformers", "dissensus"} <= set(manifest["environment"])
    assert manifest["inputs"][0]["rows"] == 72
    assert [stage["name"] for stage in manifest["stages"]][:3] == ["pairs", "judge", "margin"]
    assert len(manifest["stages"]) == 5 + 3 * 3 + 1


def test_only_what_changed_is_done_again(finished: Path, tiny_bert: Path):
    scores = (finished / "scores.json").read_bytes()
    assert _redone(_run(_settings(tiny_bert), finished)[1]) == set()
    changed = _settings(tiny_bert, evaluation={"resamples": 60, "swaps": 99})
    assert _redone(_run(changed, finished)[1]) == {"evaluate", "report"}
    changed["models"] = {**changed["models"], "blend": {"objective": "blend", "label_weight": 0.9}}
    assert _redone(_run(changed, finished)[1]) == {
        "train blend seed 0",
        "train blend seed 1",
        "predict blend",
        "evaluate",
        "report",
    }
    assert _redone(_run(_settings(tiny_bert), finished)[1]) >= {"train blend seed 0", "evaluate"}
    assert (finished / "scores.json").read_bytes() == scores


def test_another_judge_leaves_the_baseline_alone(finished: Path, tiny_bert: Path):
    redone = _redone(_run(_settings(tiny_bert, judge={"name": "votes"}, allow_missing=True), finished)[1])
    assert redone >= {"judge", "margin", "train margin seed 0", "train blend seed 1"}
    assert not redone & {"train plain seed 0", "train plain seed 1", "predict plain"}


def test_a_judge_that_leaves_other_pairs_out_changes_the_baseline_too(finished: Path, tiny_bert: Path, tmp_path: Path):
    pairs = [*read_records(finished / "pairs/train_votes.parquet", Pair)]
    lone = next(pair for pair in pairs if pair.label in ("a", "b"))
    own = Votes(a=int(lone.label == "a"), b=int(lone.label == "b"))
    changed = [pair.model_copy(update={"votes": own}) if pair is lone else pair for pair in pairs]
    write_records(tmp_path / "pairs.jsonl", [*changed, *read_records(finished / "pairs/test.parquet", Pair)])
    settings = _settings(tiny_bert, pairs=str(tmp_path / "pairs.jsonl"), label="own", allow_missing=True, seeds=[0])
    del settings["simulation"]
    settings["models"] = {"plain": {}}
    _run(settings, tmp_path / "run")
    assert json.loads((tmp_path / "run/left_out.json").read_text()) == []
    before = json.loads((tmp_path / "run/models/plain/seed-0/dissensus.json").read_text())["summary"]
    # But for the vote that is its label nobody voted on the pair.
    _, said = _run({**settings, "judge": {"name": "votes", "label_is_a_vote": True}}, tmp_path / "run")
    assert json.loads((tmp_path / "run/left_out.json").read_text()) == [lone.id]
    assert _redone(said) >= {"margin", "train plain seed 0", "predict plain"}
    after = json.loads((tmp_path / "run/models/plain/seed-0/dissensus.json").read_text())["summary"]
    assert after["pairs"] == before["pairs"] - 1
    [told] = [line for line in said if " margin: " in line]
    assert re.search(r" s; margins \d+, judgments \d+, left out 1$", told), "ties are votes: none is invalid"


@pytest.mark.parametrize("soft", [False, True])
def test_a_distribution_that_reads_no_margin_is_not_trained_again_for_other_margins(
    finished: Path, tiny_bert: Path, soft: bool
):
    settings = _settings(tiny_bert, models={"plain": {}}, seeds=[0], allow_missing=True)
    settings["models"]["spread"] = {"objective": "mean-variance", "soft_targets": soft}
    _run(settings, finished)
    redone = _redone(_run({**settings, "judge": {**settings["judge"], "n": 5}}, finished)[1])
    assert "margin" in redone
    assert ("train spread seed 0" in redone) == soft


def test_weights_in_several_files_are_outputs_each(finished: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    def in_parts(run, name, seed):
        counts = fakes.train(run, name, seed)
        folder = finished / f"models/{name}/seed-{seed}"
        for part in ("model-1-of-2.safetensors", "model-2-of-2.safetensors", "model.safetensors.index.json"):
            (folder / part).write_text(part)
        (folder / "model.safetensors").unlink()
        return counts

    def predict(run, name, models):
        (finished / "models/plain/seed-0/model.safetensors").write_text("whole")
        counts = fakes.predict(run, name, models)
        (finished / "models/plain/seed-0/model.safetensors").unlink()
        return counts

    monkeypatch.setattr(work, "train", in_parts)
    monkeypatch.setattr(work, "predict", predict)
    settings = _settings(tiny_bert, models={"plain": {"learning_rate": 0.002}}, seeds=[0])
    _run(settings, finished)
    assert _redone(_run(settings, finished)[1]) == set()
    [stage] = [one for one in read_manifest(finished / "manifest.json").stages if one.name.startswith("train")]
    assert {Path(path).name for path in stage.outputs} == {
        "model-1-of-2.safetensors",
        "model-2-of-2.safetensors",
        "model.safetensors.index.json",
        "dissensus.json",
    }
    shutil.rmtree(finished / "models/plain/seed-0")
    assert "train plain seed 0" in _redone(_run(settings, finished)[1])


def test_each_stage_keeps_what_made_it(finished: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    def stages() -> dict[str, dict[str, Any]]:
        return {stage["name"]: stage for stage in json.loads((finished / "manifest.json").read_text())["stages"]}

    before = stages()
    assert {"python", "torch", "dissensus"} <= set(before["train plain seed 0"]["environment"])
    assert all({"command", "git_commit", "environment"} <= set(stage) for stage in before.values())
    monkeypatch.setattr("dissensus.study.manifest.git_commit", lambda: "later")
    monkeypatch.setattr("dissensus.study.manifest.environment", lambda: {"torch": "later"})
    changed = StudyConfig.model_validate(_settings(tiny_bert, evaluation={"resamples": 60, "swaps": 99}))
    run_study(changed, finished, command="dissensus study later", say=lambda _: None, progress=False)
    after = stages()
    assert after["evaluate"]["command"] == "dissensus study later"
    assert after["evaluate"]["git_commit"] == after["report"]["git_commit"] == "later"
    assert after["evaluate"]["environment"] == {"torch": "later"}
    assert [name for name in before if before[name] != after[name]] == ["evaluate", "report"]


def test_a_model_that_was_found_trained_keeps_what_made_it(
    finished: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
):
    path = finished / "manifest.json"
    manifest = json.loads(path.read_text())
    [stage] = [stage for stage in manifest["stages"] if stage["name"] == "train plain seed 0"]
    stage |= {"fingerprint": "another", "seconds": 1234.5}
    path.write_text(json.dumps(manifest))
    monkeypatch.setattr("dissensus.study.manifest.git_commit", lambda: "later")
    assert _redone(_run(_settings(tiny_bert), finished)[1]) == {"train plain seed 0"}
    [after] = [s for s in json.loads(path.read_text())["stages"] if s["name"] == "train plain seed 0"]
    assert (after["seconds"], after["git_commit"]) == (1234.5, stage["git_commit"])
    assert after["fingerprint"] != "another"


def test_a_manifest_that_says_once_what_made_it_all_still_opens(finished: Path, tiny_bert: Path):
    path = finished / "manifest.json"
    manifest = json.loads(path.read_text())
    for stage in manifest["stages"]:
        for key in ("command", "git_commit", "environment"):
            del stage[key]
    manifest |= {"git_commit": "then", "environment": {"torch": "then"}}
    path.write_text(json.dumps(manifest))
    assert _redone(_run(_settings(tiny_bert), finished)[1]) == set()
    after = json.loads(path.read_text())
    assert {stage["git_commit"] for stage in after["stages"]} == {"then"}
    assert after["environment"] != {"torch": "then"}


@pytest.mark.parametrize(
    "content", ["no JSON", "[]", "{}", '{"name": "x", "stages": [1]}', '{"name": "x", "stages": [{"counts": {}}]}']
)
def test_what_is_no_manifest_is_said(tmp_path: Path, tiny_bert: Path, content: str):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"manifest.json: not a manifest \(.*remove it"):
        _run(_settings(tiny_bert), tmp_path)


def test_other_weights_under_the_same_name_are_noticed(tiny_bert: Path, tmp_path: Path):
    encoder, backbone = (Path(shutil.copytree(tiny_bert, tmp_path / name)) for name in ("encoder", "backbone"))
    settings = _settings(backbone, models={"plain": {}}, seeds=[0])
    settings["judge"] = {**settings["judge"], "encoder": str(encoder)}
    _run(settings, tmp_path / "run")
    assert _redone(_run(settings, tmp_path / "run")[1]) == set()
    weights = backbone / "model.safetensors"
    content = weights.read_bytes()
    # The sign of the last number.
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 0x80]))
    redone = _redone(_run(settings, tmp_path / "run")[1])
    assert "train plain seed 0" in redone
    assert not redone & {"pairs", "judge", "margin"}
    configuration = encoder / "config.json"
    # Nothing that a frozen encoder uses, so the margins stay what they were.
    configuration.write_text(
        configuration.read_text().replace('"hidden_dropout_prob": 0.1', '"hidden_dropout_prob": 0.2')
    )
    redone = _redone(_run(settings, tmp_path / "run")[1])
    assert redone >= {"judge", "margin"}
    assert "train plain seed 0" not in redone


def test_a_lost_output_is_made_again(finished: Path, tiny_bert: Path):
    (finished / "predictions/margin.parquet").unlink()
    assert _redone(_run(_settings(tiny_bert), finished)[1]) == {"predict margin"}


def test_a_second_process_is_kept_out(finished: Path, tiny_bert: Path):
    hold = (
        "import sys; from dissensus.files.locks import sole_writer\n"
        "with sole_writer(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", hold, str(finished)], **pipes) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match=f"process {process.pid} .* is writing it"):
            _run(_settings(tiny_bert), finished)
        process.stdin.close()


def test_a_run_writes_over_nothing_that_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    settings = {
        "pairs": "runs/x/pairs/train.parquet",
        "models": {"margin": {"objective": "margin"}},
        "baseline": "margin",
    }
    own = yaml.safe_dump({**settings, "pairs": "hh-rlhf"}) + "# why this rate\n"
    for path in (Path("exp/study.yaml"), Path("s.yaml"), Path("runs/x/pairs/train.parquet")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(own if path.name == "study.yaml" else yaml.safe_dump(settings))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    Path("linked").symlink_to("exp")
    for study, out, said in (
        ("exp/study.yaml", "exp", "the study would be written over"),
        ("exp/study.yaml", "linked", "the study would be written over"),
        ("s.yaml", "exp", "no run has written it"),
        ("s.yaml", "runs/x", "the study reads it"),
    ):
        with pytest.raises(OutputError, match=said):
            CliRunner().invoke(group, ["study", study, "--out", out], catch_exceptions=False)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("own", "settings"),
    [
        ("judged/gpt4.parquet", {"pairs": "p.jsonl", "judge": {"name": "published", "judge": "gpt4", "file": "OWN"}}),
        (
            "copies/own.jsonl",
            {
                "in_domain": {"webgpt": {"pairs": "webgpt"}},
                "copies": "simulated",
                "simulation": {},
                "test": {"per_set": 4},
                "annotations": "OWN",
            },
        ),
    ],
)
def test_a_study_from_python_writes_over_nothing_that_it_reads(own: str, settings: dict[str, Any], tmp_path: Path):
    path = tmp_path / own
    path.parent.mkdir()
    path.write_text("somebody's")
    text = json.dumps({**settings, "models": {"plain": {}}, "baseline": "plain"}).replace("OWN", str(path))
    with pytest.raises(OutputError, match=rf"{own}: the study reads it, and it would be written over"):
        run_study(StudyConfig.model_validate_json(text), tmp_path)
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    assert not (tmp_path / "study.yaml").exists()


def test_the_settings_of_a_run_run_it_again_and_those_of_a_killed_one_are_its_own(finished: Path, tmp_path: Path):
    from dissensus.study.run_folder import keep_settings, refuse_own_inputs

    kept = finished / "study.yaml"
    settings = yaml.safe_load(kept.read_text())
    refuse_own_inputs(str(kept), StudyConfig.model_validate(settings), finished, ["study.yaml"])
    with pytest.raises(OutputError, match="the study would be written over"):
        run_study(StudyConfig.model_validate({**settings, "seeds": [5]}), finished, study=str(kept))
    keep_settings(tmp_path, settings)  # killed: there is no manifest yet
    keep_settings(tmp_path, {**settings, "seeds": [5]})
    assert yaml.safe_load((tmp_path / "study.yaml").read_text())["seeds"] == [5]


def test_pairs_without_votes_cannot_be_studied(tmp_path: Path, tiny_bert: Path):
    pairs = [
        Pair(id=f"p{i}", prompt=f"x{i}", response_a="good", response_b="bad", label="a" if i % 2 else "b")
        for i in range(10)
    ]
    write_records(tmp_path / "pairs.jsonl", pairs)
    settings = _settings(tiny_bert, pairs=str(tmp_path / "pairs.jsonl"), label="own")
    del settings["simulation"]
    with pytest.raises(InputError, match=r"no held-out pair has votes to compare with; add votes_a"):
        _run(settings, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.usefixtures("real_stages")
def test_killed_in_a_training_it_ends_with_the_same_scores(real: Path, tiny_bert: Path, tmp_path: Path):
    study, out, log = tmp_path / "study.yaml", tmp_path / "killed", tmp_path / "log"
    study.write_text(yaml.safe_dump(_settings(tiny_bert, **REAL), sort_keys=False))
    command = [sys.executable, "-m", "dissensus", "study", str(study), "--out", str(out)]
    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        while not list(out.glob("models/plain/seed-0.part/checkpoint-*")):
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        process.kill()
    assert not (out / "scores.json").exists()
    _, redone = _run(_settings(tiny_bert, **REAL), out)
    assert not _redone(redone) & {"pairs", "judge", "margin"}
    assert (out / "scores.json").read_bytes() == (real / "scores.json").read_bytes()

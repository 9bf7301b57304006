"""What a run says of itself: reports of others, validation, calibration, and that nothing was learnt."""

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from dissensus.errors import ConfigError
from dissensus.records import Margin, Pair, Votes
from dissensus.reward.config import TrainConfig
from dissensus.reward.serving.calibration import load_calibration
from dissensus.reward.training.preflight import REPORTERS, check_reporters
from dissensus.reward.training.run import train
from dissensus.reward.training.sweep import sweep

from .tiny_config import changed, log_of, tiny_config


class Reporter(TrainerCallback):
    """Writes as TensorBoard's and CodeCarbon's callbacks do: into folders and files of the run's own folder."""

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        folder = Path(args.output_dir)
        (folder / "runs" / "today").mkdir(parents=True)
        (folder / "runs" / "today" / "events").write_text(f"{args.run_name} {state.global_step}")
        (folder / "emissions.csv").write_text("little")


def test_what_reporters_wrote_stays(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    train(pairs, tiny_config(tiny_bert, epochs=1), tmp_path / "m", progress=False, callbacks=[Reporter()])
    assert (tmp_path / "m" / "runs" / "today" / "events").read_text() == "m 3"
    assert (tmp_path / "m" / "runs" / "emissions.csv").read_text() == "little"
    assert not (tmp_path / "m.part").exists()


def test_what_reporters_wrote_of_every_rate_stays(tiny_bert, pairs, tmp_path, monkeypatch):
    """With the best rate's model where a single run has it, with those of the others beside their logs."""
    monkeypatch.setattr("dissensus.reward.training.run.MarkWhole", lambda _: Reporter())
    found = sweep(pairs, tiny_config(tiny_bert, validation=0.34), [3e-3, 1e-5], tmp_path / "m", progress=False)
    other = "1e-05" if found.best == 3e-3 else "0.003"
    assert (tmp_path / "m" / "runs" / "today" / "events").is_file()
    assert (tmp_path / "m" / "sweep" / f"lr-{other}" / "today" / "events").read_text().startswith(f"lr-{other} ")


def test_reporters_are_those_of_transformers(monkeypatch: pytest.MonkeyPatch):
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    # kubeflow is known by its environment, and by no package.
    assert set(REPORTERS) <= INTEGRATION_TO_CALLBACK.keys()
    check_reporters(["all", "none"])
    with pytest.raises(ConfigError, match="--report-to tensorbord: expected one of azure_ml, clearml"):
        check_reporters(["tensorbord"])
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="--report-to wandb: the package wandb is not installed; run: pip install"):
        check_reporters(["wandb"])


def test_few_prompts_or_labels_are_trained_on_whole_and_it_is_said(tiny_bert, pairs, more_pairs, tmp_path, capsys):
    unlabelled = [pair.model_copy(update={"label": None}) for pair in more_pairs]
    preferences = [Margin(pair_id=pair.id, margin=0.4, preference_a=0.7, n_judgments=10) for pair in more_pairs]
    config = tiny_config(tiny_bert, epochs=1)
    for n, (given, own) in enumerate(((pairs, config), (unlabelled, changed(config, objective="soft")))):
        summary = train(given, own, tmp_path / str(n), margins=preferences, progress=False)
        assert (summary.pairs, summary.validation_pairs, summary.temperature) == (len(given), 0, None)
        assert "too few prompts, or labels among a tenth of them" in capsys.readouterr().err
    # A share that somebody asks for is held out, and calibrates nothing where it says little.
    summary = train(pairs, changed(config, validation=0.34), tmp_path / "asked", progress=False)
    assert (summary.validation_pairs, summary.temperature) == (8, None)
    assert "not calibrated: 8 of the held-out pairs have votes or a label" in capsys.readouterr().err
    # Nor is anything said where every pair is asked for.
    summary = train(pairs, tiny_config(tiny_bert, epochs=1, validation=0), tmp_path / "whole", progress=False)
    said = capsys.readouterr().err
    assert (summary.pairs, said.count("temperature"), said.count("--average")) == (24, 0, 0)
    assert TrainConfig(validation=0).calibration == "none"


def test_the_summary_has_validation_and_temperature(tiny_bert: Path, more_pairs: list[Pair], tmp_path: Path):
    voted = [pair.model_copy(update={"votes": Votes(a=3, b=1, tie=0)}) for pair in more_pairs]
    summary = train(voted, tiny_config(tiny_bert, epochs=1), tmp_path / "m", progress=False)
    assert (summary.pairs, summary.validation_pairs) == (216, 24), "a tenth is held out where nobody says"
    last = next(row for row in reversed(log_of(tmp_path / "m")) if "validation_nll" in row)
    found = (summary.validation_nll, summary.validation_accuracy)
    assert found == (last["validation_nll"], last["validation_accuracy"])
    calibration = load_calibration(tmp_path / "m")
    assert calibration is not None
    assert summary.temperature == calibration.temperature


@pytest.mark.parametrize(
    ("backbone", "objective"),
    [("tiny_bert", "bradley-terry"), ("tiny_bert", "mean-variance"), ("tiny_llama", "margin")],
)
def test_a_run_that_ends_where_it_began_says_so(backbone, objective, request, pairs, margins, tmp_path, capsys):
    folder = request.getfixturevalue(backbone)
    config = tiny_config(folder, objective=objective, learning_rate=1e-6)
    note = train(pairs, config, tmp_path / "m", margins=margins, progress=False).note
    assert note is not None
    assert note in capsys.readouterr().err
    assert "the run ends where it began: in 6 steps at learning rate 1e-06" in note
    assert "raise --learning-rate" in note
    config = tiny_config(folder, objective=objective, epochs=12, learning_rate=1e-2)
    assert train(pairs, config, tmp_path / "n", margins=margins, progress=False).note is None


def test_a_run_that_moves_and_learns_nothing_says_so(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    """Each pair stands there with both labels: nothing can be learnt, and the rewards move all the same."""
    other = {"a": "b", "b": "a"}
    flipped = [p.model_copy(update={"id": f"{p.id}-2", "label": other[p.label or "a"]}) for p in pairs]
    note = train([*pairs, *flipped], tiny_config(tiny_bert, epochs=4), tmp_path / "m", progress=False).note
    assert note is not None
    assert note.startswith("nothing was learnt in 24 steps at learning rate 0.003: ")
    assert note.endswith("or look at the labels")


def test_rewards_that_collapse_are_reported(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    note = train(pairs, tiny_config(tiny_bert, learning_rate=0.5), tmp_path / "m", progress=False).note
    assert note is not None
    assert note.startswith("nothing was learnt in 6 steps at learning rate 0.5: ")
    assert "raise" not in note


def test_the_logged_loss_is_a_mean_over_pairs(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    """Nine pairs in steps of eight and one: at rate zero an entry is that of all nine, however they are cut."""
    logged = []
    for size in (8, 9):
        config = tiny_config(tiny_bert, batch_size=size, epochs=1, learning_rate=1e-12)
        train(pairs[:9], config, tmp_path / str(size), progress=False)
        logged += log_of(tmp_path / str(size))
    assert logged[0]["loss"] == pytest.approx(logged[1]["loss"], abs=1e-6)
    assert logged[0]["loss"] == pytest.approx(logged[0]["nll"], abs=1e-6)

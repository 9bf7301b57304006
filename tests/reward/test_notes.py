"""What a run says of itself: reports of others, validation, calibration, and that nothing was learnt."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from dissensus.errors import ConfigError, TrainingError
from dissensus.records import Margin, Pair, Votes
from dissensus.reward.config import TrainConfig
from dissensus.reward.objectives.targets import build_targets
from dissensus.reward.serving.calibration import load_calibration
from dissensus.reward.training.reporters import REPORTERS, check_reporters
from dissensus.reward.training.run import train
from dissensus.reward.training.sweep import sweep

from .tiny_config import tiny_config


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


def test_what_reporters_wrote_of_every_rate_stays(
    tiny_bert: Path, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With the best rate's model where a single run has it, with those of the others beside their logs."""
    monkeypatch.setattr("dissensus.reward.training.run.LogLastStep", type("Both", (Reporter,), {}))
    found = sweep(pairs, tiny_config(tiny_bert, validation=0.34), [3e-3, 1e-5], tmp_path / "m", progress=False)
    other = "1e-05" if found.best == 3e-3 else "0.003"
    assert (tmp_path / "m" / "runs" / "today" / "events").is_file()
    assert (tmp_path / "m" / "sweep" / f"lr-{other}" / "today" / "events").read_text().startswith(f"lr-{other} ")


def test_reporters_are_those_of_transformers():
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    # kubeflow is known by its environment, and by no package.
    assert REPORTERS.keys() <= INTEGRATION_TO_CALLBACK.keys()
    check_reporters(["all", "none"])
    with pytest.raises(ConfigError, match="--report-to tensorbord: expected one of azure_ml, clearml"):
        check_reporters(["tensorbord"])


def test_a_reporter_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="--report-to wandb: the package wandb is not installed; run: pip install"):
        check_reporters(["wandb"])


def test_the_summary_has_validation_and_temperature(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    voted = [pair.model_copy(update={"votes": Votes(a=3, b=1, tie=0)}) for pair in pairs]
    config = tiny_config(tiny_bert, validation=0.34, calibration="temperature")
    summary = train(voted, config, tmp_path / "m", progress=False)
    rows = [json.loads(line) for line in (tmp_path / "m" / "training.jsonl").read_text().splitlines()]
    last = next(row for row in reversed(rows) if "validation_nll" in row)
    assert (summary.validation_nll, summary.validation_accuracy) == (
        last["validation_nll"],
        last["validation_accuracy"],
    )
    calibration = load_calibration(tmp_path / "m")
    assert calibration is not None
    assert summary.temperature == calibration.temperature


@pytest.mark.parametrize(
    ("backbone", "objective"), [("tiny_bert", "bradley-terry"), ("tiny_bert", "categorical"), ("tiny_llama", "margin")]
)
def test_a_run_that_ends_where_it_began_says_so(
    backbone: str,
    objective: str,
    request: pytest.FixtureRequest,
    pairs: list[Pair],
    margins: list[Margin],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
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
        [entry] = [json.loads(line) for line in (tmp_path / str(size) / "training.jsonl").read_text().splitlines()]
        logged.append(entry)
    assert logged[0]["loss"] == pytest.approx(logged[1]["loss"], abs=1e-6)
    assert logged[0]["loss"] == pytest.approx(logged[0]["nll"], abs=1e-6)


def test_a_signed_margin_needs_a_preference(pairs: list[Pair], margins: list[Margin]):
    """A margin alone has no side; trained on as it is, a margin against the label would count for it."""
    bare = [m.model_copy(update={"preference_a": None}) if i < 2 else m for i, m in enumerate(margins)]
    config = TrainConfig(objective="margin", margin_sign="signed")
    with pytest.raises(TrainingError) as error:
        build_targets(pairs, bare, config)
    assert str(error.value).startswith(
        f"2 of {len(margins)} margins carry no preference (first: {pairs[0].id}, {pairs[1].id}), which margin_sign "
        "'signed' needs; use margin_sign 'unsigned', or margins made from judgments or votes"
    )
    assert build_targets(pairs, bare, TrainConfig(objective="margin")).margin.tolist() == pytest.approx(
        [m.margin for m in margins]
    )
    # Where no sign is read, none is missed.
    build_targets(pairs, bare, TrainConfig(margin_sign="signed"))

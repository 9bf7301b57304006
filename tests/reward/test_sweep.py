import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dissensus.errors import ConfigError, TrainingError
from dissensus.records import Margin, Pair, Votes
from dissensus.reward.choices import Metric, Sweep
from dissensus.reward.config import TrainConfig
from dissensus.reward.serving.calibration import calibrated_nll
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.training import run as run_module
from dissensus.reward.training import sweep as module
from dissensus.reward.training.sweep import SweepSummary, SweptRun, read_sweep, sweep
from dissensus.reward.training.trainer import PairTrainer
from dissensus.steps.train import TrainSettings, with_choice_of

from .tiny_config import changed, tiny_config

RATES = [3e-3, 1e-3, 1e-7]
METRICS: tuple[Metric, ...] = ("calibrated-nll", "nll")


@pytest.fixture
def config(tiny_bert: Path) -> TrainConfig:
    return tiny_config(tiny_bert, learning_rate=2e-5, validation=0.3, logging_steps=1)


def _sweep(pairs: list[Pair], config: TrainConfig, rates: list[float], out: Path, **options: Any) -> SweepSummary:
    return sweep(pairs, config, rates, out, progress=False, **options)


def _stamp(folder: Path) -> int:
    return (folder / "model.safetensors").stat().st_mtime_ns


@pytest.mark.parametrize("text", ["", "fast", "1e-4..", "1e-4..1e-5..1e-6", "0,1e-4", "-1e-4", "nan", "inf"])
def test_what_is_no_list_of_rates_is_refused(text: str):
    with pytest.raises(ConfigError, match=r"rates: .*expected two rates as in"):
        Sweep.load({"rates": text})


def test_a_range_is_even_on_the_log_scale():
    assert Sweep(rates="1e-4..1e-6").values() == [1e-4, 3.16e-5, 1e-5, 3.16e-6, 1e-6]
    assert Sweep(rates="1e-5").values() == [1e-5]


@pytest.mark.parametrize("metric", ["nll", "accuracy"])
def test_the_best_on_validation_is_kept(config: TrainConfig, pairs: list[Pair], tmp_path: Path, metric: Any):
    out = tmp_path / "m"
    summary = _sweep(pairs, config, RATES, out, metric=metric, patience=9)
    rows = json.loads((out / "sweep.json").read_text())["rates"]
    values = {row["learning_rate"]: row[metric] for row in rows}
    best = min(values.values()) if metric == "nll" else max(values.values())
    # Of equals the lower rate is kept.
    assert summary.best == min(rate for rate, value in values.items() if value == best)
    assert RewardModel.load(out).config == config.model_copy(update={"learning_rate": summary.best})
    assert not (tmp_path / "m.sweep").exists()
    # The other weights are gone, every rate's curve is there.
    curves = {path.stem: path.read_text().count("validation_nll") for path in (out / "sweep").iterdir()}
    assert curves == {f"lr-{rate:.3g}": 2 for rate in RATES}
    assert len(list(out.rglob("*.safetensors"))) == 1


def test_a_rate_is_never_trained_twice(config, pairs, tmp_path, monkeypatch):
    inner, trained = module.train, []

    def dies(pairs: Any, config: TrainConfig, *args: Any, **options: Any) -> Any:
        trained.append(config.learning_rate)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return inner(pairs, config, *args, **options)

    monkeypatch.setattr(module, "train", dies)
    with pytest.raises(KeyboardInterrupt):
        _sweep(pairs, config, RATES, tmp_path / "m")
    first = _stamp(tmp_path / "m.sweep" / "patience-1" / "lr-0.003")
    kept: list[int] = []
    monkeypatch.setattr(
        module, "_keep", lambda _run, _out, folder, _summary: kept.append(_stamp(folder / "patience-1" / "lr-0.003"))
    )
    _sweep(pairs, config, RATES, tmp_path / "m")
    assert kept == [first]


def test_a_finished_sweep_is_left_as_it_is(config: TrainConfig, pairs: list[Pair], tmp_path: Path):
    """Also where it may be overwritten, as a study calls it, which may be killed before it noted that it was done."""
    out = tmp_path / "m"
    first = _sweep(pairs, config, RATES[1:], out)
    stamp = _stamp(out)
    for overwrite in (False, True):
        # Cut off after the model got its name, while the other runs were removed.
        (tmp_path / "m.sweep").mkdir()
        assert _sweep(pairs, config, RATES[1:], out, overwrite=overwrite) == first
        assert _stamp(out) == stamp
        assert not (tmp_path / "m.sweep").exists()
    with pytest.raises(ConfigError, match="another config, backbone or data"):
        _sweep(pairs[:-1], config, RATES[1:], out)
    _sweep(pairs[:-1], config, RATES[1:], out, overwrite=True)
    assert _stamp(out) != stamp


def test_another_patience_is_another_sweep_and_a_failure_says_nothing_of_other_data(
    config, pairs, tmp_path, monkeypatch
):
    inner, trained = module.train, []

    def noted(pairs: Any, config: TrainConfig, out: Path, **options: Any) -> Any:
        trained.append(config.learning_rate)
        if len(pairs) < 20:
            out.with_name(out.name + ".part").mkdir(parents=True, exist_ok=True)
            raise TrainingError("the loss is inf")
        return inner(pairs, config, out, **options)

    monkeypatch.setattr(module, "train", noted)
    rates, out = RATES[1:2], tmp_path / "m"
    for _ in range(2):
        with pytest.raises(TrainingError, match="every learning rate failed"):
            _sweep(pairs[:19], config, rates, out, overwrite=True)
    assert trained == rates
    assert _sweep(pairs, config, rates, out, overwrite=True).patience == 1
    trained.clear()
    with pytest.raises(ConfigError, match="is not this sweep"):
        _sweep(pairs, config, rates, out, patience=5)
    assert not trained
    assert _sweep(pairs, config, rates, out, patience=5, overwrite=True).patience == 5
    assert trained == rates


def test_a_rate_that_overflows_is_a_row_of_the_table(config, pairs, tmp_path, monkeypatch):
    inner = PairTrainer.compute_loss

    def overflows(self: PairTrainer, *args: Any, **kwargs: Any) -> Any:
        return inner(self, *args, **kwargs) * (float("inf") if self.args.learning_rate > 2e-3 else 1)

    monkeypatch.setattr(PairTrainer, "compute_loss", overflows)
    summary = _sweep(pairs, config, RATES[:2], tmp_path / "m")
    assert summary.best == 1e-3
    assert "the loss is inf at step 1" in str(summary.rates[0].failed)
    with pytest.raises(TrainingError, match="every learning rate failed"):
        _sweep(pairs, config, RATES[:1], tmp_path / "n")


def test_a_run_that_gets_worse_is_stopped(config, pairs, tmp_path, monkeypatch):
    curve = iter([0.7, 0.6, 0.65, 0.64, 0.5])

    def evaluate(self: PairTrainer, *_: Any, **__: Any) -> dict[str, float]:
        metrics = {"eval_nll": next(curve), "eval_accuracy": 0.5}
        self.log(dict(metrics))
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    monkeypatch.setattr(PairTrainer, "evaluate", evaluate)
    longer = config.model_copy(update={"epochs": 5})
    [rate] = _sweep(pairs, longer, [1e-3], tmp_path / "m", patience=2).rates
    # The lowest was at the second epoch; two worse ones after it are enough.
    assert (rate.epochs, rate.nll) == (4, 0.64)


def test_a_rate_killed_after_it_stopped_early_stops_there_again(config, pairs, tmp_path, monkeypatch):
    """With a checkpoint at every step, and killed before the model is saved."""
    config = changed(config, checkpoint_steps=1, epochs=8)
    whole = _sweep(pairs, config, [3e-2], tmp_path / "whole")
    assert whole.rates[0].epochs < 8

    def dies(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save_model", dies)
        with pytest.raises(KeyboardInterrupt):
            _sweep(pairs, config, [3e-2], tmp_path / "broken")
    _sweep(pairs, config, [3e-2], tmp_path / "broken")
    logs = [(tmp_path / name / "training.jsonl").read_text() for name in ("whole", "broken")]
    assert logs[0] == logs[1]


def test_a_sweep_needs_something_to_choose_on(config: TrainConfig, pairs: list[Pair], tmp_path: Path):
    with pytest.raises(ConfigError, match="set validation"):
        _sweep(pairs, config.model_copy(update={"validation": 0.0}), RATES, tmp_path / "m")
    ties = [pair.model_copy(update={"label": "tie"}) for pair in pairs]
    margins = [Margin(pair_id=pair.id, margin=0.2, preference_a=0.6, n_judgments=10) for pair in pairs]
    soft = config.model_copy(update={"objective": "soft", "epochs": 1})
    with pytest.raises(TrainingError, match="no pair with a label a or b"):
        _sweep(ties, soft, [1e-3], tmp_path / "m", margins=margins)


def _learned(config: TrainConfig, _: Path) -> SweptRun:
    """A run whose NLL is lowest at a label weight of 0.2 and two epochs."""
    weight, epochs = config.label_weight, config.epochs
    nll = 0.6 + (weight - 0.2) ** 2 + 0.01 * (epochs - 2) ** 2
    return SweptRun(config.learning_rate, nll, 0.5, epochs, 1.0, calibrated_nll=nll)


@pytest.mark.parametrize(("most", "runs"), [(16, 6), (5, 4)])
def test_combinations_are_tried_together_or_one_setting_after_the_other(most: int, runs: int):
    among: dict[str, list[Any]] = {"label_weight": [0.0, 0.2, 0.5], "epochs": [1, 2]}
    asked = SweepSummary("calibrated-nll", [], 1e-3, among=among, most=most)
    config = TrainConfig(objective="blend", epochs=2)
    tried, best = module._choose(config, asked, Path("runs"), _learned)
    assert len(tried) == len({str(row.settings) for row in tried}) == runs
    assert best.settings == {"label_weight": 0.2, "epochs": 2}
    assert len(Sweep(choose={"label_weight": "0,0.2,0.5", "epochs": "1,2"}, most=most).runs(config)) >= runs


def test_the_scale_of_rewards_decides_nothing():
    rng = np.random.default_rng(0)
    gap = rng.normal(size=400)
    label = (rng.random(400) < 1 / (1 + np.exp(-gap))).astype(float)
    label[:20] = 0.5
    true, wide = calibrated_nll(gap, label), calibrated_nll(7 * gap, label)
    noisy = calibrated_nll(gap + rng.normal(size=400), label)
    assert true == pytest.approx(wide, abs=1e-4)
    assert true < noisy < np.log(2)
    assert calibrated_nll(-gap, label) == pytest.approx(np.log(2), abs=1e-3)
    assert calibrated_nll(0 * gap, label) == np.log(2)
    assert calibrated_nll(np.stack([gap, gap]), label) == pytest.approx(true)  # the mean of equal members is each
    # The plain NLL would take the noisy one of a fitting scale for better than the true one of another.
    rows = [SweptRun(1e-3, 0.9, 0.7, 1, 1, calibrated_nll=wide), SweptRun(1e-3, 0.6, 0.6, 1, 1, calibrated_nll=noisy)]
    assert [min(rows, key=lambda row: row.value(metric) or 0) for metric in METRICS] == rows


def test_settings_are_chosen_by_labels_alone(config: TrainConfig, pairs: list[Pair], tmp_path: Path):
    """Other votes choose nothing; a combination that its objective cannot take is a row; the table is read again."""
    blend = config.model_copy(update={"objective": "blend", "epochs": 1})
    margins = [Margin(pair_id=pair.id, margin=0.8, preference_a=0.9, n_judgments=10) for pair in pairs]
    choose: dict[str, list[Any]] = {"label_weight": [-1.0, 0.1, 0.9]}
    tables = []
    for name, votes in (("x", Votes(a=9, b=0)), ("y", Votes(a=0, b=9))):
        voted = [pair.model_copy(update={"votes": votes}) for pair in pairs]
        summary = _sweep(voted, blend, [], tmp_path / name, choose=choose, margins=margins, metric="calibrated-nll")
        tables.append([(row.settings, row.failed, row.calibrated_nll) for row in summary.rates])
        assert read_sweep(tmp_path / name / "sweep.json") == summary
    assert tables[0] == tables[1]
    assert "outside of 0 to 1" in str(summary.rates[0].failed)
    assert summary.chosen == min(summary.rates[1:], key=lambda row: row.calibrated_nll or 1).settings
    assert RewardModel.load(tmp_path / "x").config.label_weight == summary.chosen["label_weight"]
    settings = TrainSettings(pairs="", out=tmp_path / "z", training=blend, sweep=Sweep(choose={"label_weight": "0.1"}))
    other = with_choice_of(settings, tmp_path / "x")
    assert (other.training.label_weight, other.sweep.choose) == (summary.chosen["label_weight"], {})
    by_default = settings.model_copy(update={"training": TrainConfig(objective="blend")})
    assert with_choice_of(by_default, tmp_path / "x").training.validation == 0.1  # as the sweep held out


def test_the_table_of_an_earlier_version_is_read(tmp_path: Path):
    row = {"learning_rate": 1e-4, "nll": 0.6, "accuracy": 0.7, "epochs": 1.0, "seconds": 3.0, "failed": None}
    (tmp_path / "sweep.json").write_text(json.dumps({"metric": "nll", "rates": [row], "best": 1e-4, "patience": 1}))
    found = read_sweep(tmp_path / "sweep.json")
    assert found.chosen == found.rates[0].settings == {"learning_rate": 1e-4}
    assert found.among == {"learning_rate": [1e-4]}


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        ({"label_wieght": "0,1"}, "label_wieght is no setting to choose; did you mean 'label_weight'"),
        ({"epochs": "1,many"}, "1,many: epochs: .*expected a list as in label_weight=0,0.2,0.5"),
        ({"seed": "0,1"}, "seed is no setting to choose"),
    ],
)
def test_what_cannot_be_chosen_says_so(choose: dict[str, str], message: str):
    with pytest.raises(ConfigError, match=message):
        Sweep.load({"choose": choose})


def test_what_an_objective_does_not_read_is_not_chosen_for_it():
    sweep = Sweep(choose={"label_weight": [0, 0.5], "epochs": [1, 2]})
    assert sweep.among(TrainConfig()) == {"epochs": [1, 2]}
    assert sweep.among(TrainConfig(objective="blend")) == {"label_weight": [0.0, 0.5], "epochs": [1, 2]}
    with pytest.raises(ConfigError, match="given by rates and by choose"):
        Sweep(rates="1e-4", choose={"learning_rate": "1e-4"}).among(TrainConfig())

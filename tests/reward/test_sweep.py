import json
from pathlib import Path
from typing import Any

import pytest

from dissensus.errors import ConfigError, TrainingError
from dissensus.records import Pair
from dissensus.reward.config import Sweep, TrainConfig
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.training import sweep as module
from dissensus.reward.training.sweep import sweep

from .tiny_config import changed

RATES = [3e-3, 1e-3, 1e-7]


@pytest.fixture
def config(tiny_bert: Path) -> TrainConfig:
    return TrainConfig(
        model=str(tiny_bert), epochs=4, batch_size=8, max_length=32, precision="fp32", validation=0.3, logging_steps=1
    )


def _rows(out: Path) -> dict[float, dict[str, Any]]:
    return {row["learning_rate"]: row for row in json.loads((out / "sweep.json").read_text())["rates"]}


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
    summary = sweep(pairs, config, RATES, out, metric=metric, patience=9, progress=False)
    rows = _rows(out)
    values = {rate: row[metric] for rate, row in rows.items()}
    best = min(values.values()) if metric == "nll" else max(values.values())
    # Of equals the lower rate is kept.
    assert summary.best == min(rate for rate, value in values.items() if value == best)
    assert RewardModel.load(out).config == config.model_copy(update={"learning_rate": summary.best})
    assert not (tmp_path / "m.sweep").exists()
    # The other weights are gone, every rate's curve is there.
    curves = {path.stem: path.read_text().count("validation_nll") for path in (out / "sweep").iterdir()}
    assert curves == {f"lr-{rate:.3g}": 4 for rate in RATES}
    assert len(list(out.rglob("*.safetensors"))) == 1


def test_a_rate_is_never_trained_twice(
    config: TrainConfig, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    inner, trained = module.train, []

    def dies(pairs: Any, config: TrainConfig, *args: Any, **options: Any) -> Any:
        trained.append(config.learning_rate)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return inner(pairs, config, *args, **options)

    monkeypatch.setattr(module, "train", dies)
    with pytest.raises(KeyboardInterrupt):
        sweep(pairs, config, RATES, tmp_path / "m", progress=False)
    first = (tmp_path / "m.sweep" / "patience-1" / "lr-0.003" / "model.safetensors").stat().st_mtime_ns
    kept: list[int] = []
    monkeypatch.setattr(module, "_keep", lambda run, out, folder, *_, **__: kept.append(_stamp(folder)))
    sweep(pairs, config, RATES, tmp_path / "m", progress=False)
    assert kept == [first]


def _stamp(folder: Path) -> int:
    return (folder / "patience-1" / "lr-0.003" / "model.safetensors").stat().st_mtime_ns


def test_a_finished_sweep_is_left_as_it_is(config: TrainConfig, pairs: list[Pair], tmp_path: Path):
    out = tmp_path / "m"
    first = sweep(pairs, config, RATES[1:], out, progress=False)
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    # Cut off after the model got its name, while the other runs were removed.
    (tmp_path / "m.sweep").mkdir()
    assert sweep(pairs, config, RATES[1:], out, progress=False) == first
    assert (out / "model.safetensors").stat().st_mtime_ns == stamp
    assert not (tmp_path / "m.sweep").exists()
    with pytest.raises(ConfigError, match="another config, backbone or data"):
        sweep(pairs[:-1], config, RATES[1:], out, progress=False)


def test_a_finished_sweep_is_not_made_again_where_it_may_be_overwritten(
    config: TrainConfig, pairs: list[Pair], tmp_path: Path
):
    """As a study calls it: killed before it noted that a sweep was done, it must not train every rate once more."""
    out = tmp_path / "m"
    first = sweep(pairs, config, RATES[1:], out, progress=False)
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    assert sweep(pairs, config, RATES[1:], out, progress=False, overwrite=True) == first
    assert (out / "model.safetensors").stat().st_mtime_ns == stamp
    sweep(pairs[:-1], config, RATES[1:], out, progress=False, overwrite=True)
    assert (out / "model.safetensors").stat().st_mtime_ns != stamp


def test_another_patience_is_another_sweep_and_a_failure_says_nothing_of_other_data(
    config: TrainConfig, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    inner, trained = module.train, []

    def noted(pairs: Any, config: TrainConfig, out: Path, **options: Any) -> Any:
        trained.append(config.learning_rate)
        if len(pairs) < 20:
            out.with_name(out.name + ".part").mkdir(parents=True, exist_ok=True)
            raise TrainingError("the loss is inf")
        return inner(pairs, config, out, **options)

    monkeypatch.setattr(module, "train", noted)
    options: dict[str, Any] = {"progress": False, "overwrite": True}
    for _ in range(2):
        with pytest.raises(TrainingError, match="every learning rate failed"):
            sweep(pairs[:19], config, RATES[1:2], tmp_path / "m", **options)
    assert trained == RATES[1:2]
    assert sweep(pairs, config, RATES[1:2], tmp_path / "m", **options).patience == 1
    trained.clear()
    with pytest.raises(ConfigError, match="is not this sweep"):
        sweep(pairs, config, RATES[1:2], tmp_path / "m", patience=5, progress=False)
    assert not trained
    assert sweep(pairs, config, RATES[1:2], tmp_path / "m", patience=5, **options).patience == 5
    assert trained == RATES[1:2]


def test_a_rate_that_overflows_is_a_row_of_the_table(
    config: TrainConfig, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from dissensus.reward.training.trainer import PairTrainer

    inner = PairTrainer.compute_loss

    def overflows(self: PairTrainer, *args: Any, **kwargs: Any) -> Any:
        return inner(self, *args, **kwargs) * (float("inf") if self.args.learning_rate > 2e-3 else 1)

    with monkeypatch.context() as patch:
        patch.setattr(PairTrainer, "compute_loss", overflows)
        summary = sweep(pairs, config, RATES[:2], tmp_path / "m", progress=False)
        assert summary.best == 1e-3
        assert "the loss is inf at step 1" in str(_rows(tmp_path / "m")[3e-3]["failed"])
        with pytest.raises(TrainingError, match="every learning rate failed"):
            sweep(pairs, config, RATES[:1], tmp_path / "n", progress=False)


def test_a_run_that_gets_worse_is_stopped(
    config: TrainConfig, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from dissensus.reward.training.trainer import PairTrainer

    curve = iter([0.7, 0.6, 0.65, 0.64, 0.5])

    def evaluate(self: PairTrainer, *_: Any, **__: Any) -> dict[str, float]:
        metrics = {"eval_nll": next(curve), "eval_accuracy": 0.5}
        self.log(dict(metrics))
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    monkeypatch.setattr(PairTrainer, "evaluate", evaluate)
    longer = config.model_copy(update={"epochs": 5})
    summary = sweep(pairs, longer, [1e-3], tmp_path / "m", patience=2, progress=False)
    # The lowest was at the second epoch; two worse ones after it are enough.
    assert summary.rates[0].epochs == 4
    assert summary.rates[0].nll == 0.64


def test_a_rate_killed_after_it_stopped_early_stops_there_again(
    config: TrainConfig, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With a checkpoint at every step, and killed before the model is saved."""
    from dissensus.reward.training import run as run_module

    config = changed(config, learning_rate=3e-2, checkpoint_steps=1, epochs=8)
    whole = sweep(pairs, config, [3e-2], tmp_path / "whole", progress=False)
    assert whole.rates[0].epochs < 8

    def dies(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save_model", dies)
        with pytest.raises(KeyboardInterrupt):
            sweep(pairs, config, [3e-2], tmp_path / "broken", progress=False)
    sweep(pairs, config, [3e-2], tmp_path / "broken", progress=False)
    logs = [(tmp_path / name / "training.jsonl").read_text() for name in ("whole", "broken")]
    assert logs[0] == logs[1]


def test_a_sweep_without_a_label_to_choose_on_says_so(config: TrainConfig, pairs: list[Pair], tmp_path: Path):
    from dissensus.records import Margin

    ties = [pair.model_copy(update={"label": "tie"}) for pair in pairs]
    margins = [Margin(pair_id=pair.id, margin=0.2, preference_a=0.6, n_judgments=10) for pair in pairs]
    soft = config.model_copy(update={"objective": "soft", "epochs": 1})
    with pytest.raises(TrainingError, match="no pair with a label a or b"):
        sweep(ties, soft, [1e-3], tmp_path / "m", margins=margins, progress=False)


def test_a_sweep_needs_something_to_choose_on(config: TrainConfig, pairs: list[Pair], tmp_path: Path):
    with pytest.raises(ConfigError, match="set validation"):
        sweep(pairs, config.model_copy(update={"validation": 0.0}), RATES, tmp_path / "m")

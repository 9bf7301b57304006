"""Ensembles: the mean of their members, resumed member by member, used like one model."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from transformers import AutoModelForSequenceClassification, TrainerCallback

from dissensus.errors import ConfigError, InputError, TrainingError
from dissensus.records import LABEL_VALUE, Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.length_covariate import LengthSlope, log_ratios
from dissensus.reward.model_record import RECORD_FILE, LogRow, TrainSummary, last_validation, read_log, read_record
from dissensus.reward.notices import report, said_once
from dissensus.reward.objectives.targets import build_targets
from dissensus.reward.serving.calibration import HELD_OUT_LOG_SD, fit_calibration, load_calibration, mean_nll
from dissensus.reward.serving.hub import prepare
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.text.train_data import Division, divide_targets, fill_in
from dissensus.reward.training import ensemble as ensemble_module
from dissensus.reward.training.ensemble import member_config
from dissensus.reward.training.preflight import check_model, check_settings
from dissensus.reward.training.run import train
from dissensus.study.config import StudyConfig
from dissensus.study.run_folder import Run
from dissensus.study.sets import Sizes
from dissensus.study.stages import plan

from .tiny_config import changed, tiny_config


def _config(backbone: Path, **changes: Any) -> TrainConfig:
    settings = {"epochs": 1, "members": 3, "average": "preferences", "batch_size": 24, "seed": 5}
    return tiny_config(backbone, **{**settings, **changes})


@pytest.fixture(scope="module")
def ensemble(tiny_bert: Path, more_pairs: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ensemble") / "m"
    train(more_pairs, _config(tiny_bert), out, progress=False)
    return out


def test_it_is_the_mean_of_its_members(ensemble: Path, pairs: list[Pair]):
    whole = RewardModel.load(ensemble)
    own = [RewardModel.load(ensemble / f"member-{n}") for n in (1, 2, 3)]
    [rows, *each] = [model.predict(pairs, name="m") for model in (whole, *own)]
    for field in ("preference_a", "reward_a", "reward_b"):
        members = np.array([[getattr(row, field) for row in one] for one in each])
        assert len(np.unique(members.round(9), axis=0)) == 3, "each member is a model of its own"
        assert [getattr(row, field) for row in rows] == pytest.approx(members.mean(axis=0), abs=1e-12)
    # One temperature for all, of which the mean is taken.
    assert whole.calibration is not None
    scaled = np.stack([model.gaps(pairs)[0] for model in own]) / whole.calibration.temperature
    assert [row.calibrated_a for row in rows] == pytest.approx(expit(scaled).mean(axis=0), abs=1e-12)
    assert {row.temperature for row in rows} == {whole.calibration.temperature}
    texts = [(pair.prompt, pair.response_a) for pair in pairs]
    assert whole.rewards(texts) == pytest.approx(np.mean([model.rewards(texts) for model in own], axis=0), abs=1e-6)
    assert whole.outputs(texts).shape == (3, 24, 1)


@pytest.mark.parametrize("covariate", [False, True])
def test_members_leave_prompts_out_in_turn(tiny_bert: Path, more_pairs: list[Pair], tmp_path: Path, covariate: bool):
    """Every label says something of the calibration, under the member that did not see its prompt."""
    config = _config(tiny_bert, length_covariate=covariate)
    targets = build_targets(more_pairs, None, config)
    division = divide_targets(targets, config)
    held = [part.pairs for _, part in division.parts if part is not None]
    assert division.whole == targets
    assert sorted(pair.id for part in held for pair in part) == sorted(pair.id for pair in more_pairs)
    for trained, part in division.parts:
        assert part is not None
        assert not {pair.group for pair in trained.pairs} & {pair.group for pair in part.pairs}
        assert len(trained.pairs) + len(part.pairs) == len(more_pairs)
    asked = config.model_copy(update={"validation": 0.1})
    assert len({id(part) for part in divide_targets(targets, asked).parts}) == 1, "a share that is asked for is shared"

    summary = train(more_pairs, config, tmp_path / "m", progress=False)
    whole = RewardModel.load(tmp_path / "m")
    members = [RewardModel.load(tmp_path / "m" / f"member-{n}") for n in (1, 2, 3)]
    gap = np.concatenate([member.gaps(part)[0] for member, part in zip(members, held, strict=True)])
    every = [pair for part in held for pair in part]
    slope = summary.length_slope or 0.0
    label = np.array([LABEL_VALUE[pair.label or "tie"] for pair in every])
    if covariate:  # the labels that β was trained with are those that it is fitted to again: they count once
        lengths = [read_record(tmp_path / "m" / f"member-{n}" / RECORD_FILE).length for n in (1, 2, 3)]
        once = LengthSlope(float(np.mean([length.value for length in lengths if length])), 0.0)
        assert slope == pytest.approx(once.corrected(gap, log_ratios(every), label, np.ones(240)), rel=1e-6)
    fitted = fit_calibration(gap + slope * log_ratios(every), label, np.ones(240), log_sd=HELD_OUT_LOG_SD)
    assert whole.calibration is not None
    assert whole.calibration.slope == pytest.approx(fitted.slope)
    assert (summary.length_slope is not None) == covariate == (whole.length_slope is not None)
    scaled = np.stack([member.gaps(every)[0] for member in members]) + slope * log_ratios(every)
    said = [row.calibrated_a for row in whole.predict(every, name="m")]
    assert said == pytest.approx(expit(fitted.slope * scaled).mean(axis=0), abs=1e-9)


def test_categories_are_held_out_whole_where_that_is_asked_for(more_pairs: list[Pair]):
    """A calibration that shall hold for new data sets is fitted to data sets that a member did not see."""
    kinds = [pair.model_copy(update={"category": "abc"[i % 3]}) for i, pair in enumerate(more_pairs)]
    config = TrainConfig(hold_out_by="category", seed=3)
    targets = build_targets(kinds, None, config)
    config = fill_in(targets, config)
    assert config.members == 3, "as many as categories, where these are few"
    held = [{pair.category for pair in part.pairs} for _, part in divide_targets(targets, config).parts if part]
    assert sorted(held, key=min) == [{"a"}, {"b"}, {"c"}]
    trained, part = divide_targets(targets, changed(config, members=1, validation=0.1)).parts[0]
    assert part is not None
    assert len({pair.category for pair in part.pairs}) == 1
    assert not {pair.category for pair in trained.pairs} & {pair.category for pair in part.pairs}
    with pytest.raises(TrainingError, match=r"pair .*: no category \(240 pairs in all have none\)"):
        fill_in(build_targets(more_pairs, None, config), changed(config, members=None))
    one = build_targets([pair.model_copy(update={"category": "a"}) for pair in more_pairs], None, config)
    with pytest.raises(TrainingError, match="at least two categories, the data has 1"):
        divide_targets(one, changed(config, members=1, validation=0.1))


def test_what_is_known_of_it(ensemble: Path, tiny_bert: Path, more_pairs: list[Pair]):
    model = RewardModel.load(ensemble)
    summary = train(more_pairs, _config(tiny_bert), ensemble, progress=False)
    assert (summary.pairs, summary.validation_pairs, summary.steps) == (240, 240, 21)
    texts = {(pair.prompt, response) for pair in more_pairs for response in (pair.response_a, pair.response_b)}
    assert summary.texts == len(texts), "those of all members together"
    found = last_validation(read_log(ensemble))
    assert isinstance(found, LogRow)
    assert found.validation_nll == summary.validation_nll
    members = [last_validation(read_log(ensemble / f"member-{n}")) for n in (1, 2, 3)]
    assert summary.members_nll == tuple(one.validation_nll for one in members if one)
    assert summary.validation_nll == pytest.approx(np.mean(summary.members_nll)), "of equal parts, each by one member"
    assert model.calibration == load_calibration(ensemble)
    assert model.calibration.pairs == 240
    assert sorted(prepare(ensemble, "o/m").sizes) == sorted(
        path.relative_to(ensemble).as_posix() for path in ensemble.rglob("*") if path.is_file()
    )
    card = (ensemble / "README.md").read_text()
    assert "It is the mean of 3 models" in card
    assert 'subfolder": "member-1"' in card
    assert card.count("from_pretrained(folder, **member") == 2
    assert "The members' own: 0." in card


def test_what_holds_of_all_members_is_said_once(tiny_bert: Path, pairs: list[Pair], tmp_path: Path, capsys):
    broken = [pair.model_copy(update={"response_a": pair.response_a.replace(" ", "\n")}) for pair in pairs]
    config = _config(tiny_bert, objective="mean-variance", members=2)
    train(broken, config, tmp_path / "m", progress=False)
    said = capsys.readouterr().err.splitlines()
    assert sum("a new head is made (classifier" in line for line in said) == 1
    assert sum("reads line breaks as spaces" in line for line in said) == 1
    assert len(said) == len(set(said))
    for _ in range(2):
        with said_once():
            report("the next run says it again")
            report("the next run says it again")
    assert capsys.readouterr().err.count("again") == 2


def test_members_have_seeds_of_their_own_and_the_first_that_of_the_ensemble():
    config = TrainConfig(members=4, seed=1)
    seeds = {seed: [member_config(changed(config, seed=seed), n).seed for n in (1, 2, 3, 4)] for seed in range(4)}
    assert [own[0] for own in seeds.values()] == [0, 1, 2, 3]
    assert len({seed for own in seeds.values() for seed in own}) == 16
    one = TrainConfig(members=1)
    assert changed(one, average="preferences").deciding() == one.deciding(), "of one member nothing is averaged"


def test_few_pairs_are_passed_over_more_often(more_pairs: list[Pair]):
    """Two passes over some hundred pairs leave a model where it began; what is asked for stands."""

    def filled(**settings: Any) -> tuple[float | None, int | None]:
        config = TrainConfig(**settings)
        found = fill_in(build_targets(more_pairs, None, config), config)
        return found.learning_rate, found.epochs

    assert filled() == (1e-4, 8), "of 8 steps each"
    assert filled(model="o/large") == (2e-5, 8), "the rate of a backbone of which nothing is known"
    assert filled(batch_size=2) == (1e-4, 2), "of 120 steps each"
    assert filled(batch_size=240) == (1e-4, 10), "no more than ten"
    assert filled(learning_rate=1e-5, epochs=1) == (1e-5, 1)


def test_how_many_there_are_where_nobody_says(more_pairs: list[Pair], monkeypatch):
    """As many as few labels need, for which a tenth would say too little of temperature and length."""

    def settled(pairs: list[Pair], **settings: Any) -> int | None:
        config = TrainConfig(**settings)
        return fill_in(build_targets(pairs, None, config), config).members

    assert settled(more_pairs) == 4
    assert settled(more_pairs, members=2) == 2
    assert settled(more_pairs, validation=0.1) == settled(more_pairs, validation=0) == 1, "something else is held out"
    assert settled([pair for pair in more_pairs if pair.group in {p.group for p in more_pairs[:5]}]) == 1, "few prompts"
    assert settled(more_pairs[:19]) == settled(more_pairs, lora_rank=4) == 1, "few labels; adapters"
    monkeypatch.setattr("dissensus.reward.text.train_data.MANY_LABELS", 240)
    assert settled(more_pairs) == 1


def test_what_members_leave_out_is_decided_by_seed_and_prompts_alone(more_pairs: list[Pair]):
    """Whoever goes on with a run that was killed leaves out the same prompts; in whatever order they are read."""
    config = TrainConfig(members=4, seed=7)

    def left_out(pairs: list[Pair], config: TrainConfig) -> list[set[str]]:
        parts = divide_targets(build_targets(pairs, None, config), config).parts
        return [{pair.group for pair in held.pairs} for _, held in parts if held is not None]

    found = left_out(more_pairs, config)
    shuffled = [more_pairs[row] for row in np.random.default_rng(0).permutation(len(more_pairs))]
    assert found == left_out(more_pairs, config) == left_out(shuffled, config)
    assert [len(part) for part in found] == [15, 15, 15, 15], "a quarter of 60 prompts each"
    assert found != left_out(more_pairs, changed(config, seed=8))


class Killed(TrainerCallback):
    """Counts runs, and is killed in one of them, as by kill -9: nothing is put in order on the way."""

    def __init__(self, run: int | None = None) -> None:
        self.run, self.runs = run, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.runs += 1

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.runs == self.run and state.global_step == 3:
            raise KeyboardInterrupt


def test_finished_members_are_kept_when_it_is_killed(ensemble, tiny_bert, more_pairs, pairs, tmp_path):
    config, out = _config(tiny_bert, checkpoint_steps=1, logging_steps=1), tmp_path / "m"
    with pytest.raises(KeyboardInterrupt):
        train(more_pairs, config, out, progress=False, callbacks=[Killed(run=3)])
    assert not out.exists()
    first, second = (f"member-{n}/model.safetensors" for n in (1, 2))
    written = [(tmp_path / "m.members" / one).stat().st_mtime_ns for one in (first, second)]
    with pytest.raises(ConfigError, match=r"m\.members holds members of another config.*seed was 5, is 6"):
        train(more_pairs, changed(config, seed=6), out, progress=False)
    counter = Killed()
    summary = train(more_pairs, config, out, progress=False, callbacks=[counter])
    assert (counter.runs, summary.resumed_from) == (1, 2), "the third alone, from its checkpoint"
    assert [(out / one).stat().st_mtime_ns for one in (first, second)] == written
    assert not (tmp_path / "m.members").exists()
    found, expected = (RewardModel.load(folder).predict(pairs, name="m") for folder in (out, ensemble))
    assert [row.calibrated_a for row in found] == pytest.approx([row.calibrated_a for row in expected], abs=1e-6)


def test_weights_are_averaged_into_a_plain_model(tiny_bert: Path, more_pairs: list[Pair], tmp_path: Path, monkeypatch):
    kept: list[dict[str, Any]] = []
    left_out: list[Any] = []
    every: list[Any] = []

    def keep(members: list[Path], folder: Path) -> None:
        kept.extend(AutoModelForSequenceClassification.from_pretrained(one).state_dict() for one in members)
        parts = divide_targets(build_targets(more_pairs, None, config), config).parts
        left_out[:] = [
            RewardModel.load(one).gaps(held.pairs)[0] for one, (_, held) in zip(members, parts, strict=False)
        ]
        every[:] = [RewardModel.load(one).gaps(more_pairs)[0] for one in members]

    monkeypatch.setattr("dissensus.reward.training.ensemble._keep_reports", keep)
    config = _config(tiny_bert, average="weights", objective="mean-variance")
    summary = train(more_pairs, config, tmp_path / "m", progress=False)
    assert (summary.pairs, summary.validation_pairs) == (240, 240), "prompts are left out in turn"
    parts = divide_targets(build_targets(more_pairs, None, config), config).parts
    label = np.array([LABEL_VALUE[pair.label or "tie"] for _, held in parts if held for pair in held.pairs])
    # Its gaps are smaller than theirs, so one of its units is worth more.
    model, mean = RewardModel.load(tmp_path / "m"), np.mean(every, axis=0)
    scale = float(np.linalg.lstsq(model.gaps(more_pairs)[0][:, None], mean, rcond=None)[0][0])
    fitted = fit_calibration(np.concatenate(left_out) / scale, label, np.ones(240), log_sd=HELD_OUT_LOG_SD)
    assert model.calibration.slope == pytest.approx(fitted.slope, rel=1e-6), "of what no member saw"
    assert {path.name for path in tmp_path.iterdir()} == {"m"}
    found = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m").state_dict()
    for name, weight in found.items():
        mean = sum(own[name].double() for own in kept) / 3
        assert np.allclose(weight.numpy(), mean.numpy(), atol=1e-6), name
    assert len(summary.members_nll) == 3
    assert summary.temperature == RewardModel.load(tmp_path / "m").calibration.temperature
    kept.clear()
    still = changed(config, learning_rate=1e-12, members=2)
    train(more_pairs, still, tmp_path / "n", progress=False)
    heads = [own["classifier.weight"] for own in kept]
    assert all(np.allclose(heads[0], head, atol=1e-9) for head in heads), "a new head is one for all members"


@pytest.mark.parametrize(
    ("averaged", "scale", "cosine"),
    [([0.5, 1.0, -0.5], 2.0, 1.0), ([1.0, -1.0, -1.0], 1.0, 0.0), ([0.0, 0.0, 0.0], 1.0, 0.0)],
)
def test_averaged_weights_are_held_against_the_mean_of_the_members(pairs, monkeypatch, averaged, scale, cosine):
    """Gaps half as large need twice the slope; gaps of another kind, or none, are no average of what was learnt."""
    said = {"average": averaged, "one": [2.0, 1.0, -1.0], "two": [0.0, 3.0, -1.0]}

    def load(folder: Path) -> Any:
        return SimpleNamespace(gaps=lambda some: np.array([said[folder.name][: len(some)]]))

    monkeypatch.setattr(ensemble_module, "RewardModel", SimpleNamespace(load=load))
    found = ensemble_module._Averaged.of(Path("average"), [Path("one"), Path("two")], pairs[:3])
    assert (found.scale, found.cosine) == (pytest.approx(scale), pytest.approx(cosine))
    counts = dict.fromkeys(
        ("pairs", "ties_dropped", "unlabelled_dropped", "unjudged_dropped", "validation_pairs", "texts"), 3
    )
    own = TrainSummary(**counts, texts_truncated=0, layout="-", steps=1, resumed_from=0, seconds=1, nll=None)
    division = Division(build_targets(pairs[:3], None, TrainConfig()), [])
    note = ensemble_module._summarise([own] * 2, ensemble_module._Fit(), division, found).note
    assert (note is not None and "their paths do not meet" in note) == (cosine < 0.9)


def test_a_missing_member_is_one_line(ensemble, tiny_bert, more_pairs, tmp_path):
    broken = Path(shutil.copytree(ensemble, tmp_path / "m"))
    shutil.rmtree(broken / "member-2")
    said = r"member-2: missing, and the model is the mean of 3 members; copy the folder again whole, or train"
    for work in (lambda: RewardModel.load(broken), lambda: check_model(str(broken))):
        with pytest.raises(InputError, match=said):
            work()
    with pytest.raises(InputError, match=said):
        train(more_pairs, _config(tiny_bert), broken, progress=False)
    train(more_pairs, _config(tiny_bert), broken, progress=False, overwrite=True)
    assert (broken / "member-2/model.safetensors").is_file()
    with pytest.raises(InputError, match=r"is the mean of 3 models; train one of them on: .*/member-1"):
        check_settings(_config(ensemble), tmp_path / "n")


def test_the_temperature_of_an_average_is_the_likeliest():
    rng = np.random.default_rng(0)
    truth = 2 * rng.standard_normal(3000)
    gaps = 3 * (truth + rng.standard_normal((4, 3000)))
    votes, weight = rng.binomial(5, expit(truth)) / 5, np.full(3000, 5.0)
    found = fit_calibration(gaps, votes, weight)
    at = [mean_nll(slope * gaps, votes, weight) for slope in found.slope * np.linspace(0.8, 1.25, 46)]
    assert found.nll_after <= min(at) + 1e-6
    assert found.nll_after < fit_calibration(gaps[0], votes, weight).nll_after, "an average knows more than a member"
    # Members that agree are one model, with either method.
    for method in ("temperature", "platt"):
        one, four = (fit_calibration(own, votes, weight, method) for own in (gaps[0], np.stack([gaps[0]] * 4)))
        assert (four.slope, four.intercept) == pytest.approx((one.slope, one.intercept), abs=1e-5)
        assert four.preference(np.stack([gaps[0]] * 4)) == pytest.approx(one.preference(gaps[0]), abs=1e-5)


def test_a_study_counts_members_and_keeps_their_weights(tmp_path: Path):
    models = {"plain": {}, "four": {"members": 4, "average": "preferences"}, "one": {"members": 2}}
    config = StudyConfig.load({"pairs": "x.jsonl", "models": models, "baseline": "plain"}, place="study")
    stages = {stage.name: stage for stage in plan(Run(config, tmp_path))}
    sizes = Sizes(train=100, test=10, tokens=0, exact=True, sets=[], without_votes=0, prompts=10)
    found = {name: stages[f"train {name} seed 0"] for name in models}
    assert [stage.estimate(sizes).trained for stage in found.values()] == [900, 3000, 1000]
    assert "4 members each: 4 runs of 30 steps" in found["four"].estimate(sizes).lines[0]
    places = [stage.outputs[0].removeprefix(f"models/{name}/seed-0/") for name, stage in found.items()]
    assert places == ["model*.safetensors*", "member-*/model*.safetensors*", "model*.safetensors*"]

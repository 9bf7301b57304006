import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from dissensus.cli.options import command_of_step
from dissensus.errors import InputError
from dissensus.files import write_json, write_records
from dissensus.judges import JudgmentStore
from dissensus.judges.language.choice_distribution import ChoiceDistribution
from dissensus.judges.position_bias import position_bias
from dissensus.judges.store.keys import content_key, content_of
from dissensus.judges.store.store import StoredDistribution
from dissensus.records import Judgment, Pair, Votes
from dissensus.reports.folder.run_reader import load_run
from dissensus.reports.page import write_report

command = command_of_step("report")

PAIRS = [
    Pair(id=f"q{k}", prompt=f"question {k}", response_a="x", response_b="y", votes=Votes(a=1, b=0)) for k in range(2)
]


@pytest.fixture
def folder(tmp_path, run_data):
    """The folder that a study would have left."""
    run = tmp_path / "run"
    (run / "pairs").mkdir(parents=True)
    (run / "predictions").mkdir()
    write_json(run / "manifest.json", run_data.manifest.dump())
    (run / "study.yaml").write_text(run_data.config)
    write_json(run / "scores.json", [row.model_dump() for row in run_data.metrics])
    write_records(run / "pairs" / "test.parquet", run_data.joined.pairs)
    write_records(run / "predictions" / "base.parquet", predictions(run_data))
    write_records(run / "margins.parquet", run_data.margins)
    JudgmentStore(run / "judgments.db").close()
    log = run / "models" / "base" / "seed-0" / "training.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("\n".join(json.dumps(row) for row in run_data.logs["base"]["0"]))
    return run


def predictions(run_data):
    from dissensus.records import Prediction

    return [
        Prediction(pair_id=pair.id, model=model, seed=seed, reward_a=0, reward_b=0, preference_a=float(p))
        for model, rows in run_data.joined.predicted.items()
        for seed, row in enumerate(rows)
        for pair, p in zip(run_data.joined.pairs, row, strict=True)
    ]


def test_a_finished_run_comes_back_whole(folder, run_data):
    loaded = load_run(folder)
    assert not loaded.missing
    assert loaded.metrics == run_data.metrics
    assert loaded.margins == run_data.margins
    assert loaded.config == run_data.config
    assert loaded.logs == {"base": {"0": run_data.logs["base"]["0"]}}
    assert loaded.joined.human.tolist() == run_data.joined.human.tolist()
    assert loaded.joined.models == run_data.joined.models


def test_the_page_of_an_unfinished_run(folder):
    (folder / "scores.json").unlink()
    (folder / "margins.parquet").unlink()
    (folder / "judgments.db").unlink()
    out = folder / "report.html"
    write_report(folder, out)
    html = out.read_text()
    assert "the scores (scores.json)" in html
    assert "the margins (margins.parquet)" in html
    assert "the judgments (judgments.db)" in html
    assert "Predicted against human preference" in html


def test_the_run_s_own_store_is_read(folder, run_data):
    pairs = run_data.joined.pairs[:3]
    judgments = [
        Judgment(pair_id=pair.id, judge="j", sample=k, order=order, choice=choice)
        for pair in pairs
        for k, (order, choice) in enumerate([("ab", "a"), ("ab", None), ("ba", "b"), ("ba", "b")])
    ]
    with JudgmentStore(folder / "judgments.db") as store:
        store.add(judgments, {pair.id: pair for pair in pairs})
    judged = load_run(folder).judged
    assert [(j.judge, j.pairs, j.judgments, j.invalid) for j in judged.judges] == [("j", 3, 12, 0.25)]
    assert judged.judges[0].first.value == 1.0
    assert judged.judges[0].flips.value == 1.0
    assert judged.verdicts[pairs[0].id][0].orders == {"ab": [1, 0, 0, 1], "ba": [0, 2, 0, 0]}


def test_of_a_test_judge_the_margins_are_made_and_the_rest_of_the_store_is_left_alone(folder, run_data):
    test, train = run_data.joined.pairs[:3], [pair.model_copy(update={"id": f"t{pair.id}"}) for pair in PAIRS]
    write_records(folder / "pairs" / "train_votes.parquet", train)
    manifest = {"name": "run", "stages": [{"name": "judge", "counts": {"judge": "mine-1f"}}]}
    write_json(folder / "manifest.json", manifest)

    def judgment(pair, judge, k, choice, **more):
        return Judgment(pair_id=pair.id, judge=judge, sample=k, choice=choice, **more)

    in_store = [judgment(train[0], "mine-1f", k, "a") for k in range(4)]
    in_store += [judgment(train[1], "another-2e", 0, "b"), judgment(test[0], "gpt4-3d", 0, "a")]
    by_id = {pair.id: pair for pair in [*train, *test]}
    with JudgmentStore(folder / "judgments.db") as store:
        store.add(in_store, by_id)
    (folder / "judged").mkdir()
    own = [judgment(test[0], "gpt4", k, choice) for k, choice in enumerate(["a", "a", "b", "a"])]
    own += [judgment(test[1], "gpt4", 0, "tie", probability_a=0.5), judgment(test[1], "gpt4", 1, None)]
    write_records(folder / "judged" / "gpt4.parquet", own)
    judged = load_run(folder).judged
    assert [(j.judge, j.of, j.judgments) for j in judged.judges] == [
        ("mine-1f", "training pairs", 4),
        ("gpt4", "test pairs", 6),
    ]
    assert (judged.judges[1].ties, judged.judges[1].invalid) == (1 / 6, 1 / 6)
    (first,), (second,) = judged.verdicts[test[0].id], judged.verdicts[test[1].id]
    assert (first.margin.margin, first.margin.n_judgments) == (0.5, 4)
    assert second.orders == {"ab": [0, 0, 1, 1]}
    assert (second.margin.margin, second.margin.n_judgments, second.margin.n_invalid) == (0, 1, 1), "a tie is a vote"
    assert test[2].id not in judged.verdicts


def test_a_position_bias_is_of_the_run_s_pairs_and_not_of_the_whole_store(folder, run_data, tmp_path):
    rng = np.random.default_rng(0)
    own, foreign = run_data.joined.pairs[:40:2], [pair.model_copy(update={"id": f"f{pair.id}"}) for pair in PAIRS]

    def fill(path, pairs, share):
        rows = []
        for pair in pairs:
            for order in ("ab", "ba"):
                a = share()
                reading = ChoiceDistribution(np.log([a, 0.99 - a]), "AB", 2, 2)
                row = StoredDistribution(pair.id, "j-1", content_of(pair), order, "", reading)
                rows.append((content_key("j-1", row.content, order, ""), row))
        with JudgmentStore(path) as store:
            store.insert_distributions(rows)

    fill(tmp_path / "alone.db", own, lambda: 0.1 + 0.8 * rng.random())
    with JudgmentStore(tmp_path / "alone.db") as store:
        rows = [(content_key("j-1", row.content, row.order, ""), row) for row in store.distributions()]
        expected = position_bias(store, "j-1")
    with JudgmentStore(folder / "judgments.db") as store:
        store.insert_distributions(rows)
    fill(folder / "judgments.db", foreign, lambda: 0.98)
    (found,) = load_run(folder).judged.judges
    assert 0 < expected.flips < 20
    assert (found.pairs, found.compared) == (20, expected.compared)
    assert found.first.value == pytest.approx(expected.first)
    assert found.flips.value == pytest.approx(expected.flip_share)


def test_models_that_are_not_trained_and_have_not_predicted_are_named(folder):
    config = {"models": {"base": {}, "margin": {}}, "seeds": [0, 1]}
    write_json(folder / "manifest.json", {"name": "run", "config": config, "stages": []})
    assert list(load_run(folder).missing) == [
        "the model base, seed 1 (models/base/seed-1)",
        "the model margin, seed 0 (models/margin/seed-0)",
        "the model margin, seed 1 (models/margin/seed-1)",
        "the predictions of margin (predictions/margin.parquet)",
    ]


def test_what_an_earlier_run_left_of_models_seeds_and_judges_is_left_aside(folder, run_data):
    """The pairs are those that the study's own models have predicted, whatever a model that was taken out has."""
    stages = [{"name": "judge the test pairs: j", "outputs": {"judged/j.parquet": "f"}}]
    config = {"models": {"base": {}}, "pretrained": {"given": "x"}, "seeds": [0]}
    write_json(folder / "manifest.json", {"name": "run", "config": config, "stages": stages})
    own = [row for row in predictions(run_data) if row.model == "base"]
    for name, rows in (("base", own), ("given", own), ("removed", own[:5])):
        renamed = [row.model_copy(update={"model": name}) for row in rows]
        write_records(folder / "predictions" / f"{name}.parquet", renamed)
    log = folder / "models" / "base" / "seed-0" / "training.jsonl"
    for old in ("removed/seed-0", "base/seed-1"):
        shutil.copytree(log.parent, folder / "models" / old)
    for judge in ("j", "gone"):
        said = [Judgment(pair_id=pair.id, judge=judge, sample=0, choice="a") for pair in run_data.joined.pairs]
        write_records(folder / "judged" / f"{judge}.parquet", said)
    loaded = load_run(folder)
    assert loaded.joined.models == ("base", "given")
    assert len(loaded.joined.pairs) == 80
    assert [judge.judge for judge in loaded.judged.judges] == ["j"]
    assert {name: list(seeds) for name, seeds in loaded.logs.items()} == {"base": ["0"]}
    assert [words.partition(": left aside")[0] for words in loaded.missing] == [
        "predictions/removed.parquet",
        "judged/gone.parquet",
        "models/base/seed-1/training.jsonl",
        "models/removed/seed-0/training.jsonl",
    ]


def test_a_page_of_too_many_runs_is_warned_of(folder, monkeypatch):
    quiet = CliRunner().invoke(command, [str(folder)])
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    monkeypatch.setattr("dissensus.reports.page.LIMIT", 1000)
    loud = CliRunner().invoke(command, [str(folder)])
    assert loud.exit_code == 0
    assert "nothing more can be left out; give fewer" in loud.stderr


def test_half_a_line_at_the_end_of_a_log_is_a_training_that_goes_on(folder):
    log = folder / "models" / "base" / "seed-0" / "training.jsonl"
    whole = load_run(folder).logs["base"]["0"]
    log.write_text(log.read_text() + '\n{"step": 1')
    assert load_run(folder).logs["base"]["0"] == whole
    log.write_text('{"step": 1\n' + log.read_text())
    with pytest.raises(InputError, match=r"training.jsonl:1: not a JSON object"):
        load_run(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("manifest.json", "{", r"not a manifest \(Invalid JSON: EOF"),
        ("manifest.json", "[]", r"not a manifest \(Input should be an object"),
        (
            "manifest.json",
            '{"name": "run", "stages": [], "config": {"models": 3}}',
            r"not a manifest \(config.models: ",
        ),
        ("scores.json", "{}", "expected a list of metrics"),
        ("scores.json", '[{"model": "m"}]', "not a metric: 0.group: Field required"),
    ],
)
def test_a_broken_file_is_named(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=rf"{name}: {message}"):
        load_run(folder)


def test_predictions_of_other_pairs_alone_are_an_error_of_the_run(folder, run_data):
    pairs = run_data.joined.pairs
    write_records(folder / "pairs" / "test.parquet", pairs[:-1])
    assert [pair.id for pair in load_run(folder).joined.pairs] == [pair.id for pair in pairs[:-1]]
    write_records(folder / "pairs" / "test.parquet", [pair.model_copy(update={"id": f"x{pair.id}"}) for pair in pairs])
    with pytest.raises(InputError, match=r"'base' \(seed 0\): none of its 80 predictions is for one of the 80 pairs"):
        load_run(folder)

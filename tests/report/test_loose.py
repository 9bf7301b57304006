"""A folder with what the verbs wrote, without a study: its files are found by what is in them."""

import shutil

import pytest

from dissensus.errors import InputError
from dissensus.evaluation.join import join
from dissensus.evaluation.scorecard import score
from dissensus.files import read_records, write_json, write_records
from dissensus.records import Annotator, Judgment, Margin, Pair, Prediction, Votes
from dissensus.reports.folder.run_reader import load_run


@pytest.fixture
def loose(made, tmp_path):
    shutil.copytree(made / "loose", tmp_path / "loose")
    return tmp_path / "loose"


@pytest.fixture
def pairs(loose):
    return list(read_records(loose / "asked.parquet", Pair))


@pytest.fixture
def predictions(loose):
    return list(read_records(loose / "said.parquet", Prediction))


def _judgments(pairs):
    return [Judgment(pair_id=pair.id, judge="k", sample=0, choice="b") for pair in pairs]


def test_each_part_is_found_whatever_it_is_called(loose):
    loaded = load_run(loose)
    assert len(loaded.metrics) > 20
    assert loaded.joined.models == ("base", "other")
    assert len(loaded.joined.pairs) == 12
    assert len(loaded.margins) == 12
    assert [(judge.judge, judge.of) for judge in loaded.judged.judges] == [("j", "test pairs")]
    assert loaded.missing == []


def test_of_several_files_of_pairs_the_evaluated_ones_are_chosen(loose, pairs):
    """Not the training pairs, not those without votes, and of two copies the one that is in categories."""
    training = [pair.model_copy(update={"id": f"t{pair.id}"}) for pair in pairs]
    write_records(loose / "pairs.parquet", training)
    write_records(loose / "pairs-unlabelled.jsonl", [pair.model_copy(update={"votes": None}) for pair in pairs])
    write_records(loose / "some.csv", pairs[:6])
    write_records(loose / "classified.parquet", [pair.model_copy(update={"distinct": "yes"}) for pair in pairs])
    write_records(loose / "m.parquet", [Margin(pair_id=pair.id, margin=1, n_judgments=2) for pair in training])
    loaded = load_run(loose)
    assert {pair.distinct for pair in loaded.joined.pairs} == {"yes"}
    assert len(loaded.joined.pairs) == 12
    assert [pair.id for pair in loaded.training] == [pair.id for pair in training]


def test_a_split_is_told_from_what_it_was_drawn_from(loose, pairs):
    """Both files have all pairs that were scored, or that have margins."""
    training = [pair.model_copy(update={"id": f"t{pair.id}"}) for pair in pairs]
    write_records(loose / "whole.parquet", [*pairs, *training])
    write_records(loose / "a whole.parquet", [*pairs, *training])
    write_records(loose / "practice.jsonl", training)
    write_records(loose / "m.parquet", [Margin(pair_id=pair.id, margin=1, n_judgments=2) for pair in training])
    loaded = load_run(loose)
    assert [pair.id for pair in loaded.joined.pairs] == [pair.id for pair in pairs]
    assert loaded.joined.without_votes == loaded.joined.without_predictions == 0
    assert [pair.id for pair in loaded.training] == [pair.id for pair in training]


def test_predictions_of_several_files_and_on_more_pairs_than_were_evaluated(loose, pairs, predictions):
    (loose / "said.parquet").unlink()
    more = [row.model_copy(update={"pair_id": f"x{row.pair_id}"}) for row in predictions]
    for model in ("base", "other"):
        write_records(loose / f"{model}.jsonl", [row for row in [*predictions, *more] if row.model == model])
    write_records(loose / "unscored.parquet", [row.model_copy(update={"model": "new"}) for row in predictions])
    loaded = load_run(loose)
    assert loaded.joined.models == ("base", "other")
    assert len(loaded.joined.pairs) == len(pairs)


def test_a_second_file_of_the_same_model_is_left_aside_and_named(loose, predictions):
    shutil.move(loose / "said.parquet", loose / "predictions.parquet")
    write_records(loose / "calibrated.jsonl", [row for row in predictions if row.model == "base"])
    loaded = load_run(loose)
    assert loaded.joined.predicted["base"].shape == (2, 12)
    assert loaded.missing == ["calibrated.jsonl: predictions of base that other files have too are left aside"]


def test_margins_of_judgments_come_before_preferences_under_another_rule(loose, pairs):
    shutil.move(loose / "m.parquet", loose / "margins.parquet")
    write_records(loose / "all.parquet", [Margin(pair_id=pair.id, margin=0.1, preference_a=0.5) for pair in pairs])
    loaded = load_run(loose)
    assert {margin.margin for margin in loaded.margins} == {0.5}
    assert loaded.missing == ["all.parquet: left aside, as margins.parquet has margins too"]


def test_of_two_stores_and_a_file_of_judgments_one_is_read_and_the_others_are_named(loose, pairs):
    shutil.copy(loose / "store.sqlite", loose / "judgments.db")
    write_records(loose / "said-by.jsonl", _judgments(pairs))
    shutil.copy(loose / "card.json", loose / "scores.json")
    assert load_run(loose).missing == [
        "card.json: left aside, as scores.json has a scorecard too",
        "store.sqlite: left aside, as judgments.db has judgments too",
        "said-by.jsonl: left aside, as judgments.db has judgments too",
    ]


def test_judgments_of_other_pairs_and_a_repeated_export_do_no_harm(loose, pairs):
    (loose / "store.sqlite").unlink()
    strays = _judgments([pair.model_copy(update={"id": f"x{pair.id}"}) for pair in pairs])
    write_records(loose / "export.jsonl", [*_judgments(pairs), *strays])
    shutil.copy(loose / "export.jsonl", loose / "export again.jsonl")
    loaded = load_run(loose)
    assert [(judge.judge, judge.pairs, judge.judgments) for judge in loaded.judged.judges] == [("k", 12, 12)]
    assert loaded.missing == ["export.jsonl: judgments by k that other files have too are left aside"]


def test_one_model_that_predicted_in_two_files_of_different_pairs_is_one_model(loose, predictions):
    (loose / "said.parquet").unlink()
    half = {row.pair_id for row in predictions[:6]}
    write_records(loose / "first.parquet", [row for row in predictions if row.pair_id in half])
    write_records(loose / "second.parquet", [row for row in predictions if row.pair_id not in half])
    loaded = load_run(loose)
    assert loaded.missing == []
    assert len(loaded.joined.pairs) == 12


def test_pairs_that_not_every_model_has_predicted_are_found_as_evaluate_allows_them(loose, pairs, predictions):
    """The pairs that were scored, and not others that a model has predicted alone."""
    kept = [row for row in predictions if row.model == "base" or row.pair_id not in ("p0", "p1")]
    write_records(loose / "said.parquet", kept)
    card = [row.model_dump() for row in score(join(pairs, kept, allow_missing=True), n_resamples=0)]
    write_json(loose / "card.json", card)
    write_records(loose / "alone.jsonl", pairs[:2])
    loaded = load_run(loose)
    assert loaded.missing == []
    assert [pair.id for pair in loaded.joined.pairs] == [pair.id for pair in pairs[2:]]


def test_of_two_files_of_votes_on_the_same_pairs_the_evaluated_one_is_shown_and_the_other_named(loose, pairs):
    others = [pair.model_copy(update={"votes": Votes(a=pair.votes.b, b=pair.votes.a + 1)}) for pair in pairs]
    write_records(loose / "an opinion.parquet", others)
    loaded = load_run(loose)
    assert loaded.joined.human.tolist() == [pair.votes.preference for pair in pairs]
    assert loaded.missing == [
        "an opinion.parquet: left aside, as its votes on the same pairs do not give the scorecard's L1, and those of "
        "asked.parquet do"
    ]


def test_predictions_that_were_made_anew_are_not_shown_beside_the_old_numbers(loose, predictions):
    anew = [row.model_copy(update={"preference_a": 1 - row.preference_a / 2}) for row in predictions]
    write_records(loose / "said.parquet", anew)
    loaded = load_run(loose)
    assert loaded.joined is None
    (said,) = loaded.missing
    assert said.startswith("the test pairs (with the predictions here, the votes of asked.parquet do not give")


def test_calibrated_preferences_are_shown_where_they_were_scored(loose, pairs, predictions):
    both = [row.model_copy(update={"calibrated_a": 0.25 + row.preference_a / 2}) for row in predictions]
    write_records(loose / "said.parquet", both)
    assert load_run(loose).joined.predicted["base"].min() == 0
    joined = join(pairs, both, calibrated=True)
    write_json(loose / "card.json", [row.model_dump() for row in score(joined, n_resamples=0)])
    loaded = load_run(loose)
    assert loaded.missing == []
    assert loaded.joined.predicted["base"].tolist() == joined.predicted["base"].tolist()


def test_files_that_cannot_be_read_are_named_where_the_pairs_or_predictions_are_not_found(loose, pairs):
    (loose / "asked.parquet").unlink()
    write_records(loose / "asked.jsonl", pairs)
    with (loose / "asked.jsonl").open("a") as file:
        file.write('{"prompt": ')
    absent, why = load_run(loose).missing
    assert absent.startswith("the test pairs (no file here has pairs with votes")
    assert why.startswith("not read: asked.jsonl:13: malformed JSON")
    write_records(loose / "asked.jsonl", pairs)
    (loose / "said.parquet").write_bytes((loose / "said.parquet").read_bytes()[:99])
    absent, why = load_run(loose).missing
    assert absent.startswith("the predictions (no file here has")
    assert why.startswith("not read: said.parquet: not readable as Parquet")
    write_records(loose / "asked.jsonl", [pair.model_copy(update={"id": f"x{pair.id}"}) for pair in pairs])
    (loose / "said.parquet").unlink()
    assert load_run(loose).missing == ["the predictions (no file here has those of a model that was scored)"]


def test_several_scorecards_need_a_name(loose, pairs, predictions):
    other = [row.model_dump() for row in score(join(pairs, predictions), n_resamples=0)]
    write_json(loose / "other.json", other)
    with pytest.raises(InputError, match=r"several scorecards \(card\.json, other\.json\); name the one to show"):
        load_run(loose)
    shutil.move(loose / "other.json", loose / "scores.json")
    assert len(load_run(loose).metrics) == len(other)


def test_other_files_do_no_harm(loose):
    write_records(loose / "people.jsonl", [Annotator(id="x", attributes={"age": "7"})])
    (loose / "notes.csv").write_text('a,b\n"')
    (loose / "config.json").write_text('{"a": 1}')
    (loose / "empty.jsonl").write_text("")
    (loose / "model").mkdir()
    (loose / "model" / "training.jsonl").write_text('{"step": 1, "epoch": 1, "nll": 0.5}\n')
    loaded = load_run(loose)
    assert loaded.missing == []
    assert loaded.logs["model"][""] == [{"step": 1, "epoch": 1, "nll": 0.5}]


def test_the_yaml_of_a_study_to_come_may_lie_beside_them(loose):
    (loose / "study.yaml").write_text("title: to come\n")
    assert load_run(loose).joined.models == ("base", "other")
    (loose / "card.json").unlink()
    assert load_run(loose).config == "title: to come\n"

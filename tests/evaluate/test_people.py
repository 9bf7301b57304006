from functools import partial

import numpy as np
import pytest

from dissensus.evaluation.join import Joined
from dissensus.evaluation.people import aggregated_preferences, ratings_of, score_people
from dissensus.evaluation.resample import Resampling
from dissensus.evaluation.rules import estimated_targets
from dissensus.records import Pair, Vote, Votes
from dissensus.stats.agreement import dawid_skene
from dissensus.stats.ceilings.noise_ceiling import ceiling


def _pair(row: int, votes: list[tuple[str | None, str]], dataset: str = "d") -> Pair:
    counts = {side: sum(vote == side for _, vote in votes) for side in ("a", "b", "tie")}
    return Pair(
        id=f"{dataset}{row}",
        prompt=f"prompt {row}",
        response_a="x",
        response_b="y",
        dataset=dataset,
        votes=Votes(**counts, annotations=tuple(Vote(annotator=name, vote=vote) for name, vote in votes)),
    )


def _population(rng: np.random.Generator, pairs: int, dataset: str = "d") -> tuple[list[Pair], np.ndarray]:
    """Three annotators who are right 9 times of 10, and one who guesses."""
    truth = rng.random(pairs) < 0.5
    rows = []
    for row, true in enumerate(truth):
        says = [true if rng.random() < 0.9 else not true for _ in range(3)] + [bool(rng.random() < 0.5)]
        rows.append(_pair(row, [(f"w{k}", "a" if said else "b") for k, said in enumerate(says)], dataset))
    return rows, truth


def test_annotators_who_met_are_columns_and_a_crowd_is_not():
    rng = np.random.default_rng(0)
    pairs, _ = _population(rng, 20)
    crossed = ratings_of(pairs)
    assert crossed.crossed
    assert crossed.table.ratings_by_annotator.shape == (20, 4)
    unnamed = [pair.model_copy(update={"votes": pair.votes.model_copy(update={"annotations": None})}) for pair in pairs]
    crowd = ratings_of(unnamed)
    assert not crowd.crossed
    # Either way each pair's ratings average to its preference.
    human = [pair.votes.preference for pair in pairs]
    for table in (crossed.table, crowd.table):
        assert table.total / table.size + table.origin == pytest.approx(human)


def test_one_name_in_two_data_sets_is_two_people_and_one_who_votes_twice_no_column():
    two = [_pair(row, [("w", "a"), ("v", "b")], dataset) for dataset in "de" for row in range(2)]
    assert ratings_of(two).table.ratings_by_annotator.shape == (4, 4)
    assert not ratings_of([_pair(0, [("w", "a"), ("w", "a")])]).crossed


def test_a_crowd_that_never_meets_again_is_no_matrix_of_annotators():
    crowd = [_pair(row, [(f"w{row}-{k}", "ab"[(row + k) % 2]) for k in range(3)]) for row in range(20)]
    assert not ratings_of(crowd).crossed
    rows = {row.metric: row for row in score_people(crowd, Resampling(n=0))}
    assert rows["icc_2k"].value is not None
    assert rows["icc_2k"].notes == ("ICC(1,k): every pair has annotators of its own",)


def test_data_sets_of_one_prompt_are_drawn_together_and_alone_have_no_interval():
    """One prompt in each data set: drawn by themselves, every resample would be the sample, and no interval wide."""
    pairs = [_pair(row, [("v", "a"), ("w", "ab"[row % 2])], dataset=f"d{row}") for row in range(6)]
    rows = {(row.group, row.metric): row for row in score_people(pairs, Resampling(n=100))}
    assert rows["all", "agreement_raw"].low < 0.5 < rows["all", "agreement_raw"].high
    assert {row.low for (group, _), row in rows.items() if group != "all"} == {None}


def test_unanimous_people_agree_and_single_votes_tell_nothing():
    same = [_pair(row, [("v", side), ("w", side)]) for row, side in enumerate("ab" * 10)]
    rows = {row.metric: row for row in score_people(same, Resampling(n=200))}
    assert {row.value for row in rows.values()} == {1.0}
    assert {row.kind for row in rows.values()} == {"people"}
    single = [_pair(row, [("v", side)]) for row, side in enumerate("ab" * 10)]
    rows = {row.metric: row for row in score_people(single, Resampling(n=200))}
    assert {row.value for row in rows.values()} == {None}
    assert {row.notes for row in rows.values()} == {("undefined: no pair has two votes",)}


def test_models_of_annotators_see_through_one_who_guesses():
    pairs, truth = _population(np.random.default_rng(2), 300)
    votes = np.array([pair.votes.preference for pair in pairs])
    for fit in aggregated_preferences(pairs).values():
        assert fit[1]
        assert np.abs(fit[0] - truth).mean() < np.abs(votes - truth).mean()


def test_a_data_set_without_names_is_left_out_of_the_sensitivity():
    named, _ = _population(np.random.default_rng(3), 10, "d")
    unnamed = [
        pair.model_copy(update={"votes": Votes(a=2, b=1), "dataset": "e", "id": "e" + pair.id}) for pair in named
    ]
    for fit in aggregated_preferences([*named, *unnamed]).values():
        assert np.isfinite(fit[0][:10]).all()
        assert np.isnan(fit[0][10:]).all()


def test_a_fit_that_was_stopped_says_so(monkeypatch):
    pairs, _ = _population(np.random.default_rng(2), 300)
    short = partial(dawid_skene.dawid_skene, max_iterations=3)
    monkeypatch.setattr("dissensus.evaluation.people.dawid_skene", short)
    predicted = {"m": np.full((1, 300), 0.5)}
    human = np.array([pair.votes.preference for pair in pairs])
    notes = {t.name: t.notes for t in estimated_targets(Joined(pairs=tuple(pairs), human=human, predicted=predicted))}
    assert notes["dawid-skene"][-1] == "its fit was stopped while it still moved"
    assert "stopped" not in str(notes["mace"])


@pytest.mark.real_data
def test_real_judgments_of_arguments(arguments):
    pairs = arguments[::10]
    rows = {row.metric: row for row in score_people(pairs, Resampling(n=0)) if row.group == "all"}
    assert 0.2 < rows["fleiss_kappa"].value < 0.35
    for fit in aggregated_preferences(pairs).values():
        human = [pair.votes.preference for pair in pairs]
        assert np.corrcoef(fit[0], human)[0, 1] > 0.85


def test_memory_does_not_grow_with_how_many_voted():
    """One pair of an A/B test among pairs of a few votes: its votes are counts, and no column each."""
    few = Pair(id="few", prompt="q", response_a="yes", response_b="no", votes=Votes(a=2, b=1))
    many = few.model_copy(update={"id": "many", "votes": Votes(a=3 * 10**7, b=10**7, tie=10**7)})
    table = ratings_of([few, many]).table
    assert table.counts.nnz == 5
    assert (table.total / table.size + table.origin).tolist() == [few.votes.preference, many.votes.preference]
    found = ceiling(table)
    assert found.l1 < 0.2
    told = ceiling(ratings_of([few, many.model_copy(update={"votes": Votes(a=3, b=1, tie=1)})]).table)
    laid_out = ceiling(np.array([[1, 1, 0, np.nan, np.nan], [1, 1, 1, 0, 0.5]]))
    assert (told.reliability, told.l1) == (laid_out.reliability, laid_out.l1)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissensus.stats.intervals import Estimate, cluster_counts, find_clusters, number_labels, percentile_interval
from dissensus.stats.metrics import mean_absolute_error


def draws(clusters, strata, n_resamples=200, seed=0):
    return np.concatenate(list(cluster_counts(clusters, strata, n_resamples, np.random.default_rng(seed))))


CLUSTERS = np.array(["p", "p", "q", "r", "r", "s"])
STRATA = np.array(["x", "x", "x", "y", "y", "y"])


def test_pairs_of_a_cluster_are_drawn_together():
    counts = draws(CLUSTERS, STRATA)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 3] == counts[:, 4]).all()


def test_each_stratum_keeps_its_number_of_clusters():
    counts = draws(CLUSTERS, STRATA)
    assert (counts[:, 0] + counts[:, 2] == 2).all()
    assert (counts[:, 3] + counts[:, 5] == 2).all()


def test_each_cluster_is_drawn_once_on_average():
    assert draws(CLUSTERS, STRATA, 4000).mean(axis=0) == pytest.approx(1, abs=0.05)


def test_one_seed_gives_one_set_of_resamples():
    assert (draws(CLUSTERS, STRATA, seed=1) == draws(CLUSTERS, STRATA, seed=1)).all()
    assert (draws(CLUSTERS, STRATA, seed=1) != draws(CLUSTERS, STRATA, seed=2)).any()


def test_a_name_in_two_strata_is_two_clusters():
    found = find_clusters(np.array(["p", "p"]), np.array(["x", "y"]))
    assert found.count == 2
    assert not found.vary


@given(st.lists(st.text(st.characters(exclude_characters="\0"), max_size=3)))
def test_labels_are_numbered_as_by_numpy(labels):
    names, numbers = number_labels(labels)
    theirs, their_numbers = np.unique(np.array(labels, dtype=np.str_), return_inverse=True)
    assert names == theirs.tolist()
    assert numbers.tolist() == their_numbers.tolist()


def test_a_label_takes_its_own_room_and_no_more(peak_memory):
    labels = ["x" * 1_000_000, *(f"p{i}" for i in range(100))]
    assert peak_memory(lambda: number_labels(labels)) < 1_000_000


def test_many_pairs_come_in_chunks_of_bounded_size():
    names = np.arange(10_000)
    chunks = [c.shape for c in cluster_counts(names, np.zeros(10_000), 450, np.random.default_rng(0))]
    assert sum(rows for rows, _ in chunks) == 450
    assert max(rows * columns for rows, columns in chunks) <= 2_000_000


def test_interval_is_left_out_where_the_value_or_most_resamples_are_undefined():
    assert percentile_interval(float("nan"), np.arange(10.0)).low is None
    assert percentile_interval(0.5, np.array([0.4, 0.5, np.nan])) == Estimate(0.5)
    assert percentile_interval(0.5, np.zeros(0)) == Estimate(0.5)
    mostly = np.append(np.linspace(0, 1, 99), np.nan)
    assert percentile_interval(0.5, mostly).low == pytest.approx(0.025)


def test_a_level_that_is_no_fraction_is_a_mistake():
    with pytest.raises(ValueError, match="level"):
        percentile_interval(0.5, np.arange(3.0), level=95)


def coverage(by_cluster, repeats=200):
    """How often the interval of an L1 holds the true one; errors of a prompt share a component."""
    rng = np.random.default_rng(3)
    prompts = np.repeat(np.arange(40), 5)
    truth = np.sqrt(0.1**2 + 0.05**2) * np.sqrt(2 / np.pi)
    hits = 0
    for seed in range(repeats):
        error = rng.normal(0, 0.1, 40)[prompts] + rng.normal(0, 0.05, 200)
        predicted, human = np.full(200, 0.5) + error, np.full(200, 0.5)
        units = prompts if by_cluster else np.arange(200)
        resampled = mean_absolute_error(predicted, human, draws(units, np.zeros(200), 400, seed))
        interval = percentile_interval(float(mean_absolute_error(predicted, human)), resampled)
        hits += interval.low <= truth <= interval.high
    return hits / repeats


@pytest.mark.slow
def test_clustered_intervals_cover_and_pairwise_ones_do_not():
    assert coverage(by_cluster=True) > 0.89
    assert coverage(by_cluster=False) < 0.85

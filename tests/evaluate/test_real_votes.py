import numpy as np
import pytest

from dissensus.evaluation.join import join
from dissensus.evaluation.scorecard import score
from dissensus.files import read_pairs
from dissensus.records import Prediction, plain_text

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def pairs(real_data_dir):
    return [p for p in read_pairs(real_data_dir / "vicuna80.jsonl.gz", notice=lambda _: None) if p.votes]


def length_model(pairs, scale):
    """A model that says: the longer answer wins."""
    for pair in pairs:
        gap = scale * np.log(len(plain_text(pair.response_a)) / len(plain_text(pair.response_b)))
        preference = float(1 / (1 + np.exp(-gap)))
        yield Prediction(pair_id=pair.id, model=f"length-{scale}", reward_a=gap, reward_b=0, preference_a=preference)


def test_people_prefer_longer_answers_and_the_categories_add_up(pairs):
    rows = score(
        join(pairs, [*length_model(pairs, 1), *length_model(pairs, 0.01)]), baseline="length-1", n_resamples=200
    )
    found = {(r.model, r.group, r.metric): r for r in rows if r.baseline is None}
    overall = found["length-1", "all", "pearson_symmetric"]
    assert overall.low > 0.1
    assert overall.clusters == 80
    in_categories = [
        r.n
        for (m, group, metric), r in found.items()
        if group.startswith("category=") and (m, metric) == ("length-1", "l1")
    ]
    assert sum(in_categories) == overall.n
    # A model that hardly dares to differ from 1/2 ranks the pairs alike, but is far from people.
    assert found["length-0.01", "all", "spearman"].value == pytest.approx(found["length-1", "all", "spearman"].value)
    assert found["length-0.01", "all", "l1"].value > found["length-1", "all", "l1"].value

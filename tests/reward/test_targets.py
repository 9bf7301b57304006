from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dissensus.errors import InputError, TrainingError
from dissensus.files import read_records
from dissensus.records import Label, Margin, Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.objectives import ObjectiveName
from dissensus.reward.objectives.targets import build_targets


def _pair(name: str, label: Label | None) -> Pair:
    return Pair(id=name, prompt="x", response_a="a", response_b="b", label=label)


PAIRS = [_pair("one", "a"), _pair("two", "b"), _pair("three", "tie"), _pair("four", None)]
MARGINS = [
    Margin(pair_id="four", margin=0.0, preference_a=0.5),
    Margin(pair_id="two", margin=0.6, preference_a=0.8),
    Margin(pair_id="one", margin=0.4, preference_a=0.7),
    Margin(pair_id="three", margin=1.0, preference_a=1.0),
]


def test_binary_objectives_drop_and_count_what_has_no_winner():
    targets = build_targets(PAIRS, None, TrainConfig())
    assert targets.target.tolist() == [1, 0]
    assert targets.margin.tolist() == [0, 0]
    assert (targets.ties_dropped, targets.unlabelled_dropped) == (1, 1)


def test_the_papers_margin_ignores_which_side_the_judges_take():
    unsigned = build_targets(PAIRS, MARGINS, TrainConfig(objective="margin"))
    assert unsigned.margin.tolist() == pytest.approx([0.4, 0.6])
    signed = build_targets(PAIRS, MARGINS, TrainConfig(objective="margin", margin_sign="signed", margin_scale=2))
    assert signed.margin.tolist() == pytest.approx([0.8, -1.2])


def test_soft_takes_the_judges_and_blend_weighs_them_with_the_label():
    soft = build_targets(PAIRS, MARGINS, TrainConfig(objective="soft"))
    assert soft.target.tolist() == pytest.approx([0.7, 0.8, 1.0, 0.5])
    blend = build_targets(PAIRS, MARGINS, TrainConfig(objective="blend", label_weight=0.25))
    assert blend.target.tolist() == pytest.approx([0.25 + 0.75 * 0.7, 0.75 * 0.8, 0.25 * 0.5 + 0.75])
    assert blend.unlabelled_dropped == 1


def test_brier_has_the_targets_of_blend_and_reads_no_margins_where_the_label_is_all():
    blend, brier = (
        build_targets(PAIRS, MARGINS, TrainConfig(objective=name, label_weight=0.25)) for name in ("blend", "brier")
    )
    assert brier.target.tolist() == blend.target.tolist()
    alone = TrainConfig(objective="brier", label_weight=1)
    assert not alone.reads_margins
    assert build_targets(PAIRS, None, alone).target.tolist() == [1, 0, 0.5]
    with pytest.raises(
        TrainingError, match=r"'brier' needs margins; .*, or train on the labels alone \(label_weight 1"
    ):
        build_targets(PAIRS, None, TrainConfig(objective="brier"))


def test_a_label_weight_below_0_goes_beyond_the_preference_as_far_as_the_pairs_allow():
    # Label a at .7 lets the weight fall to -7/3, label b at .8 to -1/4; the tie at 1 to 0.
    pairs, margins = PAIRS[:2], MARGINS[:3]
    targets = build_targets(pairs, margins, TrainConfig(objective="blend", label_weight=-0.25))
    assert targets.target.tolist() == pytest.approx([0.7 - 0.25 * 0.3, 1.0])
    with pytest.raises(TrainingError) as error:
        build_targets(pairs, margins, TrainConfig(objective="brier", label_weight=-0.5))
    assert str(error.value) == (
        "pair two: with label_weight -0.5 its target is 1.2, outside of 0 to 1, where the loss has no optimum (1 of 2 "
        "pairs); these pairs allow label_weight -0.25 or more, calibrated margins less"
    )
    with pytest.raises(TrainingError, match="allow label_weight 0 or more"):
        build_targets(PAIRS, MARGINS, TrainConfig(objective="blend", label_weight=-0.01))


def test_a_missing_margin_names_its_pair():
    with pytest.raises(TrainingError, match=r"1 of 4 pairs have no margin \(first: three\)"):
        build_targets(PAIRS, MARGINS[:3], TrainConfig(objective="margin"))
    some = build_targets(PAIRS, MARGINS[:3], TrainConfig(objective="soft"), allow_missing=True)
    assert ([pair.id for pair in some.pairs], some.unjudged_dropped) == (["one", "two", "four"], 1)
    with pytest.raises(TrainingError, match="needs margins"):
        build_targets(PAIRS, None, TrainConfig(objective="blend"))
    with pytest.raises(TrainingError, match="repeat a pair id"):
        build_targets(PAIRS, [*MARGINS, MARGINS[0]], TrainConfig(objective="margin"))


def test_no_usable_pair():
    with pytest.raises(TrainingError, match="none of the 2 pairs can train objective 'bradley-terry'"):
        build_targets(PAIRS[2:], None, TrainConfig())


def test_a_distribution_trains_on_labels_unless_told_otherwise():
    objective: ObjectiveName = "mean-variance"
    plain = build_targets(PAIRS, None, TrainConfig(objective=objective))
    assert (plain.target.tolist(), plain.ties_dropped, plain.unlabelled_dropped) == ([1, 0], 1, 1)
    soft = build_targets(PAIRS, MARGINS, TrainConfig(objective=objective, soft_targets=True, label_weight=0.25))
    blend = build_targets(PAIRS, MARGINS, TrainConfig(objective="blend", label_weight=0.25))
    assert soft.target.tolist() == blend.target.tolist()
    assert (soft.ties_dropped, soft.unlabelled_dropped) == (0, 1)
    assert not soft.margin.any()
    with pytest.raises(TrainingError, match=f"objective '{objective}' needs margins"):
        build_targets(PAIRS, None, TrainConfig(objective=objective, soft_targets=True))
    bare = [Margin(pair_id=pair.id, margin=1.0) for pair in PAIRS]
    with pytest.raises(TrainingError, match="carry no preference"):
        build_targets(PAIRS, bare, TrainConfig(objective=objective, soft_targets=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("objective", "field"), [("margin", "margin"), ("margin", "preference_a"), ("soft", "preference_a")]
)
def test_a_margin_that_is_no_number_is_refused_with_its_pair(objective: ObjectiveName, field: str, value: float):
    broken: dict[str, Any] = {"pair_id": "two", "margin": 0.6, "preference_a": 0.8} | {field: value}
    # As it may come from an array: records that are validated refuse it.
    margins = [MARGINS[0], Margin.model_construct(**broken), *MARGINS[2:]]
    with pytest.raises(TrainingError, match=f"pair two: the {field[:6]}.* is -?{value}, expected a number"):
        build_targets(PAIRS, margins, TrainConfig(objective=objective))


def test_a_signed_margin_needs_a_preference():
    """A margin alone has no side; trained on as it is, a margin against the label would count for it."""
    bare = [Margin(pair_id=pair.id, margin=1.0) for pair in PAIRS]
    with pytest.raises(TrainingError) as error:
        build_targets(PAIRS, bare, TrainConfig(objective="margin", margin_sign="signed"))
    assert str(error.value) == (
        "4 of 4 margins carry no preference (first: one, two, three), which margin_sign 'signed' needs; use "
        "margin_sign 'unsigned', or margins made from judgments or votes"
    )
    # Where no sign is read, none is missed.
    assert build_targets(PAIRS, bare, TrainConfig(objective="margin")).margin.tolist() == [1, 1]
    build_targets(PAIRS, bare, TrainConfig(margin_sign="signed"))


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("field", ["margin", "preference_a"])
def test_a_file_of_margins_with_a_nan_is_refused_with_its_row(tmp_path: Path, suffix: str, field: str):
    rows: list[dict[str, Any]] = [{"pair_id": name, "margin": 0.5, "preference_a": 0.75} for name in ("one", "two")]
    rows[1][field] = float("nan")
    file = tmp_path / f"margins.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif suffix == "csv":
        file.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]) + "\n")
    else:
        file.write_text("".join(str(row).replace("'", '"').replace("nan", "NaN") + "\n" for row in rows))
    with pytest.raises(InputError, match=rf"margins\.{suffix}:{3 if suffix == 'csv' else 2}: .*(?i:nan)"):
        list(read_records(file, Margin))

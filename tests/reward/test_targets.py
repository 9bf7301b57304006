import pytest

from dissensus.errors import TrainingError
from dissensus.records import Label, Margin, Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.targets import build_targets


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


def test_a_missing_margin_names_its_pair():
    with pytest.raises(TrainingError, match=r"1 of 4 pairs have no margin \(first: three\)"):
        build_targets(PAIRS, MARGINS[:3], TrainConfig(objective="margin"))
    some = build_targets(PAIRS, MARGINS[:3], TrainConfig(objective="soft"), allow_missing=True)
    assert ([pair.id for pair in some.pairs], some.unjudged_dropped) == (["one", "two", "four"], 1)
    with pytest.raises(TrainingError, match="needs margins"):
        build_targets(PAIRS, None, TrainConfig(objective="blend"))
    with pytest.raises(TrainingError, match="repeat a pair id"):
        build_targets(PAIRS, [*MARGINS, MARGINS[0]], TrainConfig(objective="margin"))


def test_a_margin_without_a_preference_is_no_soft_target():
    bare = [Margin(pair_id=pair.id, margin=1.0) for pair in PAIRS]
    assert build_targets(PAIRS, bare, TrainConfig(objective="margin")).margin.tolist() == [1, 1]
    with pytest.raises(TrainingError, match="carry no preference"):
        build_targets(PAIRS, bare, TrainConfig(objective="soft"))


def test_no_usable_pair():
    with pytest.raises(TrainingError, match="none of the 2 pairs can train objective 'bradley-terry'"):
        build_targets(PAIRS[2:], None, TrainConfig())

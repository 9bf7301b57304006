"""A distribution over tokens becomes one over verdicts exactly as sampling would make it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissensus.judges.language.choice_distribution import ChoiceDistribution, verdict_probabilities

ASKED = {
    "seed": st.integers(0, 10**6),
    "temperature": st.sampled_from([0.3, 0.7, 1.0, 1.8]),
    "top_p": st.sampled_from([0.5, 0.9, 1]),
}


def make_distribution(
    seed: int, vocabulary: int = 40, seen: int | None = None, *, know_size: bool = True
) -> ChoiceDistribution:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=vocabulary) * generator.uniform(0.5, 4)
    logprobs = np.sort(logits - np.logaddexp.reduce(logits))[::-1]
    verdicts = "".join(generator.choice(list("AB------"), size=vocabulary))
    seen = seen or vocabulary
    return ChoiceDistribution(
        logprobs[:seen], verdicts[:seen], seen, vocabulary if know_size else 0, labels_complete=seen == vocabulary
    )


def sampled_shares(reading: ChoiceDistribution, temperature: float, top_p: float) -> tuple[float, float]:
    """What transformers' own warpers leave of a fully seen distribution."""
    import torch
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    scores = torch.tensor(reading.logprobs.copy())[None]
    scores = TemperatureLogitsWarper(temperature)(None, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    kept = scores.softmax(-1)[0].numpy()
    a, b = (float(kept[[v == side for v in reading.verdicts]].sum()) for side in "AB")
    return a, b


@given(**ASKED)
def test_agrees_with_the_warpers_of_transformers(seed: int, temperature: float, top_p: float) -> None:
    reading = make_distribution(seed)
    found = verdict_probabilities(reading, temperature=temperature, top_p=top_p)
    assert (found.a, found.b) == pytest.approx(sampled_shares(reading, temperature, top_p), abs=1e-9)
    assert found.error < 1e-9
    assert found.a + found.b + found.none == pytest.approx(1)


@given(**ASKED, seen=st.integers(1, 39), know_size=st.booleans())
def test_the_truth_lies_within_the_stated_error(
    seed: int, temperature: float, top_p: float, seen: int, know_size: bool
) -> None:
    truth = verdict_probabilities(make_distribution(seed), temperature=temperature, top_p=top_p)
    part = verdict_probabilities(
        make_distribution(seed, seen=seen, know_size=know_size), temperature=temperature, top_p=top_p
    )
    assert abs(part.a - truth.a) <= part.error + 1e-9
    assert abs(part.b - truth.b) <= part.error + 1e-9


def test_top_tokens_that_reach_top_p_settle_it() -> None:
    """0.6 A, 0.35 B, the rest unseen: at 0.9 both are kept and nothing else."""
    reading = ChoiceDistribution(np.log([0.6, 0.35]), "AB", 2)
    found = verdict_probabilities(reading, temperature=1.0, top_p=0.9)
    assert (found.a, found.b, found.none) == pytest.approx((0.6 / 0.95, 0.35 / 0.95, 0))
    assert found.error == pytest.approx(0, abs=1e-12)


def test_top_p_counts_every_token_before_it_looks_at_verdicts() -> None:
    """Over {A, B} alone, top-p 0.9 would keep both; over all tokens B is cut off."""
    reading = ChoiceDistribution(np.log([0.5, 0.42, 0.08]), "A-B", 3, 3)
    found = verdict_probabilities(reading, temperature=1.0, top_p=0.9)
    assert (found.a, found.b, found.none) == pytest.approx((0.5 / 0.92, 0, 0.42 / 0.92))
    sure = ChoiceDistribution(np.log([0.9, 0.1]), "AB", 2, 2)
    assert verdict_probabilities(sure, temperature=1.0, top_p=0.9).a == pytest.approx(1)


def test_an_unseen_label_is_a_bound_and_not_zero() -> None:
    reading = ChoiceDistribution(np.log([0.5, 0.2]), "A-", 2, 100)
    found = verdict_probabilities(reading, temperature=1.0, top_p=0.9)
    assert 0.1 < found.b <= found.error


def test_the_prefix_is_forced_only_where_its_tokens_alone_reach_top_p() -> None:
    reading = ChoiceDistribution(np.log([0.9, 0.1]), "AB", 2, 2, forced=0.93)
    assert reading.is_forced(temperature=1.0, top_p=0.9)
    assert not reading.is_forced(temperature=1.0, top_p=0.95)
    assert reading.is_forced(temperature=0.7, top_p=0.95)
    assert not reading.is_forced(temperature=1.0, top_p=1)
    assert ChoiceDistribution(np.log([0.9, 0.1]), "AB", 2, 2, forced=0.9995).is_forced(temperature=1.0, top_p=1)
    assert not reading.is_forced(temperature=2.0, top_p=0.9)
    assert not ChoiceDistribution(np.log([0.9]), "A", 1, forced=float("nan")).is_forced(temperature=1.0, top_p=0.1)


@given(seed=st.integers(0, 10**6))
def test_packing_keeps_a_distribution(seed: int) -> None:
    reading = make_distribution(seed, seen=7)
    again = ChoiceDistribution.from_bytes(reading.to_bytes())
    assert again.verdicts == reading.verdicts
    assert (again.top, again.vocabulary) == (7, 40)
    np.testing.assert_allclose(again.logprobs, reading.logprobs, rtol=1e-6)


@pytest.mark.parametrize("blob", [b"", b"\x01\x00", b"\x09" * 40])
def test_damaged_bytes_are_no_distribution(blob: bytes) -> None:
    with pytest.raises(ValueError, match="no choice distribution"):
        ChoiceDistribution.from_bytes(blob)

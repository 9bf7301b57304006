"""The practice round, the guide and the demo."""

from dissensus.annotate.practice import demo_pairs, guide, practice_pairs
from dissensus.records import plain_text


def test_practice_covers_every_answer():
    pairs, known = practice_pairs()
    assert [pair.id for pair in pairs] == list(known)
    assert {answer.correct for answer in known.values()} == {"single", "multiple"}
    assert {answer.distinct for answer in known.values()} == {"yes", "no"}
    spans = [answer.estimates for answer in known.values()]
    assert all(least <= most for least, most in spans)
    assert any(least >= 8 for least, _ in spans)
    assert any(least <= 5 <= most for least, most in spans)


def test_reasons_name_no_side_for_sides_are_drawn():
    _, known = practice_pairs()
    for answer in known.values():
        assert not [
            word for word in ("left", "right one", "Answer A", "answer A", "first answer") if word in answer.because
        ]


def test_the_demo_has_texts_of_many_kinds():
    pairs = demo_pairs()
    texts = [plain_text(pair.response_a) + plain_text(pair.response_b) for pair in pairs]
    assert len({pair.id for pair in pairs}) == len(pairs) >= 10
    assert any("```" in text for text in texts)
    assert any("|---|" in text for text in texts)
    assert any(not isinstance(pair.prompt, str) for pair in pairs)
    assert any("\u0600" <= letter <= "\u06ff" for text in texts for letter in text)
    assert max(map(len, texts)) > 1000


def test_a_guide_of_ones_own_takes_the_place_of_ours():
    assert "How to annotate" in guide("")
    assert guide("# Mine\n\n<script>x</script>") == "<h4>Mine</h4>\n<p>&lt;script&gt;x&lt;/script&gt;</p>\n"

import json

import pytest

from dissensus.reports.embed import clean, isolate, script_json, source_hash

from .payloads import PAYLOADS


@pytest.mark.parametrize("text", PAYLOADS)
def test_json_comes_back_as_it_was_and_holds_nothing_that_html_knows(text):
    written = str(script_json({text: [text, 0.5, None]}))
    assert json.loads(written) == {text: [text, 0.5, None]}
    assert not set("<>&\u2028\u2029") & set(written)


def test_json_has_no_numbers_that_json_does_not_know():
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json(float("nan"))


def test_what_is_clean_can_be_written_and_stays_as_it_is():
    text = clean("".join(map(chr, range(0x300))) + "\ud83d|\udc00 😀")
    assert text.encode("utf-8").decode() == text == clean(text)
    assert "\x00" not in text
    assert "😀" in text


def test_names_written_left_to_right_are_left_alone():
    assert isolate("margin-0.5 (中文)") == "margin-0.5 (中文)"
    assert isolate("שלום") == "\u2068שלום\u2069"


def test_the_hash_is_the_one_that_browsers_compute():
    # The example of the Content Security Policy, level 2, section 7.17.3.
    assert source_hash("alert('Hello, world.');") == "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"

import os
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from dissensus.reward.text import token_cache
from dissensus.reward.text.encode import Encoding

TEXTS = [("why is it", "it is good"), ("how", "a bad answer"), ("why is it", "no")]


@pytest.fixture
def encoding(tiny_bert: Path) -> Encoding:
    return Encoding(AutoTokenizer.from_pretrained(tiny_bert), 16)


def test_what_is_mapped_is_what_was_encoded(encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(token_cache, "CHUNK", 2)
    fresh = list(encoding.encode(TEXTS))
    written = list(encoding.encode(TEXTS, cache=tmp_path))
    monkeypatch.setattr(Encoding, "_encode_pairs", None)  # The second time nothing is tokenised.
    mapped = encoding.encode(TEXTS, cache=tmp_path)
    assert fresh == written == list(mapped)
    assert mapped.lengths.tolist() == [len(text.input_ids) for text in fresh]
    with pytest.raises(IndexError):
        mapped[3]


def test_window_texts_and_tokenizer_decide_the_cache(encoding: Encoding, tiny_llama: Path, tmp_path: Path):
    shorter = Encoding(encoding.tokenizer, 15)
    other = Encoding(AutoTokenizer.from_pretrained(tiny_llama), 16)
    for one, texts in ((encoding, TEXTS), (shorter, TEXTS), (encoding, TEXTS[:2]), (other, TEXTS)):
        one.encode(texts, cache=tmp_path)
    assert len(list(tmp_path.glob("*.arrow"))) == 4


@pytest.mark.parametrize("fault", ["tokens are kept in memory", "damaged cache of tokens"])
def test_a_cache_that_cannot_be_used_is_done_without(encoding, tmp_path, capsys, fault):
    cache = tmp_path / "cache"
    if fault == "damaged cache of tokens":
        encoding.encode(TEXTS, cache=cache)
        [file] = cache.glob("*.arrow")
        file.write_bytes(file.read_bytes()[:100])
    else:
        cache.write_text("")
    assert list(encoding.encode(TEXTS, cache=cache)) == list(encoding.encode(TEXTS))
    assert fault in capsys.readouterr().err


def test_what_was_used_least_recently_goes_first(encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(token_cache, "_LIMIT", 2500)
    for i in range(4):
        for file in tmp_path.glob("*.arrow"):
            os.utime(file, (1000 + file.stat().st_mtime % 1000, 1000 + file.stat().st_mtime_ns % 1000))
        encoding.encode([("why", "no " * i)], cache=tmp_path)
    assert 1 <= len(list(tmp_path.glob("*.arrow"))) < 4

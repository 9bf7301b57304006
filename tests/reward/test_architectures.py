"""Every architecture that has a reward: alone, beside others and by plain transformers it gives a text the same one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.training.lora import head_modules

TEXT = "the a good bad answer question why how long short it is not very clear user assistant :"
WORDS = TEXT.split()
SPECIALS = ["<pad>", "<unk>", "<s>", "</s>"]
CHAT = "{% for m in messages %}<s> {{ m['role'] }} : {{ m['content'] }} </s>{% endfor %}"
SIZE = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "initializer_range": 0.3,
}  # fmt: skip
GROUPED = {**SIZE, "num_key_value_heads": 2, "head_dim": 8}
SMALL = {"max_position_embeddings": 64, **SIZE}
BART = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 64, "init_std": 0.3,
}  # fmt: skip
LINEAR = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 2, "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
EYE = {"hidden_size": 16, "intermediate_size": 16}
SIGLIP = {**EYE, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28}
SEEING = {**EYE, "depth": 1, "num_heads": 2, "out_hidden_size": 16, "patch_size": 14}
NARROW = {"n_layer": 2, "n_head": 2, "initializer_range": 0.3}

ENCODERS: dict[str, dict[str, Any]] = {
    "Albert": {"embedding_size": 16, **SMALL},
    "Bert": SMALL,
    "Deberta": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0, **SMALL},
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, **SMALL},
    "MPNet": SMALL,
    "ModernBert": {
        **SMALL, "global_attn_every_n_layers": 2, "local_attention": 8, "cls_token_id": 2, "sep_token_id": 3,
    },
    "Roberta": {**SMALL, "pad_token_id": 1},
    "T5": {"decoder_start_token_id": 0, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2,
           "initializer_factor": 2.0},
    "Bart": BART,
    "XLNet": {**NARROW, "d_model": 16, "d_inner": 24},
}  # fmt: skip
CAUSAL: dict[str, dict[str, Any]] = {
    "Bloom": {**NARROW, "hidden_size": 16},
    "GPT2": {**NARROW, "n_embd": 16, "n_positions": 64},
    "Gemma3": {"text_config": {**GROUPED, "sliding_window": 8}, "vision_config": SIGLIP},
    "Llama": GROUPED,
    "OPT": {"hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
            "word_embed_proj_dim": 16, "max_position_embeddings": 64, "init_std": 0.3},
    "Qwen3_5": {"text_config": {**GROUPED, **LINEAR}, "vision_config": SEEING},
}  # fmt: skip


def _tokenizer(kind: str) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*SPECIALS, *WORDS])}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}
    if kind in CAUSAL:
        return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=CHAT, **names)
    templates = {
        "T5": ("$A </s>", "$A </s> $B </s>"),
        "XLNet": ("$A </s> <s>:2", "$A </s> $B:1 </s>:1 <s>:2"),
    }
    single, pair = templates.get(kind, ("<s> $A </s>", "<s> $A </s> $B:1 </s>:1"))
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    marks = {} if kind == "T5" else {"cls_token": "<s>", "sep_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names, **marks)


def _save(kind: str, folder: Path) -> None:
    settings, tokenizer = {**ENCODERS, **CAUSAL}[kind], _tokenizer(kind)
    ids = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    inner = {"text_config": {**ids, **settings["text_config"]}} if "text_config" in settings else {}
    config = getattr(transformers, f"{kind}Config")(**{**ids, **settings, **inner}, num_labels=1)
    torch.manual_seed(0)
    getattr(transformers, f"{kind}ForSequenceClassification")(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


TEXTS = [("why", "it is"), ("how long is the question", "very long : the answer is not clear"), ("why", "bad answer")]


@pytest.mark.parametrize("kind", [*ENCODERS, *CAUSAL])
def test_a_text_has_one_reward(kind: str, tmp_path: Path) -> None:
    _save(kind, tmp_path)
    model = RewardModel.load(tmp_path, device="cpu")
    together = model.rewards(TEXTS)
    alone = [model.rewards([text])[0] for text in TEXTS]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
    for text, reward in zip(model.encoding.encode(TEXTS), together, strict=True):
        types = {} if text.token_type_ids is None else {"token_type_ids": torch.tensor([text.token_type_ids])}
        with torch.no_grad():
            theirs = plain(input_ids=torch.tensor([text.input_ids]), **types).logits.item()
        assert theirs == pytest.approx(reward, abs=1e-4)
    if kind in ENCODERS:
        ids = model.tokenizer(*TEXTS[0])
        assert model.encoding.encode(TEXTS[:1])[0].input_ids == ids["input_ids"]
    assert np.ptp(together) > 1e-3


@pytest.mark.parametrize("kind", ["T5", "Bart"])
def test_texts_that_write_the_end_of_text(kind: str, tmp_path: Path) -> None:
    """T5 and BART want as many ends in each text of a batch; a text may write one, and adapters find the head."""
    _save(kind, tmp_path)
    model = RewardModel.load(tmp_path, device="cpu")
    texts = [("why", "it </s> is"), *TEXTS, ("how </s>", "</s> bad </s>")]
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        theirs = [plain(**model.tokenizer(*text, return_tensors="pt")).logits.item() for text in texts]
    np.testing.assert_allclose(model.rewards(texts), theirs, atol=1e-4)
    assert head_modules(model.model) == ["classification_head"]

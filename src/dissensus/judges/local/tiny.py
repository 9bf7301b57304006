"""A tiny language model made on the spot that answers in a judge's form and knows nothing: for trying things out.

Its weights are random. Which answer it chooses is decided by them from the texts, so its judgments are noise that
comes out the same everywhere; what it exercises is everything around a judge.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from dissensus.judges.language.prompt import load_template
from dissensus.places.cache_folder import default_cache
from dissensus.records import Pair

_TEMPLATES = ("paper", "people")
_VERSION = 1
"""Part of the name of the folder that keeps it: change it when the model changes."""
PAD, BOS, END, USER, ASSISTANT = "<|pad|>", "<|begin|>", "<|end|>", "<|user|>", "<|assistant|>"
CHAT = (
    "<|begin|>{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tiny_model() -> Path:
    """Return the folder of the tiny model, which is made in the cache (`DISSENSUS_CACHE`) on first use."""
    folder = default_cache() / f"tiny-judge-{_VERSION}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".tiny-"))
        try:
            make_judge(made / "model").rename(folder)
        except OSError:
            if not folder.is_dir():  # another process was first otherwise
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return folder


def make_tokenizer(*, chat: bool = True) -> PreTrainedTokenizerFast:
    """Train byte-level BPE on the shipped templates, in which ``Choice``, ``:``, `` A`` and `` B`` are tokens."""
    corpus = [load_template(name).text for name in _TEMPLATES] + ["Choice: A", "Choice: B", " the", " is"] * 2
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[PAD, BOS, END, USER, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=END,
        extra_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT if chat else None,
        model_input_names=["input_ids", "attention_mask"],
    )


def make_judge(
    folder: Path,
    *,
    architecture: str = "llama",
    hidden: int = 64,
    layers: int = 2,
    vocabulary: int | None = None,
    chat: bool = True,
    follows: dict[str, dict[str, float]] | None = None,
    spread: float = 1.5,
    **settings: Any,
) -> Path:
    """Save a model of random weights whose head is built so that it knows which token follows which.

    ``follows`` gives, for the last token of a text, the logits of the next: by default ``Choice`` and ``:`` after the
    assistant's turn opens, then `` A`` or `` B`` as the random layers decide from the text before, then the end.
    ``spread`` is the standard deviation, over texts, of the logit of the first of two or more that may follow.
    """
    tokenizer = make_tokenizer(chat=chat)
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        architecture,
        vocab_size=vocabulary or len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=max(2, hidden // 64),
        num_key_value_heads=max(2, hidden // 64),
        intermediate_size=hidden * 11 // 4,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        initializer_range=0.08,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **settings,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    _teach(model, tokenizer, follows or ANSWERS, spread)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


ANSWERS = {
    ASSISTANT: {"Choice": 25.0},
    "Choice": {":": 25.0},
    ":": {" A": 16.0, " B": 16.0},
    " A": {END: 25.0},
    " B": {END: 25.0},
}


def _teach(model: Any, tokenizer: Any, follows: dict[str, dict[str, float]], spread: float) -> None:
    """Write each rule into the head, along the states of texts that end with its token."""
    generator = torch.Generator().manual_seed(0)
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        model.get_input_embeddings().weight *= 4  # so that the last token decides most, and what came before little
        head.normal_(0.0, 0.3 / head.shape[1] ** 0.5, generator=generator)
        states = [_states(model, _id(tokenizer, last), tokenizer, generator) for last in follows]
        duals = torch.linalg.pinv(torch.stack([state.mean(0) for state in states])).T  # 1 on the own mean, else 0
        for dual, state, logits in zip(duals, states, follows.values(), strict=True):
            for sign, (token, logit) in zip((1, -1, *[0] * len(logits)), logits.items(), strict=False):
                head[_id(tokenizer, token)] += logit * dual
                if len(logits) > 1:
                    head[_id(tokenizer, token)] += sign * spread * _most_varied(state)


def _states(model: Any, token: int, tokenizer: Any, generator: torch.Generator) -> torch.Tensor:
    """Last hidden states of the paper's prompt with random answers and ``token`` behind it; shape (texts, hidden)."""
    template = load_template("paper")
    vocabulary = sorted({word for name in _TEMPLATES for word in load_template(name).text.split()})
    states = []
    for _ in range(64):
        lengths = torch.randint(1, 40, (3,), generator=generator).tolist()
        drawn = [torch.randint(len(vocabulary), (n,), generator=generator).tolist() for n in lengths]
        prompt, first, second = (" ".join(vocabulary[i] for i in words) for words in drawn)
        pair = Pair(id="any", prompt=prompt, response_a=first, response_b=second)
        ids = tokenizer(template.render(pair, "ab"), add_special_tokens=False)["input_ids"]
        states.append(model.base_model(input_ids=torch.tensor([[*ids, token]])).last_hidden_state[0, -1])
    return torch.stack(states)


def _most_varied(states: torch.Tensor) -> torch.Tensor:
    """The direction in which the states differ most, scaled to a standard deviation of 1 and free of their mean."""
    mean = states.mean(0)
    centred = states - mean
    direction = torch.linalg.svd(centred).Vh[0]
    direction = direction - mean * (direction @ mean) / (mean @ mean)
    varied: torch.Tensor = direction / (centred @ direction).std()
    return varied


def _id(tokenizer: Any, text: str) -> int:
    (token,) = tokenizer(text, add_special_tokens=False)["input_ids"]
    return int(token)

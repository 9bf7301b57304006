#!/usr/bin/env bash
# TRL 1.16.0, RewardTrainer: `eval_accuracy` is the mean over batches, not over pairs. A model that ranks 4 of 5 held-out pairs rightly
# has .8 with batches of 5 and .5 with batches of 4, whose last one has a single pair. A tie counts as wrong: a model whose head is
# all zeros, as a new one may be, has 0.0 and not .5. (The same holds for rewards, their margin, and metrics while training.)
# Exits 0 while this is so, 1 once it is otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip() { "$work/venv/bin/pip" install -q --disable-pip-version-check "$@"; }
pip torch==2.13.0
pip trl==1.16.0 transformers==5.23.0 datasets==5.2.0 accelerate==1.15.0
cd "$work"
HF_HUB_OFFLINE=1 venv/bin/python - 2>"$work/log" <<'PY' || { status=$?; tail -n 5 "$work/log"; exit $status; }
import itertools
import sys

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast
from trl import RewardConfig, RewardTrainer

WORDS = "zero one two three four five six seven eight nine".split()
words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<pad>", "<end>", "<unk>", *WORDS])}, unk_token="<unk>"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
torch.manual_seed(0)
shape = {"vocab_size": 13, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
model = LlamaForSequenceClassification(LlamaConfig(**shape, num_labels=1, pad_token_id=0, eos_token_id=1))


def reward(text: str) -> float:
    ids = tokenizer(text + " <end>", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model.eval()(ids).logits.item()


pairs = [("zero " + a, "zero " + b) for a, b in itertools.combinations(WORDS, 2)][:5]
pairs = [(a, b) if reward(a) > reward(b) else (b, a) for a, b in pairs]
pairs[-1] = pairs[-1][::-1]  # the last one is ranked the wrong way round
rows = Dataset.from_list([{"chosen": chosen, "rejected": rejected} for chosen, rejected in pairs])


def accuracy(batch: int) -> float:
    arguments = RewardConfig(
        output_dir="out", per_device_eval_batch_size=batch, report_to="none", use_cpu=True, bf16=False, max_steps=1
    )
    trainer = RewardTrainer(model=model, args=arguments, processing_class=tokenizer, train_dataset=rows, eval_dataset=rows)
    return round(trainer.evaluate()["eval_accuracy"], 3)


by_row = sum(reward(chosen) > reward(rejected) for chosen, rejected in pairs) / len(pairs)
found = accuracy(5), accuracy(4)
torch.nn.init.zeros_(model.score.weight)
tied = accuracy(5)
print(f"  right {by_row}; eval_accuracy with batches of 5: {found[0]}, of 4: {found[1]}; all tied: {tied}")
sys.exit((by_row, *found, tied) != (0.8, 0.8, 0.5, 0.0))
PY

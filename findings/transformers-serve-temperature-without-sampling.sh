#!/usr/bin/env bash
# transformers 5.23.0, `transformers serve`: `temperature` alone does not make it sample. Where the model's folder does not ask for
# sampling (its generation_config.json lacks `do_sample: true`), requests at temperature 2 with five seeds get five equal, greedy
# replies, so ten judgments of a pair would be one judgment ten times. `n: 3` gets one choice and `logprobs: true` none, each with
# status 200. A `generation_config` in the request, with `do_sample: true`, does sample.
# Exits 0 while this is so, 1 once it is otherwise.
set -euo pipefail
work=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server"; wait "$server" || true; fi; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip() { "$work/venv/bin/pip" install -q --disable-pip-version-check "$@"; }
pip torch==2.13.0
pip "transformers[serving]==5.23.0" accelerate==1.15.0 fastapi==0.165.0 uvicorn==0.54.0
cd "$work"
export HF_HUB_OFFLINE=1
venv/bin/python - 2>"$work/log" <<'PY' || { status=$?; tail -n 5 "$work/log"; exit $status; }
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

names = ["<pad>", "<end>", "<unk>", *(f"w{i}" for i in range(200))]
words = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
tokenizer.save_pretrained("model")
torch.manual_seed(0)
shape = {"vocab_size": len(names), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
LlamaForCausalLM(LlamaConfig(**shape, pad_token_id=0, eos_token_id=1)).save_pretrained("model")
PY
port=$(venv/bin/python -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
venv/bin/transformers serve "$work/model" --host 127.0.0.1 --port "$port" --device cpu >"$work/serve.log" 2>&1 &
server=$!
PORT=$port MODEL=$work/model venv/bin/python - <<'PY'
import json
import os
import sys
import time
import urllib.error
import urllib.request

address = f"http://127.0.0.1:{os.environ['PORT']}/v1/"


def ask(**asked: object) -> dict:
    body = {"model": os.environ["MODEL"], "messages": [{"role": "user", "content": "w1 w2 w3"}], "max_tokens": 8, **asked}
    request = urllib.request.Request(
        address + "chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)


def replies(**asked: object) -> set[str]:
    return {ask(seed=seed, **asked)["choices"][0]["message"]["content"] for seed in range(5)}


for _ in range(300):
    try:
        urllib.request.urlopen(address + "models", timeout=5).close()
        break
    except (urllib.error.URLError, ConnectionError):
        time.sleep(0.5)
greedy = replies(temperature=0)
hot = replies(temperature=2, top_p=1)
sampled = replies(temperature=2, top_p=1, generation_config=json.dumps({"do_sample": True, "top_k": 0}))
several = ask(n=3, logprobs=True, top_logprobs=5, temperature=1)["choices"]
print(f"  five seeds at temperature 2: {len(hot)} different, the greedy one: {hot == greedy}; with do_sample: {len(sampled)} different")
print(f"  n=3: {len(several)} choice; logprobs: {several[0].get('logprobs')}")
sys.exit((hot == greedy, len(hot), len(sampled), len(several), several[0].get("logprobs")) != (True, 1, 5, 1, None))
PY

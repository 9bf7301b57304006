#!/usr/bin/env bash
# llama.cpp's server (xllamacpp 2026.10.11549): the usage of a request for several replies (n) is that of one of them. Four replies of
# eight tokens each are completion_tokens 8, where the OpenAI API counts the tokens of all choices; each reply's log-probabilities have
# its eight entries. So costs and tokens a second that are added up from usage are too low by a factor of n: count the replies.
# Exits 0 while this is so, 1 once it is otherwise.
set -euo pipefail
work=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server"; wait "$server" || true; fi; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --only-binary=:all: xllamacpp==2026.10.11549 gguf==0.19.0
cd "$work"
# A model that says the same whatever it reads, with probabilities that are given: weights of 0, and logits in the last matrix.
venv/bin/python - ĠA=.6 ĠB=.4 <<'PY'
import sys
import gguf
import numpy as np

wanted = dict(pair.rsplit("=", 1) for pair in sys.argv[1:])
kept = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2's names of bytes
names = [chr(b) if b in kept else chr(256 + i) for b in range(256) for i in [sum(c not in kept for c in range(b))]]
names += ["ĠA", "ĠB", "<|end|>", "<|user|>", "<|assistant|>"]
width = 64
writer = gguf.GGUFWriter("known.gguf", "llama")
writer.add_context_length(512)
writer.add_embedding_length(width)
writer.add_block_count(1)
writer.add_feed_forward_length(width)
writer.add_head_count(1)
writer.add_head_count_kv(1)
writer.add_rope_dimension_count(width)
writer.add_layer_norm_rms_eps(1e-6)
writer.add_vocab_size(len(names))
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("gpt-2")
writer.add_token_list(names)
writer.add_token_types([1] * 258 + [3] * 3)
writer.add_token_merges(["Ġ A", "Ġ B"])
writer.add_eos_token_id(258)
writer.add_add_bos_token(False)
writer.add_chat_template(
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
logits = np.full(len(names), -30.0)
for token, p in wanted.items():
    logits[names.index(token)] = np.log(float(p))
zero = np.zeros((width, width), np.float32)
one = np.ones(width, np.float32)
for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
    writer.add_tensor(f"blk.0.{name}.weight", zero)
for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
    writer.add_tensor(f"{name}.weight", one)
writer.add_tensor("token_embd.weight", np.ones((len(names), width), np.float32))
writer.add_tensor("output.weight", np.repeat(logits[:, None] / width, width, 1).astype(np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
PY
cat >serve.py <<'PY'
import signal

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path, params.hostnames, params.port = "known.gguf", ["127.0.0.1"], 0
params.n_ctx, params.n_parallel, params.verbosity = 2048, 4, -1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
signal.pause()
PY
venv/bin/python serve.py >address 2>log &
server=$!
for _ in $(seq 600); do
  [ -s address ] && break
  kill -0 "$server" || { tail -n 5 log; exit 1; }
  sleep 0.1
done
ADDRESS=$(cat address) venv/bin/python - <<'PY'
import json
import os
import sys
import urllib.request

said = {}
for n in (1, 2, 4):
    asked = {"messages": [{"role": "user", "content": "Which is better?"}], "n": n, "max_tokens": 8, "temperature": 1.0}
    body = json.dumps({**asked, "logprobs": True, "top_logprobs": 2}).encode()
    request = urllib.request.Request(os.environ["ADDRESS"] + "/v1/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        answer = json.load(reply)
    written = [len(choice["logprobs"]["content"]) for choice in answer["choices"]]
    said[n] = (answer["usage"]["completion_tokens"], sum(written))
    print(f"n={n}: replies of {written} tokens, {said[n][1]} in all; usage says completion_tokens {said[n][0]}")
sys.exit(0 if said == {1: (8, 8), 2: (8, 16), 4: (8, 32)} else 1)
PY

#!/usr/bin/env bash
# transformers 5.23.0: where no kernels for packed weights are installed, a model read from a GGUF file is unpacked, all weights are
# float32 tensors, and it stays "quantized": `save_pretrained` and `.float()` raise ValueError. Read with `GgufConfig(dequantize=True)`,
# which unpacks the same weights, it is saved and cast.
# Exits 0 while this is so, 1 once it is otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip() { "$work/venv/bin/pip" install -q --disable-pip-version-check "$@"; }
pip torch==2.13.0
pip transformers==5.23.0 accelerate==1.15.0 gguf==0.19.0
cd "$work"
export HF_HUB_OFFLINE=1
venv/bin/python - 2>"$work/log" <<'PY' || { status=$?; tail -n 5 "$work/log"; exit $status; }
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, GgufConfig

wide, words = 32, 64
writer = gguf.GGUFWriter("tiny.gguf", "llama")
writer.add_context_length(64)
writer.add_embedding_length(wide)
writer.add_block_count(1)
writer.add_feed_forward_length(wide)
writer.add_head_count(2)
writer.add_head_count_kv(2)
writer.add_layer_norm_rms_eps(1e-6)
writer.add_vocab_size(words)
writer.add_tokenizer_model("llama")
writer.add_token_list([f"w{i}" for i in range(words)])
draw = np.random.default_rng(0)
shapes = {"token_embd": (words, wide), "output": (words, wide), "output_norm": (wide,)}
shapes |= {f"blk.0.{name}": (wide, wide) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
shapes |= {f"blk.0.{name}": (wide, wide) for name in ("ffn_gate", "ffn_up", "ffn_down")}
shapes |= {f"blk.0.{name}": (wide,) for name in ("attn_norm", "ffn_norm")}
for name, shape in shapes.items():
    values = draw.normal(size=shape).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q8_0 if len(shape) == 2 else gguf.GGMLQuantizationType.F32
    data = gguf.quants.quantize(values, kind) if len(shape) == 2 else values
    writer.add_tensor(f"{name}.weight", data, raw_dtype=kind)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()


def refused(do) -> str:
    try:
        do()
    except ValueError as error:
        return str(error)[:60]
    return ""


seen, weights = [], []
for name, options in {"as it comes": {}, "dequantize=True": {"quantization_config": GgufConfig(dequantize=True)}}.items():
    model = AutoModelForCausalLM.from_pretrained(".", gguf_file="tiny.gguf", dtype=torch.float32, **options)
    plain = {p.dtype for p in model.parameters()} == {torch.float32}
    said = [refused(lambda: model.save_pretrained("saved")), refused(model.float)]
    print(f"  {name}: all weights float32: {plain}; save_pretrained: {said[0] or 'saves'}; float(): {said[1] or 'casts'}")
    seen.append((plain, *map(bool, said)))
    weights.append(list(model.parameters()))
same = all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
print(f"  both have the same weights: {same}")
sys.exit((seen, same) != ([(True, True, True), (True, False, False)], True))
PY

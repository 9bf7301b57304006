"""How a model is spread over processes, and which checkpoints a run that is spread so can go on from.

Shards of FSDP are read by any number of processes, one among them; those of ZeRO-3 by as many as wrote them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dissensus.errors import ConfigError

_SHARDS, _WHOLE, _OPTIMIZER = "pytorch_model_fsdp_0", "pytorch_model_fsdp.bin", "optimizer_0"
"""What accelerate calls the weights of FSDP, in shards or gathered, and the shards of their optimizer."""


def is_sharded() -> bool:
    """Whether weights are spread over processes layer by layer, which only the layers' own forward pass gathers."""
    return uses_fsdp() or uses_zero3()


def uses_fsdp() -> bool:
    """Whether accelerate was told to use FSDP."""
    return _is_set("ACCELERATE_USE_FSDP")


def uses_zero3() -> bool:
    """Whether accelerate was told to use DeepSpeed with ZeRO-3; a configuration file of DeepSpeed's own is taken so."""
    own = "ACCELERATE_DEEPSPEED_CONFIG_FILE" in os.environ
    return _is_set("ACCELERATE_USE_DEEPSPEED") and (own or os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3")


def spread_of(accelerator: Any) -> str:
    """Name how accelerate spreads a model: ``one process``, or such as ``FSDP2 on 4 processes``."""
    number, kind = accelerator.num_processes, accelerator.distributed_type.value
    if kind == "FSDP":
        name = f"FSDP{2 if accelerator.is_fsdp2 else 1}"
    elif kind == "DEEPSPEED":
        name = f"ZeRO-{accelerator.state.deepspeed_plugin.zero_stage}"
    else:
        name = "DDP"
    return "one process" if number == 1 else f"{name} on {number} processes"


def check_readable(checkpoint: Path, processes: int) -> None:
    """Raise ConfigError where so many processes, launched as they are, cannot go on from a checkpoint."""
    zero = [*checkpoint.glob("global_step*/*zero_pp_rank_*optim_states.pt")]
    if zero or uses_zero3():
        if not zero:
            raise _unreadable(checkpoint, "was not written by ZeRO-3", "without it")
        if not uses_zero3() or len(zero) != processes:
            count = f"{len(zero)} process{'es' if len(zero) > 1 else ''}"
            raise _unreadable(checkpoint, f"was written by ZeRO-3 on {count}", "as it was: ZeRO's shards fit no other")
    elif (checkpoint / _WHOLE).is_file():
        if not uses_fsdp() or os.environ.get("FSDP_STATE_DICT_TYPE") != "FULL_STATE_DICT":
            raise _unreadable(checkpoint, "was gathered by FSDP", "with FSDP and fsdp_state_dict_type FULL_STATE_DICT")
    elif holds_shards(checkpoint):
        if uses_fsdp() and os.environ.get("FSDP_STATE_DICT_TYPE") == "FULL_STATE_DICT":
            raise _unreadable(checkpoint, "holds shards of FSDP", "with fsdp_state_dict_type SHARDED_STATE_DICT")
    elif uses_fsdp():
        raise _unreadable(checkpoint, "was written without FSDP", "without it")


def holds_shards(checkpoint: str | Path) -> bool:
    """Whether a checkpoint holds FSDP's shards, of weights and optimizer."""
    return (Path(checkpoint) / _SHARDS).is_dir() and (Path(checkpoint) / _OPTIMIZER).is_dir()


def read_shards(checkpoint: str | Path, accelerator: Any, model: Any, optimizer: Any = None) -> None:
    """Load FSDP's shards into a whole model, or with an ``optimizer`` those of its state."""
    from accelerate import FullyShardedDataParallelPlugin
    from accelerate.utils import load_fsdp_model, load_fsdp_optimizer

    how = FullyShardedDataParallelPlugin(fsdp_version=2, state_dict_type="SHARDED_STATE_DICT", cpu_offload=False)
    with warnings.catch_warnings():
        # That one process loads alone, as it is to.
        warnings.filterwarnings("ignore", message="torch.distributed is", category=UserWarning)
        if optimizer is None:
            load_fsdp_model(how, accelerator, model, str(checkpoint), adapter_only=True)
        else:
            load_fsdp_optimizer(how, accelerator, optimizer, model, str(checkpoint), adapter_only=True)


@contextmanager
def whole_weights() -> Iterator[None]:
    """Load models whole, in each process by itself, where ZeRO-3 or FSDP would have transformers do it together."""
    from transformers.integrations import deepspeed

    found, asked = deepspeed._hf_deepspeed_config_weak_ref, os.environ.get("FSDP_CPU_RAM_EFFICIENT_LOADING")
    deepspeed.unset_hf_deepspeed_config()
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = found
        if asked is None:
            del os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"]
        else:
            os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = asked


def _is_set(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("true", "1")


def _unreadable(checkpoint: Path, what: str, remedy: str) -> ConfigError:
    return ConfigError(f"{checkpoint} {what}; go on {remedy}, or begin again with --overwrite")

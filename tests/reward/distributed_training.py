"""One process of distributed runs, one after the other: ``PAIRS CONFIG OUT [CONFIG OUT …]``; started by a launcher."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, DistributedType
from torch.distributed._functional_collectives import AsyncCollectiveTensor

from dissensus.files import read_pairs
from dissensus.reward.config import TrainConfig
from dissensus.reward.training.run import train


def _allow_fsdp_on_the_cpu() -> None:
    """Let accelerate shard where it would only copy: torch can do it with gloo, accelerate does not offer it."""
    # A property of the class goes before what the instances share.
    AcceleratorState.distributed_type = property(lambda self: DistributedType.FSDP, lambda self, value: None)
    AcceleratorState.fsdp_plugin = FullyShardedDataParallelPlugin()
    gather = Accelerator.get_state_dict

    def gathered(self: Any, *args: Any, **kwargs: Any) -> Any:
        # On a GPU the copy to the CPU waits for them.
        weights = gather(self, *args, **kwargs)
        return {k: v.wait() if isinstance(v, AsyncCollectiveTensor) else v for k, v in weights.items()}

    Accelerator.get_state_dict = gathered


if __name__ == "__main__":
    pairs, *runs = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        _allow_fsdp_on_the_cpu()
    for config, out in zip(runs[::2], runs[1::2], strict=True):
        train(list(read_pairs(pairs)), TrainConfig.model_validate_json(config.read_text()), out, progress=False)
    sys.stdout.write(f"{torch.distributed.get_rank()}/{torch.distributed.get_world_size()}\n")
    torch.distributed.destroy_process_group()

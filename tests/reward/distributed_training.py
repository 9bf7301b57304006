"""One process of a distributed run: ``distributed_training.py PAIRS CONFIG OUT``; started by a launcher."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState, DistributedType

from dissensus.files import read_pairs
from dissensus.reward.config import TrainConfig
from dissensus.reward.run import train


def _allow_fsdp_on_the_cpu() -> None:
    """Let accelerate shard where it would only copy: torch can do it with gloo, accelerate does not offer it."""
    start = AcceleratorState.__init__

    def sharded(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        start(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin

    AcceleratorState.__init__ = sharded


if __name__ == "__main__":
    pairs, config, out = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        _allow_fsdp_on_the_cpu()
    train(list(read_pairs(pairs)), TrainConfig.model_validate_json(config.read_text()), out, progress=False)
    print(f"{torch.distributed.get_rank()}/{torch.distributed.get_world_size()}")
    torch.distributed.destroy_process_group()

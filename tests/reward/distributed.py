"""Jobs of two processes, or as many as they say, in turn: ``JOBS``, a file with a JSON list. All import once.

A job has ``settings`` (of the environment), perhaps ``killed`` (ranks, a step and the method of the trainer within
which these processes end as by ``kill -9``), and either ``pairs`` and ``runs``, [configuration, folder] each, to train,
or a ``model`` to evaluate with TRL's trainer and an ``out`` for what was found.
"""

import importlib
import importlib.util
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import torch
import trl  # noqa: F401  # is loaded before the processes part
from accelerate import Accelerator, FullyShardedDataParallelPlugin, PartialState
from accelerate.state import AcceleratorState, DistributedType
from torch.distributed._functional_collectives import AsyncCollectiveTensor

from dissensus.files import read_pairs
from dissensus.integrations import trl as integration  # noqa: F401
from dissensus.reward.config import TrainConfig
from dissensus.reward.training.run import train
from dissensus.reward.training.trainer import PairTrainer


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


def _allow_zero3_on_the_cpu() -> None:
    """Let accelerate use DeepSpeed where it would not: with gloo, and without an operator that is compiled."""
    # Under this name stands torch itself in deepspeed.comm.
    importlib.import_module("deepspeed.comm.torch").build_shm_op = lambda: None
    PartialState(cpu=True)
    init = AcceleratorState.__init__

    def with_devices(self: Any, mixed_precision: str | None = None, cpu: bool = False, **options: Any) -> None:
        os.environ.pop("ACCELERATE_USE_CPU", None)
        init(self, mixed_precision, False, **options)

    AcceleratorState.__init__ = with_devices


def _evaluate(folder: str, out: str) -> None:
    spec = importlib.util.spec_from_file_location("trl_tiny", Path(__file__).parents[1] / "trl_tiny.py")
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    tiny.evaluate_everywhere(folder, out)


def _end_within(method: str, step: int) -> None:
    inner = getattr(PairTrainer, method)

    def ends(self: PairTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step >= step:
            os._exit(9)
        return inner(self, *args, **kwargs)

    setattr(PairTrainer, method, ends)


def _work(job: dict[str, Any], rank: int, processes: int, port: int) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    os.environ.update({name: str(value) for name, value in {**place, **job["settings"]}.items()})
    torch.set_num_threads(1)
    if "ACCELERATE_USE_FSDP" in job["settings"]:
        _allow_fsdp_on_the_cpu()
    if "ACCELERATE_USE_DEEPSPEED" in job["settings"]:
        _allow_zero3_on_the_cpu()
    if rank in job.get("killed", {}).get("ranks", ()):
        _end_within(job["killed"]["within"], job["killed"]["step"])
    for config, out in job.get("runs", ()):
        train(list(read_pairs(job["pairs"])), TrainConfig.model_validate(config), out, progress=False)
    if "model" in job:
        _evaluate(job["model"], job["out"])
    assert (torch.distributed.get_rank(), torch.distributed.get_world_size()) == (rank, processes)
    torch.distributed.destroy_process_group()


def _start(job: dict[str, Any], rank: int, processes: int, port: int) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        _work(job, rank, processes, port)
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    for job in json.loads(Path(sys.argv[1]).read_text()):
        port, processes = _free_port(), job.get("processes", 2)
        children = [_start(job, rank, processes, port) for rank in range(processes)]
        statuses = [os.waitpid(child, 0)[1] for child in children]
        if any(statuses) != ("killed" in job):
            sys.exit(f"failed: {job}")

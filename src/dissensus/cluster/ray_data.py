"""Blocks handed out by Ray Data to workers that hold a model each, on a cluster or on this machine."""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from dissensus.errors import ConfigError, DissensusError, JudgeError, MissingDependencyError
from dissensus.settings import Option, Settings

_READING = 0.1
"""Processors that a task takes which reads pairs: fewer than a worker, so that it is not made one with it."""
_SECONDS = 5.0
"""In which a cluster has to answer."""
_HOST_AND_PORT = re.compile(r"(?:ray://)?(?P<host>[^/]+):(?P<port>\d{1,5})")
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
_LOCAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""With this a cluster of this machine alone listens on 127.0.0.1, also on Linux, where ray.init cannot be told so."""


class Workers(Settings):
    """Where the work is done: in this process, or by workers on a Ray cluster."""

    groups: ClassVar = {"On a cluster": ("engine", "ray_address", "workers", "worker_cpus", "worker_gpus")}

    engine: Literal["process", "ray"] = "process"
    """This process, or workers on a Ray cluster (extra ray)."""
    ray_address: Annotated[str | None, Option(default="RAY_ADDRESS, or a cluster of this machine")] = None
    """The cluster's address, such as auto."""
    workers: Annotated[PositiveInt | None, Option(default="as many as there is room for")] = None
    """Workers on a Ray cluster at most."""
    worker_cpus: PositiveFloat = 1.0
    """Processors of a worker on a Ray cluster."""
    worker_gpus: Annotated[NonNegativeFloat | None, Option(default="1 where it helps and there are some")] = None
    """Accelerators of a worker on a Ray cluster."""

    @property
    def are_on_ray(self) -> bool:
        """Whether a cluster does the work."""
        return self.engine == "ray"


@dataclass(frozen=True)
class Pool:
    """A cluster that is there, with what each worker gets."""

    count: int
    cpus: float
    gpus: float

    def run(
        self,
        parts: int,
        read: Callable[[int], Iterator[tuple[str, bytes]]],
        worker: type,
        given: Mapping[str, Any],
    ) -> Iterator[Any]:
        """Yield what the workers make of each block, as it comes.

        Args:
            parts: in how many parts blocks are read.
            read: yields the blocks of a part: a name, and what the worker gets.
            worker: a class that is made once in each process with ``given``, and called with a block's name and bytes.
            given: what it is made with.

        Raises:
            DissensusError: what a worker raised, with the name of its machine; blocks in hand are begun again when this
                is called again.
        """
        import ray
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.target_max_block_size = 1  # of Ray's blocks each holds one of ours: what a worker that dies takes along
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)

        home = str(Path.cwd())  # paths are meant from there, and a cluster's processes begin elsewhere

        def blocks(batch: Any) -> Iterator[dict[str, list[Any]]]:
            _go_to(home)
            for part in batch["id"]:
                for name, block in read(int(part)):
                    yield {"name": [name], "block": [block]}

        data = ray.data.range(parts, override_num_blocks=parts)
        data = data.map_batches(
            blocks, batch_size=1, num_cpus=_READING, compute=ray.data.TaskPoolStrategy(size=max(1, self.count // 4))
        )
        data = data.map_batches(
            _Worker,
            fn_constructor_kwargs={"make": worker, "given": dict(given), "home": home},
            batch_size=1,
            num_cpus=self.cpus,
            num_gpus=self.gpus or None,
            compute=ray.data.ActorPoolStrategy(
                min_size=1, initial_size=self.count, max_size=self.count, max_tasks_in_flight_per_actor=2
            ),
        )
        try:
            for row in data.iter_rows():
                yield _Error.raised(row["result"])
        except ray.exceptions.RayError as error:
            raise _of_ours(error) from error


class _Worker:
    """A worker as Ray Data calls it."""

    def __init__(self, make: type, given: dict[str, Any], home: str) -> None:
        _go_to(home)
        try:
            self._worker = make(**given)
        except (DissensusError, OSError) as error:  # raised when there is a block: Ray would make workers for ever
            self._worker = _Error.of(error)

    def __call__(self, batch: Any) -> dict[str, list[Any]]:
        from ray import cloudpickle

        worker = self._worker
        try:
            result = worker if isinstance(worker, _Error) else worker(str(batch["name"][0]), bytes(batch["block"][0]))
        except (DissensusError, OSError) as error:
            result = _Error.of(error)
        return {"result": [cloudpickle.dumps(result)]}  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class _Error:
    """An error of ours that a worker met, as it comes to whoever started the run."""

    kind: str
    message: str

    @classmethod
    def of(cls, error: DissensusError | OSError) -> _Error:
        """Describe an error, with the machine that it is of."""
        host = socket.gethostname()
        if isinstance(error, DissensusError):
            return cls(type(error).__name__, f"{error} (on {host})")
        name = error.filename or tempfile.gettempdir()
        remedy = "make room there, or set TMPDIR to another folder" if error.errno == errno.ENOSPC else "check it"
        return cls(
            "OutputError", f"{name}: {error.strerror or error} on {host}; {remedy}, and run the same command again"
        )

    @staticmethod
    def raised(result: bytes) -> Any:
        """Return a result, or raise the error that it is."""
        from ray import cloudpickle

        found = cloudpickle.loads(result)
        if not isinstance(found, _Error):
            return found
        import dissensus.errors

        kind = getattr(dissensus.errors, found.kind, JudgeError)
        raise (JudgeError if kind is MissingDependencyError else kind)(found.message)


def _go_to(home: str) -> None:
    with suppress(OSError):  # only whole paths are found here
        os.chdir(home)


def _of_ours(error: Exception) -> DissensusError:
    cause = getattr(error, "cause", None)
    if isinstance(cause, DissensusError):  # of a task that reads
        return cause
    lines = [line for line in str(error).splitlines() if line.strip()]
    return JudgeError(
        f"Ray gave up: {lines[-1] if lines else type(error).__name__}; what is done is kept, run the same command again"
    )


@contextmanager
def pool(workers: Workers, *, takes_gpu: bool) -> Iterator[Pool]:
    """Connect to a cluster, or make one of this machine for as long as it is needed.

    Raises:
        ConfigError: the cluster is not there, or has no room for one worker.
        MissingDependencyError: Ray is not installed.
    """
    address = workers.ray_address or os.environ.get("RAY_ADDRESS", "")
    for name, value in {**_QUIET, **({} if address else _LOCAL)}.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError("ray", extra="ray", need="--engine ray") from error
    if ray.is_initialized():  # somebody's own, who also ends it
        yield _room(workers, takes_gpu)
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        if address:
            _check_there(address)
            ray.init(address, **quiet)
        else:
            own = (workers.workers or 1) * workers.worker_cpus
            ray.init(num_cpus=math.ceil(max(own, os.cpu_count() or 1)) + 1, include_dashboard=False, **quiet)
    except Exception as error:  # Ray raises plain ones, too
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if not address:
            raise ConfigError(
                f"--engine ray: no cluster of this machine came to be ({reason}); try again when the machine is less "
                "busy, or start one with 'ray start --head' and name its address (--ray-address)"
            ) from error
        raise ConfigError(
            f"--ray-address {address}: no Ray cluster is there ({reason}); start one with 'ray start --head' and name "
            "its address, or leave it out (RAY_ADDRESS, too) for one of this machine"
        ) from error
    try:
        yield _room(workers, takes_gpu)
    finally:
        ray.shutdown()


def _check_there(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT: Ray tries for minutes, and says so again and again."""
    if match := _HOST_AND_PORT.fullmatch(address):
        socket.create_connection((match["host"].strip("[]"), int(match["port"])), timeout=_SECONDS).close()


def _room(workers: Workers, takes_gpu: bool) -> Pool:
    import ray

    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cpus, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
    each = workers.worker_gpus
    wanted = each if each is not None else float(takes_gpu and gpus >= 1)
    room = int((cpus - _READING) // workers.worker_cpus)
    room = min(room, int(gpus // wanted)) if wanted else room
    if room < 1:
        raise ConfigError(
            f"the cluster has {cpus:g} processors and {gpus:g} accelerators, which is no room for one worker of "
            f"{workers.worker_cpus:g} and {wanted:g} (--worker-cpus, --worker-gpus) beside what reads pairs"
        )
    return Pool(min(room, workers.workers or room), workers.worker_cpus, wanted)

"""Debian's SLURM with one node of two GPUs that are none, on 127.0.0.1, for as long as it is needed."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
_CONFIG = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MinJobAge=300
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 Gres=gpu:2
PartitionName=main Nodes={host} Default=YES State=UP
"""
_GPUS = "".join(f"NodeName={{host}} Name=gpu File={file}\n" for file in ("/dev/null", "/dev/zero"))


def missing() -> list[str]:
    """The programs that are not installed (scripts/install-test-tools does)."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


@contextlib.contextmanager
def cluster():
    """Start one; yields the settings of the environment that its commands want."""
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as name, contextlib.ExitStack() as running:
        folder, host = Path(name), socket.gethostname()
        user = pwd.getpwuid(os.getuid()).pw_name
        for part in ("state", "spool"):
            (folder / part).mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        config = _CONFIG.format(folder=folder, host=host, user=user, ports=_free_ports(2))
        (folder / "slurm.conf").write_text(config)
        (folder / "gres.conf").write_text(_GPUS.format(host=host))
        place = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
        munge = [f"--{what}={folder}/munge.{what.partition('-')[0]}" for what in ("socket", "pid-file", "seed-file")]
        commands = [
            ["munged", "--foreground", "--force", f"--key-file={key}", f"--log-file={folder}/munge.log", *munge],
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D", "-N", host],
        ]
        for command in commands:
            running.enter_context(_running(command, folder, {**os.environ, **place}))
            time.sleep(0.2)
        _wait_for_node(folder, {**os.environ, **place})
        yield place


@contextlib.contextmanager
def _running(command, folder, environment):
    with (folder / f"{command[0]}.out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def _wait_for_node(folder, environment):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        done = subprocess.run(["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True, text=True, check=False)
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    raise AssertionError("".join(f"{out.name}: {out.read_text()[-2000:]}\n" for out in folder.glob("*.out")))


def _free_ports(count):
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]

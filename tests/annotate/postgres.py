"""Debian's PostgreSQL, started in a temporary folder for as long as it is needed."""

import contextlib
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A folder in memory, where there is one."""

LOCKED = "locked"
"""The name of a database that asks for a password, for whoever makes it."""


def binaries():
    """The folder of the newest server that is installed; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else None


@contextlib.contextmanager
def server(*, fsync=False):
    """Start a server and yield a function that returns the URL of a fresh database each time."""
    bin = binaries()
    folder = Path(tempfile.mkdtemp(prefix="dissensus-pg-", dir=None if fsync else MEMORY))
    data, socket = folder / "data", folder / "socket"
    socket.mkdir()
    as_owner = _owner(folder, socket)
    run = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        subprocess.run([*as_owner, bin / "initdb", "-D", data, "-A", "trust", "-U", "tester", "-E", "UTF8"], **run)
        hba = data / "pg_hba.conf"
        hba.write_text(f"local {LOCKED} all scram-sha-256\n{hba.read_text()}")
        options = f"-k {socket} -c listen_addresses='' -c fsync={'on' if fsync else 'off'} -c max_connections=50"
        start = [bin / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start"]
        subprocess.run([*as_owner, *start], **run)
        numbers = itertools.count(1)

        def fresh():
            name = f"d{next(numbers)}"
            subprocess.run([*as_owner, bin / "createdb", "-h", socket, "-U", "tester", name], **run)
            return f"postgresql://tester@/{name}?host={socket}"

        try:
            yield fresh
        finally:
            subprocess.run([*as_owner, bin / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _owner(*folders):
    """The server refuses to run as root: it then runs as the account that Debian's package made."""
    if os.getuid() != 0:
        return []
    account = pwd.getpwnam("postgres")
    for folder in folders:
        os.chown(folder, account.pw_uid, account.pw_gid)
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]

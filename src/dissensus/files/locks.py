"""Who writes a result: one process at a time. The others are refused at once, with who it is."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from dissensus.errors import OutputError
from dissensus.places.addresses import path_of, work_place

_held: set[Path] = set()
"""What this process writes: a verb and the function that it calls are one writer."""
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def sole_writer(path: str | Path) -> Iterator[None]:
    """Keep other processes from writing ``path``, a file or a folder, while the block runs.

    The lock is a file beside it, ``.NAME.lock``, that names its process. The system lets go of it when the process
    ends, however it ends. Folders that are made for it and stay empty are removed. Processes of one distributed run
    (``RANK`` of torchrun) are one writer, and so are a block and those within it. A path that is no plain file
    (``/dev/null``) belongs to nobody.

    Of an address it keeps those of this machine.

    Raises:
        OutputError: another process writes there; or the folder cannot be written.
    """
    final = Path(os.path.realpath(work_place(path_of(path))))
    is_special = final.exists() and not (final.is_file() or final.is_dir())
    if os.environ.get("RANK", "0") != "0" or is_special or final in _held:
        yield
        return
    lock = final.with_name(f".{final.name[:200]}.lock")
    made = _make_folders(lock.parent, path)
    try:
        descriptor = _acquire(lock, path)
        _held.add(final)
        try:
            yield
        finally:
            _held.discard(final)
            with suppress(OSError):
                lock.unlink()  # while it is held: nobody else can hold the file of this name
            os.close(descriptor)
    finally:
        for folder in reversed(made):
            with suppress(OSError):  # something is in it
                folder.rmdir()


def _make_folders(folder: Path, path: str | Path) -> list[Path]:
    missing = [one for one in (*reversed(folder.parents), folder) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: its folder cannot be made ({error.strerror}); name another place") from error
    return missing


def _acquire(lock: Path, path: str | Path) -> int:
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise OutputError(
                f"{path}: cannot write ({error.strerror}); check the folder and its permissions"
            ) from error
        try:
            # Of the process and not of the descriptor: a child that outlives a killed run holds nothing.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS_HERE:
                return descriptor
            holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(descriptor)
            raise OutputError(f"{path}: {holder} is writing it; wait for it, or name another place") from None
        if _is_still(lock, descriptor):
            break
        os.close(descriptor)  # its holder has just ended and removed it
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    with suppress(OSError):  # on a full disk the lock holds without its words; what is written then says what is wrong
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} (since {since})\n".encode(), 0)
    return descriptor


def _is_still(lock: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(lock.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False

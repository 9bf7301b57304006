"""Files that are whole or absent: written under a temporary name, synced, then renamed."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dissensus.errors import OutputError
from dissensus.places.addresses import Address, is_address, path_of, put_file

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it becomes ``path``, on any error it is removed.

    The folder is created where it is missing, and an older file under the name stays until the new one is
    complete on disk. A symbolic link is followed. What goes to an address is written on this machine first, in the
    folder for temporary files, and stays there where it cannot be put to the address.

    Raises OutputError where the file cannot be written: a full disk, no permission, a folder or a device of
    that name, an address that refuses.
    """
    if is_address(path):
        with _uploaded(path_of(path)) as temporary:
            yield temporary
        return
    final = Path(os.path.realpath(path))
    temporary = final.with_name(f".{final.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        if final.exists() and not final.is_file():  # a rename would replace even /dev/null by a plain file
            raise OutputError(f"{path}: is not a plain file, so it cannot be replaced; name a file")
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        yield temporary
        _sync(temporary)
        temporary.replace(final)
        _sync(final.parent)
    except OSError as error:
        raise _refusal(path, error, "check the folder and its permissions") from error
    finally:
        with suppress(OSError):  # gone after the rename; never there if the folder is at fault
            temporary.unlink()


def _refusal(path: str | Path, error: OSError, remedy: str) -> OutputError:
    reason = f"cannot write ({os.strerror(error.errno) if error.errno else error})"
    if error.errno in _FULL:
        reason, remedy = f"disk full ({os.strerror(error.errno)})", "free space and run again"
    return OutputError(f"{path}: {reason}; nothing half-written was left under that name; {remedy}")


@contextmanager
def _uploaded(final: Path) -> Iterator[Path]:
    """Yield a temporary path; on success it is put to an address."""
    assert isinstance(final, Address)
    remedy = f"it is written in {tempfile.gettempdir()} first: check that folder, or name another as TMPDIR"
    folder, is_kept = None, False
    try:
        folder = Path(tempfile.mkdtemp(prefix="dissensus-"))
        temporary = folder / final.name
        temporary.touch()
        yield temporary
        try:
            put_file(temporary, final)
        except OutputError as error:
            is_kept = True
            raise OutputError(f"{error}; what was to be put there is kept in {temporary}") from error
    except OSError as error:
        raise _refusal(final, error, remedy) from error
    finally:
        if folder is not None and not is_kept:
            shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text to ``path`` at once or not at all. Raises OutputError."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON at once or not at all. Raises OutputError, and ValueError on NaN or infinity."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")

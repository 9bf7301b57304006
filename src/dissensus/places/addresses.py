"""Files and folders at addresses that fsspec knows, such as s3://bucket/pairs.parquet, handled as paths.

Nothing here is configured: credentials and endpoints are found in each library's own ways (environment, files, fsspec's
configuration).
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PosixPath, PurePosixPath
from typing import Any

from dissensus.errors import DissensusError, InputError, MissingDependencyError, OutputError
from dissensus.places.cache_folder import default_cache

_ADDRESS = re.compile(r"(?:[A-Za-z][\w+.-]*(?:://[^:]*)?::)*([A-Za-z][\w+.-]*)://", re.ASCII)
_BEGINS = re.compile(r"(?:.*::)?[A-Za-z][\w+.-]*:", re.ASCII)
_HERE = re.compile(r"(?:file|local)://")
_DATABASES = ("postgres", "postgresql", "postgresql+psycopg", "sqlite", "mysql", "mariadb")
_SECRET = re.compile(r"://[^/@]*:[^/@]*@")
_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss", "hf", "memory"}
"""Stores where what is put is there whole or not at all; elsewhere it is put under another name and moved."""
_BLOCK = 8 * 2**20
_EXTRAS = {"s3fs": "s3", "huggingface_hub": "hub"}


def is_address(text: object) -> bool:
    """Tell an address from a path, the name of a data set, and the address of a database.

    >>> [is_address(text) for text in ("s3://bucket/pairs.jsonl", "pairs.jsonl", "file:///pairs.jsonl", "sqlite:///a.db")]
    [True, False, False, False]
    """
    if isinstance(text, Address):
        return True
    match = _ADDRESS.match(text) if isinstance(text, str) else None
    return match is not None and match[1].lower() not in _DATABASES and _HERE.match(str(text)) is None


def path_of(place: str | Path) -> Path:
    """Return a path, which of an address is an `Address`: ``Path`` would take a slash from it.

    Raises InputError for an address that cannot be one.
    """
    if isinstance(place, Path):
        return place
    if not is_address(place):
        return Path(_HERE.sub("", place, count=1))
    if _SECRET.search(place):
        raise InputError(
            f"{place.partition('://')[0]}://…: has a password, which would get into messages and records; leave it out "
            "and give it in the way of fsspec's library for that store"
        )
    _, _, rest = place.rpartition("://")
    if not rest.strip("/") or "//" in rest or (rest.startswith("/") and not place.startswith("memory:")):
        raise InputError(f"{place}: a name in the address is empty (between two slashes); name all, the host too")
    return Address(place)


class Address(PosixPath):
    """A place that fsspec reaches, as a path: it has a name, a parent, siblings, and is opened to be read.

    What needs a file of this machine gets an InputError that says so. Reads are streamed. Raises InputError where the
    place cannot be reached, FileNotFoundError where nothing is there.
    """

    _is_file: bool | None = None
    """Where it was seen in a list."""

    def __str__(self) -> str:
        """Return the address with both of its slashes."""
        parts = self.parts
        slashes = ["//" if _BEGINS.fullmatch(p) and (n == 0 or "::" in p) else "/" for n, p in enumerate(parts)]
        return "".join(part + slash for part, slash in zip(parts, [*slashes[:-1], ""], strict=True))

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def __fspath__(self) -> str:
        """Refuse to be a file of this machine."""
        raise InputError(f"{self}: is at an address, and this has to be on this machine; copy it here, name the copy")

    def _info(self) -> dict[str, Any] | None:
        if self._is_file is not None:
            return {"type": "file" if self._is_file else "directory"}
        system, path = system_of(self)
        with _reported(self), suppress(FileNotFoundError, NotADirectoryError):
            system.invalidate_cache()
            found: dict[str, Any] = system.info(path)
            return found
        return None

    def exists(self, **_: Any) -> bool:
        """Tell whether a file or a folder is there."""
        return self._info() is not None

    def is_file(self, **_: Any) -> bool:
        """Tell whether a file is there."""
        return (self._info() or {}).get("type") == "file"

    def is_dir(self, **_: Any) -> bool:
        """Tell whether a folder is there: in an object store, whether names begin with it."""
        return (self._info() or {}).get("type") == "directory"

    def is_absolute(self) -> bool:
        """Return True: it is the same from every folder."""
        return True

    def absolute(self) -> Address:
        """Return itself."""
        return self

    def is_symlink(self) -> bool:
        """Return False."""
        return False

    def stat(self, **_: Any) -> os.stat_result:
        """Return its size; nothing else is known. Raises FileNotFoundError."""
        if (info := self._info()) is None:
            raise FileNotFoundError(str(self))
        return os.stat_result((0o100644, 0, 0, 1, 0, 0, info.get("size") or 0, 0, 0, 0))

    def iterdir(self) -> Iterator[Address]:  # type: ignore[override]  # a generator on all versions
        """List what lies in the folder, in the order of the names."""
        system, path = system_of(self)
        with _reported(self):
            system.invalidate_cache()
            found = system.ls(path, detail=True)
        own = PurePosixPath(path.rstrip("/")).name
        for entry in sorted(found, key=lambda entry: str(entry["name"])):
            name = str(entry["name"]).rstrip("/")
            if name.strip("/") != path.strip("/") and (child := PurePosixPath(name).name) and child != own + "/":
                yield self._seen(child, entry["type"] == "file")

    def glob(self, pattern: str, **_: Any) -> Iterator[Address]:  # type: ignore[override]
        """List what lies in the folder and is called so."""
        return (one for one in self.iterdir() if fnmatch.fnmatchcase(one.name, pattern))

    def rglob(self, pattern: str, **_: Any) -> Iterator[Address]:  # type: ignore[override]
        """List the files that are called so, in the folder and below."""
        system, path = system_of(self)
        with _reported(self):
            system.invalidate_cache()
            found = system.find(path)
        for name in sorted(found):
            below = str(name).strip("/").removeprefix(path.strip("/")).strip("/")
            if below and fnmatch.fnmatchcase(PurePosixPath(below).name, pattern):
                yield self._seen(below, True)

    def open(self, mode: str = "r", *_: Any, **__: Any) -> Any:
        """Open it to be read: bytes in mode "rb", else UTF-8 text."""
        if mode not in ("r", "rb", "rt"):
            raise OutputError(f"{self}: cannot be written piece by piece at an address; name a file of this machine")
        raw = io.BufferedReader(self.open_unbuffered(), 2**20)
        return raw if mode == "rb" else io.TextIOWrapper(raw, encoding="utf-8", newline="")

    def open_unbuffered(self, *, ahead: bool = True) -> io.RawIOBase:
        """Open it for whoever reads large pieces; ``ahead``: one after the other, and not here and there."""
        system, path = system_of(self)
        with _reported(self):
            system.invalidate_cache()
            cache = {"block_size": _BLOCK, "cache_type": "readahead" if ahead else "none"}
            file = system.open(path, "rb", **cache)
        return _Stream(self, file)

    def read_bytes(self) -> bytes:
        """Read all of it."""
        with self.open("rb") as file:
            content: bytes = file.read()
        return content

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        """Read all of it as text."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def _seen(self, below: str, is_file: bool) -> Address:
        found = self / below
        found._is_file = is_file
        return found


class _Stream(io.RawIOBase):
    """A remote file, whose errors name the place."""

    def __init__(self, address: Address, file: Any) -> None:
        self._address, self._file = address, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def readinto(self, buffer: Any) -> int:
        with _reported(self._address):
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            with suppress(Exception):
                self._file.close()
        super().close()


def system_of(address: str | Path) -> tuple[Any, str]:
    """Return the file system of an address and the path in it.

    Raises InputError where there is none of that kind, MissingDependencyError where its library is not installed.
    """
    try:
        import fsspec.core
    except ModuleNotFoundError as error:
        raise MissingDependencyError("fsspec", extra="s3", need=str(address)) from error
    try:
        system, root = fsspec.core.url_to_fs(str(address))
    except ImportError as error:
        raise _missing(str(address), error) from error
    except ValueError as error:
        raise InputError(f"{address}: cannot be reached ({reason_of(error)}); check how it begins") from error
    except Exception as error:  # every store has errors of its own, here and below
        raise InputError(f"{address}: cannot be reached ({reason_of(error)}); {remedy_of(error)}") from error
    return system, root.rstrip("/")


def _missing(address: str, error: ImportError) -> DissensusError:
    from fsspec.registry import known_implementations

    match = _ADDRESS.match(address)
    package = known_implementations.get(match[1] if match else "", {}).get("class", "").partition(".")[0]
    if package in _EXTRAS:
        return MissingDependencyError(package, extra=_EXTRAS[package], need=address)
    if package in ("", "fsspec"):
        return InputError(f"{address}: cannot be reached ({reason_of(error)}); install what is named there")
    return InputError(f"{address}: needs {package}, which is not installed; run: pip install {package}")


def reason_of(error: BaseException) -> str:
    """Return what a store says is wrong, in one line."""
    said = getattr(error, "strerror", None) or str(error)
    return (str(said).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def remedy_of(error: BaseException) -> str:
    """Say what to look at, by the kind of error."""
    name = type(error).__name__
    if isinstance(error, PermissionError) or "Credential" in name or "Token" in name:
        return "check your credentials and what they allow"
    if isinstance(error, FileNotFoundError):
        return "check the bucket and the name"
    if isinstance(error, ConnectionError | TimeoutError) or "Connect" in name or "Timeout" in name:
        return "check the endpoint (of s3://: AWS_ENDPOINT_URL) and the network, and run again"
    return "check the address and your access"


@contextmanager
def _reported(address: Address) -> Iterator[None]:
    """Say in one line what a store refuses; where nothing is there, FileNotFoundError is left as it is."""
    try:
        yield
    except (DissensusError, FileNotFoundError, NotADirectoryError):
        raise
    except Exception as error:
        raise InputError(f"{address}: cannot be read ({reason_of(error)}); {remedy_of(error)}") from error


def put_file(local: Path, address: Address) -> None:
    """Put a file to an address, where it is whole or not at all and replaces what was there. Raises OutputError."""
    system, path = system_of(address)
    protocols = {system.protocol} if isinstance(system.protocol, str) else {*system.protocol}
    temporary = path
    if not protocols & _WHOLE:
        head, _, name = path.rpartition("/")
        temporary = f"{head}/.{name[:200]}.{secrets.token_hex(4)}.tmp"
    try:
        if temporary != path:
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.put_file(str(local), temporary)
        if temporary != path:
            system.mv(temporary, path)
    except Exception as error:
        if temporary != path:
            with suppress(Exception):
                system.rm_file(temporary)
        raise OutputError(f"{address}: cannot be put there ({reason_of(error)}); {remedy_of(error)}") from error


def work_place(path: Path) -> Path:
    """Return where what is unfinished waits: the path itself, of an address one in the cache folder of this machine."""
    if not isinstance(path, Address):
        return path
    name = hashlib.blake2b(str(path).encode(), digest_size=8).hexdigest()
    return default_cache() / "unfinished" / name / path.name

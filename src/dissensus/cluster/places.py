"""Where files lie that are written once: a folder of this machine, or an address of fsspec, such as s3://bucket/run."""

from __future__ import annotations

import io
import shutil
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from dissensus.errors import InputError, OutputError
from dissensus.files.atomic import atomic_path
from dissensus.places.addresses import is_address, path_of, reason_of, remedy_of, system_of

SUFFIX = ".parquet"


class ShardFolder:
    """A folder whose files are put there once and never changed.

    Args:
        place: a path or an address.
    """

    def __init__(self, place: str | Path) -> None:
        self.place = str(place)
        self._system: Any = None
        self._root = self.place
        if is_address(self.place):
            self._system, self._root = system_of(path_of(self.place))

    def __str__(self) -> str:
        return self.place

    def names(self) -> list[str]:
        """List the shards, in the order of their names; none where there is no such folder."""
        return [name for name in self._entries() if name.endswith(SUFFIX) and not name.startswith(".")]

    def below(self) -> list[str]:
        """List what lies in the folder and is no shard: the folders of parts among it."""
        return [name for name in self._entries() if not name.endswith(SUFFIX) and not name.startswith(".")]

    def folder(self, name: str) -> ShardFolder:
        """Return a folder below."""
        return ShardFolder(f"{self.place.rstrip('/')}/{name}")

    def path(self, name: str) -> str:
        """Name a shard with its folder, for messages."""
        return f"{self.place.rstrip('/')}/{name}"

    def has(self, name: str) -> bool:
        """Tell whether a file is there. Raises InputError where the place cannot be reached."""
        try:
            if self._system is None:
                return Path(self._root, name).exists()
            self._system.invalidate_cache()
            return bool(self._system.exists(f"{self._root}/{name}"))
        except Exception as error:
            raise InputError(f"{self.path(name)}: cannot be looked for ({reason_of(error)}); check it") from error

    def open(self, name: str) -> BinaryIO:
        """Open a shard, to be read here and there. Raises InputError."""
        try:
            if self._system is None:
                return Path(self._root, name).open("rb")
            return io.BytesIO(self._system.cat_file(f"{self._root}/{name}"))
        except Exception as error:  # every object store has errors of its own, here and below
            raise InputError(f"{self.path(name)}: cannot be read ({reason_of(error)}); check it") from error

    def put(self, name: str, content: bytes) -> bool:
        """Put a shard there, whole or not at all; False where one of its name is there already, which stays.

        Raises:
            OutputError: the disk is full, or the place refuses.
        """
        if self._system is None:
            return _put_file(Path(self._root, name), content)
        try:
            if self._system.exists(f"{self._root}/{name}"):
                return False
            # What is put is there whole or not at all; "create" also refuses what came since the look, if it can.
            self._system.pipe_file(f"{self._root}/{name}", content, mode="create")
        except FileExistsError:
            return False
        except Exception as error:
            raise OutputError(
                f"{self.path(name)}: cannot be put there ({reason_of(error)}); {remedy_of(error)}, and run "
                "again: answers are kept"
            ) from error
        return True

    def remove(self) -> None:
        """Remove the folder with all that is in it; what an address refuses to remove stays."""
        if self._system is None:
            shutil.rmtree(self._root, ignore_errors=True)
            return
        with suppress(Exception):  # whatever is left there changes nothing
            self._system.rm(self._root, recursive=True)

    def _entries(self) -> list[str]:
        if self._system is None:
            folder = Path(self._root)
            return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        try:
            self._system.invalidate_cache()
            return sorted(PurePosixPath(path).name for path in self._system.ls(self._root, detail=False))
        except FileNotFoundError:
            return []
        except Exception as error:
            raise InputError(f"{self.place}: cannot be listed ({reason_of(error)}); {remedy_of(error)}") from error


def _put_file(path: Path, content: bytes) -> bool:
    if path.exists():
        return False
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return True

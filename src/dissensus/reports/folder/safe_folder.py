"""A run's folder as a stranger may have made it: read no further than what lies inside of it, written with care."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from dissensus.errors import InputError, OutputError
from dissensus.places.addresses import Address

_OWN = b'<meta name="generator" content="dissensus'
"""Stands near the beginning of every page that this package has written."""
_HEAD = 65_536


class RunFolder:
    """A folder that is only read, and only what lies inside of it once links are resolved.

    Attributes:
        path: the folder as it was given.
        refused: what has a name that was asked for and is not read, in words.
    """

    def __init__(self, path: Path) -> None:
        """Look at ``path``.

        Raises:
            InputError: it is no folder, or cannot be looked into.
        """
        self.path = path
        self.refused: list[str] = []
        try:
            self._root = Path(os.path.realpath(path))
            self._names = sorted(path.name for path in self._root.iterdir())
        except NotADirectoryError as error:
            raise InputError(f"{path}: a file; give the folder that it lies in") from error
        except FileNotFoundError as error:
            given = "give the folder that 'dissensus study --out' wrote, or one with what 'dissensus evaluate' wrote"
            raise InputError(f"{path}: no such folder; {given}") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be looked into ({error}); check the folder") from error

    def file(self, *names: str) -> Path | None:
        """Give the first of the names that is a plain file inside; None where there is none.

        What leads out of the folder, or is no plain file, is passed over and noted in ``refused``.
        """
        return next((path for name in names if (path := self._inside(name, stat.S_ISREG, "is no plain file"))), None)

    def has_file(self, name: str) -> bool:
        """Tell whether there is a plain file of that name inside; nothing is noted of what is another thing."""
        return self._inside(name, stat.S_ISREG, "") is not None

    def has_folder(self, name: str) -> bool:
        """Tell whether there is a folder of that name inside."""
        return self._inside(name, stat.S_ISDIR, "is no folder") is not None

    def names(self) -> list[str]:
        """List what lies in the folder itself, hidden things left out."""
        return [name for name in self._names if not name.startswith(".")]

    def find(self, pattern: str) -> list[str]:
        """List the plain files inside that match a pattern, as names relative to the folder, in order."""
        try:
            found = sorted(str(path.relative_to(self._root)) for path in self._root.glob(pattern))
        except (OSError, ValueError):
            return []
        return [name for name in found if self.file(name)]

    def _inside(self, name: str, is_kind: Callable[[int], bool], otherwise: str) -> Path | None:
        path = self.path / name
        try:
            if not os.path.lexists(path):
                return None
            real = Path(os.path.realpath(path))
            is_inside = real.is_relative_to(self._root)
            if is_inside and is_kind(real.stat().st_mode):
                return path
        except (OSError, ValueError):
            is_inside, otherwise = True, otherwise and "cannot be looked at"
        why = otherwise if is_inside else otherwise and "leads out of the folder"
        words = f"{name}: {why}, so it is not read"
        if why and words not in self.refused:
            self.refused.append(words)
        return None


def check_page(path: Path) -> None:
    """Refuse to write a page over anything but an earlier page.

    Raises:
        OutputError: ``path`` is a link, no plain file, or a file that is not a report.
    """
    try:
        mode = path.stat().st_mode if isinstance(path, Address) else os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            raise OutputError(f"{path}: is a link, and a report is not written through one; name a file with --out")
        if not stat.S_ISREG(mode):
            raise OutputError(f"{path}: is not a plain file, so it cannot be replaced; name a file with --out")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (FileNotFoundError, NotADirectoryError):
        return  # what is wrong with a folder that is none is said where it is read or written
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be replaced ({error}); name another file with --out") from error
    if head and _OWN not in head:
        raise OutputError(f"{path}: is there already and is no report, so it stays; name another file with --out")

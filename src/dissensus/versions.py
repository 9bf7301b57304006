"""The version that wrote a JSON record: one of a newer version is told from a damaged one, and says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from dissensus._version import __version__
from dissensus.errors import InputError

_KEY = "version"


class NewerVersionError(InputError):
    """A record of a newer version, which may mean more than this one can read."""


def stamped(content: Mapping[str, Any]) -> dict[str, Any]:
    """Put the version of this package into what is to be written."""
    return {_KEY: __version__, **content}


def without_stamp(content: Any) -> Any:
    """Return what was written besides the version; earlier versions wrote none."""
    return {key: value for key, value in content.items() if key != _KEY} if isinstance(content, Mapping) else content


def unreadable(where: object, content: Any, otherwise: str) -> InputError:
    """Say why a record cannot be read: a newer version wrote it, or ``otherwise``.

    ``content`` is what stands in the file ``where``, as text or as far as that could be read.
    """
    written = _version_of(content)
    if isinstance(written, str) and _release(written) > _release(__version__):
        return NewerVersionError(
            f"{where}: written by dissensus {written}, and this is {__version__}, which cannot read it; upgrade with: "
            "pip install --upgrade dissensus"
        )
    return InputError(f"{where}: {otherwise}")


def _version_of(content: Any) -> Any:
    """Find the version in a record; in a manifest it stands among those of other packages."""
    try:
        values = json.loads(content) if isinstance(content, bytes | str) else content
        return values.get(_KEY) or values.get("environment", {}).get("dissensus")
    except (AttributeError, ValueError, RecursionError):
        return None


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a release, in which versions are ordered; nothing of what is no version.

    >>> _release("0.10.2rc1"), _release("unknown")
    ((0, 10, 2), ())
    """
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()

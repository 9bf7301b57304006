"""Files that a verb writes: none may be one that it reads, or another that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dissensus.errors import ConfigError


def check_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, str | Path | None]) -> None:
    """Refuse a file that would be written over what is read, or over another result; names are the options'."""
    taken = {Path(given).resolve(): name for name, given in inputs.items() if given is not None}
    for name, path in outputs.items():
        if path is None:
            continue
        if (other := taken.setdefault(path.resolve(), name)) != name:
            raise ConfigError(f"{name} {path}: is the file of {other} as well; name another")

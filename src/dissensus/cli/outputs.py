"""Files that a verb writes: none may be one that it reads, or another that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dissensus.errors import OutputError

Given = str | Path | tuple[Path, ...] | None


def check_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Given]) -> None:
    """Refuse a file that would be written over what is read, or into a folder of it, or over another result.

    Both map options to what was given for them; inputs that are no paths (a data set's name) do no harm.
    """
    read = {
        Path(one).resolve(): option
        for option, given in inputs.items()
        for one in (given if isinstance(given, tuple) else (given,))
        if one is not None and Path(one).exists()
    }
    written: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        whole = path.resolve()
        if (source := read.get(whole) or read.get(whole.parent)) is not None:
            what = f"is what {source} gives, or lies in it, and that stays as it is"
            raise OutputError(f"{option} {path}: {what}; name another file")
        if (other := written.setdefault(whole, option)) != option:
            raise OutputError(f"{option} {path}: is also {other}; name another file")

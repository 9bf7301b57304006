"""Where what can be made again is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache() -> Path:
    """Name the folder: ``DISSENSUS_CACHE``, or ``dissensus`` in the user's cache folder."""
    if named := os.environ.get("DISSENSUS_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dissensus"

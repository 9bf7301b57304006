"""Where the real votes are: the folder named by DISSENSUS_REAL_DATA, or ``shared/data`` beside the checkout."""

import os
from pathlib import Path


def real_data_dir() -> Path | None:
    """The folder, or None where it is missing."""
    named = os.environ.get("DISSENSUS_REAL_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None

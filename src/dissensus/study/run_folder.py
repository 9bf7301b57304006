"""The folder of a run: the settings that are kept in it, and what the stages must not write over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from dissensus.errors import OutputError
from dissensus.files import write_text
from dissensus.files.overwrite import is_same, lies_in
from dissensus.study.config import StudyConfig

SETTINGS, MANIFEST = "study.yaml", "manifest.json"


def keep_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write the run's ``study.yaml``, unless it says that already.

    Raises:
        OutputError: the file that is there was written by no run: it is somebody's own.
    """
    path, text = folder / SETTINGS, _text_of(settings)
    if path.exists():
        if path.read_bytes() == text.encode():
            return
        if not (folder / MANIFEST).exists() and not _is_whole(path, settings):
            raise OutputError(f"{path}: no run has written it, so it stays as it is; choose another --out")
    write_text(path, text)


def refuse_own_inputs(study: str, config: StudyConfig, folder: Path, written: Iterable[str]) -> None:
    """Look whether a run of ``study`` in ``folder`` would write over what it reads, or over the study itself.

    Args:
        study: the file that the settings are from; empty where they are from none.
        config: the settings, whose texts may be paths.
        folder: of the run.
        written: the files and folders in it that the run writes.

    Raises:
        OutputError: it would; names the file and who gives it.
    """
    settings = config.model_dump(mode="json")
    there = [place for name in written if (place := folder / name).exists()]
    for text in (study, *_texts(settings)):
        if not _is_there(text) or not any(lies_in(Path(text), place) for place in there):
            continue
        kept = folder / SETTINGS
        if is_same(Path(text), kept) and kept.read_bytes() == _text_of(settings).encode():
            continue  # the same run once more: nothing of it is written
        what = "the study" if text == study else "the study reads it, and it"
        raise OutputError(f"{text}: {what} would be written over by the run in {folder}; choose another --out")


def _is_whole(path: Path, settings: dict[str, Any]) -> bool:
    """Tell whether a run that was killed early has written a file: every setting, and nothing but settings."""
    try:
        found = yaml.safe_load(path.read_bytes())
    except (UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(found, dict) and found.keys() == settings.keys() and path.read_bytes() == _text_of(found).encode()


def _text_of(settings: dict[str, Any]) -> str:
    return str(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))


def _is_there(text: str) -> bool:
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):  # a text that is no path
        return False


def _texts(value: Any) -> Iterator[str]:
    """List the texts among settings, whichever are paths."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)

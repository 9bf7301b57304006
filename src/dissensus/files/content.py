"""Files and folders by what is in them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dissensus.errors import InputError
from dissensus.places.addresses import path_of


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    with path_of(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_of(path: str | Path) -> str | None:
    """Hash a file, or the names and bytes of all files of a folder: 64 hex digits.

    None for what is neither: the id of a model or a data set on the Hub is known by its name alone.

    At an address the bytes are read, too: a copy has the same hash. Raises InputError when a file cannot be read.
    """
    source = path_of(path)
    try:
        if source.is_file():
            return sha256_of(source)
        if not source.is_dir():
            return None
        digest = hashlib.sha256()
        for file in sorted(file for file in source.rglob("*") if file.is_file()):
            name = file.relative_to(source).as_posix()
            digest.update(f"{sha256_of(file)} {name}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: cannot be read ({error.strerror}); check its permissions"
        ) from error

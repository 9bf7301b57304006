"""Digests of texts, bytes, settings and files, and numbers drawn by a text.

What is kept on disk under a digest is found by it again, so none of these may ever give another value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def framed_digest(*texts: str) -> bytes:
    """Hash texts so that no two lists of texts collide by where one ends; 16 bytes.

    >>> framed_digest("ab", "c") == framed_digest("a", "bc")
    False
    """
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        digest.update(f"{len(text)}:{text}".encode("utf-8", "surrogatepass"))
    return digest.digest()


def digest_of(parts: Iterable[bytes], *, size: int = 16) -> str:
    """Hash bytes that come in parts: ``size`` bytes as hex digits. Where one part ends is not seen."""
    digest = hashlib.blake2b(digest_size=size)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def short_digest(text: str) -> str:
    """Hash a text to 8 hex digits, as they stand behind a judge's name."""
    return digest_of([text.encode()], size=4)


def identity_of(parts: Iterable[bytes]) -> str:
    """Hash bytes that come in parts to 16 hex digits of SHA-256. Where one part ends is not seen."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def fingerprint_of(settings: Any) -> str:
    """Hash what JSON can say, whatever the order of its keys: 16 hex digits.

    >>> fingerprint_of({"a": 1, "b": 2}) == fingerprint_of({"b": 2, "a": 1})
    True
    """
    return identity_of([json.dumps(settings, sort_keys=True, default=str).encode()])


def file_digest(path: str | Path) -> bytes:
    """Return the SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def number_of(text: str) -> int:
    """Return a number of 64 bits that looks random and depends on the text alone: a seed, or a place in an order."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")

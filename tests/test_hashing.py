"""Digests keep their values: stores, model folders and databases are searched by them."""

from pathlib import Path

from dissensus import hashing


def test_the_values_of_today(tmp_path: Path):
    (tmp_path / "f").write_bytes(b"abc")
    assert hashing.framed_digest("ab", "ü\ud800").hex() == "77a301fd694de557442ca826265f8a70"
    assert hashing.digest_of([b"ab", b"c"]) == hashing.digest_of([b"abc"]) == "cf4ab791c62b8d2b2109c90275287816"
    assert hashing.short_digest("abc") == "63906248"
    assert hashing.identity_of([b"ab", b"c"]) == "ba7816bf8f01cfea"
    assert hashing.fingerprint_of({"b": 1, "a": [Path("x")]}) == "c9dd71e8999044f3"
    assert hashing.file_digest(tmp_path / "f").hex().startswith("ba7816bf8f01cfea")
    assert hashing.number_of("abc") == 15617099051652453721

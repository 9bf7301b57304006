"""Addresses of PostgreSQL databases, whose passwords stay out of messages, records and fingerprints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import PlainSerializer, PlainValidator

from dissensus.errors import InputError
from dissensus.places.addresses import is_address, path_of

POSTGRES = ("postgres", "postgresql", "postgresql+psycopg")
"""What an address of PostgreSQL begins with."""
_TABLES = (".jsonl", ".jsonl.gz", ".parquet", ".csv", ".tsv", ".json")
_SECRETS = ("password", "sslpassword")
_HOST = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[\w.%-]*)(?::(\d*))?")


class DatabaseUrl:
    """``postgresql://USER@HOST/NAME``, with ``?schema=`` and whatever options libpq has.

    Its text, which goes into messages, records and fingerprints, has no password.
    """

    def __init__(self, shown: str, options: Mapping[str, str], schema: str | None = None) -> None:
        self._shown = shown
        self.options = options
        """What libpq is told, by its own keywords."""
        self.schema = schema

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address. Raises InputError that does not repeat it: what cannot be read may be a password."""
        try:
            parts = urlsplit(text)
            query = dict(parse_qsl(parts.query, strict_parsing=True, keep_blank_values=True)) if parts.query else {}
        except ValueError:
            raise _unreadable() from None
        user, _, where = parts.netloc.rpartition("@")
        hosts = [_HOST.fullmatch(one) for one in where.split(",")]
        # A password with / ? # or @ that stand as they are is cut there, and would be shown in part.
        if not all(hosts) or parts.fragment or "@" in user + parts.path + parts.query:
            raise _unreadable()
        name, _, password = user.partition(":")
        found = {
            "host": ",".join(unquote(one[1]).strip("[]") for one in hosts if one),
            "port": ",".join(one[2] or "" for one in hosts if one),
            "user": unquote(name),
            "password": unquote(password),
            "dbname": unquote(parts.path.removeprefix("/")),
        }
        given = {key: value for key, value in found.items() if value.strip(",")} | query
        schema = given.pop("schema", None) or None
        public = urlencode({k: v for k, v in query.items() if k not in _SECRETS}, quote_via=quote, safe="/")
        shown = f"postgresql://{name}{'@' if name else ''}{where}{parts.path}{'?' if public else ''}{public}"
        return cls(shown, given, schema)

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"DatabaseUrl({self._shown!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatabaseUrl) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash(self._shown)


def _unreadable() -> InputError:
    return InputError(
        "the database's address cannot be read; expected postgresql://USER@HOST/NAME, with what is special in a "
        "password written as % codes"
    )


def is_postgres(text: str) -> bool:
    """Tell whether a text is an address of PostgreSQL."""
    scheme, colon, _ = text.partition("://")
    return bool(colon) and scheme in POSTGRES


def place_of(place: str | Path | DatabaseUrl) -> Path | DatabaseUrl:
    """Tell a file from an address of PostgreSQL; judgments that were exported may be at an address of fsspec's.

    Raises InputError for other addresses.
    """
    if not isinstance(place, str) or "://" not in place:
        return Path(place) if isinstance(place, str) else place
    if place.startswith("sqlite:///"):
        return Path(place.removeprefix("sqlite:///"))
    if is_address(place) and place.lower().endswith(_TABLES):
        return path_of(place)
    if not is_postgres(place):
        kind = place.partition("://")[0]
        hint = f"; judgments that were exported may be there ({', '.join(_TABLES)})" if is_address(place) else ""
        raise InputError(f"a database of type {kind} is not supported; give a file or a postgresql:// URL{hint}")
    return DatabaseUrl.parse(place)


def _place(value: Any) -> Path | DatabaseUrl:
    if not isinstance(value, str | Path | DatabaseUrl):
        raise ValueError(f"expected a file or a postgresql:// URL (found {value!r})")
    return place_of(value)


def _name(value: Any) -> str | DatabaseUrl:
    place = _place(value)
    return place if isinstance(place, DatabaseUrl) else str(value)


_IN_JSON = PlainSerializer(str, return_type=str, when_used="json")
StorePlace = Annotated[Path | DatabaseUrl, PlainValidator(_place), _IN_JSON]
"""A field that names a store: a file, or a database by its address, which in JSON has no password."""
StoreName = Annotated[str | DatabaseUrl, PlainValidator(_name), _IN_JSON]
"""The same, where the name of a file stays as it was given."""

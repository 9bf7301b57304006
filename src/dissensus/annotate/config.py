"""Settings of an annotation project, kept in its database, and of the address under which its app listens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from dissensus.settings import Option, Reads, Settings

_Hidden = Option(is_hidden=True)


class AnnotationConfig(Settings):
    """The settings of a project: how many people see each pair, what they are asked, how long things last."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = "Which answer do people prefer?"
    """Shown to annotators; do not mention where responses come from."""
    annotators: Annotated[int, Field(ge=1, le=1000)] = 3
    """People per pair: each pair gets exactly so many different ones."""
    own_choice: bool = False
    """Also ask annotators which answer they prefer themselves."""
    practice: bool = True
    """Begin with pairs whose answers are known."""
    guide: Annotated[str, _Hidden] = ""
    """Markdown shown as the guide; the built-in one where empty."""
    lease_minutes: Annotated[float, Field(gt=0)] = 30
    """How long a pair is held for somebody who is not heard of."""
    prefetch: Annotated[int, Field(ge=1, le=50), _Hidden] = 25
    """Pairs that a browser holds at most, to go on without a network."""
    invite_hours: Annotated[float, Field(gt=0), _Hidden] = 72
    """How long a link can be opened."""
    session_days: Annotated[float, Field(gt=0), _Hidden] = 30
    """How long a browser stays signed in."""


class Listening(Settings):
    """Where the app listens, and under which name people reach it."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8700
    """0: any that is free."""
    trusted_host: str | None = None
    """The name that people use: HOST, or https://HOST behind a proxy that does TLS."""
    tls_cert: Annotated[Path | None, Reads("local")] = None
    """Certificate (PEM), to do TLS here."""
    tls_key: Annotated[Path | None, Reads("local")] = None
    """Its key (PEM)."""

    @property
    def tls(self) -> bool:
        """Whether the app does TLS itself."""
        return self.tls_cert is not None

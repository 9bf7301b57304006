"""Host names under which the app answers, and whether browsers reach it through TLS."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from dissensus.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_HOST = re.compile(r"(?:(https?)://)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::([0-9]{1,5}))?/?")


@dataclass(frozen=True)
class Hosts:
    """What a request may have in its Host header and, if it writes, in its Origin header."""

    names: frozenset[str]
    origins: frozenset[str]
    origin: str
    """The one that links are made with."""
    secure: bool
    """Whether cookies are for TLS alone."""


def hosts_for(port: int, trusted: str | None = None, *, tls: bool = False, host: str = "127.0.0.1") -> Hosts:
    """Return the hosts of an app on ``port``: this machine's own names, and one that is trusted.

    ``trusted``: ``HOST``, ``HOST:PORT`` or an origin; ``https://HOST`` where a proxy does TLS in front of the app.
    ``host``: where the app listens; links name it where nothing is trusted and it is one address. Raises InputError.
    """
    scheme = "https" if tls else "http"
    listens = _listens(host)
    names = {f"{name}:{port}" for name in (*LOOPBACK, listens)}
    if port == (443 if tls else 80):
        names |= {*LOOPBACK, listens}
    origins = {f"{scheme}://{name}" for name in names}
    if trusted is None:
        return Hosts(frozenset(names), frozenset(origins), f"{scheme}://{listens}:{port}", tls)
    given, name, given_port = _parts(trusted)
    outside = given or scheme
    standard = "443" if outside == "https" else "80"
    wanted = given_port or ("" if given else str(port))
    trusted_name = name if wanted in ("", standard) else f"{name}:{wanted}"
    names |= {trusted_name, f"{name}:{wanted or standard}"}
    # Through TLS alone: a cookie that is Secure is of no use to a page that came without.
    origins = {f"{outside}://{trusted_name}"} | (origins if outside == scheme else set())
    return Hosts(frozenset(names), frozenset(origins), f"{outside}://{trusted_name}", outside == "https")


def is_everywhere(host: str) -> bool:
    """Tell whether an address to listen at stands for all that the machine has: it is no address to go to."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return host == ""


def _listens(host: str) -> str:
    """Name where the app listens as addresses do; 127.0.0.1 where it listens everywhere."""
    if host == "localhost" or is_everywhere(host):
        return LOOPBACK[0]
    name = host.strip("[]").lower()
    return f"[{name}]" if ":" in name else name


def _parts(trusted: str) -> tuple[str, str, str]:
    match = _HOST.fullmatch(trusted.strip())
    if match is None or int(match[3] or 0) > 65535:
        raise InputError(f"--trusted-host {trusted!r} is no host; expected HOST, HOST:PORT or https://HOST")
    return match[1] or "", match[2].lower(), match[3] or ""

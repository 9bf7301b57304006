"""Security of every request and response: the hosts that the app answers under, origin, size, type, headers."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dissensus.errors import InputError

MOST_BYTES = 256 * 1024
_READING = {"GET", "HEAD"}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_TLS_FOR_A_YEAR = (b"strict-transport-security", b"max-age=31536000")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_HOST = re.compile(r"(?:(https?)://)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::([0-9]{1,5}))?/?")


@dataclass(frozen=True)
class Hosts:
    """What a request may have in its Host header and, if it writes, in its Origin header."""

    names: frozenset[str]
    origins: frozenset[str]
    origin: str  # the one that links are made with
    secure: bool  # whether cookies are for TLS alone


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
    match = _HOST.fullmatch(trusted.strip())
    if match is None or int(match[3] or 0) > 65535:
        raise InputError(f"--trusted-host {trusted!r} is no host; expected HOST, HOST:PORT or https://HOST")
    given, name, given_port = match[1], match[2].lower(), match[3]
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


class Guard:
    """ASGI middleware; pure, for it stands before every answer that is saved."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self._app, self._hosts = app, hosts
        self._names = {name.encode() for name in hosts.names}
        self._origins = {origin.encode() for origin in hosts.origins}
        self._headers = (*_HEADERS, _TLS_FOR_A_YEAR) if hosts.secure else _HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what is not to be, and add the headers to what is."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no websockets here
            await send({"type": "websocket.close", "code": 1008})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                headers.extend(self._headers)
                if not any(name == b"cache-control" for name, _ in headers):
                    # Browsers keep the app's own files, and ask whether they are as they were.
                    is_file = scope["path"].startswith("/static/")
                    headers.append((b"cache-control", b"no-cache" if is_file else b"no-store"))
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, with_headers)
        else:
            await _refuse(*refusal, with_headers)

    def _refusal(self, scope: Scope) -> tuple[HTTPStatus, str] | None:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        host = headers.get(b"host", [])
        if len(host) != 1 or host[0].lower() not in self._names:
            words = "the app does not answer under this host's name; start it with --trusted-host to let it"
            return HTTPStatus.MISDIRECTED_REQUEST, words
        if scope["method"] in _READING:
            return None
        origins, sites = headers.get(b"origin", []), headers.get(b"sec-fetch-site", [])
        is_own = len(origins) == 1 and origins[0] in self._origins if origins else len(sites) == 1
        if not is_own or any(site != b"same-origin" for site in sites):
            return HTTPStatus.FORBIDDEN, "writes come from the app's own pages; reload the page and try again"
        if b"transfer-encoding" in headers:
            return HTTPStatus.LENGTH_REQUIRED, "the request does not say how long it is; send a Content-Length"
        lengths = headers.get(b"content-length", [b"0"])
        if len(lengths) != 1 or not lengths[0].isdigit():
            return HTTPStatus.BAD_REQUEST, "the request's Content-Length is no number"
        if (size := int(lengths[0])) > MOST_BYTES:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request has {size} bytes; {MOST_BYTES} are taken at most"
        kind = headers.get(b"content-type", [b""])[0].split(b";")[0].strip().lower()
        if size and kind != b"application/json":
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the request's body must be application/json"
        return None


async def _refuse(status: HTTPStatus, words: str, send: Send) -> None:
    body = json.dumps({"detail": words}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    # What was sent along is not read.
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": body})

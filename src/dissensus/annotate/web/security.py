"""Security of every request and response, whatever the route: host, origin, size, type, headers."""

from __future__ import annotations

import json
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dissensus.annotate.web.hosts import Hosts

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
                    headers.append((b"cache-control", b"no-store"))
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
        if not self._is_own(headers):
            return HTTPStatus.FORBIDDEN, "writes come from the app's own pages; reload the page and try again"
        return _of_body(headers)

    def _is_own(self, headers: dict[bytes, list[bytes]]) -> bool:
        origins, sites = headers.get(b"origin", []), headers.get(b"sec-fetch-site", [])
        if any(site != b"same-origin" for site in sites):
            return False
        return len(origins) == 1 and origins[0] in self._origins if origins else len(sites) == 1


def _of_body(headers: dict[bytes, list[bytes]]) -> tuple[HTTPStatus, str] | None:
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

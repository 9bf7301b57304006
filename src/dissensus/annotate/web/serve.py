"""The server of the app: for this machine alone, or for others through TLS."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from dissensus.annotate.config import Listening
from dissensus.annotate.project.store import AnnotationStore
from dissensus.annotate.web.app import create_app
from dissensus.annotate.web.security import Hosts, hosts_for
from dissensus.errors import InputError, OutputError

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as _Protocol
else:
    _Protocol = AutoHTTPProtocol

PATIENCE_SECONDS = 30.0
"""Within which a request has to come; the largest that is taken has 256 KiB."""
_asked_to_end: list[int] = []
"""Signals that came before the server took them."""


def check(listening: Listening) -> None:
    """Refuse what would let others listen in. Raises InputError."""
    if (listening.tls_cert is None) != (listening.tls_key is None):
        raise InputError("--tls-cert and --tls-key go together; give both or neither")
    for path in (listening.tls_cert, listening.tls_key):
        if path is not None and not path.is_file():
            raise InputError(f"{path}: there is no such file; expected one in PEM format")
    if not _is_loopback(listening.host) and not listening.tls and listening.trusted_host is None:
        raise InputError(
            f"--host {listening.host} would show the app to other machines without TLS; give --tls-cert and --tls-key, "
            "or --trusted-host with the name that people will use (https://NAME behind a proxy that does TLS)"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def open_socket(listening: Listening) -> tuple[socket.socket, Hosts]:
    """Take the port. Raises InputError and OutputError."""
    check(listening)
    host = listening.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, listening.port))
    except (OSError, OverflowError) as error:
        taken.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"{listening.host}:{listening.port}: cannot listen there ({reason}); end what does, or give another --port"
        ) from error
    port = int(taken.getsockname()[1])
    try:
        return taken, hosts_for(port, listening.trusted_host, tls=listening.tls, host=listening.host)
    except InputError:
        taken.close()
        raise


def serve(store: AnnotationStore, listening: Listening, taken: socket.socket, hosts: Hosts, *, demo: bool) -> None:
    """Serve until SIGINT or SIGTERM; what is being saved is finished first."""
    logging.getLogger("dissensus.annotate").setLevel(logging.INFO)
    config = settings(
        create_app(store, hosts=hosts, demo=demo),
        proxy_headers=hosts.secure and not listening.tls,
        ssl_certfile=listening.tls_cert,
        ssl_keyfile=listening.tls_key,
    )
    with taken:
        server = uvicorn.Server(config)
        # The exit that the signal raised may have fallen where exceptions are passed over: a callback, a destructor.
        server.should_exit = bool(_asked_to_end)
        server.run(sockets=[taken])


class Patient(_Protocol):
    """uvicorn's protocol with an end to its patience: a request comes whole within a time, or is cut off.

    uvicorn itself closes a connection that is idle after a response, and waits for ever for a first request or the rest
    of one.
    """

    _since = 0.0  # when the request that is waited for could have begun
    _answered: Any = None  # the exchange after which that was
    _look_again: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._look_again = self.loop.call_later(PATIENCE_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        if self._look_again is not None:
            self._look_again.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take note where this is the beginning of another request."""
        if self.cycle is not None and self.cycle.response_complete and self._answered is not self.cycle:
            self._answered, self._since = self.cycle, self.loop.time()
        super().data_received(data)

    def _look(self) -> None:
        left = self._since + PATIENCE_SECONDS - self.loop.time() if self._is_waiting() else PATIENCE_SECONDS
        if left <= 0:
            self.transport.close()
        else:
            self._look_again = self.loop.call_later(left, self._look)

    def _is_waiting(self) -> bool:
        cycle = self.cycle
        if cycle is None or cycle.more_body:
            return True
        # The app is at work, or has answered and uvicorn itself waits for what comes next.
        return bool(cycle.response_complete) and self._answered is cycle


def settings(app: FastAPI, **more: Any) -> uvicorn.Config:
    """Return how the app is served, wherever that is."""
    return uvicorn.Config(
        app,
        http=Patient,
        # Lines of accesses would hold addresses; links keep their tokens out of those, and nothing else needs them.
        access_log=False,
        log_level="warning",
        use_colors=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        lifespan="off",
        ws="none",
        **more,
    )


def end_on_sigterm() -> None:
    """Let SIGTERM end the process as if it had come to its end; uvicorn finishes first, then hands the signal on."""

    def end(number: int, _frame: FrameType | None) -> None:
        _asked_to_end.append(number)
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)

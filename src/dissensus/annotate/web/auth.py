"""Authorisation of requests: the session behind each, the roles that a route is for, how often a sign-in may fail."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request
from fastapi.security import APIKeyCookie
from sqlalchemy import Connection

from dissensus.annotate.project import access
from dissensus.annotate.project.access import Person
from dissensus.annotate.project.errors import NotAllowed
from dissensus.annotate.project.sides import Role
from dissensus.annotate.project.store import AnnotationStore, now
from dissensus.annotate.web.security import Hosts
from dissensus.errors import InputError

T = TypeVar("T")

cookie_in_openapi = APIKeyCookie(name="dissensus", scheme_name="session", auto_error=False)


class SignedOut(InputError):  # noqa: N818 (named after what happened)
    """Nobody is signed in with this browser, or no longer."""

    def __init__(self) -> None:
        super().__init__("you are not signed in; open the link that the organiser gave you, or ask for a new one")


def store_of(request: Request) -> AnnotationStore:
    """Return the project that the app serves."""
    store: AnnotationStore = request.app.state.store
    return store


def hosts_of(request: Request) -> Hosts:
    """Return the names under which the app answers."""
    hosts: Hosts = request.app.state.hosts
    return hosts


def cookie_name(hosts: Hosts) -> str:
    """Return the session cookie's name; its prefix keeps it to this host and TLS."""
    return "__Host-dissensus" if hosts.secure else "dissensus"


def token_of(request: Request) -> str:
    """Return the session's token, "" where the browser sent none."""
    return request.cookies.get(cookie_name(hosts_of(request)), "")


def who(c: Connection, store: AnnotationStore, token: str, roles: tuple[Role, ...]) -> Person:
    """Return who is signed in. Raises SignedOut, and NotAllowed for another role than ``roles``."""
    person = access.session(c, store, token, now()) if token else None
    if person is None:
        raise SignedOut
    if person.role not in roles:
        raise NotAllowed(
            f"this is for {' and '.join(f'{role}s' for role in roles)}; you are signed in as {person.role}"
        )
    return person


async def write_as(request: Request, roles: tuple[Role, ...], work: Callable[[Connection, Person], T]) -> T:
    """Run ``work`` for the person who is signed in, in one transaction with looking the session up.

    So nobody writes after being revoked, and a write costs one turn of the writer's thread.
    """
    store, token = store_of(request), token_of(request)
    return await store.write_async(lambda c: work(c, who(c, store, token, roles)))


async def read_as(request: Request, roles: tuple[Role, ...], work: Callable[[Connection, Person], T]) -> T:
    """The same for what only reads."""
    store, token = store_of(request), token_of(request)
    return await store.read_async(lambda c: work(c, who(c, store, token, roles)))


def allow(*roles: Role) -> Callable[[Request], Awaitable[Person]]:
    """Make a dependency: the person who is signed in, if of one of these roles."""

    async def signed_in(request: Request) -> Person:
        return await read_as(request, roles, lambda c, person: person)

    return signed_in


class Throttled(InputError):  # noqa: N818 (named after what happened)
    """Too many failed sign-ins from one address."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many links that are not valid came from your address; try again in {seconds} seconds")
        self.seconds = seconds


class Throttle:
    """Lets an address fail ``allowed`` times in ``window`` seconds. Kept in memory, for ``addresses`` at most."""

    allowed, window, addresses = 10, 300.0, 10_000

    def __init__(self) -> None:
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise Throttled where the address has to wait."""
        failures = self._failed.get(address)
        if failures is None:
            return
        now = time.monotonic()
        while failures and failures[0] <= now - self.window:
            failures.popleft()
        if len(failures) >= self.allowed:
            raise Throttled(max(1, round(failures[0] + self.window - now)))

    def failed(self, address: str) -> None:
        """Count a failure."""
        self._failed.setdefault(address, deque(maxlen=self.allowed)).append(time.monotonic())
        self._failed.move_to_end(address)
        if len(self._failed) > self.addresses:
            self._failed.popitem(last=False)

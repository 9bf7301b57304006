"""The step ``annotate``: an annotation project is made or added to, and served to people."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from dissensus.annotate.config import AnnotationConfig, Listening
from dissensus.errors import InputError
from dissensus.records import Pair
from dissensus.settings import Argument, Option, Reads, Settings, Writes

if TYPE_CHECKING:
    import socket

    from sqlalchemy import Connection

    from dissensus.annotate.project.sides import Role
    from dissensus.annotate.project.store import AnnotationStore
    from dissensus.annotate.web.security import Hosts

_DEMO_PEOPLE = ("Ada", "Grace", "Kofi")


class AnnotateSettings(Settings):
    """Serve PAIRS to people, who answer the paper's three questions about each.

    Prints a link that signs the organiser in once. Settings are kept in the project; later starts need --db alone, and
    PAIRS only to add more. Stop it with Ctrl-C; it can be killed at any time.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {"New projects": ("project", "guide"), "Address": ("listening",)}

    pairs: Annotated[str | None, Reads(), Argument("[PAIRS]")] = None
    """Pairs to annotate: a file, a data set or a Hub id."""
    db: Annotated[str | None, Writes("database")] = None
    """The project: an SQLite file (made where there is none) or a postgresql:// URL."""
    project: Annotated[AnnotationConfig, Option(prefix="")] = AnnotationConfig()
    """Of a new project; of one that is there, what is given has to be what it has."""
    guide: Annotated[Path | None, Reads("file")] = None
    """Your own guide for annotators, in Markdown."""
    listening: Annotated[Listening, Option(prefix="")] = Listening()
    organiser: str = "Organiser"
    """Who the printed link is for."""
    secret_file: Annotated[Path | None, Option(default="beside the database")] = None
    """Where the secret that hashes links is kept."""
    demo: Annotated[bool, Option("--demo")] = False
    """A practice project with made-up pairs; gone afterwards unless --db is given."""


@dataclass(frozen=True)
class App:
    """A project that is open, with the port taken and links made; `serve` lets people in."""

    store: AnnotationStore
    hosts: Hosts
    settings: AnnotateSettings
    links: dict[str, str]  # by person; each signs one browser in, once
    added: int  # pairs that are new
    known: int  # pairs that were there already
    port: socket.socket

    def lines(self) -> list[str]:
        """Return the links, with names where there are several."""
        return [f"{name}: {link}" if len(self.links) > 1 else link for name, link in self.links.items()]

    @property
    def notes(self) -> list[str]:
        """What else whoever starts the app has to know."""
        from dissensus.annotate.web.security import is_everywhere

        listening, config = self.settings.listening, self.store.config
        there = f", {self.known} were there already" if self.known else ""
        notes = [] if self.settings.pairs is None else [f"{self.settings.pairs}: {self.added} pairs added{there}"]
        if is_everywhere(listening.host) and listening.trusted_host is None:
            notes.append(f"others cannot open links to {self.hosts.origin}: name this machine with --trusted-host")
        notes += [config.name, f"Database: {self.store.name}", f"Listening on {self.hosts.origin}", ""]
        hours = f"once, within {config.invite_hours:g} hours"
        if len(self.links) > 1:
            return [*notes, f"Links that sign one browser in, {hours}:"]
        return [*notes, f"This link signs the organiser in, {hours}; the next start prints another:"]

    def serve(self) -> None:
        """Serve until SIGINT or SIGTERM; what is being saved is finished first."""
        from dissensus.annotate.web.serve import serve

        serve(self.store, self.settings.listening, self.port, self.hosts, demo=self.settings.demo)


def run(settings: AnnotateSettings, *, started: Callable[[App], object] = lambda app: None) -> None:
    """Open the project, call ``started``, and serve until the process is asked to end."""
    with open_app(settings) as app:
        started(app)
        app.serve()


@contextmanager
def open_app(settings: AnnotateSettings) -> Iterator[App]:
    """Take the port, open or make the project, add the pairs and make links. Raises InputError and OutputError."""
    from dissensus.annotate.practice import demo_pairs
    from dissensus.annotate.project import access
    from dissensus.annotate.project.store import now
    from dissensus.annotate.web.serve import open_socket
    from dissensus.sources import read_pairs

    with ExitStack() as until_the_end:
        port, hosts = open_socket(settings.listening)  # first: a port that is in use is no reason to make a project
        until_the_end.enter_context(port)
        database = settings.db
        if database is None and settings.demo:
            folder = until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="dissensus-demo-"))
            database = str(Path(folder) / "demo.db")
        if database is None:
            raise InputError("--db is missing: where is the project? Give a file such as annotations.db, or --demo")
        given = list(read_pairs(settings.pairs)) if settings.pairs else demo_pairs() if settings.demo else []
        store, added = _open(database, settings, given)
        until_the_end.enter_context(store)
        store.write(lambda c: access.note_origin(c, hosts.origin, now()))
        people: dict[str, Role] = {settings.organiser: "organiser"}
        people |= dict.fromkeys(_DEMO_PEOPLE, "annotator") if settings.demo else {}
        links = {}
        for name, role in people.items():
            token = store.write(partial(access.invite_by_name, store=store, name=name, role=role, now=now()))
            links[name] = f"{hosts.origin}/join#{token}"
        yield App(store, hosts, settings, links, added, len(given) - added, port)


def _open(database: str, settings: AnnotateSettings, pairs: list[Pair]) -> tuple[AnnotationStore, int]:
    from dissensus.annotate.project.database import locate
    from dissensus.annotate.project.store import AnnotationStore

    given = settings.project.model_copy(update=_guide(settings.guide))
    if AnnotationStore.exists(database):
        store = AnnotationStore(database, secret=settings.secret_file)
        try:
            _refuse_changes(store.name, store.config, given)
            return store, store.write(lambda c: _fill(c, store.config, store.name, pairs))
        except BaseException:
            store.close()
            raise
    if not pairs:
        raise InputError(f"{database}: there is no project yet; name the PAIRS to make one of")
    name, added = locate(database).name, []
    store = AnnotationStore.create(
        database, given, secret=settings.secret_file, fill=lambda c: added.append(_fill(c, given, name, pairs))
    )
    return store, added[0]


def _guide(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        return {"guide": path.read_text(encoding="utf-8")}
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text; save the guide as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name the guide's file") from error


def _refuse_changes(name: str, config: AnnotationConfig, given: AnnotationConfig) -> None:
    for setting in AnnotationConfig.model_fields:
        kept = getattr(config, setting)
        if setting in given.model_fields_set and getattr(given, setting) != kept:
            shown = "another text" if setting == "guide" else repr(kept)
            raise InputError(
                f"{name}: --{setting.replace('_', '-')} was settled when the project was made ({shown}); leave the "
                "option out, or make another project with another --db"
            )


def _fill(c: Connection, config: AnnotationConfig, name: str, pairs: list[Pair]) -> int:
    """Add what is new; returns how many pairs were."""
    from dissensus.annotate.practice import practice_pairs
    from dissensus.annotate.project.items import add_items, count_pairs

    if config.practice:
        add_items(c, *practice_pairs())
    added = add_items(c, pairs)
    if not count_pairs(c):
        raise InputError(f"{name}: the project has no pairs; name some: dissensus annotate PAIRS --db …")
    return added

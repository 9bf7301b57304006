"""``dissensus annotate``: the web app in which people annotate pairs."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dissensus.cli.complete_paths import complete_file, complete_source
from dissensus.cli.outputs import Database, Source, Verb
from dissensus.errors import InputError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from dissensus.annotate.config import AnnotationConfig
    from dissensus.annotate.project.store import AnnotationStore
    from dissensus.annotate.web.hosts import Hosts
    from dissensus.records import Pair

_DEMO_PEOPLE = ("Ada", "Grace", "Kofi")


@click.command(cls=Verb)
@click.argument("pairs", required=False, type=Source(), shell_complete=complete_source)
@click.option(
    "--db",
    "database",
    type=Database(),
    shell_complete=complete_file,
    help="The project: an SQLite file (made where it is missing) or a postgresql:// URL.",
)
@click.option("--name", help="Shown to annotators.")
@click.option("--annotators", type=click.IntRange(1, 1000), help="People per pair.  [default: 3]")
@click.option("--own-choice/--no-own-choice", default=None, help="Ask which answer people prefer themselves, too.")
@click.option("--guide", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Your own, in Markdown.")
@click.option(
    "--practice/--no-practice", default=None, help="Begin with pairs whose answers are known.  [default: yes]"
)
@click.option(
    "--lease-minutes", type=click.FloatRange(0, min_open=True), help="How long a pair is held.  [default: 30]"
)
@click.option("--organiser", default="Organiser", show_default=True, help="Who the printed link is for.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8700, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@click.option("--trusted-host", help="The name that people use: HOST, or https://HOST behind a proxy that does TLS.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate (PEM), to do TLS here.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its key (PEM).")
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path),
    help="Where the secret that hashes links is kept.  [default: beside the database]",
)
@click.option(
    "--demo", is_flag=True, help="A practice project with made-up pairs; gone afterwards unless --db is given."
)
def command(
    pairs: str | None,
    database: str | None,
    organiser: str,
    host: str,
    port: int,
    trusted_host: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    secret_file: Path | None,
    demo: bool,
    **settings: Any,
) -> None:
    """Serve PAIRS to people, who answer the paper's three questions about each.

    Prints a link that signs the organiser in once. Settings are kept in the project; later starts need --db alone, and
    PAIRS only to add more. Stop it with Ctrl-C; it can be killed at any time.
    """
    from dissensus.annotate.practice import demo_pairs
    from dissensus.annotate.web.hosts import is_everywhere
    from dissensus.annotate.web.serve import Listening, end_on_sigterm, open_socket, serve
    from dissensus.sources import read_pairs

    end_on_sigterm()
    listening = Listening(host, port, trusted_host, tls_cert, tls_key)
    with ExitStack() as until_the_end:
        taken, hosts = open_socket(listening)  # first: a port that is in use is no reason to make a project
        until_the_end.enter_context(taken)
        if database is None:
            if not demo:
                raise InputError("--db is missing: where is the project? Give a file such as annotations.db, or --demo")
            folder = until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="dissensus-demo-"))
            database = str(Path(folder) / "demo.db")
        given = list(read_pairs(pairs)) if pairs else demo_pairs() if demo else []
        store = until_the_end.enter_context(_open(database, settings, secret_file, given, pairs))
        _note_origin(store, hosts)
        _greet(store, hosts, organiser, demo=demo)
        if is_everywhere(host) and trusted_host is None:
            click.echo(f"Others cannot open links to {hosts.origin}: name this machine with --trusted-host.", err=True)
        serve(store, listening, taken, hosts, demo=demo)


def _open(
    database: str, settings: dict[str, Any], secret: Path | None, pairs: list[Pair], source: str | None
) -> AnnotationStore:
    from dissensus.annotate.project.store import AnnotationStore

    given = _given(settings)
    if not AnnotationStore.exists(database):
        return _make(database, given, secret, pairs, source)
    store = AnnotationStore(database, secret=secret)
    try:
        _refuse_changes(store.name, store.config, given)
        added = store.write(lambda c: _fill(c, store.config, store.name, pairs))
    except BaseException:
        store.close()
        raise
    _report_added(source, added, pairs)
    return store


def _make(
    database: str, given: dict[str, Any], secret: Path | None, pairs: list[Pair], source: str | None
) -> AnnotationStore:
    from dissensus.annotate.project.database import locate, name_of
    from dissensus.annotate.project.store import AnnotationStore

    if not pairs:
        raise InputError(f"{database}: there is no project yet; name the PAIRS to make one of")
    config, added = _config(given), 0

    def fill(c: Connection) -> None:
        nonlocal added
        added = _fill(c, config, name_of(locate(database)), pairs)

    store = AnnotationStore.create(database, config, secret=secret, fill=fill)
    _report_added(source, added, pairs)
    return store


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in settings.items() if value is not None}
    if "guide" in given:
        try:
            given["guide"] = given["guide"].read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{settings['guide']}: is not UTF-8 text; save the guide as UTF-8") from error
    return given


def _config(given: dict[str, Any]) -> AnnotationConfig:
    from pydantic import ValidationError

    from dissensus.annotate.config import AnnotationConfig

    try:
        return AnnotationConfig(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg'].lower()}") from error


def _refuse_changes(name: str, config: AnnotationConfig, given: dict[str, Any]) -> None:
    for setting, value in given.items():
        kept = getattr(config, setting)
        if kept != value:
            shown = "another text" if setting == "guide" else repr(kept)
            raise InputError(
                f"{name}: --{setting.replace('_', '-')} was settled when the project was made ({shown}); leave the "
                "option out, or make another project with another --db"
            )


def _fill(c: Connection, config: AnnotationConfig, name: str, pairs: list[Pair]) -> int:
    """Add what is new; returns how many pairs were."""
    from sqlalchemy import func, select

    from dissensus.annotate.practice import practice_pairs
    from dissensus.annotate.project.assignment import add_items
    from dissensus.annotate.project.schema import items

    if config.practice:
        add_items(c, *practice_pairs())
    added = add_items(c, pairs)
    if not c.execute(select(func.count()).where(~items.c.practice)).scalar_one():
        raise InputError(f"{name}: the project has no pairs; name some: dissensus annotate PAIRS --db …")
    return added


def _report_added(source: str | None, added: int, pairs: list[Pair]) -> None:
    if source is not None:
        known = len(pairs) - added
        click.echo(f"{source}: {added} pairs added" + (f", {known} were there already" if known else ""), err=True)


def _note_origin(store: AnnotationStore, hosts: Hosts) -> None:
    from dissensus.annotate.project import access
    from dissensus.annotate.project.store import now

    store.write(lambda c: access.note_origin(c, hosts.origin, now()))


def _greet(store: AnnotationStore, hosts: Hosts, organiser: str, *, demo: bool) -> None:
    click.echo(f"{store.config.name}\nDatabase: {store.name}\nListening on {hosts.origin}\n", err=True)
    people = [(organiser, "organiser")]
    people += [(name, "annotator") for name in _DEMO_PEOPLE] if demo else []
    hours = store.config.invite_hours
    click.echo(
        f"Links that sign one browser in, once, within {hours:g} hours:" if demo else _SIGN_IN.format(hours), err=True
    )
    for name, role in people:
        click.echo(f"{name + ': ' if demo else ''}{hosts.origin}/join#{_link(store, name, role)}")
    click.echo("\nStop with Ctrl-C.", err=True)


_SIGN_IN = "Open this link within {:g} hours to sign in as organiser; it works once, and the next start prints another:"


def _link(store: AnnotationStore, name: str, role: Any) -> str:
    from dissensus.annotate.project import access
    from dissensus.annotate.project.store import now

    def work(c: Any) -> str:
        known = next((person for person in access.people(c) if person.name == name), None)
        if known is not None and known.role != role:
            raise InputError(f"{name!r} is {known.role}, no {role}; give --organiser another name")
        person = known or access.add_person(c, name, role, now())
        return access.invite(c, store, person.id, now())

    return store.write(work)

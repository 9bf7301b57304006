"""``dissensus annotations``: what people said, out of a project and into one; who they are; whether all is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dissensus.cli.complete_paths import complete_file
from dissensus.cli.outputs import Database, Output, Source, VerbGroup
from dissensus.errors import InputError

if TYPE_CHECKING:
    from dissensus.annotate.analysis.combine_answers import Rules
    from dissensus.annotate.exchange.imports import Imported
    from dissensus.annotate.exchange.other_tools import Found, Names
    from dissensus.annotate.project.access import Person
    from dissensus.annotate.project.store import AnnotationStore

_MOST_PEOPLE = 1000
_ORIGIN = "http://127.0.0.1:8700"
_DATABASE = click.argument("database", type=Source(), metavar="DB", shell_complete=complete_file)
_ROLES = ["annotator", "adjudicator", "organiser"]
_SECRET = click.option(
    "--secret-file",
    type=click.Path(path_type=Path),
    help="The secret that hashes links.  [default: beside the database]",
)


@click.group(name="annotations", cls=VerbGroup)
def command() -> None:
    """Export, import and check what people said; invite them and let them in no more.

    DB is an SQLite file or a postgresql:// URL. All of this is safe while the app runs.
    """


def rules_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose how answers to a pair become one."""
    kind = click.Choice(["majority", "unanimous"])
    command = click.option("--categories", type=kind, default="majority", show_default=True, help=_CATEGORIES)(command)
    kind = click.Choice(["mean", "median", "trimmed"])
    command = click.option("--estimates", type=kind, default="mean", show_default=True, help=_ESTIMATES)(command)
    return click.option("--decisions/--no-decisions", default=True, show_default=True, help=_DECISIONS)(command)


_CATEGORIES = "Whether most people have to name a category, or all."
_ESTIMATES = "What the estimates of a pair become; the paper takes the mean."
_DECISIONS = "Whether adjudicators' decisions stand in place of that."


@command.command(name="export")
@_DATABASE
@click.option("--out", type=Output(), required=True, help=".jsonl, .jsonl.gz, .parquet or .csv")
@rules_options
def export_project(database: str, out: Path, **rules: Any) -> None:
    """Write pairs with categories, votes, estimates and the whole history."""
    from dissensus.annotate.exchange.export import export

    with _open(database) as store:
        done = export(store, out, _rules(rules))
        k = store.config.annotators
    click.echo(f"{out}: {done.pairs:,} pairs, {done.answers:,} answers, {done.complete:,} pairs with all {k}")
    if done.tied:
        click.echo(f"{done.tied} categories have no majority and are left empty", err=True)
    if done.mixed:
        mixed = f"{done.mixed:,} pairs have estimates of some people and choices alone of others"
        click.echo(f"{mixed}: their votes are everybody's choice, of an estimate its side", err=True)


@command.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--db",
    "database",
    type=Database(),
    required=True,
    shell_complete=complete_file,
    help="The project; made where there is none.",
)
@click.option(
    "--from",
    "tool",
    type=click.Choice(["dissensus", "label-studio", "argilla"]),
    default="dissensus",
    show_default=True,
    help="What wrote FILE. An export of dissensus makes the project anew.",
)
@click.option(
    "--annotators", type=click.IntRange(1, 1000), help="People per pair, of a new project.  [default: as FILE has]"
)
@click.option("--field", "fields", multiple=True, metavar="OURS=THEIRS", help="prompt, response_a, response_b; repeat.")
@click.option("--question", "questions", multiple=True, metavar="OURS=THEIRS", help="correct, distinct, estimate, …")
@click.option("--value", "values", multiple=True, metavar="QUESTION:THEIRS=OURS", help="correct:Yes=single; repeat.")
@click.option("--assume-submitted", is_flag=True, help="Take Argilla's responses without a status as submitted.")
@_SECRET
def import_file(
    file: Path,
    database: str,
    tool: str,
    annotators: int | None,
    assume_submitted: bool,
    secret_file: Path | None,
    **names: tuple[str, ...],
) -> None:
    """Bring in an export of a project, or answers from Label Studio or Argilla.

    Label Studio's JSON, JSON_MIN and CSV are read, and Argilla's records as JSON (Lines) or Parquet.
    """
    from dissensus.annotate.exchange.imports import import_export

    if assume_submitted and tool != "argilla":
        raise InputError("--assume-submitted is for Argilla's exports; leave it out, or give --from argilla")
    if tool == "dissensus":
        if annotators is not None or any(names.values()):
            raise InputError("--annotators, --field, --question and --value are for other tools; leave them out")
        done = import_export(file, database, secret=secret_file)
        click.echo(f"{file}: {done.pairs:,} pairs, {done.answers:,} answers of {done.people} people")
        return
    found = _read(file, tool, _names(**names), assume_submitted=assume_submitted)
    done, k = _import(found, database, annotators, secret_file)
    skips = f", {done.skips:,} skipped" if done.skips else ""
    click.echo(
        f"{file}: {done.pairs:,} pairs, {done.answers:,} answers of {done.people} people{skips}; {k} people per pair"
    )
    for line in _notes(found, done, k):
        click.echo(line, err=True)


def _read(file: Path, tool: str, names: Names, *, assume_submitted: bool) -> Found:
    from dissensus.annotate.exchange.argilla import read_argilla
    from dissensus.annotate.exchange.label_studio import read_label_studio

    if tool == "argilla":
        return read_argilla(file, names, assume_submitted=assume_submitted)
    return read_label_studio(file, names)


def _import(found: Found, database: str, annotators: int | None, secret: Path | None) -> tuple[Imported, int]:
    from dissensus.annotate.config import AnnotationConfig
    from dissensus.annotate.exchange.imports import import_foreign, most_answers, write_foreign
    from dissensus.annotate.project.store import AnnotationStore

    if AnnotationStore.exists(database):
        with AnnotationStore(database, secret=secret) as store:
            if annotators not in (None, store.config.annotators):
                wants = store.config.annotators
                raise InputError(f"{database}: wants {wants} people per pair; leave --annotators out")
            return import_foreign(store, found), store.config.annotators
    k = annotators or min(_MOST_PEOPLE, most_answers(found)) or AnnotationConfig().annotators
    told: list[Imported] = []
    AnnotationStore.create(
        database,
        AnnotationConfig(annotators=k),
        secret=secret,
        fill=lambda c: told.append(write_foreign(c, found, k)),
    ).close()
    return told[0], k


def _notes(found: Found, done: Imported, k: int) -> list[str]:
    notes = [f"{n:,} left out: {reason}" for reason, n in found.left_out.items() if n]
    if done.surplus:
        notes.append(
            f"{done.surplus:,} answers do not count, for the project takes {k} people per pair and the file has up to "
            f"{done.most}; to count all, import into a new --db with --annotators {done.most}"
        )
    if done.there:
        changed = f"; {done.changed:,} of them say something else in the file, as a new --db would have it"
        notes.append(
            f"{done.there:,} answers of people who have answered those pairs here were passed over"
            f"{changed if done.changed else ''}"
        )
    if found.unnamed:
        notes.append(
            f"{found.unnamed:,} answers do not say whose they are, as those of deleted users; each pair's are by "
            "unknown 1, unknown 2 and so on"
        )
    if found.assumed:
        notes.append(f"{found.assumed:,} responses have no status and were taken for submitted")
    if found.unfit:
        notes.append(f"columns that mean something else than ours and were left out: {', '.join(found.unfit)}")
    if found.unread:
        notes.append(f"questions that were not read: {', '.join(found.unread)}")
    return notes


def _names(fields: tuple[str, ...], questions: tuple[str, ...], values: tuple[str, ...]) -> Names:
    from dissensus.annotate.exchange.other_tools import Names

    mapped = {}
    for given in values:
        question, colon, rest = given.partition(":")
        theirs, sign, ours = rest.rpartition("=")
        if not (colon and sign):
            raise InputError(f"--value {given!r}: expected QUESTION:THEIRS=OURS, such as correct:Yes=single")
        mapped[question, theirs] = ours
    return Names(dict(_split(fields, "--field")), dict(_split(questions, "--question")), mapped)


def _split(given: tuple[str, ...], option: str) -> list[tuple[str, str]]:
    found = []
    for text in given:
        ours, sign, theirs = text.partition("=")
        if not sign:
            raise InputError(f"{option} {text!r}: expected OURS=THEIRS")
        found.append((ours, theirs))
    return found


@command.command()
@_DATABASE
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["annotator", "adjudicator", "organiser"]),
    help="Of somebody new.  [default: annotator]",
)
@click.option(
    "--origin", help="Where people reach the app, such as https://HOST.  [default: where it was started last]"
)
@_SECRET
def invite(database: str, name: str, role: str | None, origin: str | None, secret_file: Path | None) -> None:
    """Add NAME, or find them, and print a link that lets them in once."""
    from dissensus.annotate.project import access
    from dissensus.annotate.project.store import now

    with _open(database, secret_file) as store:

        def work(c: Any) -> str:
            known = next((person for person in access.people(c) if person.name == name.strip()), None)
            if known is not None and role not in (None, known.role):
                raise InputError(f"{name!r} is {known.role} already; leave --role out, or take another name")
            person = known or access.add_person(c, name, role or "annotator", now())  # type: ignore[arg-type]
            return access.invite(c, store, person.id, now())

        if origin is None and (origin := store.read(access.noted_origin)) is None:
            origin = _ORIGIN
            click.echo(
                f"the app was not started on {database} yet; --origin names another place than {origin}", err=True
            )
        click.echo(f"{origin.rstrip('/')}/join#{store.write(work)}")


@command.command()
@_DATABASE
def people(database: str) -> None:
    """List who may come in, what became of their links, and how many pairs they answered."""
    from dissensus.annotate.project import access
    from dissensus.annotate.project.store import now

    with _open(database) as store:
        everybody = store.read(access.people)
    width = max((len(person.name) for person in everybody), default=0)
    for person in everybody:
        link = "revoked" if person.revoked else f"link {person.invite_state(now()) or 'none'}"
        click.echo(f"{person.name:<{width}}  {person.role:<11}  {person.answered:>6,} answered  {link}")
    if not everybody:
        click.echo(f'nobody yet; invite somebody: dissensus annotations invite {database} "NAME"', err=True)


@command.command()
@_DATABASE
@click.argument("name")
def revoke(database: str, name: str) -> None:
    """Let NAME in no more: signed out at once, links dead. Their answers stay."""
    from dissensus.annotate.project import access
    from dissensus.annotate.project.store import now

    with _open(database) as store:

        def work(c: Any) -> Person:
            found = [person for person in access.people(c) if person.name == name]
            if not found:
                raise InputError(
                    f"{database}: there is nobody called {name!r}; see: dissensus annotations people {database}"
                )
            access.revoke(c, found[0].id, now())
            return found[0]

        click.echo(f"{store.write(work).name} is let in no more")


@command.command()
@_DATABASE
def verify(database: str) -> None:
    """Check that the database is whole and says the same in all its places."""
    from dissensus.annotate.project.assignment import count_pairs
    from dissensus.annotate.project.verify import check

    with _open(database) as store:
        faults, pairs = check(store), store.read(count_pairs)
        name = store.name
    if not pairs:
        raise InputError(f"{name}: has no pairs; if an import was cut off, remove the file and import again")
    for fault in faults:
        click.echo(fault)
    if faults:
        raise InputError(f"{name}: {len(faults)} faults; export what is there, and tell us how it came about")
    click.echo(f"{name}: whole")


@command.command(name="agreement")
@_DATABASE
def show_agreement(database: str) -> None:
    """Print how well people agree, with 95 % intervals over pairs."""
    from dissensus.annotate.analysis.annotator_agreement import agreement
    from dissensus.annotate.analysis.answer_rows import read_rows

    with _open(database) as store:
        rows, config = store.read(read_rows), store.config
    click.echo(f"{'':<10}{'':<8}{'value':>7}  {'95 % interval':<16}{'pairs':>6}{'people':>8}")
    for found in agreement(rows, own_choice=config.own_choice):
        value = "–" if found.value is None else f"{found.value:.2f}"
        interval = "" if found.low is None else f"[{found.low:.2f}, {found.high:.2f}]"
        click.echo(f"{found.question:<10}{found.name:<8}{value:>7}  {interval:<16}{found.pairs:>6}{found.people:>8}")


def _open(database: str, secret: Path | None = None) -> AnnotationStore:
    from dissensus.annotate.project.store import AnnotationStore

    return AnnotationStore(database, secret=secret)


def _rules(given: dict[str, Any]) -> Rules:
    from dissensus.annotate.analysis.combine_answers import Rules

    return Rules(**given)

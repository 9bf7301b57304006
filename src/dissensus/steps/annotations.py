"""The steps ``annotations …``: a project's annotations out and in, its people, their agreement, its verification."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dissensus.annotate.analysis.combine_answers import Rules
from dissensus.annotate.project.sides import Role
from dissensus.errors import InputError
from dissensus.settings import Argument, Option, Reads, Settings, Writes

if TYPE_CHECKING:
    from dissensus.annotate.exchange.export import Exported
    from dissensus.annotate.exchange.imports import Imported
    from dissensus.annotate.exchange.other_tools import Found
    from dissensus.annotate.project.store import AnnotationStore

_MOST_PEOPLE = 1000
_ORIGIN = "http://127.0.0.1:8700"
_ORIGINS = re.compile(r"https?://[^\s/?#]+/?")
_Name = Annotated[str, Argument("NAME")]
_Secret = Annotated[Path | None, Option(default="beside the database")]


@dataclass(frozen=True)
class Lines:
    """What a step found, and what else is to be known of it."""

    found: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """Return what the command prints."""
        return self.found


class ProjectSettings(Settings):
    """Settings of whatever reads or changes a project."""

    db: Annotated[str, Reads("database"), Argument("DB")]
    """The project: an SQLite file or a postgresql:// URL."""


class ExportSettings(ProjectSettings):
    """Write pairs with categories, votes, estimates and the whole history."""

    out: Annotated[Path, Writes("file")]
    """A .jsonl, .jsonl.gz, .parquet or .csv file."""
    rules: Annotated[Rules, Option(prefix="")] = Rules()


def export(settings: ExportSettings) -> Exported:
    """Write a project's annotated pairs. Raises InputError and OutputError."""
    from dissensus.annotate.exchange.export import export

    with _open(settings.db) as store:
        return export(store, settings.out, settings.rules)


class ImportSettings(Settings):
    """Bring in an export of a project, or answers from Label Studio or Argilla.

    Label Studio's JSON, JSON_MIN and CSV are read, and Argilla's records as JSON (Lines) or Parquet.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Answers of other tools": ("annotators", "fields", "questions", "values", "assume_submitted")
    }

    file: Annotated[Path, Reads("file"), Argument("FILE")]
    """An export of dissensus, Label Studio or Argilla."""
    db: Annotated[str, Writes("database")]
    """The project; made where there is none."""
    tool: Annotated[Literal["dissensus", "label-studio", "argilla"], Option("--from")] = "dissensus"
    """What wrote FILE. An export of dissensus makes the project anew."""
    annotators: Annotated[int | None, Field(ge=1, le=_MOST_PEOPLE), Option(default="as FILE has")] = None
    """People per pair, of a new project."""
    fields: Annotated[dict[str, str], Option("--field", metavar="OURS=THEIRS")] = {}  # noqa: RUF012 (frozen)
    """The names of prompt, response_a and response_b in FILE."""
    questions: Annotated[dict[str, str], Option("--question", metavar="OURS=THEIRS")] = {}  # noqa: RUF012 (frozen)
    """The names of the questions correct, distinct, estimate, choice and note in FILE."""
    values: Annotated[tuple[str, ...], Option("--value", metavar="QUESTION:THEIRS=OURS")] = ()
    """What an answer in FILE means, such as correct:Yes=single."""
    assume_submitted: Annotated[bool, Option("--assume-submitted")] = False
    """Take Argilla's responses without a status as submitted."""
    secret_file: _Secret = None
    """The secret that hashes links."""


@dataclass(frozen=True)
class ImportResult:
    """The file, what came in, and what is to be known of it."""

    file: Path
    imported: Imported
    annotators: int | None = None  # people per pair; None for an export of our own, which has them
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Count what came in."""
        done = self.imported
        skips = f", {done.skips:,} skipped" if done.skips else ""
        each = "" if self.annotators is None else f"; {self.annotators} people per pair"
        return [f"{self.file}: {done.pairs:,} pairs, {done.answers:,} answers of {done.people} people{skips}{each}"]


def import_file(settings: ImportSettings) -> ImportResult:
    """Make a project of an export, or add another tool's answers to one. Raises InputError and OutputError."""
    from dissensus.annotate.exchange.argilla import read_argilla
    from dissensus.annotate.exchange.imports import import_export
    from dissensus.annotate.exchange.label_studio import read_label_studio
    from dissensus.annotate.exchange.other_tools import Names

    file = settings.file
    if settings.assume_submitted and settings.tool != "argilla":
        raise InputError("--assume-submitted is for Argilla's exports; leave it out, or give --from argilla")
    if settings.tool == "dissensus":
        if settings.annotators is not None or settings.fields or settings.questions or settings.values:
            raise InputError("--annotators, --field, --question and --value are for other tools; leave them out")
        return ImportResult(file, import_export(file, settings.db, secret=settings.secret_file))
    mapped = {}
    for given in settings.values:
        question, colon, rest = given.partition(":")
        theirs, sign, ours = rest.rpartition("=")
        if not (colon and sign):
            raise InputError(f"--value {given!r}: expected QUESTION:THEIRS=OURS, such as correct:Yes=single")
        mapped[question, theirs] = ours
    names = Names(settings.fields, settings.questions, mapped)
    if settings.tool == "argilla":
        found = read_argilla(file, names, assume_submitted=settings.assume_submitted)
    else:
        found = read_label_studio(file, names)
    done, k = _import(found, settings)
    return ImportResult(file, done, k, tuple(_import_notes(found, done, k)))


def _import(found: Found, settings: ImportSettings) -> tuple[Imported, int]:
    from dissensus.annotate.config import AnnotationConfig
    from dissensus.annotate.exchange.imports import most_answers, write_foreign
    from dissensus.annotate.project.store import AnnotationStore

    database, annotators = settings.db, settings.annotators
    if AnnotationStore.exists(database):
        with _open(database, settings.secret_file) as store:
            wants = store.config.annotators
            if annotators not in (None, wants):
                raise InputError(f"{database}: wants {wants} people per pair; leave --annotators out")
            return store.write(lambda c: write_foreign(c, found, wants)), wants
    k = annotators or min(_MOST_PEOPLE, most_answers(found)) or AnnotationConfig().annotators
    done: list[Imported] = []
    AnnotationStore.create(
        database,
        AnnotationConfig(annotators=k),
        secret=settings.secret_file,
        fill=lambda c: done.append(write_foreign(c, found, k)),
    ).close()
    return done[0], k


def _import_notes(found: Found, done: Imported, k: int) -> list[str]:
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


class InviteSettings(ProjectSettings):
    """Add NAME, or find them, and print a link that lets them in once."""

    name: _Name
    """Of the person."""
    role: Annotated[Role | None, Option(default="annotator")] = None
    """Of somebody new."""
    origin: Annotated[str | None, Option(default="where the app was started last")] = None
    """Where people reach the app, such as https://HOST."""
    secret_file: _Secret = None
    """The secret that hashes links."""


def invite(settings: InviteSettings) -> Lines:
    """Make a link. Raises InputError for a name, role or origin that will not do."""
    from dissensus.annotate.project import access
    from dissensus.annotate.project.store import now

    notes: list[str] = []
    if (origin := settings.origin) is not None and not _ORIGINS.fullmatch(origin):
        raise InputError(f"--origin {origin!r} is no address; expected one such as https://HOST or http://HOST:PORT")
    with _open(settings.db, settings.secret_file) as store:
        if origin is None and (origin := store.read(access.noted_origin)) is None:
            origin = _ORIGIN
            notes.append(f"the app was not started on {settings.db} yet; --origin names another place than {origin}")
        token = store.write(lambda c: access.invite_by_name(c, store, settings.name, settings.role, now()))
    return Lines((f"{origin.rstrip('/')}/join#{token}",), tuple(notes))


class PeopleSettings(ProjectSettings):
    """List who has access, what became of their links, and how many pairs they answered."""


def people(settings: PeopleSettings) -> Lines:
    """List the people of a project."""
    from dissensus.annotate.project import access
    from dissensus.annotate.project.store import now

    with _open(settings.db) as store:
        everybody = store.read(access.people)
    if not everybody:
        return Lines((), (f'nobody yet; invite somebody: dissensus annotations invite {settings.db} "NAME"',))
    width, at, found = max(len(person.name) for person in everybody), now(), []
    for person in everybody:
        link = "access revoked" if person.revoked else f"link {person.invite_state(at) or 'none'}"
        found.append(f"{person.name:<{width}}  {person.role:<11}  {person.answered:>6,} answered  {link}")
    return Lines(tuple(found))


class RevokeSettings(ProjectSettings):
    """Revoke the access of NAME: signed out at once, links dead. Their answers stay."""

    name: _Name
    """Of the person."""


def revoke(settings: RevokeSettings) -> Lines:
    """Revoke somebody's access. Raises InputError for a name that nobody has."""
    from dissensus.annotate.project import access
    from dissensus.annotate.project.store import now

    db, name = settings.db, settings.name
    with _open(db) as store:
        found = next((person.id for person in store.read(access.people) if person.name == name), None)
        if found is None:
            raise InputError(f"{db}: there is nobody called {name!r}; see: dissensus annotations people {db}")
        store.write(lambda c: access.revoke(c, found, now()))
    return Lines((f"{name}: access revoked; their answers stay",))


class VerifySettings(ProjectSettings):
    """Check that the database is whole and that its tables say the same."""


def verify(settings: VerifySettings, *, report: Callable[[str], object] = lambda fault: None) -> Lines:
    """Verify a project; each fault goes to ``report``. Raises InputError where there are any."""
    from dissensus.annotate.project.items import count_pairs
    from dissensus.annotate.project.verify import check

    with _open(settings.db) as store:
        name, faults, pairs = store.name, check(store), store.read(count_pairs)
    if not pairs:
        raise InputError(f"{name}: has no pairs; if an import was cut off, remove the file and import again")
    for fault in faults:
        report(fault)
    if faults:
        raise InputError(f"{name}: {len(faults)} faults; export what is there, and report how they came about")
    return Lines((f"{name}: ok: {pairs:,} pairs verified",))


class AgreementSettings(ProjectSettings):
    """Print how well annotators agree, with 95 % intervals over pairs."""


def agreement(settings: AgreementSettings) -> Lines:
    """Measure the agreement of annotators: a line for each coefficient of each question."""
    from dissensus.annotate.analysis.annotator_agreement import agreement
    from dissensus.annotate.analysis.answer_rows import read_rows

    with _open(settings.db) as store:
        measured = agreement(store.read(read_rows), own_choice=store.config.own_choice)
    found = [f"{'':<10}{'':<8}{'value':>7}  {'95 % interval':<16}{'pairs':>6}{'people':>8}"]
    for row in measured:
        value = "–" if row.value is None else f"{row.value:.2f}"
        interval = "" if row.low is None else f"[{row.low:.2f}, {row.high:.2f}]"
        found.append(f"{row.question:<10}{row.name:<8}{value:>7}  {interval:<16}{row.pairs:>6}{row.people:>8}")
    return Lines(tuple(found))


def _open(database: str, secret: Path | None = None) -> AnnotationStore:
    from dissensus.annotate.project.store import AnnotationStore

    return AnnotationStore(database, secret=secret)


VERBS: Mapping[str, tuple[type[Settings], Callable[..., object]]] = {
    "export": (ExportSettings, export),
    "import": (ImportSettings, import_file),
    "invite": (InviteSettings, invite),
    "people": (PeopleSettings, people),
    "revoke": (RevokeSettings, revoke),
    "verify": (VerifySettings, verify),
    "agreement": (AgreementSettings, agreement),
}

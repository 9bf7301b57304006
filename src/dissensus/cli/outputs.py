"""What a verb reads and what it writes, said once where its options are: nothing that is read is written over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import click

from dissensus.errors import OutputError
from dissensus.files.database_url import DatabaseUrl, place_of
from dissensus.places.addresses import Address, is_address, path_of
from dissensus.settings import Writes

Role = Literal["file", "folder", "run", "page", "store"]


class Output(click.Path):
    """The type of an option or argument that names what a verb writes.

    Roles: a ``file``; a ``folder`` that is made as a whole; the folder of a ``run``, which may hold what is read, and
    whose stages look after their own files; a ``page``, which may lie in the folder that it shows; a ``store`` that is
    added to, by several processes at once if need be, and may be a postgresql:// URL.
    """

    def __init__(self, role: Role = "file") -> None:
        super().__init__(path_type=Path)
        self.role: Role = role

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Give the path a name of its own, which what waits beside it needs: "." and ".." have none."""
        if not str(value):
            self.fail("an empty text names no file or folder", param, ctx)
        if is_address(value):
            if not Writes(self.role).takes_addresses:
                self.fail(f"{value} is an address, and this has to be on this machine; {Writes(self.role).remedy}")
            return path_of(value)
        if self.role == "store":
            value = place_of(os.fsdecode(value) if isinstance(value, str | bytes) else value)
            if isinstance(value, DatabaseUrl):
                return value
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if self.role == "run" or path.name not in ("", ".."):
            return path
        if not (named := path.resolve()).name:
            self.fail(f"{path} cannot be written over; name what lies in it", param, ctx)
        return named


class _Text(click.ParamType[str]):
    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)


class Source(_Text):
    """The type of what may name a file or folder that is read, and may be something else: a Hub id, a data set."""


class Input(click.Path):
    """The type of a file or folder that is read, or of an address."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Leave an address as it is."""
        return path_of(value) if is_address(value) else super().convert(value, param, ctx)


class Copies(Input):
    """The type of a folder of copies of data sets: other files may be put beside them, over none of them."""


class NamedSource(Source):
    """The same behind a name: NAME=SOURCE."""


class Database(_Text):
    """The type of a project that is made or added to: an SQLite file or a postgresql:// URL."""


class Verb(click.Command):
    """A command that refuses to write over what it reads, and to write what another process is writing."""

    def invoke(self, ctx: click.Context) -> Any:
        """Look at what is read and written, then run."""
        from dissensus.files.locks import sole_writer

        check_outputs(self, ctx)
        with ExitStack() as held:
            for _, path, role in _written(self, ctx):
                if role in ("file", "folder", "page"):
                    held.enter_context(sole_writer(path))
            return super().invoke(ctx)


class VerbGroup(click.Group):
    """A verb with verbs of its own."""

    command_class = Verb


def check_outputs(command: click.Command, ctx: click.Context) -> None:
    """Refuse a file that would be written over what is read, or into a folder of it, or over another result.

    Raises:
        OutputError: names the option, the path and what reads it.
    """
    from dissensus.files.overwrite import is_same

    read, written = list(_read(command, ctx)), list(_written(command, ctx))
    for index, (option, path, role) in enumerate(written):
        for source, given, is_shared in read:
            if not (is_shared and given.is_dir() and not path.exists()) and _clash(path, role, given):
                what = f"is what {source} gives, or lies in it, and that stays as it is"
                raise OutputError(f"{option} {path}: {what}; name another {_noun(role)}")
        for other, earlier, _ in written[:index]:
            if is_same(path, earlier):
                raise OutputError(f"{option} {path}: is also {other}; name another {_noun(role)}")


def _clash(path: Path, role: Role, given: Path) -> bool:
    from dissensus.files.overwrite import is_same, lies_in, would_overwrite

    if isinstance(path, Address) or isinstance(given, Address):  # by their names: nothing is asked of a store here
        return lies_in(path, given)
    if role == "run":
        return given.is_dir() and is_same(path, given)
    if role == "store":
        return not given.is_dir() and would_overwrite(path, [given]) is not None
    if role == "page" and given.is_dir() and (path.suffix == ".html" or not path.exists()):
        return False
    if role == "folder" and lies_in(given, path):
        return True
    # What is begun waits in a folder beside the result, which is removed in the end.
    return would_overwrite(path, [given]) is not None or lies_in(given, path.with_name(path.name + ".part"))


def _noun(role: Role) -> str:
    return "folder" if role in ("folder", "run") else "file"


def _written(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, Path, Role]]:
    for param in command.params:
        given = ctx.params.get(param.name or "")
        if isinstance(given, DatabaseUrl):  # no file; a store is added to
            continue
        if given is not None and isinstance(param.type, Output):
            yield _title(param), given, param.type.role
        if given is not None and isinstance(param.type, Database):
            yield _title(param), _path(given), "store"


def _read(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, Path, bool]]:
    """List what is read and there: the option that gives it, the path, and whether new files may be put into it.

    What is no path (a data set's name) is left out.
    """
    for param in command.params:
        is_path = isinstance(param.type, click.Path) and not isinstance(param.type, Output)
        if not is_path and not isinstance(param.type, Source):
            continue
        given = ctx.params.get(param.name or "")
        for one in given if isinstance(given, tuple) else (given,):
            if one is None:
                continue
            text = str(one).partition("=")[2] if isinstance(param.type, NamedSource) else str(one)
            if text and _is_there(_path(text)):
                yield _title(param), _path(text), isinstance(param.type, Copies)


def _path(text: str) -> Path:
    return path_of(text.removeprefix("sqlite:///"))


def _is_there(path: Path) -> bool:
    if isinstance(path, Address):
        return True
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a path, or with a null byte: text of another kind
        return False


def _title(param: click.Parameter) -> str:
    return max(param.opts, key=len) if isinstance(param, click.Option) else (param.metavar or str(param.name).upper())

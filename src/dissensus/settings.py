"""Settings of steps: frozen, checked as a whole, and described once for the command line, YAML and Python.

A field's docstring is its help. What a field is to a command line that cannot be told from its type stands in its
annotation: that it names something that is read (`Reads`) or written (`Writes`), that it is given without an option
(`Argument`), or another spelling (`Option`). Nothing here knows click.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from dissensus.errors import ConfigError
from dissensus.places.addresses import is_address, path_of


@dataclass(frozen=True)
class Reads:
    """Marks a field that names what is read."""

    kind: Literal["source", "file", "local", "folder", "model", "copies", "named", "database", "store"] = "source"
    """``source``: a file, a folder, a Hub id or a data set's name; ``file`` and ``folder``: a path; ``local``: a file
    of this machine; ``model``: a folder, a Hub id or a name; ``copies``: a folder in which new files may be put beside
    what is read; ``named``: NAME=SOURCE; ``database`` and ``store``: a file or a URL."""

    @property
    def takes_addresses(self) -> bool:
        """Whether it may be at an address such as s3://bucket/pairs.jsonl; of a store, what was exported may."""
        return self.kind in ("source", "file", "named", "store")

    @property
    def remedy(self) -> str:
        """What to do where it may not."""
        return "copy it here and name the copy"


@dataclass(frozen=True)
class Writes:
    """Marks a field that names what is written."""

    role: Literal["file", "folder", "run", "page", "store", "database"] = "file"
    """A ``file``; a ``folder`` made as a whole; the folder of a ``run``, which may hold what is read; a ``page``, which
    may lie in the folder that it shows; a ``store`` or ``database`` that is added to."""

    @property
    def takes_addresses(self) -> bool:
        """Whether it may be at an address such as s3://bucket/pairs.jsonl: what is written once, as one file."""
        return self.role in ("file", "page")

    @property
    def remedy(self) -> str:
        """What to do where it may not."""
        if self.role in ("store", "database"):
            return "name a file of this machine or a postgresql:// URL"
        return "name a folder of this machine and copy it there when it is done"


@dataclass(frozen=True)
class Argument:
    """Marks a field that is given by its place, without an option."""

    metavar: str = ""


@dataclass(frozen=True)
class Option:
    """How the option of a field differs from ``--field-name`` with the field's default."""

    names: str = ""
    """Instead of it; of a switch both, as ``--on/--off``."""
    old: str = ""
    """An earlier spelling, which still works and names the new one."""
    default: str = ""
    """In words, where it is found out in the run."""
    metavar: str = ""
    prefix: str | None = None
    """Of a field that is settings itself: what its options begin with, as ``sweep-``; "" for nothing."""
    is_hidden: bool = False
    """No option: given by ``--set`` or ``--config`` alone."""


_LISTED = "\n\nSettings:\n"


class Settings(BaseModel):
    """Base of all settings; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Titles under which a help page lists fields; the others come first."""

    @classmethod
    def __pydantic_init_subclass__(cls, **rest: Any) -> None:
        """List the fields in the docstring, where `help` looks."""
        super().__pydantic_init_subclass__(**rest)
        own = cls.__dict__.get("__doc__") or ""
        about, _, _ = inspect.cleandoc(own).partition(_LISTED)
        fields = [
            f"    {name}: {' '.join((field.description or '').split())}" for name, field in cls.model_fields.items()
        ]
        cls.__doc__ = about + _LISTED + "\n".join(fields)

    @model_validator(mode="before")
    @classmethod
    def _know_addresses(cls, given: Any) -> Any:
        """Tell addresses from paths, and refuse one where it cannot be."""
        if not isinstance(given, Mapping):
            return given
        found = dict(given)
        for name in found.keys() & cls.model_fields.keys():
            field = cls.model_fields[name]
            for mark in (one for one in field.metadata if isinstance(one, Reads | Writes)):
                found[name] = _placed(name, found[name], mark, is_path=_takes_paths(field.annotation))
        return found

    @classmethod
    def about(cls) -> str:
        """Return the docstring without its fields."""
        return (cls.__doc__ or "").partition(_LISTED)[0]

    @classmethod
    def load(cls, data: Mapping[str, Any], *, place: str = "") -> Self:
        """Check settings as YAML, JSON or a command line gives them.

        Args:
            data: field to value; ``a.b`` as a key is a field of a field.
            place: what they are from, which begins the message.

        Raises:
            ConfigError: one line: which setting, what is wrong, what would be right.
        """
        try:
            return cls.model_validate(nested(data))
        except ValidationError as error:
            problem = describe_problem(cls, error)
            raise ConfigError(f"{place}: {problem}" if place else problem) from error


def _takes_paths(annotation: Any) -> bool:
    return annotation is Path or any(map(_takes_paths, get_args(annotation)))


def _placed(name: str, given: Any, mark: Reads | Writes, *, is_path: bool) -> Any:
    """Return what is given for a field as it says of itself; addresses, also several, as such where it has paths."""
    if isinstance(given, list | tuple):
        return type(given)(_placed(name, one, mark, is_path=is_path) for one in given)
    if not is_address(given):
        return given
    if mark == Reads("store"):  # which tells stores from what was exported
        return given
    if not mark.takes_addresses:
        raise ValueError(f"{name}: {given} is an address, and this has to be on this machine; {mark.remedy}")
    return path_of(given) if is_path else given


def nested(data: Mapping[str, object]) -> dict[str, object]:
    """Put ``a.b`` below ``a``.

    >>> nested({"sweep.points": 3, "seed": 0})
    {'sweep': {'points': 3}, 'seed': 0}
    """
    found: dict[str, object] = {}
    for key, value in data.items():
        *path, last = key.split(".")
        inner = found
        for part in path:
            child = inner.get(part)
            inner[part] = inner = dict(child) if isinstance(child, Mapping) else {}
        inner[last] = value
    return found


def describe_problem(settings: type[BaseModel], error: ValidationError) -> str:
    """Describe the first problem in one line: which setting, what is wrong, what would be right."""
    errors = error.errors()
    # A misspelt setting is missing under its right name as well: the spelling is what to fix.
    problem = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    path, known = _follow(settings, tuple(problem["loc"]))
    where = ".".join(path)
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown setting; {nearest(path[-1], known)}"
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        tag = str(problem["ctx"]["discriminator"]).strip("'")
        found = problem["input"].get(tag) if isinstance(problem["input"], dict) else problem["input"]
        tags = [part.strip().strip("'") for part in problem["ctx"].get("expected_tags", "").split(",") if part.strip()]
        return f"{where}: no {path[-1] if path else 'kind'} is called {found!r}; {nearest(str(found), tags or known)}"
    if problem["type"] == "missing":
        return f"{where}: missing; add it"
    message = problem["msg"].removeprefix("Value error, ")
    found = "" if problem["type"] == "value_error" else f" (found {problem['input']!r})"
    return f"{where + ': ' if where else ''}{message}{found}"


def nearest(word: str, known: list[str]) -> str:
    """Say which known word was meant, or which there are."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(known)}"


def _follow(settings: type[BaseModel], place: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """Follow a place of pydantic's through fields; returns it without the tags of unions, and the keys known there."""
    path: list[str] = []
    model: Any = settings
    known = list(settings.model_fields)
    for part in place:
        tagged = dict(_members(model))
        if part in tagged:  # the tag of a union, or the name of one of its classes
            model, known = tagged[str(part)], _keys(tagged[str(part)])
            continue
        path.append(str(part))
        known = _keys(model)
        model = _below(model, part)
    return path, known


def _keys(model: Any) -> list[str]:
    is_model = isinstance(model, type) and issubclass(model, BaseModel)
    return list(model.model_fields) if is_model else []


def _below(model: Any, part: int | str) -> Any:
    if isinstance(model, type) and issubclass(model, BaseModel):
        field = model.model_fields.get(str(part))
        return None if field is None else _bare(field.annotation)
    arguments = get_args(model)
    if get_origin(model) is dict:
        return _bare(arguments[1])
    return _bare(arguments[0]) if get_origin(model) in (tuple, list) else None


def _bare(annotation: Any) -> Any:
    """Take off ``Annotated`` and ``None``."""
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if is_union(annotation):
        members = [one for one in get_args(annotation) if one is not type(None)]
        return _bare(members[0]) if len(members) == 1 else annotation
    return annotation


def is_union(annotation: Any) -> bool:
    """Tell whether an annotation is of several types."""
    return get_origin(annotation) is Union or type(annotation).__name__ == "UnionType"


def _members(model: Any) -> Iterator[tuple[str, Any]]:
    """List a union's models under whatever pydantic may call them in a place."""
    if not is_union(model):
        return
    for member in map(_bare, get_args(model)):
        if isinstance(member, type) and issubclass(member, BaseModel):
            yield member.__name__, member
            for field in member.model_fields.values():
                if get_origin(field.annotation) is Literal:
                    yield from ((str(tag), member) for tag in get_args(field.annotation))

"""Options of a verb, made from the settings of its step: names, types, defaults, choices and help stand there once."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from dissensus.cli.complete_paths import complete_file, complete_source
from dissensus.cli.outputs import Copies, Database, Input, NamedSource, Output, Source, Verb
from dissensus.errors import ConfigError
from dissensus.files.database_url import DatabaseUrl
from dissensus.settings import Argument, Option, Reads, Settings, Writes, is_union

_CONFIG, _SET = "config_file", "set_values"
_BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


class StepCommand(Verb):
    """A verb whose options are the settings of a step."""

    def __init__(self, *, settings: type[Settings], extra: Sequence[click.Parameter] = (), **rest: Any) -> None:
        super().__init__(**rest)
        self.settings = settings
        self.extra = [str(param.name) for param in extra]

    def invoke(self, ctx: click.Context) -> Any:
        """Check the settings as a whole, then what they read and write, then run."""
        config = {_CONFIG: ctx.params[_CONFIG]} if ctx.params.get(_CONFIG) is not None else {}
        settings = settings_of(self.settings, ctx)
        extra = {name: value for name, value in ctx.params.items() if name in self.extra}
        ctx.params = {**_paths(self, settings), **extra, **config, "settings": settings}
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List options under the titles that the settings give them."""
        titles = {field: title for title, fields in self.settings.groups.items() for field in fields}
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                field = str(param.name).replace("__", ".")
                title = titles.get(field) or titles.get(field.partition(".")[0]) or "Options"
                sections.setdefault("Arguments" if isinstance(param, click.Argument) else title, []).append(record)
        for title in ("Arguments", "Options", *self.settings.groups):
            if title in sections:
                with formatter.section(title):
                    formatter.write_dl(sections[title])


def step_command(
    name: str,
    settings: type[Settings],
    run: Callable[..., Any],
    *,
    about: str | None = None,
    extra: Sequence[click.Parameter] = (),
) -> StepCommand:
    """Make the command of a step.

    Args:
        name: of the verb.
        settings: its fields become arguments and options; a field of lists may be given several times, one of
            settings has options of its own, and what has no option is given by ``--set`` and ``--config``.
        run: gets the settings; of what it returns, ``lines()`` go to stdout and ``notes`` to stderr.
        about: the help text; the docstring of the settings unless given.
        extra: parameters that are no settings, which ``run`` gets as further arguments by name.
    """

    def call(settings: Settings, **rest: Any) -> None:
        found = run(settings, **{str(param.name): rest[str(param.name)] for param in extra})
        for note in getattr(found, "notes", ()):
            click.echo(note, err=True)
        for line in found.lines() if hasattr(found, "lines") else ():
            click.echo(line)

    file, in_file = (
        click.Path(path_type=Path, dir_okay=False),
        "YAML with these settings, as in a study; options win over it.",
    )
    by_key = f"Any setting by its key, such as {_example(settings)}; repeat."
    config = [
        click.Option(["--config", _CONFIG], type=file, help=in_file),
        click.Option(["--set", _SET], multiple=True, metavar="KEY=VALUE", help=by_key),
    ]
    params = [*parameters_of(settings), *extra, *config]
    about = settings.about() if about is None else about
    return StepCommand(settings=settings, extra=extra, name=name, params=params, callback=call, help=about)


def parameters_of(settings: type[Settings]) -> list[click.Parameter]:
    """Make the arguments and options of settings, arguments first."""
    fields = sorted(_fields(settings), key=lambda field: field.argument is None)
    return [param for field in fields for param in field.parameters()]


def _example(settings: type[Settings]) -> str:
    """Return one of the settings with its default, as an example."""
    for field in _fields(settings):
        if field.argument is None and isinstance(default := field.info.default, int) and not isinstance(default, bool):
            return f"{field.key.rpartition('.')[2]}={default}"
    return "key=value"


def command_of_step(verb: str, module: str = "") -> StepCommand:
    """Make the command of ``steps/VERB.py``, or of another module: its ``VerbSettings`` and its ``run``."""
    step = importlib.import_module(module or f"dissensus.steps.{verb}")
    return step_command(verb, getattr(step, f"{verb.title()}Settings"), step.run)


def settings_of(settings: type[Settings], ctx: click.Context) -> Settings:
    """Make the settings: defaults, the file of --config, --set, and the options that were given, each over the former.

    Raises:
        ConfigError: one line: the option or setting, what is wrong, what would be right.
        click.UsageError: an argument or a required option is missing.
    """
    values: dict[str, object] = {}
    keys = _short_keys(settings)
    if (file := ctx.params.pop(_CONFIG, None)) is not None:
        values |= {keys.get(key, key): value for key, value in _read_config(file).items()}
        _take_extra(ctx, values)
    for text in ctx.params.pop(_SET, ()):
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: expected KEY=VALUE, such as seed=3")
        values[keys.get(key.strip(), key.strip())] = _yaml(value, f"--set {key}")
    fields = {field.param: field for field in _fields(settings)}
    for name, value in ctx.params.items():
        field = fields.get(name.removeprefix("old__"))
        if field is None or ctx.get_parameter_source(name) in (ParameterSource.DEFAULT, None):
            continue
        if name.startswith("old__"):
            click.echo(f"dissensus: {field.option.old} is now {field.names[0].partition('/')[0]}", err=True)
        values[field.key] = dict(value) if field.kind is dict else value
    for field in fields.values():
        if field.info.is_required() and field.key not in values and "." not in field.key:
            what = field.metavar if field.argument else f"option '{field.names[0]}'"
            raise click.UsageError(f"Missing {what}.", ctx)
    spellings = {field.key: field.names[0].partition("/")[0] for field in fields.values() if field.argument is None}
    try:
        return settings.load(values)
    except ConfigError as error:
        key, colon, rest = str(error).partition(": ")
        raise ConfigError(f"{spellings[key]}: {rest}" if colon and key in spellings else str(error)) from error


def _take_extra(ctx: click.Context, values: dict[str, object]) -> None:
    """Take what a file says of parameters that are no settings, such as the store of judge, unless they were given."""
    for param in ctx.command.params:
        name = str(param.name)
        if name in getattr(ctx.command, "extra", ()) and name in values:
            value = values.pop(name)
            if ctx.get_parameter_source(name) in (ParameterSource.DEFAULT, None):
                ctx.params[name] = param.process_value(ctx, value)


def _short_keys(settings: type[Settings]) -> dict[str, str]:
    """Map the last part of an option's key to the whole, where one alone has it: ``seed`` for training.seed."""
    found: dict[str, list[str]] = {}
    for field in _fields(settings):
        found.setdefault(field.key.rpartition(".")[2], []).append(field.key)
    return {short: keys[0] for short, keys in found.items() if len(keys) == 1 and short not in settings.model_fields}


def _read_config(file: Path) -> Mapping[str, object]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {file}: cannot be read ({error}); give a YAML file of settings") from error
    found = _yaml(text, f"--config {file}")
    if not isinstance(found, dict):
        raise ConfigError(f"--config {file}: expected settings (key: value), found {type(found).__name__}")
    return found


def _yaml(text: str, place: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{place}: not YAML ({' '.join(str(error).split())})") from error


def _paths(command: click.Command, settings: Settings) -> Mapping[str, object]:
    """Return what the settings say of each parameter: what is read and written is checked by it."""
    found: dict[str, object] = {}
    for param in command.params:
        value: Any = settings
        for part in str(param.name).split("__"):
            value = getattr(value, part, None)
        if value is not None and isinstance(param.type, Output | Source | Database | click.Path):
            found[str(param.name)] = value if isinstance(value, tuple) else param.type.convert(value, param, None)
    return found


class _Field:
    """A field of settings as a parameter of a command."""

    def __init__(self, key: str, info: FieldInfo, prefix: str) -> None:
        self.key, self.info = key, info
        self.param = key.replace(".", "__")
        self.option = next((one for one in info.metadata if isinstance(one, Option)), Option())
        self.argument = next((one for one in info.metadata if isinstance(one, Argument)), None)
        last = key.rpartition(".")[2].replace("_", "-")
        self.kind, self.inner, self.is_many = _kind(info.annotation)
        self.bounds = [*info.metadata, *_metadata(info.annotation)]
        switch = f"--{prefix}{last}/--no-{prefix}{last}"
        self.names = [self.option.names or (switch if self.kind is bool else f"--{prefix}{last}")]

    @property
    def metavar(self) -> str:
        given = self.argument.metavar if self.argument is not None else self.option.metavar
        if given or self.argument:
            return given or self.param.upper()
        choices = _choices(self.inner)
        if choices:
            return f"[{'|'.join(choices)}]"
        if any(isinstance(one, Reads | Writes) for one in self.info.metadata) or self.inner is Path:
            return "PATH"
        if self.kind is dict:
            return "KEY=VALUE"
        return {int: "N", float: "X"}.get(self.inner, "TEXT")

    @property
    def help(self) -> str:
        text = " ".join((self.info.description or "").replace("``", "").split())
        notes = [f"{sign} {bound}" for name, sign in _BOUNDS for bound in self._bounds(name)]
        if default := self._default():
            notes.insert(0, f"default: {default}")
        if self.info.is_required():
            notes.insert(0, "required")
        if self.is_many:
            notes.append("repeat for several")
        return f"{text}  [{'; '.join(notes)}]" if notes else text

    def _bounds(self, name: str) -> Iterator[str]:
        for one in self.bounds:
            if isinstance(one, annotated_types.BaseMetadata) and (bound := getattr(one, name, None)) is not None:
                yield f"{bound:g}" if isinstance(bound, int | float) else str(bound)

    def _default(self) -> str:
        if self.option.default or self.info.is_required():
            return self.option.default
        default = self.info.get_default(call_default_factory=True)
        if default is None or default == "" or default == () or default == {}:
            return ""
        if isinstance(default, bool):
            return "on" if default else ""
        return ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)

    def type(self) -> click.ParamType[Any]:
        for one in self.info.metadata:
            if isinstance(one, Writes):
                return Database() if one.role == "database" else Output(one.role)
            if isinstance(one, Reads):
                if one.kind in ("file", "local", "folder"):
                    return Input()
                return {"named": NamedSource, "copies": Copies}.get(one.kind, Source)()
        return click.Path(path_type=Path) if self.inner is Path else _Value(self)

    def parameters(self) -> Iterator[click.Parameter]:
        complete: Any = None
        for one in self.info.metadata:
            if isinstance(one, Reads | Writes):
                complete = complete_source if one == Reads() else complete_file
        if self.argument is not None:
            shown = {"about": self.help, "metavar": self.metavar, "shell_complete": complete}
            many = -1 if self.is_many else 1
            yield DescribedArgument([self.param], type=self.type(), required=False, nargs=many, **shown)
            return
        common: dict[str, Any] = {"help": self.help, "default": None, "shell_complete": complete}
        if self.kind is bool:
            common["is_flag"] = True
            yield _Switch([*self.names, self.param], is_off=self.info.default is False, **common)
        else:
            common |= {"type": self.type(), "metavar": self.metavar, "multiple": self.is_many or self.kind is dict}
            yield click.Option([*self.names, self.param], **common)
        if self.option.old:
            yield click.Option([self.option.old, f"old__{self.param}"], **{**common, "hidden": True})


class _Switch(click.Option):
    """A switch that is off has an opposite as well, which wins over a file of settings; help leaves it out."""

    def __init__(self, *names: Any, is_off: bool, **rest: Any) -> None:
        super().__init__(*names, **rest)
        self.is_off = is_off

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return its names and its help."""
        record = super().get_help_record(ctx)
        return (self.opts[0], record[1]) if record is not None and self.is_off else record


class DescribedArgument(click.Argument):
    """An argument that may be given by --config instead, with its help."""

    def __init__(self, *names: Any, about: str, **rest: Any) -> None:
        super().__init__(*names, **rest)
        self.about = about

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Return its name and what it is."""
        return self.make_metavar(ctx), self.about

    def make_metavar(self, ctx: click.Context) -> str:
        """Return its name, with dots where there may be several."""
        return f"{self.metavar}{'...' if self.nargs != 1 else ''}"


class _Value(click.ParamType[Any]):
    """The type of a setting that is no path: what the settings themselves take."""

    def __init__(self, field: _Field) -> None:
        self.name = field.metavar
        self._field = field

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        field = self._field
        if field.kind is dict:
            if isinstance(value, tuple):
                return value
            key, equals, text = str(value).partition("=")
            if not equals:
                raise ConfigError(f"{field.names[0]} {value}: expected {field.metavar}")
            return key, text
        if not isinstance(value, str):
            return value
        inner: Any = field.inner
        bounds = field.info.metadata if not field.is_many else []
        try:
            return TypeAdapter(Annotated[inner, *bounds] if bounds else inner).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]
            message = problem["msg"].removeprefix("Value error, ")
            name = field.names[0] if field.argument is None else field.metavar
            found = "" if problem["type"] == "value_error" else f" (found {value!r})"
            raise ConfigError(f"{name}: {message}{found}") from error

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in _choices(self._field.inner) if word.startswith(incomplete)]


def _fields(settings: type[BaseModel], path: str = "", prefix: str = "") -> Iterator[_Field]:
    for name, info in settings.model_fields.items():
        option = next((one for one in info.metadata if isinstance(one, Option)), Option())
        kind, inner, is_many = _kind(info.annotation)
        if option.is_hidden:
            continue
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if option.prefix is not None:
                yield from _fields(kind, f"{path}{name}.", f"{prefix}{option.prefix}")
        elif inner is not None and not (is_many and get_origin(inner) in (tuple, list, dict)):
            yield _Field(f"{path}{name}", info, prefix)


def _kind(annotation: Any) -> tuple[Any, Any, bool]:
    """Tell of an annotation: its type without None, that of one value, and whether there may be several."""
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if is_union(annotation):
        members = [one for one in get_args(annotation) if one is not type(None)]
        if len(members) > 1:
            return annotation, annotation if all(_is_plain(one) for one in members) else None, False
        return _kind(members[0])
    origin = get_origin(annotation)
    if origin is tuple and get_args(annotation)[1:] == (...,):
        return tuple, _kind(get_args(annotation)[0])[1], True
    if origin is list:
        return list, _kind(get_args(annotation)[0])[1], True
    if origin in (dict, Mapping):
        key, value = get_args(annotation)
        return dict, str if (key, value) == (str, str) else None, False
    return annotation, annotation, False


def _metadata(annotation: Any) -> Iterator[Any]:
    """List what is annotated within a union with None, such as bounds."""
    yield from getattr(annotation, "__metadata__", ())
    if is_union(annotation):
        for member in get_args(annotation):
            for one in _metadata(member):
                yield from one.metadata if isinstance(one, FieldInfo) else (one,)


def _is_plain(annotation: Any) -> bool:
    return annotation in (int, float, str, bool, Path, DatabaseUrl) or get_origin(annotation) is Literal


def _choices(annotation: Any) -> list[str]:
    return [str(word) for word in get_args(annotation)] if get_origin(annotation) is Literal else []

"""Plugins: modules outside of the package that bring judges, metrics, data sets and verbs."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from dissensus.errors import ConfigError

VARIABLE = "DISSENSUS_PLUGINS"


@cache
def load_plugins() -> None:
    """Import, once, the modules that installed packages and the environment name.

    A package names its modules as entry points of the group ``dissensus``; the variable ``DISSENSUS_PLUGINS`` has
    names with commas between them, of modules that Python finds or that lie in the current folder.

    Raises:
        ConfigError: one cannot be imported; names it, why, and who named it.
    """
    for module, place, remedy in _named():
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:  # whatever a stranger's module does, which may be a script
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigError(f"plugin {module} of {place}: cannot be imported ({reason}); fix or {remedy}") from error


def _named() -> Iterator[tuple[str, str, str]]:
    """List modules, who names each, and how it is left out."""
    for point in entry_points(group="dissensus"):
        package = point.dist.name if point.dist else "a package"
        yield point.module, f"the package {package}", "uninstall it"
    modules = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    if modules and not {"", str(Path.cwd())} & set(sys.path):
        sys.path.append(str(Path.cwd()))
    for module in modules:
        yield module, VARIABLE, "leave it out"

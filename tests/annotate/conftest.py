"""Projects in SQLite and in PostgreSQL, their sites, and a browser."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest

from dissensus.annotate.project.store import now

from . import postgres
from .people import make_project


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.xdist_group("postgresql"))])
def database(request, tmp_path):
    """The name of an empty database, in each of the two."""
    if request.param == "sqlite":
        return tmp_path / "annotations.db"
    return request.getfixturevalue("postgres_server")()


@contextlib.contextmanager
def _projects():
    # In memory where there is such a place: the projects sync every commit, and the tests are not about the disk.
    folder = Path(tempfile.mkdtemp(prefix="dissensus-", dir=postgres.MEMORY))
    projects = []

    def make(database=None, **settings):
        place = folder / f"project{len(projects)}"
        place.mkdir()
        projects.append(make_project(database or place / "annotations.db", place, **settings))
        return projects[-1]

    try:
        yield make
    finally:
        for project in projects:
            project.store.close()
        shutil.rmtree(folder)


def _site(open_project, database=None, **settings):
    pytest.importorskip("fastapi")
    from .web import Site

    project = open_project(database, **settings)
    project.now = now()
    project.add("Judith", "adjudicator")
    project.add("Olga", "organiser")
    return Site(project)


@pytest.fixture
def open_project():
    """``open_project(database=None, **settings)``: see people.make_project; SQLite unless a database is given."""
    with _projects() as make:
        yield make


@pytest.fixture
def open_site(open_project):
    """``open_site(**settings)``: the app of a project with three annotators, an adjudicator and an organiser."""
    return lambda database=None, **settings: _site(open_project, database, **settings)


@pytest.fixture(scope="module")
def open_shared():
    """`open_project`, of projects for all tests of a module: they leave them as they are, or do not mind."""
    with _projects() as make:
        yield make


@pytest.fixture(scope="module")
def shared_site(open_shared):
    """A site of 40 pairs."""
    return _site(open_shared, pairs=40)


@pytest.fixture(scope="module")
def browser():
    """Chromium, started once a module: its driver's event loop would be in the way of other modules' tests."""
    from .live import chromium

    with chromium() as launched:
        yield launched


@pytest.fixture
def serve(open_project):
    """``serve(prepare=None, **settings)``: (project, origin) of a prepared project, served until the test ends."""
    from .live import served

    with contextlib.ExitStack() as stack:

        def make(prepare=None, **settings):
            project = open_project(**settings)
            if prepare is not None:
                prepare(project)
            project.now = now()
            return project, stack.enter_context(served(project))

        yield make

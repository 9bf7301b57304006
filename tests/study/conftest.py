"""Studies whose stages of models and of the page pretend, unless a test asks for ``real_stages``."""

import pytest

from .fakes import fake_stages


@pytest.fixture
def real_stages():
    """Train, predict and draw in earnest."""


@pytest.fixture(autouse=True)
def _fake(request):
    if "real_stages" in request.fixturenames:
        yield
        return
    with fake_stages():
        yield

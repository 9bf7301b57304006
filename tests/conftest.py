import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("real_data", Path(__file__).with_name("real_data.py"))
assert _spec and _spec.loader
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    folder = _module.real_data_dir()
    if folder is None:
        pytest.skip("no real votes here; set DISSENSUS_REAL_DATA to their folder")
    return folder

"""Imports run one way; the stages stand side by side and do not know each other."""

import ast
from pathlib import Path

import pytest

import dissensus

SOURCE = Path(dissensus.__file__).parent
GROUND = {"errors", "loops", "records", "stats"}
SHARED = {"files", "encoder"}
STAGES = {"sources", "simulate", "judge", "margin", "aggregation", "taxonomy", "reward", "evaluate", "annotate"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "loops": set(),
    "records": {"errors"},
    "stats": {"errors", "stats"},
    **{name: GROUND | {name} for name in SHARED},
    **{name: GROUND | SHARED | {name} for name in STAGES},
    "trl": GROUND | SHARED | {"reward"},
    "report": GROUND | SHARED | STAGES | {"report"},
    "study": GROUND | SHARED | STAGES | {"report", "study"},
    "cli": GROUND | SHARED | STAGES | {"report", "study", "cli"},
    "__main__": {"cli"},
    "__init__": GROUND | SHARED | STAGES | {"study"},
}


def _layer(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "dissensus":
            found |= (
                {_layer(f"dissensus.{a.name}") for a in node.names}
                if node.module == "dissensus"
                else {_layer(node.module)}
            )
        elif isinstance(node, ast.Import):
            found |= {_layer(a.name) for a in node.names if a.name.split(".")[0] == "dissensus"}
    return found - {"__version__"}


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda f: str(f.relative_to(SOURCE)))
def test_imports_run_one_way(file: Path) -> None:
    layer = file.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert layer in ALLOWED, f"{layer} is no layer of the house; say in ALLOWED what it may import"
    wrong = _imports(file) - ALLOWED[layer]
    assert not wrong, f"{file.relative_to(SOURCE)} imports {sorted(wrong)}, which stand above it or beside it"


def test_every_layer_of_the_table_can_fail() -> None:
    assert _imports(SOURCE / "study" / "run.py") & {"evaluate", "files"} == {"evaluate", "files"}

"""The structure of the package: imports run one way, names are said once, folders and files stay small."""

import ast
from collections import Counter
from pathlib import Path

import dissensus

SOURCE = Path(dissensus.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
LAYERS: tuple[tuple[str, ...], ...] = (
    ("_version", "errors", "event_loops", "hashing"),
    ("places",),
    ("settings", "messages", "plugins", "versions"),
    ("records",),
    ("run_records", "judgment_margins", "judge_calibration", "parts"),
    ("files", "stats", "text"),
    ("cluster",),
    ("sources", "simulate", "aggregation", "judges", "reward", "evaluation", "taxonomy"),
    ("annotate", "reports", "integrations", "record_lists"),
    ("steps",),
    ("study",),
    ("api", "cli"),
    ("__main__", "__init__"),
)
"""Each layer imports from those before it, and a part from itself; parts of one layer do not know each other."""
_DEPTH = {part: depth for depth, parts in enumerate(LAYERS) for part in parts}


def _part(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "dissensus":
            found |= (
                {_part(f"dissensus.{a.name}") for a in node.names}
                if node.module == "dissensus"
                else {_part(node.module)}
            )
        elif isinstance(node, ast.Import):
            found |= {_part(a.name) for a in node.names if a.name.split(".")[0] == "dissensus"}
    return found - {"__version__"}


def test_imports_run_one_way() -> None:
    wrong = []
    for file in FILES:
        own = file.relative_to(SOURCE).parts[0].removesuffix(".py")
        assert own in _DEPTH, f"{own} is in no layer; say in LAYERS where it stands"
        above = {part for part in _imports(file) - {own} if _DEPTH[part] >= _DEPTH[own]}
        wrong += [f"{file.relative_to(SOURCE)} imports {part}" for part in sorted(above)]
    assert not wrong, "these stand above, or beside, what imports them: " + "; ".join(wrong)


def test_every_layer_of_the_table_is_there_and_is_looked_at() -> None:
    assert {file.relative_to(SOURCE).parts[0].removesuffix(".py") for file in FILES} <= set(_DEPTH)
    assert _imports(SOURCE / "api.py") >= {"errors", "records", "settings", "steps"}


def test_a_name_is_said_once_or_twice() -> None:
    names = Counter(file.stem for file in FILES)
    often = {name: count for name, count in names.items() if count > 2}
    assert often.keys() <= {"__init__", "config", "schema"}, often


def test_folders_are_small() -> None:
    modules = Counter(str(file.relative_to(SOURCE).parent) for file in FILES if file.stem != "__init__")
    large = {folder: count for folder, count in modules.items() if count > 16}
    assert large.keys() <= {"sources", "steps", "cli"}, large  # a module for each data set, each verb


def test_files_are_small() -> None:
    long = {str(file.relative_to(SOURCE)): n for file in FILES if (n := file.read_text("utf-8").count("\n")) > 400}
    assert not long, long


def test_a_judges_kind_is_asked_of_nobody() -> None:
    """What a kind of judge needs is a method of its settings; nothing else tells kinds apart."""
    from dissensus.judges.base import kinds

    names = {kind.__name__ for kind in kinds().values()}
    asked = [
        f"{file.relative_to(SOURCE)}:{node.lineno}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance"
        if any(isinstance(part, ast.Name) and part.id in names for part in ast.walk(node.args[1]))
    ]
    assert names
    assert not asked, asked

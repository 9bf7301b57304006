"""A commented study to begin with, made from the settings' own descriptions so that it cannot drift from them."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml
from pydantic import BaseModel

from dissensus.settings import Option
from dissensus.study.config import ModelSettings, StudyConfig

_START: dict[str, object] = {
    "title": "My study",
    "pairs": "pairs.jsonl",
    "label": "one-vote",
    "hold_out": {"by": "group", "share": 0.25},
    "judge": {"name": "committee", "n": 10},
    "training": {
        "model": "minilm",
        "epochs": 1,
        "batch_size": 32,
        "learning_rate": 5e-5,
        "max_length": 256,
        "members": 4,
    },
    "models": {
        "bradley-terry": {"objective": "bradley-terry", "length_covariate": False},
        "margin": {"objective": "margin", "length_covariate": False},
        "blend": {"objective": "blend"},
    },
    "baseline": "bradley-terry",
    "seeds": [0],
}
"""What stands uncommented; every other setting stands commented out with its default."""
_WIDTH = 100


def template() -> str:
    """Write a study of a file of pairs with votes, in which every setting, those of training too, is explained."""
    lines = [
        "# A study, from pairs to report. 'dissensus study FILE' runs it; with --dry-run it says what it would do.",
        "",
    ]
    for name, words, default in _fields(StudyConfig):
        given = _START.get(name)
        lines += _comment(words)
        setting = _yaml({name: default if given is None else given})
        lines += setting if given is not None else [f"# {line}" for line in setting]
        if name == "training":
            for own, about, value in _fields(ModelSettings):
                if own != "judge":
                    lines += [f"  {line}" for line in _comment(f"{own}: {_said(value)} unless given. {about}".strip())]
        lines.append("")
    return "\n".join(lines)


def _yaml(value: Any) -> list[str]:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=_WIDTH)).rstrip().splitlines()


def _said(value: Any) -> str:
    return value if isinstance(value, str) else _yaml(value)[0]


def _fields(model: type[BaseModel]) -> list[tuple[str, str, Any]]:
    """List fields with what their descriptions say, and their defaults."""
    found = []
    for name, field in model.model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            default = default.model_dump(mode="json", exclude_none=True)
        if default is None:  # found out in the run: in words, where there are any
            default = next((one.default for one in field.metadata if isinstance(one, Option) and one.default), None)
        words = " ".join((field.description or "").split())
        found.append((name, words, list(default) if isinstance(default, tuple) else default))
    return found


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)

"""The model card: ``README.md`` of a model's folder, made from what the run left in it."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from transformers import AutoTokenizer

from dissensus import __version__
from dissensus.errors import InputError
from dissensus.files import read_records, write_text
from dissensus.records import Metric
from dissensus.reward.config import TrainConfig
from dissensus.reward.model_record import RECORD_FILE, last_validation, model_folders, read_log, read_record
from dissensus.reward.objectives import OBJECTIVES, RETIRED, objective_of
from dissensus.reward.serving.calibration import load_calibration
from dissensus.reward.text.encode import encoding_of
from dissensus.text.pretrained import explained, locate

CARD_FILE = "README.md"
MARK = "<!-- Written by dissensus. Remove this line to keep changes of your own: the card is then left as it is. -->"

_MINILM_ID = "sentence-transformers/all-MiniLM-L6-v2"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#!|~$&])")
_ELSEWHERE = {"model", "objective", *(name for kind in (RETIRED | OBJECTIVES).values() for name in kind.loss_settings)}
"""Settings that the card names in its text."""


class _Plain(str):
    """Text that is already Markdown."""

    __slots__ = ()


def write_card(folder: str | Path, scores: str | Path | None = None, *, repo: str | None = None) -> Path:
    """Write the model card of a folder that ``train`` wrote, at once or not at all, and return its path.

    ``scores`` is a file of metrics, as ``evaluate`` writes it, with rows of this model (by the folder's name) or of one
    model alone. ``repo`` is the id that the examples name. A card without our mark is somebody's own and stays.

    Raises InputError where the folder holds no model of ours, or the scores none of this model; OutputError where the
    card cannot be written.
    """
    path = Path(folder) / CARD_FILE
    text = _render(Path(folder), scores, repo)
    if not path.is_file() or MARK in path.read_text(encoding="utf-8", errors="replace"):
        write_text(path, text)
    return path


def _render(folder: Path, scores: str | Path | None, repo: str | None) -> str:
    """Render the card as Markdown with YAML front matter."""
    path = folder / RECORD_FILE
    if not path.is_file():
        raise InputError(f"{folder}: no {RECORD_FILE}, so no model that 'dissensus train' wrote; name such a folder")
    record = read_record(path)
    config, objective = record.config, objective_of(record.config)
    if record.summary is None:
        raise InputError(f"{path}: not written by this version of dissensus; train again")
    environment = Environment(
        loader=PackageLoader("dissensus.reward"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, _Plain) else escape_markdown(value),
    )
    told = {"runtime", *_ELSEWHERE, *(() if config.has_members else ("members", "average"))}
    settings = config.model_dump(exclude=told) | config.runtime.model_dump(exclude={"report_to"})
    with explained(f"cannot load model '{folder}'", "train it again"):
        member = model_folders(folder)[0]
        tokenizer = AutoTokenizer.from_pretrained(member, **locate(str(member)))
    return environment.get_template("card.md").render(
        front_matter=_Plain(_front_matter(config)),
        mark=_Plain(MARK),
        name=repo.split("/")[-1] if repo else folder.resolve().name,
        repo=_Plain(repo) if repo else None,
        base=backbone_name(config.model),
        config=config,
        objective=objective,
        description=_Plain(objective.description()),
        reward_code=_Plain(objective.reward_code),
        length_slope=_Plain(record.summary.length_slope),
        style=encoding_of(tokenizer, config.max_length, record.text_style).style,
        closing=tokenizer.eos_token_id is not None and tokenizer.eos_token_id != tokenizer.pad_token_id,
        summary=record.summary,
        settings={_Plain(name): value for name, value in settings.items() if value is not None},
        validation=last_validation(read_log(folder)),
        calibration=load_calibration(folder),
        metrics=_metrics_of(folder.resolve().name, scores) if scores is not None else [],
        versions={"dissensus": __version__, **{name: version(name) for name in ("transformers", "torch")}},
    )


def escape_markdown(value: object) -> str:
    r"""Write a value as one line of Markdown text that is shown as it is, in a table too.

    >>> print(escape_markdown("a|b <i> [x](y)"))
    a\|b \<i\> \[x\](y)
    >>> escape_markdown(0.10000000149)
    '0.1'
    """
    if isinstance(value, float):
        # No sign or point of a number means anything in Markdown where numbers stand here.
        return f"{value:.6g}"
    return _MARKDOWN.sub(r"\\\1", " ".join(str(value).split()))


def _front_matter(config: TrainConfig) -> str:
    about: dict[str, object] = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["reward-model", "preference-learning", "rlhf", "dissensus", f"objective-{config.objective}"],
    }
    if (base := _hub_id(config.model)) is not None:
        about["base_model"] = base
    return yaml.safe_dump(about, sort_keys=False, allow_unicode=True).strip()


def _hub_id(model: str) -> str | None:
    """Return the backbone's id on the Hub; None for a folder, whose path is nobody's business."""
    if model == "minilm":
        return _MINILM_ID
    return model if _HUB_ID.fullmatch(model) and not Path(model).exists() else None


def backbone_name(model: str) -> str:
    """Name a backbone for others: its id on the Hub, or the last part of a folder's path."""
    return _hub_id(model) or Path(model).name


def _metrics_of(name: str, scores: str | Path) -> list[Metric]:
    """Pick the rows of one model: the one of that name, or the only one there is."""
    rows = list(read_records(scores, Metric))
    names = list(dict.fromkeys(row.model for row in rows))
    if not names:
        raise InputError(f"{scores}: holds no metrics; write it with 'dissensus evaluate'")
    if name not in names and len(names) > 1:
        found = ", ".join(names[:5])
        raise InputError(f"{scores}: holds metrics of {found}, none of them '{name}'; predict with --name {name}")
    wanted = name if name in names else names[0]
    return [row for row in rows if row.model == wanted]

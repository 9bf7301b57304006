"""The record beside a model's weights, ``dissensus.json``: how it was trained, on what, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from dissensus.errors import InputError
from dissensus.files import write_text
from dissensus.files.location import is_hub_id
from dissensus.reward.config import TrainConfig
from dissensus.reward.length_covariate import LengthSlope
from dissensus.reward.text.encode import Style
from dissensus.reward.text.train_data import Shortened
from dissensus.text.encoder import resolve_model
from dissensus.text.pretrained import first_line, on_the_hub
from dissensus.versions import NewerVersionError, stamped, unreadable, without_stamp

RECORD_FILE = "dissensus.json"
LOG_FILE = "training.jsonl"
_KEY = "dissensus"
"""In a model's ``config.json``: what a trainer other than ours leaves there."""


class TrainSummary(BaseModel):
    """What a run did; the counts are pairs unless named otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: int
    ties_dropped: int
    unlabelled_dropped: int
    unjudged_dropped: int
    validation_pairs: int
    texts: int
    """Distinct (prompt, response) texts."""
    texts_truncated: int
    layout: str
    """How the model was fed, and why not faster where it was not."""
    steps: int
    resumed_from: int
    """The step of the checkpoint that this run went on from, 0 for a fresh run."""
    seconds: float
    nll: float | None
    """The last logged Bradley-Terry NLL on the labels."""
    validation_nll: float | None = None
    """The same of the held-out prompts, after the last epoch; None where nothing was held out."""
    validation_accuracy: float | None = None
    members_nll: tuple[float, ...] = ()
    """Of several members, each one's NLL on the prompts that it did not see: where those are the same for all,
    ``validation_nll`` is that of their average, and where each left out its own, the mean over all pairs."""
    temperature: float | None = None
    """Fitted on the held-out labels or votes; above 1: the model was too sure."""
    length_slope: float | None = None
    """Times the log of a response's length: what is added to the model's reward; None without the covariate."""
    note: str | None = None
    """What to beware of: that nothing was learnt."""
    responses_cut: int = 0
    """Texts whose response lost its end, the prompt not being enough."""
    processes: str = "one process"
    """How the model was spread: ``one process``, or such as ``FSDP2 on 4 processes``."""
    pairs_alike: int = 0
    """Pairs whose two responses differ, and are read as the same tokens."""

    @property
    def lost(self) -> Shortened:
        """What of the texts did not fit into the window."""
        return Shortened(self.texts, self.texts_truncated, self.responses_cut, self.pairs_alike)


class LogRow(BaseModel):
    """A line of ``training.jsonl``: of training, or of a validation."""

    model_config = ConfigDict(frozen=True)

    step: int
    epoch: float
    loss: float | None = None
    """Of the objective, a mean over the pairs since the line before."""
    nll: float | None = None
    """Plain Bradley-Terry NLL of the labels."""
    accuracy: float | None = None
    learning_rate: float | None = None
    validation_nll: float | None = None
    validation_accuracy: float | None = None
    validation_calibrated_nll: float | None = None
    """``validation_nll`` after a temperature that was fitted to the same labels."""


class RetiredConfig(TrainConfig):
    """The settings of a model of before, whose objective trains no more."""

    objective: Literal["scaled", "categorical"]  # type: ignore[assignment]  # in place of those that train
    atoms: int = 10
    """Rewards that ``categorical`` spread its probability over, evenly spaced from 0 to 1."""


class ModelRecord(BaseModel):
    """What is known of a trained model. A checkpoint's has no summary; that of TRL's trainer, style and loss alone.

    What is unknown is refused: it may belong to the reward, as the length slope does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: TrainConfig | RetiredConfig
    text_style: Style | None = None
    """How prompt and response are put together; None leaves it to the tokenizer."""
    fingerprint: str | None = None
    """By which the run is known when it is started again."""
    summary: TrainSummary | None = None
    length: LengthSlope | None = None
    """Of the length covariate, as it stood in the loss; that of the reward is in the summary."""

    @model_validator(mode="before")
    @classmethod
    def _as_it_was(cls, data: Any) -> Any:
        """Models of before had no length covariate and were one, which other defaults say now."""
        if isinstance(data, Mapping) and isinstance(data.get("config"), Mapping):
            return {**data, "config": {"length_covariate": False, "members": 1, **data["config"]}}
        return data


def record_content(record: ModelRecord) -> dict[str, Any]:
    """Return what is written of a record."""
    return stamped(record.model_dump(mode="json"))


def read_record(where: Path, content: Any = None) -> ModelRecord:
    """Read a record from a file, or the ``content`` of one within another.

    Raises InputError for a damaged one, of which NewerVersionError for one of a newer version.
    """
    try:
        content = json.loads(where.read_bytes()) if content is None else content
        return ModelRecord.model_validate(without_stamp(content))
    except ValueError as error:
        otherwise = "not written by this version of dissensus; train again"
        raise unreadable(where, content, otherwise) from error


def member_folder(folder: Path, number: int) -> Path:
    """Name the folder of a member, counted from 1, within that of its ensemble: a plain model of its own."""
    return folder / f"member-{number}"


def model_folders(folder: Path) -> list[Path]:
    """List the folders of the models that a folder's predictions are the mean of: its members', or the folder itself.

    Raises InputError where a member is missing.
    """
    record = find_record(folder)
    if record is None or not record.config.keeps_members:
        return [folder]
    members = [member_folder(folder, number) for number in range(1, (record.config.members or 1) + 1)]
    for member in members:
        if not (member / "config.json").is_file():
            raise InputError(
                f"{member}: missing, and the model is the mean of {len(members)} members; copy the folder again whole, "
                "or train it again with --overwrite"
            )
    return members


def write_log(folder: Path, rows: Sequence[LogRow]) -> None:
    """Write a run's log into the folder of its model."""
    lines = (json.dumps(row.model_dump(exclude_none=True)) for row in rows)
    write_text(folder / LOG_FILE, "".join(f"{line}\n" for line in lines))


def read_log(folder: Path) -> list[LogRow]:
    """Read the log of a model's folder; empty where it has none. Raises InputError for a damaged one."""
    path = folder / LOG_FILE
    if not path.is_file():
        return []
    try:
        return [LogRow.model_validate_json(line) for line in path.read_bytes().splitlines()]
    except ValueError as error:
        raise InputError(f"{path}: not a training log ({first_line(error)}); train again, or remove it") from error


def last_validation(rows: Sequence[LogRow]) -> LogRow | None:
    """Return the last row of a validation; None where nothing was held out."""
    return next((row for row in reversed(rows) if row.validation_nll is not None), None)


def leave_record(settings: Any, style: Style | None, config: TrainConfig, *, max_length: int | None) -> None:
    """Write style, loss and window into a transformers config, which is saved wherever the model is."""
    window = {} if max_length is None else {"max_length": max_length}
    setattr(settings, _KEY, stamped({"text_style": style, "config": {**config.loss(), **window}}))


def left_record(settings: Any) -> ModelRecord | None:
    """Return what ``leave_record`` left; None where there is nothing. Raises InputError for a damaged one."""
    found = getattr(settings, _KEY, None)
    return read_record(Path("config.json"), found) if isinstance(found, Mapping) else None


def find_record(folder: Path, *, overwrite: bool = False) -> ModelRecord | None:
    """Return the record of a model's folder; None where it has none, or a damaged one, which is another run's then.

    Raises NewerVersionError for one of a newer version, unless it is to be overwritten.
    """
    try:
        return read_record(folder / RECORD_FILE) if (folder / RECORD_FILE).is_file() else None
    except NewerVersionError:
        if not overwrite:
            raise
    except InputError:
        pass
    return None


def ensemble_on_hub(name: str) -> ModelRecord | None:
    """Return the record of a model on the Hub that keeps its members; None for any other, or where it cannot be asked.

    Raises NewerVersionError where a newer version wrote it.
    """
    from huggingface_hub import hf_hub_download

    if Path(resolve_model(name)).exists() or not is_hub_id(name):
        return None
    try:
        online = on_the_hub(name, RECORD_FILE)
        file = Path(hf_hub_download(name, RECORD_FILE, local_files_only=not online))
    except (InputError, OSError, ValueError):  # what the Hub's client raises is one of the last two
        return None
    record = find_record(file.parent)
    return record if record and record.config.keeps_members else None


def fetch_members(name: str) -> Path | None:
    """Fetch an ensemble from the Hub, where a plain model would lie at the top; None where there is none.

    Raises InputError where it is there, and not all of it can be had.
    """
    from huggingface_hub import snapshot_download

    if ensemble_on_hub(name) is None:
        return None
    try:
        return Path(snapshot_download(name))
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: its members cannot be fetched ({first_line(error)}); run again") from error

"""A store's judgments as files that anybody can open, and as a folder that is ready for the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath

from dissensus.errors import OutputError
from dissensus.files import write_records, write_text
from dissensus.judge.store.store import JudgmentStore
from dissensus.records import Order, Record

_MADE = "Judgments of language models about pairs of responses, made with dissensus."


class RawReading(Record):
    """A reading in a file: the raw log-probabilities of the token behind ``Choice:``."""

    pair_id: str
    judge: str
    order: Order
    persona: str
    logprobs: tuple[float, ...]
    """At temperature 1, natural logarithms."""
    verdicts: str
    """For each of them the verdict that its token names, as shown: A, B or -."""
    tokens: tuple[int, ...]
    """Their ids; empty where the server named tokens by text alone."""
    top: int
    """How many of them are the most probable tokens of all, without a gap."""
    vocabulary: int
    forced: float | None
    """The lowest probability of a token of the prefix in a greedy run; null where nobody looked."""


def raw_readings(store: JudgmentStore, judge: str | None = None) -> Iterator[RawReading]:
    """Iterate over the readings of a judge, or of all."""
    for view in store.readings(judge=judge):
        reading = view.reading
        yield RawReading(
            pair_id=view.pair_id,
            judge=view.judge,
            order=view.order,
            persona=view.persona,
            logprobs=tuple(reading.logprobs.tolist()),
            verdicts=reading.verdicts,
            tokens=tuple(reading.tokens.tolist()),
            top=reading.top,
            vocabulary=reading.vocabulary,
            forced=None if reading.forced != reading.forced else reading.forced,
        )


def export(store: JudgmentStore, out: Path, *, judge: str | None = None, readings: bool = False) -> int:
    """Write judgments (or readings) to a file whose extension names the format; returns how many.

    Raises:
        OutputError: the file cannot be written.
    """
    return write_records(out, raw_readings(store, judge) if readings else store.judgments(judge=judge))


def export_data_set(store: JudgmentStore, folder: Path, *, judge: str | None = None) -> dict[str, int]:
    """Write a folder that ``load_dataset`` reads and that can be pushed to the Hub as it is.

    Returns the number of rows of each part. Judgments and readings are two configurations; the card says who judged
    and how.

    Raises:
        OutputError: a file cannot be written, or the folder has a README.md of somebody's own.
    """
    card = folder / "README.md"
    if card.exists() and _MADE not in card.read_text(encoding="utf-8", errors="replace"):
        raise OutputError(f"{card}: is not an exported card, so it stays as it is; name another folder")
    counts = {}
    for part in ("judgments", "readings"):
        if any(_count(store, part, judge)):
            file = folder / part / "train-00000-of-00001.parquet"
            counts[part] = export(store, file, judge=judge, readings=part == "readings")
    write_text(card, _card(store, counts, judge))
    return counts


def _count(store: JudgmentStore, table: str, judge: str | None) -> list[int]:
    where, arguments = ("", ()) if judge is None else (" WHERE judge = ?", (judge,))
    return [n for (n,) in store.rows(f"SELECT COUNT(*) FROM {table}{where}", arguments)]


def _card(store: JudgmentStore, counts: dict[str, int], judge: str | None) -> str:
    configs = "".join(
        f"- config_name: {part}\n  data_files:\n  - split: train\n    path: {part}/train-*\n"
        + ("  default: true\n" if part == next(iter(counts)) else "")
        for part in counts
    )
    lines = [f"---\nconfigs:\n{configs}tags:\n- preference\n- dissensus\n---\n", "# Synthetic judgments\n"]
    lines.append(f"{_MADE}\n")
    lines += [f"- `{part}`: {count:,} rows" for part, count in counts.items()]
    for name in store.judges() if judge is None else [judge]:
        lines.append(f"\n## {name}\n")
        config = store.settings(name).get("config")
        if config is None:
            lines.append("Not a language model that dissensus asked.")
            continue
        # A folder's place on this machine is nobody's business.
        config = {
            **config,
            "model": PurePath(config["model"]).name if Path(config["model"]).exists() else config["model"],
        }
        lines += [f"- {key}: {value}" for key, value in config.items() if value not in (None, [], "")]
        lines.append(f"\n```text\n{store.settings(name)['template']['text']}\n```")
    return "\n".join(lines) + "\n"

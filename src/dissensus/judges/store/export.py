"""A store's judgments as files that anybody can open, and as a folder that is ready for the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dissensus.errors import OutputError
from dissensus.files import write_records, write_text
from dissensus.judges.store.store import JudgmentStore
from dissensus.records import Order, Record

_MADE = "Judgments of language models about pairs of responses, made with dissensus."


class RawDistribution(Record):
    """A choice distribution in a file: the raw log-probabilities of the token behind ``Choice:``."""

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


def raw_distributions(store: JudgmentStore, judge: str | None = None) -> Iterator[RawDistribution]:
    """Iterate over the choice distributions of a judge, or of all."""
    for view in store.distributions(judge=judge):
        distribution = view.distribution
        yield RawDistribution(
            pair_id=view.pair_id,
            judge=view.judge,
            order=view.order,
            persona=view.persona,
            logprobs=tuple(distribution.logprobs.tolist()),
            verdicts=distribution.verdicts,
            tokens=tuple(distribution.tokens.tolist()),
            top=distribution.top,
            vocabulary=distribution.vocabulary,
            forced=None if distribution.forced != distribution.forced else distribution.forced,
        )


def export(store: JudgmentStore, out: Path, *, judge: str | None = None, distributions: bool = False) -> int:
    """Write judgments (or choice distributions) to a file whose extension names the format; returns how many.

    Raises:
        OutputError: the file cannot be written.
    """
    return write_records(out, raw_distributions(store, judge) if distributions else store.judgments(judge=judge))


def export_data_set(store: JudgmentStore, folder: Path, *, judge: str | None = None) -> dict[str, int]:
    """Write a folder that ``load_dataset`` reads and that can be pushed to the Hub as it is.

    Returns the number of rows of each part. Judgments and choice distributions are two configurations; the card says
    who judged and how.

    Raises:
        OutputError: a file cannot be written, or the folder has a README.md of somebody's own.
    """
    card = folder / "README.md"
    if card.exists() and _MADE not in card.read_text(encoding="utf-8", errors="replace"):
        raise OutputError(f"{card}: is not an exported card, so it stays as it is; name another folder")
    counts = {}
    for part in ("judgments", "readings"):
        own = store.rows(f"SELECT 1 FROM {part} WHERE judge = COALESCE(?, judge) LIMIT 1", (judge,))
        if next(own, None):
            file = folder / part / "train-00000-of-00001.parquet"
            counts[part] = export(store, file, judge=judge, distributions=part == "readings")
    write_text(card, _card(store, counts, judge))
    return counts


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
        model = Path(config["model"])
        config = config | {"model": model.name if model.exists() else config["model"]}
        lines += [f"- {key}: {value}" for key, value in config.items() if value not in (None, [], "")]
        lines.append(f"\n```text\n{store.settings(name)['template']['text']}\n```")
    return "\n".join(lines) + "\n"

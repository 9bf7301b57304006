"""The ids and contents of pairs in a Parquet file of ours, read by column: six times as fast as pair by pair."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

from dissensus.files.rows.choice_words import SIDES
from dissensus.files.rows.columns import PAIR_COLUMNS
from dissensus.records import content_id

_TEXTS = ("id", "prompt", "response_a", "response_b")
_BATCH = 4096
_CHAT = ("[", "{")
"""What a text begins with that may be chat messages."""


def read_contents(path: Path) -> tuple[list[str], array[int]] | None:
    """Read the id of each pair and the digest of its texts (`content_id`), as a number.

    None where anything needs the closer look that `dissensus.files.read_pairs` takes: other columns or formats, texts
    that may be chat or have the prompt again, ids or texts that come twice, a row that is no pair.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix != ".parquet" or not path.is_file():
        return None
    ids: list[str] = []
    digests, texts = array("Q"), set[int]()
    try:
        with pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            if (columns := _columns(file.schema_arrow)) is None:
                return None
            for batch in file.iter_batches(_BATCH, columns=columns, use_threads=False):
                lists = [batch.column(name).to_pylist() for name in columns]
                labels = lists[4] if len(lists) > 4 else [None] * batch.num_rows
                for pair_id, prompt, one, two, label in zip(*lists[:4], labels, strict=True):
                    if not (pair_id and _is_plain(prompt, one, two)) or label not in (None, "", *SIDES):
                        return None
                    ids.append(pair_id)
                    digests.append(int(content_id(prompt, one, two), 16))
                    texts.add(hash((prompt, one, two) if one <= two else (prompt, two, one)))
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return None  # which is said where it is read row by row
    n = len(ids)
    return (ids, digests) if n and len(texts) == n and len(set(ids)) == n else None


def _columns(schema: Any) -> list[str] | None:
    import pyarrow as pa

    names = schema.names
    if not set(_TEXTS) <= set(names) <= set(PAIR_COLUMNS) or len(set(names)) < len(names):
        return None
    columns = [*_TEXTS, *(name for name in names if name == "label")]
    return columns if all(schema.field(name).type in (pa.string(), pa.large_string()) for name in columns) else None


def _is_plain(prompt: str | None, one: str | None, two: str | None) -> bool:
    """Whether texts are read as they stand, which is quickly seen: neither response begins with the prompt's word."""
    if not prompt or not one or not two:
        return False
    words, first, second = prompt.split(maxsplit=1)[:1], one.lstrip(), two.lstrip()
    if not words or not first or not second or words[0].startswith(_CHAT) or first.startswith(_CHAT):
        return False
    return not second.startswith(_CHAT) and not (first.startswith(words[0]) and second.startswith(words[0]))

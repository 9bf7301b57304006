"""What judging, scoring and training take on accelerators: GPU hours and dollars, by arithmetic.

    python bench/cost_model.py [--pairs N ...] [--prompt-tokens N] [--gpu-dollars X] ...

Nothing here was measured on an accelerator. Reading a token takes 2 operations a parameter and training on it 8
(forward, backward, and forward again where activations are recomputed), of which a GPU does ``--tflops`` times
``--utilization`` a second. Writing is bound by memory: each step of ``--batch`` replies reads all weights once. Every
figure that goes in is an option; the dry run of a study counts the tokens of your own pairs.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass

HOUR = 3600.0
SIZES = (8, 70)
"""Billions of parameters."""


@dataclass(frozen=True)
class Row:
    """One kind of work on so many pairs."""

    what: str
    size: float
    """Billions of parameters."""
    pairs: int
    read: float
    """Tokens read."""
    written: float
    hours: float
    """Of GPUs."""
    trains: bool = False


def main() -> None:
    given = options()
    print("| what | pairs | tokens read | tokens written | GPUs for a copy | GPU hours | dollars |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for pairs in given.pairs:
        for row in rows(pairs, given):
            print(line(row, given))


def options(words: list[str] | None = None) -> argparse.Namespace:
    """Read what goes in; the defaults are those of the table in the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pairs", nargs="+", type=int, default=[300_000, 10_000_000])
    add(
        "--prompt-tokens",
        type=float,
        default=700,
        help="of a judge's whole prompt: question, instruction, two responses",
    )
    add("--text-tokens", type=float, default=400, help="of a prompt with one response")
    add("--orders", type=int, default=2, help="in which a pair is shown to a judge")
    add("--replies", type=int, default=10, help="votes a pair where replies are sampled")
    add("--reply-tokens", type=float, default=6, help="of a reply")
    add("--tflops", type=float, default=989, help="of a GPU, dense bfloat16: H100 SXM")
    add("--utilization", type=float, default=0.4, help="of these while reading or training")
    add("--bandwidth", type=float, default=3.35, help="of a GPU's memory, TB/s: H100 SXM")
    add("--bandwidth-used", type=float, default=0.6, help="of it while writing")
    add("--batch", type=int, default=256, help="replies written together")
    add("--gpu-dollars", type=float, default=3.0, help="an hour")
    add("--memory", type=float, default=80, help="of a GPU, GB, of which 85 %% may hold weights in bfloat16")
    return parser.parse_args(words)


def rows(pairs: int, given: argparse.Namespace) -> Iterator[Row]:
    """Count what each kind of work takes."""
    for size in SIZES:
        read = pairs * given.orders * given.prompt_tokens
        yield row(f"judge, {size} B, `--mode exact`", size, pairs, read, pairs * given.orders, given)
    for size in SIZES:
        written = pairs * given.replies * given.reply_tokens
        read = pairs * given.orders * given.prompt_tokens
        yield row(f"judge, {size} B, {given.replies} sampled replies", size, pairs, read, written, given)
    texts = 2 * pairs * given.text_tokens
    yield row("train, 8 B, one epoch", 8, pairs, texts, 0, given, operations=8)
    yield row("predict, 8 B", 8, pairs, texts, 0, given)


def row(
    what: str, size: float, pairs: int, read: float, written: float, given: argparse.Namespace, operations: int = 2
) -> Row:
    """Turn tokens into hours of GPUs."""
    reading = read * operations * size * 1e9 / (given.tflops * 1e12 * given.utilization)
    steps = written / given.batch
    writing = steps * 2 * size * 1e9 / (given.bandwidth * 1e12 * given.bandwidth_used)
    return Row(what, size, pairs, read, written, (reading + writing) / HOUR, trains=operations > 2)


def line(row: Row, given: argparse.Namespace) -> str:
    """Write a row of the table."""
    copy = "8, sharded" if row.trains else f"{math.ceil(2 * row.size / (0.85 * given.memory))}"
    return (
        f"| {row.what} | {row.pairs:,} | {row.read / 1e9:,.2f} billion | {row.written / 1e6:,.1f} million | {copy} | "
        f"{row.hours:,.1f} | {row.hours * given.gpu_dollars:,.0f} |"
    )


if __name__ == "__main__":
    main()

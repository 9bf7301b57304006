"""Putting a trained model on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dissensus.settings import Argument, Reads, Settings

if TYPE_CHECKING:
    from dissensus.reward.serving.hub import ModelFiles


class PushSettings(Settings):
    """Put the trained model of DIR on the Hugging Face Hub, with a card that says how it was made.

    The token is that of 'hf auth login' or HF_TOKEN. The card is DIR/README.md; one of your own stays as it is.
    """

    folder: Annotated[Path, Reads("folder"), Argument("DIR")]
    """The folder of a trained model."""
    repo: str
    """ORGANISATION/NAME on the Hub; made where there is none."""
    scores: Annotated[Path | None, Reads("file")] = None
    """scores.json of 'evaluate', for the card."""
    private: bool = False
    """For you and your organisation alone."""
    dry_run: bool = False
    """Write the card and list the files; touches no network."""


@dataclass(frozen=True)
class PushResult:
    """What was sent, or would be."""

    files: ModelFiles
    repo: str
    address: str | None
    """Of the commit; None where nothing was sent."""

    def lines(self) -> Iterator[str]:
        """Yield what the command prints."""
        if self.address is not None:
            yield self.address
            return
        for name, size in self.files.sizes.items():
            yield f"{size:>15,}  {name}"
        yield f"{sum(self.files.sizes.values()):>15,}  bytes for {self.repo}; nothing was sent"


def run(settings: PushSettings) -> PushResult:
    """Check the folder and write its card, then upload unless it is a dry run."""
    from dissensus.reward.serving.hub import prepare, publish

    files = prepare(settings.folder, settings.repo, scores=settings.scores)
    address = None if settings.dry_run else publish(files, settings.repo, private=settings.private)
    return PushResult(files, settings.repo, address)

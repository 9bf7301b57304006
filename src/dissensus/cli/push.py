"""``dissensus push``."""

from __future__ import annotations

from pathlib import Path

import click

from dissensus.cli.outputs import Verb


@click.command("push", cls=Verb)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
@click.option("--repo", required=True, help="ORGANISATION/NAME on the Hub; made where there is none.")
@click.option(
    "--scores",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="scores.json of 'evaluate', for the card.",
)
@click.option("--private", is_flag=True, help="For you and your organisation alone.")
@click.option("--dry-run", is_flag=True, help="Write the card and list the files; touches no network.")
def command(folder: Path, repo: str, scores: Path | None, private: bool, dry_run: bool) -> None:
    """Put the trained model of DIR on the Hugging Face Hub, with a card that says how it was made.

    The token is that of 'hf auth login' or HF_TOKEN. The card is DIR/README.md; one of your own stays as it is.
    """
    from dissensus.reward.serving.hub import prepare, publish

    files = prepare(folder, repo, scores=scores)
    if dry_run:
        for name, size in files.sizes.items():
            click.echo(f"{size:>15,}  {name}")
        click.echo(f"{sum(files.sizes.values()):>15,}  bytes for {repo}; nothing was sent")
        return
    click.echo(publish(files, repo, private=private))

"""What benches that train on real votes have in common: their options, and what they keep of finished runs."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

import dissensus as ds
from dissensus.records import Pair


def parser_of(doc: str | None, sets: Sequence[str], out: str) -> argparse.ArgumentParser:
    """Make a parser with the options that all have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DISSENSUS_REAL_DATA"), help="folder of real votes")
    parser.add_argument("--sets", nargs="+", default=list(sets))
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", dest="given", help="settings of training")
    parser.add_argument("--out", type=Path, default=Path(out), help="what is there is not trained again")
    return parser


def options_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; ``settings`` has what --set says."""
    options = parser.parse_args()
    if options.data is None or not Path(options.data).is_dir():
        raise SystemExit("no real votes: name their folder with --data or DISSENSUS_REAL_DATA")
    options.data = Path(options.data)
    options.settings = {name: yaml.safe_load(value) for name, _, value in (one.partition("=") for one in options.given)}
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def kept(options: argparse.Namespace, about: Sequence[object], run: Callable[[Path], Any]) -> Any:
    """Return what a run came to, which is known by ``about`` and the settings; ``run`` gets a folder to work in."""
    name = "-".join([str(part).replace(" ", "") for part in about] + options.given).replace("/", "_")
    file = options.out / f"{name}.json"
    if not file.is_file():
        file.write_text(json.dumps(run(options.out / f"{name}.model")))
    return json.loads(file.read_text())


def preferences(model: Path, pairs: Sequence[Pair]) -> dict[str, float]:
    """Predict pairs; returns the preference of each, calibrated where the model is."""
    rows = ds.predict(str(model), pairs, progress=False)
    return {row.pair_id: row.preference_a if row.calibrated_a is None else row.calibrated_a for row in rows}

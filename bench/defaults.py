"""What `dissensus train` makes of each set of real preferences with its defaults, beside "the longer response".

    python bench/defaults.py --data FOLDER [--sets pandalm …] [--folds 4] [--set NAME=VALUE …] [--out FOLDER]

Prompts (debates, where a set has them) are dealt into four parts; a model is trained on three, one label a pair, and
predicts the fourth. ``--folds 1`` does this for the first part alone. The longer response has its weight from votes of
the very set, other prompts' (`evaluation/baselines.py`). Differences are to it, with 95 % intervals over prompts.
``--set`` gives other settings of training, by their names in a study. What is there in --out is not trained again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from problems import FOLDS, deal
from real_runs import kept, options_of, parser_of, preferences

import dissensus as ds
from dissensus.evaluation.baselines import longer_response
from dissensus.evaluation.evaluate_predictions import evaluate_predictions
from dissensus.files import read_pairs
from dissensus.records import Metric, Pair, Prediction, Votes
from dissensus.sources.label_votes import draw_labels

SETS = ("pandalm", "vicuna80", "qa_feedback", "hh_harmless", "arguments")
LONGER = "the longer"
METRICS = ("pearson_symmetric", "l1", "accuracy")


def read_set(path: Path, seed: int) -> Iterator[tuple[Pair, Pair]]:
    """Yield each pair as it is tested, with its votes (or its label as one), and as it is trained on, with a label."""
    pairs = [pair for pair in read_pairs(path, notice=lambda _: None) if pair.votes is not None or pair.label]
    labelled = {pair.id: pair for pair in draw_labels([pair for pair in pairs if pair.votes is not None], seed=seed)}
    for pair in pairs:
        own = labelled.get(pair.id, pair)
        votes = pair.votes or Votes(**{label: int(pair.label == label) for label in ("a", "b", "tie")})
        yield pair.model_copy(update={"votes": votes}), own.model_copy(update={"votes": None})


def predict_part(pairs: list[tuple[Pair, Pair]], part: np.ndarray, fold: int, work: Path, settings: Any) -> Any:
    """Train on the other parts and predict one; returns preferences by pair, and what training came to."""
    trained = [own for (_, own), at in zip(pairs, part, strict=True) if at != fold and own.label in ("a", "b")]
    tested = [pair for (pair, _), at in zip(pairs, part, strict=True) if at == fold]
    start = time.perf_counter()
    done = ds.train(trained, work, progress=False, **settings)
    seconds = time.perf_counter() - start
    said = preferences(work, tested)
    shutil.rmtree(work)
    summary = done.summary
    return {
        "predicted": said,
        "labels": summary.pairs,
        "members": done.config.members,
        "validation_nll": summary.validation_nll,
        "temperature": summary.temperature,
        "length_slope": summary.length_slope,
        "seconds": round(seconds),
    }


def score(tested: list[Pair], predicted: dict[str, float]) -> dict[tuple[str, str], Metric]:
    """Score the model and the longer response, with the differences; by model and metric."""
    reference = longer_response(tested)
    assert reference is not None
    rows = [Prediction(pair_id=name, model="defaults", seed=0, preference_a=value) for name, value in predicted.items()]
    rows += [
        Prediction(pair_id=pair.id, model=LONGER, seed=0, preference_a=float(value))
        for pair, value in zip(tested, reference.predicted[0], strict=True)
    ]
    scored = evaluate_predictions(tested, rows, baseline=LONGER, n_swaps=199, progress=False)
    kept = [row for row in scored if row.group == "all" and row.target == "votes" and row.metric in METRICS]
    plain = {(row.model, row.metric): row for row in kept if row.baseline is None}
    return plain | {("difference", row.metric): row for row in kept if row.baseline is not None}


def main() -> None:
    parser = parser_of(__doc__, SETS, "defaults")
    parser.add_argument("--folds", type=int, default=FOLDS, help="parts that are tested")
    parser.add_argument("--seed", type=int, default=0)
    options = options_of(parser)
    for name in options.sets:
        pairs = list(read_set(options.data / f"{name}.jsonl.gz", options.seed))
        many = len({pair.category for pair, _ in pairs} - {None}) >= FOLDS and name == "arguments"
        units = [(pair.category if many else pair.group) or pair.group for pair, _ in pairs]
        part = deal(units, FOLDS, np.random.default_rng(options.seed))
        made = [
            kept(
                options, (name, options.seed, fold), partial(predict_part, pairs, part, fold, settings=options.settings)
            )
            for fold in range(options.folds)
        ]
        show(name, [pair for (pair, _), at in zip(pairs, part, strict=True) if at < options.folds], made)


def show(name: str, tested: list[Pair], made: list[dict[str, Any]]) -> None:
    """Print a set's table."""
    predicted = {pair: value for one in made for pair, value in one["predicted"].items()}
    rows = score([pair for pair in tested if pair.id in predicted], predicted)
    mean = {key: np.mean([one[key] for one in made]) for key in ("labels", "seconds")}
    slopes = ", ".join("-" if one["length_slope"] is None else f"{one['length_slope']:.2f}" for one in made)
    print(
        f"\n{name}: {len(predicted)} pairs, {len(made)} of {FOLDS} parts; {mean['labels']:.0f} labels, "
        f"{made[0]['members']} members, {mean['seconds']:.0f} s a part; length {slopes}"
    )
    print(f"{'':20} {'defaults':>9} {'longer':>7}  difference")
    for metric in METRICS:
        gap = rows["difference", metric]
        interval = "" if gap.low is None else f" [{gap.low:+.3f}, {gap.high:+.3f}]"
        own, longer = rows["defaults", metric].value, rows[LONGER, metric].value
        print(f"{metric:20} {own:9.3f} {longer:7.3f}  {gap.value:+.3f}{interval}", flush=True)


if __name__ == "__main__":
    main()

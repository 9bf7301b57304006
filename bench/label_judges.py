"""Judges that are made of the training labels alone, for `objectives.py`: a committee of heads, and the label graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from heads import Floats, Ints, Problem
from numpy.typing import NDArray

from dissensus.judges.committee import Committee
from dissensus.judges.graph import LabelGraph
from dissensus.judges.kinds import CommitteeSettings, GraphSettings
from dissensus.judges.runner import Question
from dissensus.records import Pair

LABEL_JUDGES = ("committee", "graph")


class _Known:
    """Features that are there already, by the number that each text begins with."""

    digest = "known"

    def __init__(self, problem: Problem) -> None:
        self._features = problem.features

    def features(self, texts: Sequence[tuple[str, str]], *, progress: bool = True) -> NDArray[np.float32]:
        return self._features[[int(text.partition(" ")[0]) for _, text in texts]]


def shares_of_labels(problem: Problem, rows: Ints, label: Floats, judge: str, seed: int) -> Floats:
    """Return what a judge that saw no other label says of each pair; ``label`` and the result of shape (rows,).

    The committee has ten heads, none of which saw the pair's prompt; the graph holds the pair's own label out.
    """
    length = np.exp(problem.log_length).round().astype(int)
    texts = [f"{text} ".ljust(n, "x") for text, n in enumerate(length.tolist())]
    pairs = [
        Pair(
            id=problem.ids[row],
            prompt=str(problem.group[row]),
            response_a=texts[problem.a[row]],
            response_b=texts[problem.b[row]],
            group=str(problem.group[row]),
            label="a" if one == 1 else "b",
        )
        for row, one in zip(rows.tolist(), label.tolist(), strict=True)
    ]
    if judge == "graph":
        said = {j.pair_id: [j.probability_a] for j in LabelGraph(pairs, GraphSettings()).answer(_questions(pairs, 1))}
    else:
        settings = CommitteeSettings(seed=seed)
        said = {}
        for vote in Committee(pairs, settings, _Known(problem), progress=False).answer(_questions(pairs, settings.n)):
            said.setdefault(vote.pair_id, []).append(vote.value)
    return np.array([np.mean(said[pair.id]) for pair in pairs], dtype=np.float64)


def _questions(pairs: Sequence[Pair], n: int) -> list[Question]:
    return [Question(pair, sample) for pair in pairs for sample in range(n)]

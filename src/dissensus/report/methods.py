"""A paragraph on methods, written from what the run itself has noted, to be pasted into a paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dissensus import __version__
from dissensus.report.board import Board
from dissensus.report.findings import find_findings, headline
from dissensus.report.judged import JudgeSummary
from dissensus.report.run import RunData

_INTERVALS = {
    "bca": "bias-corrected and accelerated (BCa) bootstrap intervals",
    "percentile": "percentile bootstrap intervals",
}


def methods_paragraph(run: RunData, board: Board) -> str:
    """Write the paragraph; what is not known of the run is left out of it."""
    config = run.manifest.get("config")
    settings: Mapping[str, Any] = config if isinstance(config, dict) else {}
    return " ".join(
        sentence for part in (_data, _models, _judge, _evaluation) for sentence in part(run, board, settings)
    )


def _data(run: RunData, board: Board, settings: Mapping[str, Any]) -> Iterator[str]:
    names = board.scores.models or list(run.logs)
    if names:
        yield f"We compared {_count(len(names), 'reward model')}: {', '.join(names)}."
    if run.training:
        yield f"They were trained on {len(run.training):,} preference pairs{_of(run.training)}."
    if run.joined is not None:
        votes = [pair.votes.n for pair in run.joined.pairs if pair.votes is not None]
        prompts = len({(pair.dataset, pair.group) for pair in run.joined.pairs})
        yield (
            f"The test set holds {len(votes):,} pairs of {_count(prompts, 'prompt')}{_of(run.joined.pairs)}, on which "
            f"people cast {sum(votes):,} votes ({sum(votes) / len(votes):.3g} a pair)."
        )


def _models(run: RunData, board: Board, settings: Mapping[str, Any]) -> Iterator[str]:
    models = settings.get("models")
    if not isinstance(models, dict) or not all(isinstance(own, dict) for own in models.values()):
        return
    objectives = {name: str(own.get("objective", "bradley-terry")) for name, own in models.items()}
    said = [name if name == own else f"{own} ({name})" for name, own in objectives.items()]
    yield f"{'Objectives were' if len(said) > 1 else 'The objective was'} {', '.join(said)}."
    shared = [
        (label, _shared(models, key))
        for key, label in (
            ("model", "backbone"), ("learning_rate", "learning rate"), ("epochs", "epochs"),
            ("batch_size", "batch size"), ("max_length", "maximum length"),
        )
    ]  # fmt: skip
    yield f"Training used {', '.join(f'{label} {value}' for label, value in shared if value)}."
    if isinstance(seeds := settings.get("seeds"), list) and seeds:
        yield f"Each model was trained with {_count(len(seeds), 'seed')} ({', '.join(map(str, seeds))})."


def _judge(run: RunData, board: Board, settings: Mapping[str, Any]) -> Iterator[str]:
    known = [m for m in run.margins if m.n_judgments]
    if not known:
        return
    n = sum(m.n_judgments + m.n_invalid for m in known) / len(known)
    yield (
        f"Margins m = |Σj − n/2| / (n/2) rest on {n:.3g} judgments a pair"
        f"{_by(run.judged.judges)}; replies that named no winner were not counted as votes."
    )


def _evaluation(run: RunData, board: Board, settings: Mapping[str, Any]) -> Iterator[str]:
    scores = board.scores
    if not scores.models:
        return
    yield (
        "The predicted preference is σ(r_a − r_b); it was compared with the fraction of votes for response a by "
        "Pearson's r and by the mean absolute difference (L1), averaged over seeds."
    )
    evaluation = settings.get("evaluation")
    chosen: Mapping[str, Any] = evaluation if isinstance(evaluation, dict) else {}
    resamples = f" ({chosen['resamples']:,} resamples)" if isinstance(chosen.get("resamples"), int) else ""
    level = chosen.get("level", 0.95)
    methods = {row.method for row in run.metrics if row.method is not None}
    intervals = next((words for name, words in _INTERVALS.items() if name in methods), "bootstrap intervals")
    zou = "; differences of r have Zou's interval for dependent correlations" if "zou" in methods else ""
    percent = f"{100 * level:g} %" if isinstance(level, float) else "95 %"
    yield f"Brackets are {percent} {intervals}{resamples} over prompts, drawn within each data set{zou}."
    if any(row.p_holm is not None for row in run.metrics):
        yield "P values are of paired swap tests, adjusted by Holm over the groups shown."
    yield headline(find_findings(scores), scores)
    commit = run.manifest.get("git_commit")
    yield f"Made with dissensus {__version__}{f' (commit {str(commit)[:12]})' if commit else ''}."


def _shared(models: Mapping[str, Mapping[str, Any]], key: str) -> str:
    values = list(dict.fromkeys(str(own.get(key)) for own in models.values() if own.get(key) is not None))
    return " / ".join(values)


def _of(pairs: Sequence[Any]) -> str:
    names = sorted({pair.dataset for pair in pairs if pair.dataset is not None})
    shown = names if len(names) < 8 else [*names[:6], f"{len(names) - 6} more data sets"]
    return f" ({', '.join(shown)})" if shown else ""


def _by(judges: Sequence[JudgeSummary]) -> str:
    if not judges:
        return ""
    said = [f"{judge.judge} ({100 * judge.invalid:.1f} % without a winner)" for judge in judges[:3]]
    return f" by {', '.join(said)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")

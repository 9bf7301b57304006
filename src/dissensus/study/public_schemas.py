"""Copies of public data sets whose rows have the sets' schemas and a simulated population's texts, labels and votes.

With them a study of public data sets runs where the Hub is out of reach, through the same readers. Their numbers say
nothing of the real sets. Three simulated annotators answer the paper's questions about every pair.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dissensus.errors import ConfigError
from dissensus.files import write_records, write_text
from dissensus.records import Pair, Vote, Votes, plain_text
from dissensus.simulate import SimulationConfig, simulate
from dissensus.sources import find_source, open_source
from dissensus.sources.row_reader import side_of

ANNOTATIONS = "annotations.jsonl"
"""What the simulated annotators say: every pair of the copies, with its votes and categories."""
_ANNOTATORS = ("annotator 1", "annotator 2", "annotator 3")
_ERROR, _SPREAD = 0.1, 0.1
"""How often an annotator errs about a category, and the standard deviation of what one thinks people prefer."""
_MARKS = (0.25, 0.5, 0.75, 1.0)
_PARTS = ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")

Rows = list[dict[str, Any]]
Writer = Callable[[Sequence[Pair], np.random.Generator], Iterable[Rows]]
T = TypeVar("T")


def copy_files(sets: Mapping[str, str]) -> list[str]:
    """List the files that copies of these sets have: name of the set → its source."""
    return [*(file for source in _sources(sets) for file in _COPIES[source][0]), ANNOTATIONS]


def write_copies(folder: Path, sets: Mapping[str, str], simulation: SimulationConfig) -> dict[str, Any]:
    """Write the copies and what the annotators say; returns counts.

    Prompts are dealt out, in-domain ones to the sets that the paper trains on (or does not know), others to those it
    tests on alone, so no prompt is in two sets. Every file has some of the quirks that its reader counts.

    Raises:
        ConfigError: there is no copy of a set, or the population has too few prompts.
    """
    sources = _sources(sets)
    simulated = simulate(simulation)
    generator = np.random.default_rng([simulation.seed, 1])
    truth: dict[frozenset[str], Pair] = {}
    for domain in ("in", "out"):
        own = [source for source in sources if _domain(source) == domain]
        prompts = [list(pairs) for _, pairs in groupby(simulated.pairs, key=lambda pair: (pair.domain, pair.prompt))]
        for index, source in enumerate(own):
            dealt = [pairs for pairs in prompts if pairs[0].domain == domain][index :: len(own)]
            pairs = [pair for group in dealt for pair in group]
            if not pairs:
                raise ConfigError(f"simulation: too few prompts for a copy of {source}; raise simulation.prompts")
            files, write = _COPIES[source]
            for file, rows in zip(files, write(pairs, generator), strict=True):
                path = folder / file
                path.parent.mkdir(parents=True, exist_ok=True)
                write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            truth |= {_key(pair): pair for pair in pairs}
    annotated = [
        _annotate(pair, truth[_key(pair)], simulated.preference, simulation.seed)
        for source in sources
        for pair in _read(source, folder)
    ]
    write_records(folder / ANNOTATIONS, annotated)
    return {"sets": len(sources), "annotated": len(annotated)}


def _sources(sets: Mapping[str, str]) -> list[str]:
    known = {found.source.name: found for given in sets.values() if (found := find_source(given)) is not None}
    for name in known:
        if name not in _COPIES:
            raise ConfigError(f"copies: there are no simulated copies of {name}; there are of {', '.join(_COPIES)}")
    return list(known)


def _domain(source: str) -> str:
    found = find_source(source)
    return found.source.paper or "in" if found else "in"


def _read(source: str, folder: Path) -> Iterable[Pair]:
    return (pair for pair, _ in open_source(source, root=folder, notice=lambda _: None))


def _key(pair: Pair) -> frozenset[str]:
    return frozenset((plain_text(pair.response_a).strip(), plain_text(pair.response_b).strip()))


def _annotate(pair: Pair, true: Pair, preference: Mapping[str, float], seed: int) -> Pair:
    """Let three annotators say how many of 10 people prefer a, and which categories the pair is in."""
    digest = hashlib.blake2b(pair.id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    generator = np.random.default_rng([seed, int.from_bytes(digest, "big")])
    turned = plain_text(pair.response_a).strip() != plain_text(true.response_a).strip()
    share = 1 - preference[true.id] if turned else preference[true.id]
    thought = np.clip(share + generator.normal(0, _SPREAD, len(_ANNOTATORS)), 0, 1)
    estimates = [round(float(value) * 10) / 10 for value in thought]
    said = [
        Vote(annotator=name, vote=side_of(estimate - 0.5), estimate=estimate)
        for name, estimate in zip(_ANNOTATORS, estimates, strict=True)
    ]
    counts = {side: sum(vote.vote == side for vote in said) for side in ("a", "b", "tie")}
    changes = {
        "votes": Votes(**counts, annotations=tuple(said)),
        "category": _majority(true.category, ("single", "multiple"), generator),
        "distinct": _majority(true.distinct, ("yes", "no"), generator),
    }
    return pair.model_copy(update=changes)


def _majority(truth: str | None, values: tuple[str, str], generator: np.random.Generator) -> str:
    wrong = int((generator.random(len(_ANNOTATORS)) < _ERROR).sum())
    index = values.index(truth or values[0])
    return values[index if wrong < 2 else 1 - index]


def _texts(pair: Pair) -> tuple[str, str, str]:
    return plain_text(pair.prompt), plain_text(pair.response_a), plain_text(pair.response_b)


def _ordered(pair: Pair) -> tuple[str, str, str]:
    """Prompt, chosen and rejected."""
    prompt, a, b = _texts(pair)
    return (prompt, a, b) if pair.label != "b" else (prompt, b, a)


def _sign(pair: Pair) -> int:
    return {"a": 1, "b": -1}.get(pair.label or "tie", 0)


def _webgpt(pairs: Sequence[Pair], generator: np.random.Generator) -> Iterable[Rows]:
    none: dict[str, list[str]] = {"title": [], "extract": []}
    rows = []
    for number, pair in enumerate(pairs):
        prompt, a, b = _texts(pair)
        score = 0.0 if generator.random() < 0.1 else _sign(pair) * float(generator.choice(_MARKS))
        rows.append(
            {
                "question": {"dataset": "eli5", "id": f"sim{number}", "full_text": prompt},
                "quotes_0": none,
                "answer_0": a,
                "tokens_0": {"prefix": [198], "completion": [34]},
                "score_0": score,
                "quotes_1": none,
                "answer_1": b,
                "tokens_1": {"prefix": [198], "completion": [34]},
                "score_1": -score,
            }
        )
    yield [*rows, {**rows[0], "answer_1": ""}, rows[1]]


def _hh(pairs: Sequence[Pair], generator: np.random.Generator) -> Iterable[Rows]:
    for part in range(len(_PARTS)):
        rows = []
        for pair in pairs[part :: len(_PARTS)]:
            prompt, chosen, rejected = _ordered(pair)
            # Some talk first, so that the last turn has to be found.
            before = "\n\nHuman: Hello there\n\nAssistant: Hello! Ask me." if generator.random() < 0.3 else ""
            start = f"{before}\n\nHuman: {prompt}\n\nAssistant: "
            rows.append({"chosen": start + chosen, "rejected": start + rejected})
        elsewhere = "\n\nHuman: Something else\n\nAssistant: Then no."
        yield [*rows, {**rows[0], "rejected": elsewhere}] if rows else []


def _summaries(pairs: Sequence[Pair], generator: np.random.Generator) -> Iterable[Rows]:
    rows = []
    for number, pair in enumerate(pairs):
        prompt, a, b = _texts(pair)
        summaries = [{"text": f" {text}", "policy": "sup2", "note": None} for text in (a, b)]
        info = {"id": f"t3_sim{number}", "post": prompt, "title": "A question", "subreddit": "AskReddit"}
        votes = pair.votes.annotations or () if pair.votes else ()
        for worker, vote in enumerate(votes[: 1 + int(generator.integers(2))]):
            if vote.vote != "tie":
                choice = 0 if vote.vote == "a" else 1
                whole = {"batch": "batch9", "split": "train", "extra": {"confidence": int(generator.integers(1, 10))}}
                rows.append(
                    {"info": info, "summaries": summaries, "choice": choice, "worker": f"worker{worker}", **whole}
                )
    yield [*rows, rows[0]]


def _synthetic(pairs: Sequence[Pair], generator: np.random.Generator) -> Iterable[Rows]:
    rows = [dict(zip(("prompt", "chosen", "rejected"), _ordered(pair), strict=True)) for pair in pairs]
    yield [*rows, {**rows[0], "rejected": " "}]


def _prism(pairs: Sequence[Pair], generator: np.random.Generator) -> Iterable[Rows]:
    utterances: Rows = []
    survey: Rows = []
    for number, (prompt, group) in enumerate(groupby(pairs, key=lambda pair: plain_text(pair.prompt))):
        wins: dict[str, int] = {}
        for pair in group:
            _, a, b = _texts(pair)
            wins[a] = wins.get(a, 0) + _sign(pair)
            wins[b] = wins.get(b, 0) - _sign(pair)
        scores = {text: int(np.clip(50 + 15 * won + generator.integers(-5, 6), 1, 100)) for text, won in wins.items()}
        best = max(scores, key=lambda text: scores[text])
        user = f"user{number % 40}"
        for place, (text, score) in enumerate(list(scores.items())[:4]):
            utterances.append(
                {
                    "utterance_id": f"ut{len(utterances)}",
                    "interaction_id": f"int{number}",
                    "conversation_id": f"c{number}",
                    "user_id": user,
                    "turn": 0,
                    "within_turn_id": place,
                    "included_in_balanced_subset": True,
                    "conversation_type": "unguided",
                    "user_prompt": prompt,
                    "model_response": text,
                    "model_name": f"model-{place}",
                    "model_provider": "simulated",
                    "score": score,
                    "if_chosen": text == best,
                }
            )
    for number in range(40):
        survey.append(
            {
                "user_id": f"user{number}",
                "age": str(generator.choice(["18-24 years old", "35-44 years old", "65+ years old"])),
                "gender": str(generator.choice(["Female", "Male", "Non-binary / third gender"], p=[0.48, 0.48, 0.04])),
                "study_locale": str(generator.choice(["uk", "us", "kenya"])),
                "religion": {"self_described": "EMPTY STRING", "categorised": None, "simplified": None},
                "ethnicity": None,
                "location": {"reside_country": "Ireland", "birth_country": "Ireland"},
            }
        )
    yield utterances
    yield survey


def _binarized(pairs: Sequence[Pair], generator: np.random.Generator) -> Iterable[Rows]:
    rows = []
    for pair in pairs:
        prompt, chosen, rejected = _ordered(pair)
        low, high = sorted(generator.integers(2, 20, 2) / 2)
        first, second = (
            [{"content": prompt, "role": "user"}, {"content": t, "role": "assistant"}] for t in (chosen, rejected)
        )
        rows.append(
            {
                "prompt": prompt,
                "prompt_id": hashlib.sha256(prompt.encode()).hexdigest(),
                "chosen": first,
                "rejected": second,
                "messages": first,
                "score_chosen": float(high),
                "score_rejected": float(low),
            }
        )
    yield rows
    # The same rows stand for the test split, as nothing of this set is trained on.
    yield rows


def _strengths(pair: Pair, most: int) -> list[int]:
    """Single people's strengths, negative for the first response."""
    votes = pair.votes.annotations or () if pair.votes else ()
    return [{"a": -2, "b": 2, "tie": 0}[vote.vote] for vote in votes[:most]]


def _helpsteer2(pairs: Sequence[Pair], generator: np.random.Generator) -> Iterable[Rows]:
    rows = []
    for pair in pairs:
        prompt, a, b = _texts(pair)
        each = _strengths(pair, 5)
        rows.append(
            {
                "split": "train",
                "prompt": prompt,
                "response_1": a,
                "response_2": b,
                "preference_strength": int(np.sign(sum(each))),
                "preference_statement": "",
                "preference_elaboration": "",
                "three_most_similar_preferences": [],
                "all_preferences_unprocessed": [{"strength": s, "justification": ""} for s in (*each, -100)],
            }
        )
    yield rows


def _helpsteer3(pairs: Sequence[Pair], generator: np.random.Generator) -> Iterable[Rows]:
    rows = []
    for pair in pairs:
        prompt, a, b = _texts(pair)
        each = _strengths(pair, 3)
        rows.append(
            {
                "domain": "general",
                "language": "english",
                "context": [{"role": "user", "content": prompt}],
                "response1": a,
                "response2": b,
                "overall_preference": int(np.sign(sum(each))),
                "individual_preference": [
                    {"score": s, "reasoning": "", "feedback1": "", "feedback2": ""} for s in each
                ],
            }
        )
    yield rows


def _multipref(pairs: Sequence[Pair], generator: np.random.Generator) -> Iterable[Rows]:
    words = {"a": "A-is-slightly-better", "b": "B-is-slightly-better", "tie": "Tie"}
    rows = []
    for number, pair in enumerate(pairs):
        prompt, a, b = _texts(pair)
        votes = pair.votes.annotations or () if pair.votes else ()
        said = [
            {"evaluator": f"worker{(number + 7 * place) % 50}", "overall_pref": words[vote.vote]}
            for place, vote in enumerate(votes[:4])
        ]
        rows.append(
            {
                "comparison_id": hashlib.sha256(pair.id.encode()).hexdigest()[:32],
                "prompt_id": hashlib.sha256(prompt.encode()).hexdigest()[:32],
                "text": prompt,
                "completion_a": a,
                "model_a": "model-0",
                "completion_b": b,
                "model_b": "model-1",
                "source": "simulated",
                "category": None,
                "subject_study": None,
                "highest_level_degree": None,
                "normal_worker_annotations": said[:2],
                "expert_worker_annotations": said[2:],
            }
        )
    yield rows


_COPIES: dict[str, tuple[tuple[str, ...], Writer]] = {
    "webgpt": (("webgpt/default/train.jsonl",), _webgpt),
    "hh-rlhf": (tuple(f"hh-rlhf/{part}/train.jsonl" for part in _PARTS), _hh),
    "summarize-from-feedback": (("summarize-from-feedback/comparisons/batch9.jsonl",), _summaries),
    "synthetic-instruct": (("synthetic-instruct/data/train.jsonl",), _synthetic),
    "prism": (("prism/utterances.jsonl", "prism/survey.jsonl"), _prism),
    "ultrafeedback-binarized": (
        tuple(f"ultrafeedback-binarized/data/{split}.jsonl" for split in ("train_prefs", "test_prefs")),
        _binarized,
    ),
    "helpsteer2": (("helpsteer2/preference/preference.jsonl",), _helpsteer2),
    "helpsteer3": (("helpsteer3/preference/train.jsonl",), _helpsteer3),
    "multipref": (("multipref/data/train.jsonl",), _multipref),
}
"""Data set to its files and what writes their rows."""

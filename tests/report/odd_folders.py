"""A small run folder, and ways in which somebody may have changed it."""

import json
import os
import random
import shutil

from dissensus.evaluation.join import join
from dissensus.evaluation.scorecard import score
from dissensus.files import write_json, write_records
from dissensus.judges import JudgmentStore
from dissensus.records import Judgment, Margin, Pair, Prediction, Votes

CONFIG = {
    "title": "A run",
    "judge": {"name": "store", "store": "elsewhere.db"},
    "categories": {"judge": {"model": "m"}},
    "models": {"base": {"objective": "bradley-terry", "model": "minilm", "epochs": 1}, "other": {"objective": "blend"}},
    "seeds": [0, 1],
    "sweep": {"rates": "1e-4", "metric": "nll"},
    "evaluation": {"level": 0.9, "resamples": 50},
}
STAGES = [
    {"name": "pairs", "seconds": 1.0, "finished": "today", "counts": {"test": 12, "rows": [12]}, "outputs": {"x": "f"}},
    {"name": "judge", "seconds": 2.0, "counts": {"judge": "j", "made": 24}, "fingerprint": "0"},
    {"name": "margin", "seconds": 0.1, "counts": {"judgments": 24, "invalid": 1, "left_out": 1}},
    {"name": "categories", "counts": {"by_people": 3, "set": 4, "kappa_correct": 0.5}},
    {"name": "train base seed 0", "seconds": 3.0, "counts": {"pairs": 9, "ties_dropped": 1, "learning_rate": 1e-4}},
    {"name": "judge the test pairs: j", "outputs": {"judged/j.parquet": "f"}},
]
MANIFEST = {
    "name": "run", "title": "A run", "created": "today", "command": "dissensus study x", "git_commit": "0" * 40,
    "config": CONFIG, "environment": {"python": "3.11"}, "inputs": [{"path": "x", "sha256": "f", "rows": 12}],
    "stages": STAGES,
}  # fmt: skip


def make(folder):
    """Write a whole run: manifest, settings, scores, pairs, predictions, margins, judgments and a log."""
    pairs = [
        Pair(id=f"p{k}", prompt=f"q{k // 2}", response_a="x", response_b="y", dataset=f"set {k % 2}",
             votes=Votes(a=k % 4, b=4 - k % 4))
        for k in range(12)
    ]  # fmt: skip
    predictions = [
        Prediction(pair_id=p.id, model=m, seed=s, reward_a=0.5, reward_b=0, preference_a=(k * step + s) % 10 / 10)
        for m, step in (("base", 3), ("other", 7))
        for s in (0, 1)
        for k, p in enumerate(pairs)
    ]
    judgments = [
        Judgment(pair_id=p.id, judge="j", sample=k, order=order, choice="a")
        for p in pairs
        for k, order in enumerate(("ab", "ba"))
    ]
    folder.mkdir()
    write_json(folder / "manifest.json", MANIFEST)
    (folder / "study.yaml").write_text("title: A run\n")
    rows = score(join(pairs, predictions), baseline="base", n_resamples=50, n_swaps=99)
    write_json(folder / "scores.json", [row.model_dump() for row in rows])
    write_records(folder / "pairs" / "test.parquet", pairs)
    write_records(folder / "pairs" / "train_votes.parquet", pairs[:6])
    write_records(folder / "predictions" / "base.parquet", predictions)
    write_records(folder / "margins.parquet", [Margin(pair_id=p.id, margin=0.5, n_judgments=2) for p in pairs])
    write_records(folder / "judged" / "j.parquet", judgments)
    with JudgmentStore(folder / "judgments.db") as store:
        store.add(judgments, {pair.id: pair for pair in pairs})
    log = folder / "models" / "base" / "seed-0" / "training.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("".join(json.dumps({"step": k, "epoch": k, "nll": 0.7 / (k + 1)}) + "\n" for k in range(3)))


def make_loose(study, folder):
    """Write what the verbs leave of the same run, under names of somebody's own."""
    folder.mkdir()
    names = {"scores.json": "card.json", "pairs/test.parquet": "asked.parquet", "margins.parquet": "m.parquet",
             "predictions/base.parquet": "said.parquet", "judgments.db": "store.sqlite"}  # fmt: skip
    for old, new in names.items():
        shutil.copy(study / old, folder / new)


_DEEP = "[" * 300 + "]" * 300
_DEEPEST = "[" * 100_000 + "]" * 100_000
_ODD = [
    "null", "true", "-1", "0", "0.5", "1e308", "-1e308", "1" + "0" * 400, "1" * 5000, "NaN", "Infinity", '""', '"x"',
    '"\\ud800"', '"\\u0000"', '"../../x"', '"/etc/passwd"', "[]", "{}", "[[]]", "[null]", '["x"]',
    '{"a": []}', '{"": {}}',
    '"' + "x" * 10_000 + '"', _DEEP,
]  # fmt: skip


def _spots(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from _spots(one, (*path, key))


def change_json(text, rng):
    """Change one value somewhere in a JSON text to an odd one, or take it away."""
    value = json.loads(text)
    *path, last = rng.choice(list(_spots(value))[1:])
    spot = value
    for key in path:
        spot = spot[key]
    if rng.random() < 0.2:
        del spot[last]
        return json.dumps(value)
    spot[last] = "here-it-goes"
    return json.dumps(value).replace('"here-it-goes"', rng.choice(_ODD), 1)


def _as_folder(path):
    path.unlink()
    path.mkdir()


def _as_pipe(path):
    path.unlink()
    os.mkfifo(path)


def _as_link(target):
    def change(path):
        path.unlink()
        path.symlink_to(target)

    return change


def _as_bytes(change):
    return lambda path: path.write_bytes(change(path.read_bytes()))


def _flipped(content):
    rng, changed = random.Random(len(content)), bytearray(content)
    for _ in range(1 + len(content) // 500):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


FILES = {
    "emptied": _as_bytes(lambda _: b""),
    "cut": _as_bytes(lambda content: content[: len(content) * 2 // 3]),
    "noise": _as_bytes(lambda content: bytes(random.Random(1).randbytes(len(content) + 1))),
    "flipped": _as_bytes(_flipped),
    "not UTF-8": _as_bytes(lambda _: b"\xff\xfe\x80"),
    "list": _as_bytes(lambda _: b"[[1], 2]"),
    "object": _as_bytes(lambda _: b'{"a": 1}'),
    "deep": _as_bytes(lambda _: _DEEPEST.encode()),
    "many digits": _as_bytes(lambda _: b'{"name": ' + b"1" * 5000 + b"}"),
    "a folder": _as_folder,
    "a pipe": _as_pipe,
    "gone": lambda path: path.unlink(),
    "a link to itself": lambda path: _as_link(path.name)(path),
    "a link to nowhere": _as_link("/nowhere/at/all"),
    "a link to a device": _as_link("/dev/zero"),
    "a link to the folder": _as_link("."),
}

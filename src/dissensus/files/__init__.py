"""shim"""
import gzip, json, hashlib
from pathlib import Path
from dissensus.records import *
def write_json(path, value): Path(path).write_text(json.dumps(value, indent=1))
def write_text(path, text): Path(path).write_text(text)
def sha256_of(p): return hashlib.sha256(Path(p).read_bytes()).hexdigest()
def write_records(path, records):
    rows=[r.model_dump(mode="json") for r in records]
    Path(path).write_text(json.dumps(rows)); return len(rows)
def read_records(path, t):
    for r in json.loads(Path(path).read_text()): yield t.model_validate(r)
def read_pairs(path, **k):
    for l in gzip.open(path,'rt'):
        r=json.loads(l)
        yield Pair(id=r['id'],prompt=r['prompt'],response_a=r['response_a'],response_b=r['response_b'],category=r.get('category'),group=r.get('group',''),votes=Votes(a=r['votes_a'],b=r['votes_b'],tie=r['votes_tie'],annotations=[Vote(annotator=v['annotator'],vote=v['vote']) for v in r['votes']]))

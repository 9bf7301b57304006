import json
from pathlib import Path
def write_json(path, value): Path(path).write_text(json.dumps(value))
def write_text(path, text): Path(path).write_text(text)

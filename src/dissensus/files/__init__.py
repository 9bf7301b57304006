"""Records in and out of .jsonl, .jsonl.gz, .parquet, .csv and .json files, TRL's formats and ``datasets``.

Reading streams and names file and line of what is wrong; writing is atomic.
"""

from dissensus.files.atomic import atomic_path, write_json, write_text
from dissensus.files.content import content_of, sha256_of
from dissensus.files.dataframes import to_frame
from dissensus.files.record_files import read_records, write_records, write_trl
from dissensus.files.source import PairReader, ReadReport, TableReader, read_pairs

__all__ = [
    "PairReader",
    "ReadReport",
    "TableReader",
    "atomic_path",
    "content_of",
    "read_pairs",
    "read_records",
    "sha256_of",
    "to_frame",
    "write_json",
    "write_records",
    "write_text",
    "write_trl",
]

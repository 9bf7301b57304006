"""Public preference data sets to pairs, by name: from the Hub, a mirror, or a folder; ``SOURCES`` lists them."""

from dissensus.sources.catalogue import SOURCES
from dissensus.sources.dataset import (
    DatasetReader,
    PairFile,
    find_source,
    open_pairs,
    open_source,
    pair_file,
    read_pairs,
)
from dissensus.sources.public_set import Source

__all__ = [
    "SOURCES",
    "DatasetReader",
    "PairFile",
    "Source",
    "find_source",
    "open_pairs",
    "open_source",
    "pair_file",
    "read_pairs",
]

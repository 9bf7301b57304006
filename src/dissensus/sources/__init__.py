"""Public preference data sets to pairs, by name: from the Hub, a mirror, or a folder; ``SOURCES`` lists them."""

from dissensus.sources.catalogue import SOURCES, Source
from dissensus.sources.dataset import OpenSource, find_source, open_source, read_pairs

__all__ = ["SOURCES", "OpenSource", "Source", "find_source", "open_source", "read_pairs"]

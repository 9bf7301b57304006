"""Judgments as immutable Parquet files, one for each block of answers, and parts of a run merged from them."""

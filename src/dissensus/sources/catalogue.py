"""The public data sets that can be read by name."""

from __future__ import annotations

from dissensus.sources import (
    alpacafarm,
    arena,
    helpsteer2,
    helpsteer3,
    hh_rlhf,
    multipref,
    prism,
    reward_bench,
    shp,
    summarize,
    synthetic_instruct,
    ultrafeedback,
    webgpt,
)
from dissensus.sources.public_set import Source

_MODULES = (
    webgpt,
    hh_rlhf,
    summarize,
    synthetic_instruct,
    prism,
    ultrafeedback,
    helpsteer2,
    helpsteer3,
    multipref,
    arena,
    alpacafarm,
    shp,
    reward_bench,
)

SOURCES: dict[str, Source] = {source.name: source for module in _MODULES for source in module.SOURCES}
"""Name to data set."""

"""Reward models that know when people disagree.

::

    import dissensus as ds

    pairs = ds.read_pairs("train.jsonl")
    judgments = ds.judge(pairs, "committee", n=10)
    margins = ds.margins(judgments, pairs)
    ds.train(pairs, "model", margins=margins, objective="blend")
    predictions = ds.predict("model", "test.jsonl")
    print(ds.evaluate("test.jsonl", predictions))

Everything public is listed in ``__init__.pyi`` and imported when it is first used.
"""

import lazy_loader

from dissensus._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ = [name for name in __all__ if name.islower() and not name.startswith("_")]
"""The functions, which are what ``help`` shows; records and settings have help of their own."""

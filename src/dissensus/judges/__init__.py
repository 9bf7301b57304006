"""Judges, and the store that keeps their judgments.

Each name of ``__init__.pyi`` is imported when it is used: a command line is read without what judges.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The search loop, its trial log, its workers, and the progress of searches.

    from jahslib.search import Budget, search

`from jahslib import search` gives this package where anything of it was imported before, so it can be called: that is
`search.search`, with the same signature.
"""

import inspect
import sys
from types import ModuleType

from jahslib.search.loop import Budget
from jahslib.search.search import search

__all__ = ["Budget", "search"]


class _Callable(ModuleType):
    """A package that can be called as its function of the same name."""

    __call__ = staticmethod(search)


sys.modules[__name__].__class__ = _Callable
__signature__ = inspect.signature(search)

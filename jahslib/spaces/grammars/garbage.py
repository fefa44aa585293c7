"""Suspension of Python's cyclic garbage collector while many terms are alive.

An evolution creates terms and parts of graphs by the hundred thousand, none of which is in a cycle: reference counts
free them, while the collector would traverse all live ones again and again.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Disable the cyclic garbage collector process-wide for a block; cycles created meanwhile stay in memory."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

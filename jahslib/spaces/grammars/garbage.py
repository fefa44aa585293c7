"""Work on many terms without Python's search for reference cycles.

An evolution makes terms and parts of graphs by the hundred thousand, none of which is in a cycle: reference counts free
them. Python's cyclic garbage collector still looks through all that are alive, again and again.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Turn the cyclic garbage collector off, for the whole process, and leave it as it was found, also after an error.

    Cycles that are made meanwhile stay in memory until it is back.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

"""A CUDA device lent for minutes: one archive to carry in, one command that ends in time, logs to bring back.

    python -m benchmarks.device pack OUT.tar.xz               here; `tar xJf` it there, into an empty folder
    python -m benchmarks.device run --seconds 540 --out OUT   there

`run` checks the CUDA path, measures the training loops, and trains on at the list of `on_device`
(benchmarks/campaign/entries.py) until the seconds are over. OUT then has report.md and logs.tar.gz; unpacked here, in
the project's folder, the logs travel with the next archive, whose `run --parts searches` goes on with them.
"""

import time

BEGUN = time.monotonic()  # imports take of a span's seconds

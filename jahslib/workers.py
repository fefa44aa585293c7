"""Executors for the search loop: this process, local processes, or a Dask cluster."""

import multiprocessing
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from jahslib.errors import UserError


class InProcess(Executor):
    """Runs each job at once in the caller; the default, and the easiest to debug."""

    def submit(self, fn, /, *args, **kwargs) -> Future:
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class LocalProcesses(Executor):
    """`workers` processes of one torch thread each.

    Each process is a pool of its own, because a worker that is killed breaks its whole `ProcessPoolExecutor`: this way
    only the trial that it ran is lost, and the next job gets a new process. The search loop never has more jobs pending
    than there are workers; a caller that submits more has them queued round-robin.
    """

    def __init__(self, workers: int):
        if workers < 1:
            raise UserError(f"workers: {workers} is no number of processes; give 1 or more")
        self._pools = [self._new_pool() for _ in range(workers)]
        self._last: list[Future | None] = [None] * workers
        self._turn = 0

    @staticmethod
    def _new_pool() -> ProcessPoolExecutor:
        # "spawn": a forked child inherits torch's thread pools and CUDA context in a broken state.
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread)

    def submit(self, fn, /, *args, **kwargs) -> Future:
        idle = [i for i, last in enumerate(self._last) if last is None or last.done()]
        slot = idle[0] if idle else self._turn
        self._turn = (slot + 1) % len(self._pools)
        try:
            future = self._pools[slot].submit(fn, *args, **kwargs)
        except RuntimeError:  # BrokenProcessPool: its process was killed
            self._pools[slot].shutdown(wait=False)
            self._pools[slot] = self._new_pool()
            future = self._pools[slot].submit(fn, *args, **kwargs)
        self._last[slot] = future
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for pool in self._pools:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@contextmanager
def pool(workers: int = 1, scheduler: str | None = None):
    """An executor for `workers` jobs at once: this process for one, local processes for more, or a Dask scheduler.

    Args:
        scheduler: address of a running `dask.distributed` scheduler, such as `tcp://node1:8786`. Its workers must see
            the same results folder, for the checkpoints.

    Raises:
        UserError: no scheduler answers at that address.
    """
    if scheduler:
        client = _connect(scheduler)
        try:
            yield client.get_executor(retries=0)
        finally:
            client.close()
    elif workers == 1:
        yield InProcess()
    else:
        executor = LocalProcesses(workers)
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        executor.shutdown()


def _connect(scheduler: str) -> Any:
    from distributed import Client

    try:
        return Client(scheduler, timeout="5s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"scheduler: nothing answers at {scheduler!r}; start `dask scheduler` and give its address"
        ) from error

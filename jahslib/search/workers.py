"""Executors for the search loop: this process, local processes, a Dask cluster, or workers on a simulated clock."""

import asyncio
import heapq
import multiprocessing
import os
import sys
import threading
from collections.abc import Collection
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from jahslib.core.problem import Job
from jahslib.errors import Count, UserError, bounded
from jahslib.extras import extra
from jahslib.search.evaluation import reason_of

SIMULATED = "simulated"  # the `worker` of trials of `SimulatedWorkers`
_SPAWN = multiprocessing.get_context("spawn")  # a forked child inherits torch's threads and CUDA context, broken
COMING_SECONDS = 10.0  # timeout for a cluster's first worker
ANSWER_SECONDS = 300.0  # timeout for one more worker to report whether it can load a job; imports may take minutes


class InProcess(Executor):
    """An executor that runs each job at once in the caller; the default, and easiest to debug.

    Torch trains with one thread meanwhile, as in a worker: the order of sums must not depend on the number of cores.
    """

    threads = 1

    def submit(self, fn, /, *args, **kwargs) -> Future:
        future: Future = Future()
        torch = sys.modules.get("torch")  # not imported for a problem that does not use it
        before = torch.get_num_threads() if torch else 0
        try:
            if torch:
                torch.set_num_threads(1)
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        finally:
            if torch:
                torch.set_num_threads(before)
        return future


class LocalProcesses(Executor):
    """An executor of `workers` processes with one torch thread each, of which each is a pool of its own.

    A worker that is killed breaks its whole `ProcessPoolExecutor`: this way only the trial that it ran is lost, and the
    next job gets a new process. A caller that submits more jobs than workers has them queued round-robin.

    The processes import what they run. What is defined in a notebook cannot be imported, and a script that starts them
    must do so under `if __name__ == "__main__":`, as its top level is run in each of them.

    Raises:
        UserError: no worker; from `submit`, what other processes cannot import, or processes that cannot start.
    """

    threads = 1

    def __init__(self, workers: int):
        self._theirs, self._lifeline = _SPAWN.Pipe(duplex=False)
        self._pools = [self._new_pool() for _ in range(bounded("workers", workers, Count))]
        self._last: list[Future | None] = [None] * workers
        self._turn = 0
        self._tried = False

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=_SPAWN, initializer=_set_up, initargs=(self._theirs,))

    def submit(self, fn, /, *args, **kwargs) -> Future:
        if not self._tried:
            self._try_out((fn, args, kwargs))
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

    def _try_out(self, job: tuple) -> None:
        """Check before the first job that processes start and can load it: one clear error instead of many."""
        try:
            sent = bytes(ForkingPickler.dumps(job))  # as for the queue to a process
        except Exception as error:
            raise UserError(
                f"workers: the problem cannot be sent to other processes ({error}); "
                "define it, and the functions it holds, at the top of a module"
            ) from error
        if b"__main__" in sent and not hasattr(sys.modules["__main__"], "__file__"):
            raise UserError(
                "workers: other processes cannot import what is defined in a notebook; "
                "move the problem, and the functions it holds, into a .py file beside it, or use one worker"
            )
        loading = self._pools[0].submit(_cannot_load, sent)
        try:
            for future in [pool.submit(os.getpid) for pool in self._pools]:
                future.result()
            reason = loading.result()
        except BrokenProcessPool as error:
            raise UserError(
                "workers: the processes ended before their first job; in a script, "
                'start the search under `if __name__ == "__main__":`'
            ) from error
        if reason:
            raise UserError(f"workers: cannot load the problem ({reason}); put it where other processes can import it")
        self._tried = True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes: what they run now is waited for, or else lost, and not left to go on unseen."""
        for pool in self._pools:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)
        self._lifeline.close()


class SimulatedWorkers(Executor):
    """An executor that evaluates jobs at once and delivers results by a simulated clock: hours pass in seconds.

    A trial's `started` and `seconds` are those of the clock, which begins at 0; the optimizer's own time passes on the
    real one. The problem must have `training_seconds(job)`. An interrupted search must be restarted: its clock is lost.
    """

    threads = 1

    def __init__(self):
        self._clock = 0.0
        self._running: list[tuple[float, int, Future]] = []  # by their end, and then in the order of submission
        self._submitted = 0

    def submit(self, fn, problem: Any, job: Job, /) -> Future:  # type: ignore[override]  # what the loop submits
        evaluated = fn(problem, job)
        evaluated.started, evaluated.worker = self._clock, SIMULATED
        evaluated.seconds = problem.training_seconds(job)
        future: Future = Future()
        future.set_result(evaluated)
        heapq.heappush(self._running, (self._clock + evaluated.seconds, self._submitted, future))
        self._submitted += 1
        return future

    def first_completed(self, futures: Collection[Future]) -> set[Future]:
        """Advance the clock to the end of the next job; returns the jobs that end then."""
        free = {future for future in futures if all(future is not running for *_, running in self._running)}
        if free:  # a configuration that was rejected without a training
            return free
        self._clock = self._running[0][0]
        ended = set()
        while self._running and self._running[0][0] <= self._clock:
            ended.add(heapq.heappop(self._running)[2])
        return ended


class OnCluster(Executor):
    """An executor on a Dask cluster, whose workers are first asked whether they can load a job.

    Where one cannot, Dask itself fails every job or waits forever; here `submit` raises `UserError`.
    """

    def __init__(self, client: Any):
        self._client, self._executor, self._tried = client, client.get_executor(retries=0), False

    def submit(self, fn, /, *args, **kwargs) -> Future:
        if not self._tried:
            self._try_out((fn, args, kwargs))
        return self._executor.submit(fn, *args, **kwargs)

    def _try_out(self, job: tuple) -> None:
        from distributed.protocol.pickle import dumps

        try:
            sent = dumps(job)
        except Exception as error:
            raise UserError(f"scheduler: the problem cannot be sent to workers ({error})") from error
        try:
            self._client.wait_for_workers(1, timeout=COMING_SECONDS)
        except TimeoutError as error:
            address = self._client.scheduler.address
            raise UserError(f"scheduler: {address} has no worker; start `dask worker {address}`") from error
        places = list(self._client.scheduler_info(n_workers=-1)["workers"])
        asking = ThreadPoolExecutor(len(places))
        try:
            asked = {place: asking.submit(self._cannot_load, place, sent) for place in places}
            answers = ((place, answer.result(ANSWER_SECONDS)) for place, answer in asked.items())
            place, reason = next((pair for pair in answers if pair[1]), ("", ""))
        except Exception as error:  # Dask's own error, or a timeout
            place, reason = "a worker", reason_of(error) if str(error) else f"no answer in {ANSWER_SECONDS:g} s"
        finally:
            asking.shutdown(wait=False)
        if reason:
            raise UserError(
                f"scheduler: {place} cannot load the problem ({reason}); start scheduler and workers with the same "
                "packages, and with the folder of its module in PYTHONPATH"
            )
        self._tried = True

    def _cannot_load(self, place: str, sent: bytes) -> str:
        return str(self._client.run(_cannot_load_there, sent, workers=[place], on_error="return")[place])


async def _cannot_load_there(sent: bytes) -> str:
    return await asyncio.to_thread(_cannot_load, sent)  # Dask's worker answers meanwhile, or would be taken for dead


def _cannot_load(sent: bytes) -> str:
    """Return why this process cannot load a job, as the queue to it would; empty if it can.

    The bytes are those of the search that this worker serves, and are read from no file.
    """
    try:
        ForkingPickler.loads(sent)
    except Exception as error:
        return reason_of(error)
    return ""


def _set_up(lifeline: Connection) -> None:
    """Limit torch and each BLAS to one thread; exit when the other end is closed, or the process that holds it dies."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # for the libraries that are loaded later
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    if torch := sys.modules.get("torch"):  # not imported for a problem that does not use it
        torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    lifeline.poll(None)
    os._exit(1)


@contextmanager
def pool(workers: int = 1, scheduler: str | None = None):
    """Open an executor for `workers` jobs at once: this process for one, local processes for more, or a Dask cluster.

    `scheduler` is the address of a running one, such as `tcp://node1:8786`, whose workers must see the same results
    folder, for the checkpoints; `UserError` if nothing answers there.
    """
    if scheduler:
        with extra("dask"):
            from distributed import Client

        try:
            client = Client(scheduler, timeout="5s", set_as_default=False)
        except (OSError, ValueError) as error:
            mend = "start `dask scheduler` and give its address"
            raise UserError(f"scheduler: nothing answers at {scheduler!r}; {mend}") from error
        with closing(client):
            yield OnCluster(client)
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

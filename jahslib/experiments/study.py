"""A study: methods under equal budgets on several seeds, their logs, and final trainings."""

import copy
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Generic, TypeVar

from jahslib import paths
from jahslib.core.optimizer import Listed, Optimizer
from jahslib.core.problem import Problem
from jahslib.core.trials import Configuration, History, Trial, as_proposed
from jahslib.errors import UserError
from jahslib.experiments.settings import Settings
from jahslib.search import Budget, logfiles, triallog
from jahslib.search.runs import AnySearch, Run, run_all
from jahslib.spaces import configurations as spaces

P = TypeVar("P", bound=Problem)
Key = TypeVar("Key", bound=Hashable)

AGAIN_SEED = 1_000_000  # added to a search's seed where its incumbent is evaluated again


@dataclass(frozen=True)
class Method(Generic[P]):
    """One of the methods that a study compares, by its `label` in tables and figures.

    Args:
        problem: what it searches, or what makes the problem of a seed, called with `seed`; None where the plan says it.
        optimizer: makes the optimizer of a search, called with the problem and the seed: an optimizer's class, or a
            `functools.partial` of one with settings.
        judged: as `problem`, where its trials are compared by another one (with constraints that it is not told of).
    """

    label: str
    problem: P | Callable[..., P] | None
    optimizer: Callable[[P, int], Optimizer]
    judged: P | Callable[..., P] | None = None


class Study:
    """The runs of one notebook, such as "01_growing_bohb", in one profile.

    Args:
        settings: workers, scheduler and the like, with which everything is run.
        folder: of the trial logs, instead of that in results/; by default the setting `working_dir`.
        reads: runs of other studies whose trials this one needs.
    """

    def __init__(
        self, notebook: str, settings: Settings, *, folder: str | Path | None = None, reads: Sequence[Run] = ()
    ):
        self.notebook, self.settings, self.reads = notebook, settings, list(reads)
        place = folder or settings.working_dir
        self.folder = Path(place).absolute() if place else paths.results(settings.profile, notebook)
        self.planned: list[Run] = []
        self._names = {"study": notebook, "profile": settings.profile}

    def plan(
        self,
        methods: Mapping[str, Method[P]],
        seeds: Sequence[int],
        budget: Budget,
        *,
        problem: P | None = None,
        tested: Callable[[P], Problem] | None = None,
        task: str = "",
        log: str = "{method}-seed{seed}",
        simulated: int = 0,
    ) -> list[Run]:
        """Plan every method with every seed under one budget; nothing is run.

        Args:
            problem: what all of them search, instead of each method's own.
            tested: the problem of an incumbent's final trainings, from the problem that is searched.
            task: what the searches are on, where a study has several plans.
            log: names of the trial logs, a format of `task`, `method`, `seed` and `problem`.
            simulated: workers on a simulated clock, 0 for none; see `jahslib.search.workers.SimulatedWorkers`.
        """
        runs = []
        for seed in seeds:
            for name, method in methods.items():
                own = _of_seed(problem or method.problem, seed)
                judged = own if method.judged is None else _of_seed(method.judged, seed)
                stem = log.format(task=task, method=name, seed=seed, problem=own)
                place, tests = self.folder / "logs" / f"{stem}.jsonl", tested and tested(judged)
                context = {"label": method.label, "task": task, "judged": judged, "tested": tests, **self._names}
                run = Run(own, method.optimizer(own, seed), budget, place, seed, name, simulated=simulated, **context)
                runs.append(run)
        self.planned += runs
        return runs

    def trainings(
        self, problem: Problem, configurations: Sequence[Configuration], log: str, *, method: str, seed: int
    ) -> Run:
        """Plan to train each of these configurations in turn, from initial weights of its own."""
        listed, budget = Listed(problem, seed, list(configurations)), Budget(trials=len(configurations))
        place = self.folder / "logs" / f"{log}.jsonl"
        self.planned.append(Run(problem, listed, budget, place, seed, method, **self._names))
        return self.planned[-1]

    def check(self) -> None:
        """Raise `UserError`, before anything is written, for what would fail: problems, configurations, other logs."""
        runs = [*self.reads, *self.planned]
        for problem in {id(p): p for run in runs for p in (run.problem, run.tested) if p is not None}.values():
            problem.check()
        for run in self.reads:
            run.check()
        for run in self.planned:
            for configuration in run.optimizer.configurations if isinstance(run.optimizer, Listed) else ():
                run.problem.check_configuration(configuration)
            run.check(fresh=self.settings.fresh)

    def run(self, plan: Sequence[Run]) -> list[AnySearch]:
        """Run or resume searches, in the order of the plan. Raises `UserError` for one without a full training."""
        histories = self.histories(plan)
        return [run.search(histories[run.log.stem]) for run in plan]

    def histories(self, plan: Iterable[Run], *, fresh: bool = False) -> dict[str, History]:
        """Run or resume searches; returns their histories by log name. `fresh` starts over whatever the setting."""
        s = self.settings
        return run_all(plan, workers=s.workers, scheduler=s.scheduler, fresh=fresh or s.fresh)

    def train(self, runs: Mapping[Key, Run]) -> dict[Key, list[Trial]]:
        """Run or resume `trainings`; returns the successful trials as they were proposed, by the runs' keys."""
        found = self.histories(runs.values()) if runs else {}
        return {key: [t for t in as_proposed(found[run.log.stem]) if t.status == "ok"] for key, run in runs.items()}

    def retrain(
        self, searches: Sequence[AnySearch], count: int, *, seed: int = 0, prefix: str = "test", name: str = "{name}"
    ) -> list[AnySearch]:
        """Train incumbents `count` times on the `tested` problems; return the searches with `tests`.

        The log's name has the configuration's digest, as a larger budget may give another incumbent.

        Args:
            seed: added to a search's own. Where the `tested` problem has the search's training images, give one: with
                the same seed the k-th training here and the search's k-th trial draw the same random numbers.
            prefix: what the trial logs' names begin with.
            name: what follows it, a format of a search's `name`, `task`, `method`, `seed` and `problem`.
        """
        runs = {}
        for s in searches:
            if s.tested is not None:
                c = s.incumbent.configuration
                log = f"{prefix}-{name.format(**vars(s))}-{spaces.digest(c)}"
                runs[s.name] = self.trainings(s.tested, [c] * count, log, method=s.method, seed=s.seed + seed)
        trained = self.train(runs)
        return [replace(s, tests=trained.get(s.name, ())) for s in searches]

    def confirm(self, searches: Sequence[AnySearch], candidates: int, repeats: int) -> list[AnySearch]:
        """Train each search's best configurations again; the best by their means becomes its incumbent.

        They are trained on what was searched, from other initial weights, so that the luck of one training no longer
        chooses, and the incumbent's metrics are means. Where each of them fails at least once, the search's own stays.
        More repeats go on with the logs of fewer.

        Args:
            candidates: how many of the best of each search; 0 confirms none.
            repeats: trainings of each.
        """
        runs, judges = {}, {}
        for s in searches if candidates else ():
            best = [t.configuration for t in sorted(s.full, key=s.problem.rank)[:candidates]]
            log = f"confirm-{s.name}-{spaces.digest({str(i): c for i, c in enumerate(best)})}"
            first = min(repeats, self._repeats(log, best) or repeats)
            again = [c for c in best for _ in range(first)] + best * (repeats - first)
            runs[s.name] = self.trainings(s.problem, again, log, method=s.method, seed=s.seed + AGAIN_SEED)
            judges[s.name] = copy.copy(s.problem)
            object.__setattr__(judges[s.name], "repeats", repeats)  # also of a frozen data class
        found = self.histories(runs.values()) if runs else {}
        confirmed = {name: judges[name].incumbent(found[run.log.stem]) for name, run in runs.items()}
        return [replace(s, confirmed=confirmed.get(s.name)) for s in searches]

    def _repeats(self, log: str, best: list[Configuration]) -> int:
        """Return the repeats of the best configurations with which a log was begun; 0 without one, or to start over."""
        if self.settings.fresh:
            return 0
        try:
            header = triallog.read_header(self.folder / "logs" / f"{log}.jsonl")
        except UserError:  # none, or what the search will refuse, or begin again
            return 0
        before = header["fingerprint"].get("optimizer", {}).get("configurations", [])
        begun, once = (sum(1 for _ in takewhile(lambda c: c == best[0], some)) for some in (before, best))
        return begun // once

    def evaluate_again(self, searches: Sequence[AnySearch], count: int = 1) -> list[AnySearch]:
        """Train incumbents `count` times more on the images they were found on; returns searches with `tests`.

        As study 01's original, but from other initial weights: the difference is the bias of choosing the best of many.
        """
        return self.retrain([replace(s, tested=s.problem) for s in searches], count, seed=AGAIN_SEED, prefix="again")

    @property
    def log_files(self) -> list[Path]:
        """Trial logs on which the study's records are based."""
        return logfiles.found(self.folder / "logs")


def _of_seed(problem: P | Callable[..., P] | None, seed: int) -> P:
    assert problem is not None, "neither the method nor its plan says what is searched"
    return problem if isinstance(problem, Problem) else problem(seed=seed)  # type: ignore[return-value]

"""Bayesian optimisation by Ax's ask and tell: BoTorch's GP with noisy expected improvement.

Every trial runs at the highest fidelity, unless early stopping is enabled. The problem's constraints are Ax outcome
constraints. A proposal depends on the seed and on what Ax was told and on nothing else: the model is fitted from
scratch each time, and every trial enters by `attach_trial`, whether it was proposed here or is in a log. So a search
is resumed by telling Ax its log, at no cost, and decides as if it had not been interrupted.
"""

import inspect
import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from jahslib.core.optimizer import Replayed
from jahslib.core.trials import Configuration, Origin, Suggestion, Trial, key
from jahslib.errors import Count, UserError, refuse_unknown
from jahslib.optimizers.ax.parameters import Box, configure, outcomes
from jahslib.spaces import configurations as spaces

log = logging.getLogger(__name__)

# A fifth of Ax's restarts and half its raw samples, evaluated in one batch: the defaults.
FAST = {"num_restarts": 4, "raw_samples": 512, "options": {"init_batch_limit": 512}}

INITIALISATION = (
    "initialize_with_center",
    "min_observed_initialization_trials",
    "allow_exceeding_initialization_budget",
)


@dataclass
class AxBO(Replayed):
    """Ax, asked and told by a search.

    Args:
        method: Ax's generation method: "fast" (Sobol, then GP) or "random_search" (Sobol alone).
        n_init: trials before the GP: by default the space's centre, then Sobol points.
        initialisation: Ax's own options of that phase, such as {"initialize_with_center": False}.
        acquisition: options of BoTorch's acquisition optimizer in place of those of `FAST`. Its "options" have no
            effect on a space of choices alone.
        early_stopping: {"every": k, ...} stops trials early by Ax's percentile rule, which checks them after every k
            epochs (or what the problem's fidelity names); further entries go to `PercentileEarlyStoppingStrategy`. A
            trial then is a chain of continued ones, and only those that reach the highest fidelity are final. Ax's own
            default never stops within 10 epochs.
        unbounded: leave the effort of a proposal at Ax's defaults, except for `acquisition`; see
            `jahslib.optimizers.ax.model` for what is bounded otherwise.

    Ax sees the box of all hyperparameters (`jahslib.optimizers.ax.parameters.Box`); those that are inactive in a
    proposal are dropped before training, and told at their defaults. A trial that was rejected before training, or
    failed, is told as the worst objective with the constraint metrics that are known and infeasible ones for those that
    are not, so that the model learns to stay away.

    No configuration is proposed twice. Where the model insists on known ones, or fails, a random one is proposed
    instead; when 10,000 draws give no new one, it is done.

    Raises:
        UserError: a space that Ax has no parameters for or with forbidden clauses, an unknown method or option, no
            trial before the model, or no such interval.
    """

    method: Literal["fast", "random_search"] = "fast"
    n_init: Count = 5
    initialisation: dict[str, Any] = field(default_factory=dict)
    acquisition: dict[str, Any] = field(default_factory=dict)
    early_stopping: dict[str, Any] = field(default_factory=dict)
    unbounded: bool = False

    later = ("initialisation", "acquisition", "early_stopping", "unbounded")

    def __post_init__(self):
        super().__post_init__()
        spaces.refuse_others(self.problem.space, "Ax")
        self._box = Box(self.problem.space)  # type: ignore[arg-type]
        refuse_unknown("initialisation:", self.initialisation, INITIALISATION)
        refuse_unknown("acquisition:", self.acquisition, FAST)
        if self.early_stopping:
            self._percentile_rule()

    def start(self) -> None:
        with quiet_and_seeded(self.seed):
            from ax.api.client import Client

            self._client = Client(random_seed=self.seed)
            configure(self._client, self.problem, self._box)
            self._experiment = self._client._experiment
            self._client.set_generation_strategy(self._strategy())
            if self.early_stopping:
                self._client.set_early_stopping_strategy(self._percentile_rule())
        self._trials: dict[int, int] = {}  # our trial id -> Ax's index; stages of one training share one
        self._known: set[str] = set()
        self._every = self._box.every()
        self._unfinished: list[Suggestion] = []

    def propose(self) -> Suggestion | None:
        return self._unfinished[0] if self._unfinished else self._new()

    def adopt(self, trial_id: int, suggestion: Suggestion) -> None:
        with quiet_and_seeded(self.seed):
            if suggestion.parent is None:
                self._trials[trial_id] = self._client.attach_trial(self._box.encode(suggestion.configuration))
                self._known.add(key(suggestion.configuration))
                return
            self._trials[trial_id] = self._trials[suggestion.parent]
            self._unfinished = [waiting for waiting in self._unfinished if waiting.parent != suggestion.parent]
            trial = self._experiment.trials[self._trials[trial_id]]
            trial.mark_running(no_runner_required=True, unsafe=True)  # a log may continue where this rule would stop

    def rederives(self) -> bool:
        return False

    def observe(self, trial: Trial) -> None:
        index, told = self._trials[trial.id], outcomes(self.problem, trial)
        progression: Any = trial.fidelity if self.early_stopping else None
        partial = trial.status == "ok" and trial.fidelity < self.problem.fidelity.high
        with quiet_and_seeded(self.seed):
            if partial and not self.early_stopping:  # copied from another method; not comparable
                self._client.mark_trial_failed(index)
            elif trial.final or not partial:
                self._client.complete_trial(index, raw_data=told, progression=progression)
            else:
                self._client.attach_data(index, raw_data=told, progression=progression)
                if self._client.should_stop_trial_early(index):
                    self._client.mark_trial_early_stopped(index)
                else:
                    self._unfinished.append(self._staged(trial.configuration, trial.origin, trial))

    def _new(self) -> Suggestion | None:
        """Propose a new configuration; None while Ax waits for results, or if none is left."""
        if self._every and self._every <= self._known:
            return None
        with quiet_and_seeded(self.seed):
            from ax.exceptions.core import DataRequiredError

            from jahslib.optimizers.ax.model import FAILURES, proposals

            try:
                for told, origin in proposals(self._strategy(), self._experiment):
                    configuration = self._box.decode(told)
                    if key(configuration) not in self._known:
                        return self._staged(configuration, "random" if self.method != "fast" else origin)
            except DataRequiredError:
                return None
            except FAILURES as error:
                log.info("Ax proposes nothing new: %s: %s", type(error).__name__, error)
        rng = np.random.default_rng([self.seed, len(self._trials)])
        drawn = spaces.sample_where(self.problem.space, rng, lambda c: key(c) not in self._known)
        return None if drawn is None else self._staged(drawn, "random")

    def _staged(self, configuration: Configuration, origin: Origin, parent: Trial | None = None) -> Suggestion:
        """Suggest training up to the next early-stopping check, or to the highest fidelity."""
        fidelity = high = self.problem.fidelity.high
        if self.early_stopping:
            every = self.early_stopping.get("every", 1)
            fidelity = min(high, every * (1 + round(parent.fidelity / every) if parent else 1))
        trial_id = parent.id if parent else None
        return Suggestion(configuration, fidelity, parent=trial_id, final=fidelity == high, origin=origin)

    def _strategy(self) -> Any:
        from jahslib.optimizers.ax.model import strategy

        acquisition = self.acquisition if self.unbounded else FAST | self.acquisition
        return strategy(self, self._box, acquisition, trials=len(self._experiment.trials))

    def _percentile_rule(self) -> Any:
        """Build Ax's rule with its first check at `every` epochs instead of after more than 10."""
        from ax.early_stopping.strategies import PercentileEarlyStoppingStrategy

        every, fidelity = self.early_stopping.get("every", 1), self.problem.fidelity
        number = isinstance(every, int | float) and not isinstance(every, bool) and 0 < every < float("inf")
        if not number or (fidelity.whole and not isinstance(every, int)):
            kind, least = ("a whole number", "of at least 1") if fidelity.whole else ("a number", "above 0")
            raise UserError(f"early_stopping: every={every!r}; give {kind} of {fidelity.name} {least}")
        options = {name: value for name, value in self.early_stopping.items() if name != "every"}
        refuse_unknown("early_stopping:", options, inspect.signature(PercentileEarlyStoppingStrategy).parameters)
        return PercentileEarlyStoppingStrategy(**{"min_progression": every, **options})


@contextmanager
def quiet_and_seeded(seed: int):
    """Isolate calls of Ax, which draws from the global generators, logs and warns: seeded, silent, state restored.

    In one thread: with more, sums are ordered by chance, and two runs of a seed could diverge.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings(action="ignore"):
            from ax.utils.common.logger import set_stderr_log_level
            from ax.utils.common.random import with_rng_seed

            set_stderr_log_level(logging.ERROR)
            with with_rng_seed(seed):
                yield
    finally:
        torch.set_num_threads(threads)

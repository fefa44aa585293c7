"""Bayesian optimisation with Ax's own ask and tell: a Gaussian process with noisy expected improvement from BoTorch.

Every trial runs at the highest fidelity, unless early stopping is asked for. The problem's constraints are Ax outcome
constraints.
"""

import builtins
import keyword
import logging
import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, Constant, OrdinalHyperparameter
from ConfigSpace.hyperparameters import UniformFloatHyperparameter, UniformIntegerHyperparameter

from jahslib import spaces
from jahslib.errors import UserError
from jahslib.optimizers.replayed import Replayed
from jahslib.problem import Configuration, Problem
from jahslib.trials import Suggestion, Trial

# An exhausted space makes Ax repeat itself; this many repetitions in a row and the search is done.
MAX_REPEATS = 20

# A fifth of Ax's restarts and half its raw samples, evaluated at once: three hyperparameters need no more.
FAST = {"num_restarts": 4, "raw_samples": 512, "options": {"init_batch_limit": 512}}

# Options that a description names only where they are used: a log made without them stays one search with today's.
OPTIONAL = ("initialisation", "acquisition", "early_stopping")
ACQUISITION = ("num_restarts", "raw_samples", "options")
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
        n_init: Sobol trials before the GP.
        initialisation: Ax's own options of that phase, such as {"initialize_with_center": False}.
        acquisition: options of BoTorch's acquisition optimizer, such as {"num_restarts": 4, "raw_samples": 512};
            `FAST` is a choice that proposes faster (`benchmarks/ax_proposing.py` measures it). Its "options" serve
            no space of choices alone.
        early_stopping: {"every": k, ...} stops trials early by Ax's percentile rule, which looks at them after every k
            epochs; further entries go to `PercentileEarlyStoppingStrategy`. A trial then is a chain of continued ones,
            and only those that reach the highest fidelity are final. Ax's own default never stops within 10 epochs.

    Ax sees the box of all hyperparameters; those that are inactive in a proposal are dropped before training. A trial
    that was rejected before training, or failed, is told as the worst objective with the constraint metrics that are
    known and infeasible ones for those that are not, so that the model learns to stay away.

    Raises:
        UserError: a space that Ax has no parameters for or with forbidden clauses, an unknown method or option, no
            trial before the model, or no such interval.
    """

    problem: Problem
    seed: int
    method: Literal["fast", "random_search"] = "fast"
    n_init: int = 5
    initialisation: dict[str, Any] = field(default_factory=dict)
    acquisition: dict[str, Any] = field(default_factory=dict)
    early_stopping: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        super().__post_init__()
        spaces.refuse_others(self.problem.space, "Ax")
        for name in self.initialisation:
            if name not in INITIALISATION:
                raise UserError(f"initialisation: {name!r} is unknown; choose from {', '.join(INITIALISATION)}")
        for name in self.acquisition:
            if name not in ACQUISITION:
                raise UserError(f"acquisition: {name!r} is unknown; choose from {', '.join(ACQUISITION)}")
        if self.method not in ("fast", "random_search"):
            raise UserError(f"method: {self.method!r} is unknown to us; choose fast or random_search")
        if self.n_init < 1:
            raise UserError(f"n_init: {self.n_init} trials before the model; give at least 1")
        every = self.early_stopping.get("every", 1)
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise UserError(f"early_stopping: every={every!r}; give a whole number of epochs of at least 1")
        if self.early_stopping:
            _percentile_rule(**self.early_stopping)

    def describe(self) -> dict[str, Any]:
        return {name: value for name, value in super().describe().items() if value or name not in OPTIONAL}

    def start(self) -> None:
        self._client = self._new_client()
        self._index, self._asked, self._seen_keys = {}, -1, set()
        self._unfinished: list[tuple[int, Suggestion]] = []

    def propose(self) -> Suggestion | None:
        if self._unfinished:
            self._asked, continued = self._unfinished.pop(0)
            return continued
        for _ in range(MAX_REPEATS):
            with quiet_and_seeded(self.seed):
                from ax.exceptions.core import DataRequiredError, SearchSpaceExhausted

                try:
                    proposed = self._client.get_next_trials(max_trials=1)
                except (DataRequiredError, SearchSpaceExhausted):  # wait for pending trials; nothing new is left
                    return None
            if not proposed:
                return None
            ((self._asked, values),) = proposed.items()
            configuration = spaces.complete(
                self.problem.space, {k: _typed(self.problem.space, k, v) for k, v in values.items()}
            )
            if spaces.key(configuration) not in self._seen_keys:
                return self._staged(configuration, 0)
            self._client.mark_trial_abandoned(self._asked)
        return None

    def accept(self, id: int) -> None:
        self._index[id] = self._asked

    def adopt(self, id: int, suggestion: Suggestion) -> None:
        raise NotImplementedError

    def observe(self, trial: Trial) -> None:
        self._seen_keys.add(spaces.key(trial.configuration))
        index, told = self._index.pop(trial.id), outcomes(self.problem, trial)
        progression = trial.fidelity if self.early_stopping else None
        with quiet_and_seeded(self.seed):
            if trial.final or trial.status != "ok":
                self._client.complete_trial(index, raw_data=told, progression=progression)
                return
            self._client.attach_data(index, raw_data=told, progression=progression)
            if self._client.should_stop_trial_early(index):
                self._client.mark_trial_early_stopped(index)
            else:
                self._unfinished.append((index, self._staged(trial.configuration, trial.fidelity, trial.id)))

    def _staged(self, configuration: Configuration, trained: int, parent: int | None = None) -> Suggestion:
        """The configuration up to the next look at it, or to the highest fidelity."""
        high = self.problem.fidelity.high
        fidelity = min(high, trained + self.early_stopping["every"]) if self.early_stopping else high
        return Suggestion(configuration, fidelity, parent=parent, final=fidelity == high)

    def _new_client(self) -> Any:
        with quiet_and_seeded(self.seed):
            from ax.api.client import Client

            client = Client(random_seed=self.seed)
            configure(client, self.problem)
            client.set_generation_strategy(self._strategy())
            if self.early_stopping:
                client.set_early_stopping_strategy(_percentile_rule(**self.early_stopping))
        return client

    def _strategy(self) -> Any:
        """Ax's own choice of strategy, but for two things.

        Left at its default of 64 alternations between discrete and continuous steps, the acquisition optimizer takes
        two thirds of a proposal's time on study 07's mixed space. And over choices alone the optimum of Ax's continuous
        relaxation is, rounded, again and again a configuration that was tried: after five such optimizations Ax falls
        back to Sobol. There its categorical kernel is taken instead, with a local search that avoids what was tried.
        """
        from ax.adapter.registry import Generators
        from ax.api.utils.generation_strategy_dispatch import choose_generation_strategy
        from ax.api.utils.structs import GenerationStrategyDispatchStruct

        struct = GenerationStrategyDispatchStruct(
            method=self.method,
            initialization_budget=self.n_init,
            initialization_random_seed=self.seed,
            **self.initialisation,
        )
        strategy = choose_generation_strategy(struct)
        if self.method != "fast":
            return strategy
        optimizer = dict(self.acquisition)
        (spec,) = strategy.nodes_by_name["MBM"].generator_specs
        if all(isinstance(hp, CategoricalHyperparameter) for hp in self.problem.space.values()):
            spec.generator_enum = Generators.BO_MIXED
            optimizer.pop("options", None)  # the local search has none
        elif _alternates(self.problem.space):
            bounds = {"maxiter_alternating": 8, "maxiter_init": 20}
            optimizer["options"] = bounds | optimizer.get("options", {})
        if optimizer:
            spec.generator_gen_kwargs["model_gen_options"] = {"optimizer_kwargs": optimizer}
        return strategy


def _percentile_rule(every: int = 1, **options: Any) -> Any:
    """Ax's rule with the earliest look at `every` epochs instead of after its default of more than 10."""
    from ax.early_stopping.strategies import PercentileEarlyStoppingStrategy

    try:
        return PercentileEarlyStoppingStrategy(**{"min_progression": every, **options})
    except TypeError as error:
        raise UserError(f"early_stopping: {error}; see Ax's PercentileEarlyStoppingStrategy") from None


def configure(client: Any, problem: Problem, name: str | None = None) -> None:
    """Tell an Ax client the problem's space, objective and constraints. Raises `UserError` as `parameters` does."""
    client.configure_experiment(parameters=parameters(problem.space), name=name)
    sign = "" if problem.objective.best > problem.objective.worst else "-"
    client.configure_optimization(
        objective=sign + metric_name(problem.objective.metric),
        outcome_constraints=[f"{metric_name(c.metric)} {c.relation} {c.bound}" for c in problem.constraints],
    )


def metric_name(metric: str) -> str:
    """What Ax calls a metric: it reads objectives and constraints as formulas, in which `sum` is a function."""
    import sympy

    known = hasattr(builtins, metric) or hasattr(sympy, metric) or keyword.iskeyword(metric)
    return metric if metric.isidentifier() and not known else "metric_" + re.sub(r"\W", "_", metric)


def outcomes(problem: Problem, trial: Trial) -> dict[str, float]:
    """What Ax is told of a trial: the objective and the constrained metrics, and of those that are not known a value as
    far beyond the bound as the bound is from 0."""
    objective = problem.objective
    measured = trial.metrics.get(objective.metric, objective.worst) if trial.status == "ok" else objective.worst
    told = {metric_name(objective.metric): measured}
    for c in problem.constraints:
        beyond = c.bound + (1 if c.relation == "<=" else -1) * (abs(c.bound) or 1.0)
        told[metric_name(c.metric)] = float(trial.metrics.get(c.metric, beyond))
    return told


def _alternates(space: ConfigurationSpace) -> bool:
    """Whether BoTorch optimizes the acquisition function on this space by alternating; its other ways take no bound."""
    from botorch.optim.optimize_mixed import should_use_mixed_alternating_optimizer

    discrete = {}
    for i, hp in enumerate(space.values()):
        if isinstance(hp, UniformIntegerHyperparameter):
            discrete[i] = range(hp.upper - hp.lower + 1)
        elif not isinstance(hp, UniformFloatHyperparameter):
            discrete[i] = range(hp.size)
    return len(discrete) < len(space) and should_use_mixed_alternating_optimizer(discrete_dims=discrete)


def parameters(space: ConfigurationSpace) -> list:
    """Ax's parameters for the box of all hyperparameters of the space.

    Raises:
        UserError: a kind of hyperparameter that Ax does not have.
    """
    from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

    parameters = []
    for name, hp in space.items():
        match hp:
            case UniformFloatHyperparameter() | UniformIntegerHyperparameter():
                kind = "float" if isinstance(hp, UniformFloatHyperparameter) else "int"
                scaling = "log" if hp.log else "linear"
                parameters.append(
                    RangeParameterConfig(name=name, bounds=(hp.lower, hp.upper), parameter_type=kind, scaling=scaling)
                )
            case CategoricalHyperparameter() | OrdinalHyperparameter() | Constant():
                ordered = isinstance(hp, OrdinalHyperparameter)
                values = list(
                    hp.sequence
                    if ordered
                    else getattr(hp, "choices", (hp.value if isinstance(hp, Constant) else None,))
                )
                parameters.append(
                    ChoiceParameterConfig(name=name, values=values, parameter_type=_kind(values[0]), is_ordered=ordered)
                )
            case _:
                raise UserError(
                    f"space: Ax has no parameter like {hp}; use a uniform float or integer, categorical or ordinal"
                )
    return parameters


def _kind(value: Any) -> str:
    return {bool: "bool", int: "int", float: "float"}.get(type(value), "str")


def _typed(space: ConfigurationSpace, name: str, value: Any) -> Any:
    hp = space[name]
    if isinstance(hp, UniformIntegerHyperparameter):
        return int(value)
    if isinstance(hp, UniformFloatHyperparameter):
        return min(max(float(value), hp.lower), hp.upper)  # log scaling may round past a bound
    return value


@contextmanager
def quiet_and_seeded(seed: int):
    """A place for calls of Ax.

    Ax and BoTorch draw from torch's global generator, log each step and warn at import; none of it may leak.

    One thread: with more, sums are ordered by chance and two runs of a seed could part ways.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings(action="ignore"):
            from ax.utils.common.logger import set_stderr_log_level
            from botorch.utils.sampling import manual_seed

            set_stderr_log_level(logging.ERROR)
            with manual_seed(seed):
                yield
    finally:
        torch.set_num_threads(threads)

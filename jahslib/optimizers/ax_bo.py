"""Bayesian optimisation with Ax's own ask and tell: a Gaussian process with noisy expected improvement from BoTorch.

Every trial runs at the highest fidelity. The problem's constraints are Ax outcome constraints.
"""

import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, Constant, OrdinalHyperparameter
from ConfigSpace.hyperparameters import UniformFloatHyperparameter, UniformIntegerHyperparameter

from jahslib import spaces
from jahslib.errors import UserError
from jahslib.optimizers.replayed import Replayed
from jahslib.problem import Problem
from jahslib.trials import Suggestion, Trial

# An exhausted space makes Ax repeat itself; this many repetitions in a row and the search is done.
MAX_REPEATS = 20


@dataclass
class AxBO(Replayed):
    """Args:
    method: Ax's generation method: "fast" (Sobol, then GP) or "random_search" (Sobol alone).
    n_init: Sobol trials before the GP.

    Ax sees the box of all hyperparameters; those that are inactive in a proposal are dropped before training. A trial
    that was rejected before training, or failed, is told as the worst objective with the constraint metrics that are
    known and the worst of those that are not, so that the model learns to stay away.
    """

    problem: Problem
    seed: int
    method: Literal["fast", "random_search"] = "fast"
    n_init: int = 5

    def start(self) -> None:
        self._client = self._new_client()
        self._index, self._asked, self._seen_keys = {}, -1, set()

    def propose(self) -> Suggestion | None:
        for _ in range(MAX_REPEATS):
            with _quiet_and_seeded(self.seed):
                from ax.exceptions.core import DataRequiredError, SearchSpaceExhausted

                try:
                    proposed = self._client.get_next_trials(max_trials=1)
                except (DataRequiredError, SearchSpaceExhausted):  # wait for pending trials; nothing new is left
                    return None
            if not proposed:
                return None
            ((self._asked, parameters),) = proposed.items()
            configuration = spaces.complete(
                self.problem.space, {k: _typed(self.problem.space, k, v) for k, v in parameters.items()}
            )
            if spaces.key(configuration) not in self._seen_keys:
                return Suggestion(configuration, self.problem.fidelity.high)
            self._client.mark_trial_abandoned(self._asked)
        return None

    def accept(self, id: int) -> None:
        self._index[id] = self._asked

    def observe(self, trial: Trial) -> None:
        self._seen_keys.add(spaces.key(trial.configuration))
        with _quiet_and_seeded(self.seed):
            self._client.complete_trial(self._index.pop(trial.id), raw_data=self._outcomes(trial))

    def _outcomes(self, trial: Trial) -> dict[str, float]:
        objective = self.problem.objective
        outcomes = {objective.metric: trial.metrics.get(objective.metric, objective.worst)}
        if trial.status != "ok":
            outcomes[objective.metric] = objective.worst
        for c in self.problem.constraints:
            beyond = 2 * c.bound if c.relation == "<=" else 0.0
            outcomes[c.metric] = float(trial.metrics.get(c.metric, beyond))
        return outcomes

    def _new_client(self) -> Any:
        with _quiet_and_seeded(self.seed):
            from ax.api.client import Client

            client = Client(random_seed=self.seed)
            client.configure_experiment(parameters=_parameters(self.problem.space))
            sign = "" if self.problem.objective.best > self.problem.objective.worst else "-"
            client.configure_optimization(
                objective=sign + self.problem.objective.metric,
                outcome_constraints=[f"{c.metric} {c.relation} {c.bound}" for c in self.problem.constraints],
            )
            client.set_generation_strategy(self._strategy())
        return client

    def _strategy(self) -> Any:
        """Ax's own choice of strategy, with its acquisition optimizer bounded.

        Left at its default of 64 alternations between discrete and continuous steps, that optimizer takes two thirds
        of a proposal's time on study 07's mixed space.
        """
        from ax.api.utils.generation_strategy_dispatch import choose_generation_strategy
        from ax.api.utils.structs import GenerationStrategyDispatchStruct

        struct = GenerationStrategyDispatchStruct(
            method=self.method, initialization_budget=self.n_init, initialization_random_seed=self.seed
        )
        strategy = choose_generation_strategy(struct)
        if self.method == "fast" and _alternates(self.problem.space):
            options = {"maxiter_alternating": 8, "maxiter_init": 20}
            for spec in strategy.nodes_by_name["MBM"].generator_specs:
                spec.generator_gen_kwargs["model_gen_options"] = {"optimizer_kwargs": {"options": options}}
        return strategy


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


def _parameters(space: ConfigurationSpace) -> list:
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
def _quiet_and_seeded(seed: int):
    """Ax and BoTorch draw from torch's global generator, log each step and warn at import; none of it may leak.

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

"""Optuna's samplers, asked and told by a search (`pip install "jahslib[optuna]"`).

Akiba et al., KDD 2019. The tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011; in Optuna's version:
Watanabe, arXiv 2304.11127) is the default; "GPSampler" is Gaussian-process optimisation, "CmaEsSampler" CMA-ES (needs
the package cmaes).
"""

import importlib
import inspect
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ConfigSpace.hyperparameters import (
    Hyperparameter,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)

from jahslib.core.optimizer import Replayed
from jahslib.core.trials import Configuration, Origin, Suggestion, Trial
from jahslib.errors import UserError
from jahslib.extras import extra
from jahslib.spaces import configurations as spaces

ATTEMPTS = 10  # proposals of the sampler before a new configuration is drawn at random

# These read all they need from the trials: with a new seed for each proposal it is a function of the history.
MEMORYLESS = ("TPESampler", "GPSampler", "RandomSampler")
CONSTRAINED = ("TPESampler", "GPSampler", "NSGAIISampler", "NSGAIIISampler")
UNGUIDED = ("RandomSampler", "QMCSampler")
WITHOUT_SEED_OR_END = ("BaseSampler", "BaseGASampler", "BruteForceSampler", "GridSampler", "PartialFixedSampler")


@dataclass
class OptunaSampler(Replayed):
    """One of Optuna's samplers, or another with its interface, at the highest fidelity.

    Args:
        sampler: a class of `optuna.samplers`, or "package.module:Class".
        options: the class's arguments beside its seed, in JSON types, such as {"multivariate": True}. A space with
            conditions is modelled better by TPE with {"group": True}.

    Optuna is told the objective itself; a failed trial counts as the objective's `worst`, which should therefore be one
    that trials come near. Constraints are told to samplers that model them, relative to the size of their bounds, and
    in full (1) where a trial did not measure them; to others the cost of an infeasible trial is the penalised one
    (`Problem.penalised_cost`). Results below the highest fidelity, which a warm start may bring, are not told. Choices
    are told as indices, ordinals as ranks; weights of choices are ignored.
    Nothing is proposed twice, nor what violates a constraint known before training: after 10 such proposals a
    configuration is drawn at random, and when 10,000 draws give nothing new, the search is done.

    Raises:
        UserError: no such sampler, options that it does not take, as `refuse_unbounded`, or Optuna is not installed.
    """

    sampler: str = "TPESampler"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        super().__post_init__()
        spaces.refuse_unbounded(self.problem.space, "Optuna")
        for name in ("seed", "constraints_func"):
            if name in self.options:
                raise UserError(f"Optuna: options: {name!r} is set by the search; leave it out")
        try:
            json.dumps(self.options)
        except TypeError as error:
            raise UserError(f"Optuna: options: {error}; give numbers, texts, lists and dictionaries") from None
        _made(self.sampler, self.options, self.seed)

    def rederives(self) -> bool:
        return self.sampler not in MEMORYLESS

    def start(self) -> None:
        optuna = _optuna()
        # A running Optuna trial remembers inactive parameters, and values before rounding; one that is told does not.
        self._retells = self.sampler in MEMORYLESS
        self._constrained = self.sampler in CONSTRAINED or not self.problem.constraints
        self._trial: Any = None  # Optuna's, of a proposal that is no trial of ours yet
        self._running: dict[int, Any] = {}
        self._seen: set[str] = set()
        self._suggested = self._finished = 0
        self._exhausted = False
        with _quiet():
            self._kept = _made(self.sampler, self.options, self.seed)
            direction = "maximize" if self.problem.objective.maximize else "minimize"
            self._study = optuna.create_study(direction=direction, sampler=self._kept)

    def propose(self) -> Suggestion | None:
        if self._exhausted:
            return None
        for attempt in range(ATTEMPTS):
            with _quiet():
                self._reseed(attempt)
                self._trial = self._study.ask()
                configuration = self._configuration(self._trial)
                new = self._is_new(configuration)
                if not new or self._retells:
                    self._drop(self._trial)
                    self._trial = None
            if new:
                return Suggestion(configuration, self.problem.fidelity.high, origin=self._origin())
        rng = np.random.default_rng([self.seed, self._suggested])
        drawn = spaces.sample_where(self.problem.space, rng, self._is_new)
        self._exhausted = drawn is None
        return None if drawn is None else Suggestion(drawn, self.problem.fidelity.high, origin="random")

    def adopt(self, trial_id: int, suggestion: Suggestion) -> None:
        trial, self._trial = self._trial, None
        if trial is None:
            with _quiet():
                self._study.enqueue_trial(self._encoded(suggestion.configuration))
                trial = self._study.ask()
                self._configuration(trial)
        self._running[trial_id] = trial
        if self.problem.is_full(suggestion):
            self._seen.add(spaces.key(suggestion.configuration))
        self._suggested += 1

    def observe(self, trial: Trial) -> None:
        own = self._running.pop(trial.id)
        if not self.problem.is_full(trial):  # from a warm start at a lower fidelity
            self._drop(own)
            return
        self._finished += 1
        with _quiet():
            for constraint in self.problem.constraints if self._constrained else ():
                excess = constraint.excess(trial.metrics) / (abs(constraint.bound) or 1.0)
                own.set_constraint(str(constraint), excess if np.isfinite(excess) else 1.0)
            self._study.tell(own, self._value(trial))

    def _value(self, trial: Trial) -> float:
        objective = self.problem.objective
        if trial.status == "ok" and (self._constrained or not self.problem.violation(trial)):
            return trial.metrics[objective.metric]
        if self._constrained:
            return objective.worst
        return objective.best + np.sign(objective.worst - objective.best) * self.problem.penalised_cost(trial)

    def _reseed(self, attempt: int) -> None:
        if self.sampler not in MEMORYLESS:
            return
        (seed,) = np.random.SeedSequence([self.seed, self._suggested, attempt]).generate_state(1)
        self._study.sampler = _made(self.sampler, self.options, int(seed))
        if not self.options.get("group"):  # the intersection of parameters is updated from new trials alone
            self._study.sampler.infer_relative_search_space = self._kept.infer_relative_search_space

    def _drop(self, trial) -> None:
        with _quiet():
            self._study.tell(trial, state=_optuna().trial.TrialState.FAIL)  # failed trials are ignored by every sampler

    def _is_new(self, configuration: Configuration) -> bool:
        return spaces.key(configuration) not in self._seen and self.problem.admits(configuration)

    def _origin(self) -> Origin:
        if self.sampler in UNGUIDED:
            return "random"
        known = inspect.signature(type(self._kept)).parameters
        guides: dict[str, Origin] = {"population_size": "variation", "n_startup_trials": "model"}
        for name, guided in guides.items():
            if name in known and isinstance(first := self.options.get(name, known[name].default), int):
                return guided if self._finished >= first else "initial"
        return ""

    def _configuration(self, trial) -> Configuration:
        """Ask a trial for the active hyperparameters, parents before children."""
        space, chosen = self.problem.space, {}
        vector = np.full(len(space), np.nan)  # ConfigSpace's representation, with NaN for inactive ones
        for i, (name, hp) in enumerate(space.items()):
            if all(c.satisfied_by_vector(vector) for c in space.parent_conditions_of[name]):
                chosen[name] = _suggested(trial, hp)
                vector[i] = hp.to_vector(chosen[name])
        return dict(sorted(chosen.items()))

    def _encoded(self, configuration: Configuration) -> dict[str, Any]:
        encoded = dict(configuration)
        for name, value in configuration.items():
            if values := spaces.choices(self.problem.space[name]):  # type: ignore[index]
                encoded[name] = list(map(json.dumps, values)).index(json.dumps(value))
        return encoded


def _suggested(trial, hp: Hyperparameter) -> Any:
    if isinstance(hp, UniformFloatHyperparameter):
        return spaces.rounded(float(trial.suggest_float(hp.name, hp.lower, hp.upper, log=hp.log)))
    if isinstance(hp, UniformIntegerHyperparameter):
        return int(trial.suggest_int(hp.name, int(hp.lower), int(hp.upper), log=hp.log))
    values = spaces.choices(hp)
    if len(values) == 1:
        return values[0]
    if isinstance(hp, OrdinalHyperparameter):
        return values[trial.suggest_int(hp.name, 0, len(values) - 1)]
    return values[trial.suggest_categorical(hp.name, range(len(values)))]


def _optuna():
    with extra("optuna"):
        return importlib.import_module("optuna")


def _made(sampler: str, options: dict[str, Any], seed: int):
    optuna = _optuna()
    try:
        if ":" in sampler:
            module, name = sampler.split(":")
            kind = getattr(importlib.import_module(module), name)
        else:
            known = [n for n in optuna.samplers.__all__ if n[0].isupper() and n not in WITHOUT_SEED_OR_END]
            if sampler not in known:
                raise UserError(f"Optuna: no sampler {sampler!r}; choose one of {', '.join(known)}, or package:Class")
            kind = getattr(optuna.samplers, sampler)
        with _quiet():
            return kind(**options, seed=seed)
    except UserError:
        raise
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"Optuna: {sampler} with options {options}: {error}; see its documentation") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Optuna's messages, and its warnings of experimental or deprecated features."""
    optuna = _optuna()
    before = optuna.logging.get_verbosity()
    if before < optuna.logging.ERROR:  # a change, even to the same, empties the caches of all loggers
        optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category in (optuna.exceptions.ExperimentalWarning, FutureWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        if before < optuna.logging.ERROR:
            optuna.logging.set_verbosity(before)

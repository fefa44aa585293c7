"""SMAC3 (Lindauer et al., JMLR 23(54), 2022): its two facades, `ask` and `tell`, every part as the facade makes it."""

import copy
import math
import tempfile
import warnings
from typing import Any

from benchmarks.peers.base import Peer
from jahslib.core.problem import Configuration, Fidelity
from jahslib.core.trials import Trial
from jahslib.spaces import configurations as spaces


class SmacHPO(Peer):
    """`HyperparameterOptimizationFacade`; `n_trials`, a quarter of which it spends at random, is what the budget pays
    for."""

    package = "smac"
    facade = "HyperparameterOptimizationFacade"

    def begin(self) -> None:
        import smac

        self._folder = tempfile.TemporaryDirectory(prefix="peers-smac-")  # SMAC insists on one
        scenario = smac.Scenario(
            copy.deepcopy(self.problem.space),  # SMAC seeds it
            output_directory=self._folder.name,
            deterministic=True,
            n_trials=self.trials(),
            seed=self.seed,
            **self.budgets(),
        )
        with warnings.catch_warnings(action="ignore"):
            self.smac = getattr(smac, self.facade)(scenario, logging_level=False, overwrite=True)

    def trials(self) -> int:
        return self.trainings

    def budgets(self) -> dict[str, Any]:
        return {}

    def suggest(self) -> tuple[Configuration, float] | None:
        with warnings.catch_warnings(action="ignore"):
            try:
                self.info = self.smac.ask()
            except StopIteration:
                return None
        return spaces.plain(self.info.config), self.info.budget or self.problem.fidelity.high

    def tell(self, trial: Trial) -> None:
        from smac.runhistory import TrialValue

        self.smac.tell(self.info, TrialValue(cost=self.cost(trial)), save=False)


class SmacMultiFidelity(SmacHPO):
    """`MultiFidelityFacade`; `n_trials` is the number of evaluations in as many of Hyperband's sweeps as the budget
    pays for."""

    facade = "MultiFidelityFacade"
    many_fidelities = True

    def trials(self) -> int:
        evaluations, trainings = sweep(self.problem.fidelity)
        return math.ceil(self.trainings * evaluations / trainings)

    def budgets(self) -> dict[str, Any]:
        return {"min_budget": self.problem.fidelity.low, "max_budget": self.problem.fidelity.high}


def sweep(fidelity: Fidelity, eta: int = 3) -> tuple[int, float]:
    """Evaluations in all brackets of Hyperband (Li et al., JMLR 18(185), 2018, algorithm 1), and what they cost in full
    trainings where promoted ones are continued."""
    most = math.floor(math.log(fidelity.high / fidelity.low, eta) + 1e-9)
    evaluations, cost = 0, 0.0
    for s in range(most + 1):
        started, before = math.ceil((most + 1) / (s + 1) * eta**s), 0.0
        for i in range(s + 1):
            share = eta ** (i - s)
            evaluations += (kept := started // eta**i)
            cost, before = cost + kept * (share - before), share
    return evaluations, cost

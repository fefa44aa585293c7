"""Ax (https://ax.dev): `Client`, with the generation strategy that it chooses; constraints as outcome constraints."""

import logging
import warnings

from benchmarks.peers.base import Peer, decoded, parameters
from jahslib.core.problem import Configuration
from jahslib.core.trials import Trial


class AxClient(Peer):
    package = "ax-platform"

    def begin(self) -> None:
        with warnings.catch_warnings(action="ignore"):
            from ax.api.client import Client
            from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

            logging.getLogger("ax.api.client").setLevel(logging.ERROR)
            made = []
            for p in parameters(self.problem.space):
                if p.kind == "choice":
                    values = list(range(int(p.upper) + 1))
                    made.append(
                        ChoiceParameterConfig(name=p.name, values=values, parameter_type="int", is_ordered=False)
                    )
                else:
                    scaling = "log" if p.log else "linear"
                    made.append(
                        RangeParameterConfig(name=p.name, bounds=p.bounds, parameter_type=p.kind, scaling=scaling)
                    )
            self.client = Client(random_seed=self.seed)
            self.client.configure_experiment(made)
            self.names = [f"excess_{i}" for i in range(len(self.problem.constraints))]
            limits = [f"{name} <= 0" for name in self.names]
            self.client.configure_optimization("-cost", outcome_constraints=limits or None)

    def suggest(self) -> tuple[Configuration, float] | None:
        with warnings.catch_warnings(action="ignore"):
            asked = self.client.get_next_trials(max_trials=1)
        if not asked:
            return None
        ((self.index, told),) = asked.items()
        return decoded(self.problem.space, told), self.problem.fidelity.high

    def tell(self, trial: Trial) -> None:
        excesses = [constraint.excess(trial.metrics) for constraint in self.problem.constraints]
        if trial.status != "ok":
            self.client.mark_trial_failed(self.index)
            return
        told = {"cost": self.problem.cost(trial), **dict(zip(self.names, excesses, strict=True))}
        self.client.complete_trial(self.index, raw_data=told)

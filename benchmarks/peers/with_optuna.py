"""Optuna (Akiba et al., KDD 2019): `create_study`, `ask` and `tell`, `report` and `should_prune`."""

import warnings
from typing import Any

from benchmarks.peers.base import Peer, decoded, parameters, rungs
from jahslib.core.problem import Configuration
from jahslib.core.trials import Trial


class OptunaTPE(Peer):
    """The tree-structured Parzen estimator, Optuna's default; constraints by `Trial.set_constraint`."""

    package = "optuna"
    sampler = "TPESampler"

    def begin(self) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.study = optuna.create_study(
            study_name=f"seed {self.seed}",  # by which Hyperband assigns brackets
            sampler=getattr(optuna.samplers, self.sampler)(seed=self.seed),
            pruner=self.pruner(),
        )

    def pruner(self) -> Any:
        return None

    def suggest(self) -> tuple[Configuration, float] | None:
        return self.drawn(), self.problem.fidelity.high

    def drawn(self) -> Configuration:
        self.trial, told = self.study.ask(), {}
        for p in parameters(self.problem.space):
            if p.kind == "choice":
                told[p.name] = self.trial.suggest_categorical(p.name, list(range(int(p.upper) + 1)))
            elif p.kind == "int":
                told[p.name] = self.trial.suggest_int(p.name, *p.bounds, log=p.log)
            else:
                told[p.name] = self.trial.suggest_float(p.name, *p.bounds, log=p.log)
        return decoded(self.problem.space, told)

    def tell(self, trial: Trial) -> None:
        from optuna.trial import TrialState

        if trial.status in ("failed", "cut"):
            self.study.tell(self.trial, state=TrialState.FAIL)
            return
        for constraint in self.problem.constraints:
            excess = constraint.excess(trial.metrics)
            self.trial.set_constraint(str(constraint), excess if excess == excess else 1.0)
        self.study.tell(self.trial, self.problem.cost(trial))


class OptunaGP(OptunaTPE):
    """Optuna's Gaussian process."""

    sampler = "GPSampler"


class OptunaHyperband(OptunaTPE):
    """TPE with `HyperbandPruner`, which is told the range of epochs. A trial reports where the pruner may stop it: at
    the rungs; it decides nothing between them."""

    many_fidelities = True

    def begin(self) -> None:
        super().begin()
        self.running: tuple[Configuration, list[float]] | None = None

    def pruner(self) -> Any:
        import optuna

        low, high = self.problem.fidelity.low, self.problem.fidelity.high
        return optuna.pruners.HyperbandPruner(min_resource=low, max_resource=high)

    def suggest(self) -> tuple[Configuration, float] | None:
        if self.running is None:
            self.running = self.drawn(), rungs(self.problem.fidelity)
        return self.running[0], self.running[1][0]

    def tell(self, trial: Trial) -> None:
        from optuna.trial import TrialState

        assert self.running is not None
        del self.running[1][0]
        if trial.status == "ok":
            self.trial.report(self.cost(trial), step=int(trial.fidelity))
        if trial.status != "ok" or not self.running[1]:
            self.running = None
            super().tell(trial)
        elif self.trial.should_prune():
            self.running = None
            self.study.tell(self.trial, state=TrialState.PRUNED)

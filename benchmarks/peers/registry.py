"""Every peer by name, with the environment that holds it: "" is the library's own, which has some of them as well."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.optimizers import METHODS
from benchmarks.peers.base import Peer
from jahslib.core.optimizer import Optimizer
from jahslib.core.problem import Problem


@dataclass(frozen=True)
class Entry:
    """`where` is module and class of a peer in this package; empty for a method of ours."""

    title: str
    where: str = ""
    environment: str = ""

    def kind(self) -> type[Peer]:
        module, name = self.where.split(":")
        return getattr(importlib.import_module(f"benchmarks.peers.{module}"), name)

    def applies(self, problem: Problem) -> bool:
        return not self.where or self.kind().applies(problem)


PEERS = {
    "smac_hpo": Entry("SMAC, HyperparameterOptimizationFacade", "with_smac:SmacHPO"),
    "smac_mf": Entry("SMAC, MultiFidelityFacade", "with_smac:SmacMultiFidelity"),
    "optuna_tpe": Entry("Optuna, TPE", "with_optuna:OptunaTPE"),
    "optuna_gp": Entry("Optuna, GP", "with_optuna:OptunaGP"),
    "optuna_hyperband": Entry("Optuna, TPE with HyperbandPruner", "with_optuna:OptunaHyperband"),
    "dehb": Entry("DEHB", "with_dehb:Dehb", "dehb"),
    "syne_tune_asha": Entry("Syne Tune, ASHA", "with_syne_tune:SyneTuneASHA", "peers"),
    "syne_tune_bohb": Entry("Syne Tune, BOHB", "with_syne_tune:SyneTuneBOHB", "peers"),
    "neps_hyperband": Entry("NePS, default with fidelity (Hyperband)", "with_neps:NepsHyperband", "peers"),
    "neps_priorband": Entry("NePS, PriorBand", "with_neps:NepsPriorBand", "peers"),
    "neps_bo": Entry("NePS, default without fidelity (BO)", "with_neps:NepsBO", "peers"),
    "neps_evolution": Entry("NePS, regularized evolution", "with_neps:NepsEvolution", "peers"),
    "ax": Entry("Ax, Client", "with_ax:AxClient"),
}

OURS = {name: METHODS[name] for name in ("rs", "ea", "ea_hb", "re", "hb", "asha")}
ENTRIES = PEERS | {name: Entry(title) for name, (title, _) in OURS.items()}


def make(name: str, problem: Problem, seed: int, trainings: int) -> Optimizer:
    entry = ENTRIES[name]
    if entry.where:
        return entry.kind()(problem, seed, trainings)
    ours: Callable[[Problem, int], Optimizer] = OURS[name][1]  # type: ignore[assignment]
    return ours(problem, seed)

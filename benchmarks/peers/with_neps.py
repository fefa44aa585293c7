"""NePS (Neural Pipeline Search, https://github.com/automl/neps): its algorithms in `neps.AskAndTell`."""

import warnings
from typing import Any

from benchmarks.peers.base import Peer, decoded, parameters, seed_everything
from jahslib.core.problem import Configuration
from jahslib.core.trials import Trial

FIDELITY = "fidelity_of_the_problem"


class NepsHyperband(Peer):
    """Hyperband, what NePS chooses where a space has a fidelity and no priors."""

    package = "neural-pipeline-search"
    algorithm = "hyperband"
    many_fidelities = True

    def begin(self) -> None:
        import neps

        seed_everything(self.seed)
        self.space = self.pipeline()
        with warnings.catch_warnings(action="ignore"):
            self.neps = neps.AskAndTell(getattr(neps.algorithms, self.algorithm)(self.space))

    def pipeline(self) -> Any:
        import neps

        made, fidelity = neps.PipelineSpace(), self.problem.fidelity
        for p in parameters(self.problem.space):
            if p.kind == "choice":
                parameter = neps.Categorical(choices=tuple(range(int(p.upper) + 1)))
            else:
                parameter = (neps.Float if p.kind == "float" else neps.Integer)(*p.bounds, log=p.log)
            setattr(made, p.name, parameter)
        if self.many_fidelities:
            kind = neps.IntegerFidelity if fidelity.whole else neps.FloatFidelity
            setattr(made, FIDELITY, kind(fidelity.low, fidelity.high))
        return made

    def suggest(self) -> tuple[Configuration, float] | None:
        told = self.asked()
        fidelity = told.pop(FIDELITY, self.problem.fidelity.high)
        return decoded(self.problem.space, told), fidelity

    def asked(self) -> dict[str, Any]:
        """What NePS proposes, by the names of its space."""
        with warnings.catch_warnings(action="ignore"):
            self.trial = self.neps.ask()
        return self.values(dict(self.trial.config))

    def values(self, config: dict[str, Any]) -> dict[str, Any]:
        return config

    def tell(self, trial: Trial) -> None:
        self.neps.tell(self.trial, self.cost(trial))


class NepsPriorBand(NepsHyperband):
    """PriorBand (Mallik et al., NeurIPS 2023); without priors it draws at random and around the incumbent."""

    algorithm = "priorband"


class NepsBO(NepsHyperband):
    """Bayesian optimisation, what NePS chooses where a flat space has neither a fidelity nor priors."""

    algorithm = "bayesian_optimization"
    many_fidelities = False


class NepsEvolution(NepsHyperband):
    """Regularized evolution on NePS' own spaces."""

    algorithm = "neps_regularized_evolution"
    many_fidelities = False

    def values(self, config: dict[str, Any]) -> dict[str, Any]:
        from neps.space.neps_spaces.neps_space import adjust_evaluation_pipeline_for_neps_space

        return adjust_evaluation_pipeline_for_neps_space(lambda **chosen: chosen, self.space)(**config)

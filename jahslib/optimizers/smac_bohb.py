"""SMAC3's BOHB: Hyperband whose configurations come from a random-forest surrogate.

SMAC's own ask and tell decide everything (Lindauer et al., JMLR 23(54), 2022; Falkner et al., ICML 2018 used a kernel
density estimator instead), with these repairs: budgets are rounded up to whole epochs in one place, the model leaves a
lower budget only once the higher one has `min_trials` results, costs are finite, a seed proposes the same in every
process, and an exhausted space ends the search.
"""

import copy
import math
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ConfigSpace import Configuration as CSConfiguration
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import NumericalHyperparameter

from jahslib.core.optimizer import Replayed
from jahslib.core.problem import Fidelity
from jahslib.core.trials import Configuration, Origin, Suggestion, Trial
from jahslib.errors import Count, UserError
from jahslib.extras import require
from jahslib.optimizers.hyperband import Eta
from jahslib.spaces import configurations as spaces


@dataclass
class SmacBohb(Replayed):
    """SMAC's multi-fidelity facade, asked and told by a search.

    Args:
        eta: Hyperband's reduction factor.
        min_fidelity: epochs of the lowest rung, at least; None is the problem's own minimum.
        n_init: random configurations before the model is used; None is one per hyperparameter.
        retrain_after: results between two fits of the forest.
        min_trials: results at a budget before the forest is fitted to them; None is one per hyperparameter, at least 8.
        use_default_config: the space's default follows the random configurations.

    Constraints enter as a penalty (`cost`), so that a failed or rejected trial costs the most of all. Until a budget
    has `min_trials` results, SMAC draws at random, from where its initial design began: a configuration that it draws
    again takes a place in its bracket, and is not trained again. A log whose decisions are not reproduced here is
    adopted: SMAC is told its trials, its brackets continue from what they hold, and it draws and models anew.

    Raises:
        UserError: a space without named hyperparameters, or with conditions on kinds of them that SMAC takes none on;
            no Hyperband plan; a count below 1.
    """

    eta: Eta = 3
    min_fidelity: float | None = None
    n_init: Count | None = None
    retrain_after: Count = 8
    min_trials: Count | None = None
    use_default_config: bool = False

    later = ("min_trials", "use_default_config")

    def __post_init__(self):
        super().__post_init__()
        require("smac", "smac")
        space = self.problem.space
        spaces.refuse_others(space, "BOHB", forbidden=True)
        assert isinstance(space, ConfigurationSpace)
        self._fidelity()
        for hp in space.conditional_hyperparameters:
            if (kind := type(space[hp]).__name__).startswith(("Normal", "Beta")):
                raise UserError(f"BOHB: SMAC takes no condition on {hp}, a {kind}; make it uniform")

    def _fidelity(self) -> Fidelity:
        return self.problem.fidelity.above(self.min_fidelity)

    def _rounded(self, budget: float) -> float:
        return math.ceil(budget - 1e-9) if self._fidelity().whole else budget

    def start(self) -> None:
        self._smac = self._facade()
        self._asked, self._infos, self._trained = None, {}, {}
        self._origins: dict[str, Origin] = {}
        self._all, self._adopted, self._budgets = [], False, None

    def propose(self) -> Suggestion | None:
        # SMAC averages the durations of local searches, of which there may be none.
        with warnings.catch_warnings(category=RuntimeWarning, action="ignore"):
            if self._adopted:
                self._go_on_from_adopted()
            self._asked = self._next()
        if self._asked is None:
            return None
        configuration = spaces.plain(self._asked.config)
        key = spaces.key(configuration)
        fidelity = self._rounded(self._asked.budget)
        lower, parent = self._trained.get(key, (0, None))
        return Suggestion(
            configuration,
            fidelity,
            parent=parent if lower < fidelity else None,
            final=fidelity >= self.problem.fidelity.high,
            origin=self._origins.setdefault(key, _origin(self._asked.config)),
        )

    def accept(self, trial_id: int) -> None:
        self._infos[trial_id] = self._asked
        self._all.append(self._asked)

    def adopt(self, trial_id: int, suggestion: Suggestion) -> None:
        if self._budgets is None:
            self._budgets = {self._rounded(budget): budget for budget in self._smac.intensifier.budgets()}
        configuration = self._drawn_as(suggestion.configuration)
        budget = self._budgets.get(suggestion.fidelity, suggestion.fidelity)
        self._infos[trial_id] = info = self._smac.intensifier.trial(configuration, budget)
        self._smac.runhistory.add_running_trial(info)
        self._all.append(info)
        self._adopted = True
        self._origins.setdefault(spaces.key(suggestion.configuration), suggestion.origin)

    def _drawn_as(self, configuration: Configuration) -> CSConfiguration:
        """Rebuild a configuration with the types it had when drawn: ConfigSpace hashes the values' notation."""
        values = {}
        for name, value in configuration.items():
            hp = self._space[name]  # type: ignore[index]  # a ConfigurationSpace
            values[name] = value if isinstance(hp, NumericalHyperparameter) else hp.to_value(hp.to_vector(value))
        return CSConfiguration(self._space, values=values)

    def observe(self, trial: Trial) -> None:
        from smac.runhistory import TrialValue

        self._smac.tell(self._infos.pop(trial.id), TrialValue(cost=self.cost(trial)), save=False)
        if trial.status == "ok":
            self._trained[spaces.key(trial.configuration)] = (trial.fidelity, trial.id)

    def cost(self, trial: Trial) -> float:
        """Compute the cost that SMAC is told.

        The objective's value, for a maximised one (an accuracy) its distance to 1, never worse than `worst`; for an
        infeasible or failed trial the worst value plus the violation (at most 1). `Objective.best` has no effect, since
        SMAC models the logarithm of the distance to a bound just below the lowest cost it was told.
        """
        objective, violation = self.problem.objective, self.problem.violation(trial)
        worst, value = objective.worst, trial.metrics[objective.metric] if not violation else objective.worst
        cost = 1 - max(value, worst) if objective.maximize else min(value, worst)
        return cost + min(violation, 1.0)

    def _next(self):
        """Ask SMAC for its next trial; None where the space is exhausted, for good or until pending ones are told."""
        from jahslib.optimizers.smac_parts import Exhausted

        held = None
        while True:
            try:
                return self._smac.ask()
            except Exhausted:  # ended SMAC's iteration, perhaps before promotions that it had just decided
                before, held = held, self._smac.intensifier.get_state()["tracker"]
                self._smac.optimizer._trial_generator = iter(self._smac.intensifier)
                if held == before:
                    return None

    def _go_on_from_adopted(self) -> None:
        # The generator is at the beginning of the adopted draws.
        self._space.seed(int(np.random.SeedSequence([self.seed, len(self._all)]).generate_state(1)[0]))
        self._smac.intensifier.resume([(info.config, info.budget) for info in self._all])
        self._smac.optimizer._trial_generator = iter(self._smac.intensifier)
        self._adopted = False

    def _facade(self):
        from smac import MultiFidelityFacade, Scenario

        from jahslib.optimizers import smac_parts

        dimensions = len(self.problem.space)
        self._space = copy.deepcopy(self.problem.space)  # SMAC seeds it and draws from it
        # SMAC insists on a folder and reads back what an earlier run left there; the trial log makes both needless.
        with tempfile.TemporaryDirectory(prefix="jahslib-smac-") as folder:
            scenario = Scenario(
                self._space,
                output_directory=Path(folder),
                deterministic=True,
                n_trials=1_000_000,  # the search loop enforces the budget
                min_budget=self._fidelity().low,
                max_budget=self._fidelity().high,
                seed=self.seed,
                use_default_config=self.use_default_config,
            )
            model = MultiFidelityFacade.get_model(scenario)
            # The same forest in less time: ten small trees are not worth threads, and scikit-learn allocates for the
            # largest number of leaves, of which SMAC allows a million and a tree has at most one per result.
            model._rf_opts |= {"n_jobs": 1, "max_leaf_nodes": 2**14}
            maximizer = MultiFidelityFacade.get_acquisition_maximizer(scenario)
            _order_starting_points(maximizer)
            with warnings.catch_warnings(action="ignore"):
                return MultiFidelityFacade(
                    scenario,
                    model=model,
                    intensifier=smac_parts.Brackets(scenario, eta=self.eta, incumbent_selection="highest_budget"),
                    acquisition_maximizer=maximizer,
                    initial_design=MultiFidelityFacade.get_initial_design(
                        scenario, n_configs=self.n_init or dimensions
                    ),
                    config_selector=smac_parts.Selector(
                        scenario, retrain_after=self.retrain_after, min_trials=self.min_trials or max(8, dimensions)
                    ),
                    runhistory_encoder=smac_parts.Finite(scenario),
                    logging_level=False,
                    overwrite=True,
                )


def _order_starting_points(maximizer) -> None:
    """Sort the starting points of SMAC's local search, which 2.4 takes from a set in the order of string hashing."""
    search = maximizer._local_search
    unordered = search._get_init_points_from_previous_configs

    def ordered(*args, **options):
        return sorted(unordered(*args, **options), key=lambda configuration: configuration.get_array().tobytes())

    search._get_init_points_from_previous_configs = ordered


def _origin(configuration: CSConfiguration) -> Origin:
    """Translate the origin that SMAC states of a configuration; it states none where it has no model yet."""
    said = configuration.origin or ""
    if said.startswith("Initial"):
        return "initial"
    return "model" if said.startswith("Acquisition Function Maximizer: Local Search") else "random"

"""BOHB as SMAC3 has it: Hyperband whose configurations come from a random-forest surrogate.

SMAC's own ask and tell decide everything (Lindauer et al., JMLR 23(54), 2022; Falkner et al., ICML 2018 used a kernel
density estimator instead). Around it stand four repairs: budgets are rounded up to whole epochs in one place, the model
leaves a lower budget only once the higher one has `min_trials` results, costs are finite, and a seed proposes the same
in every process.
"""

import math
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jahslib import spaces
from jahslib.optimizers import hyperband
from jahslib.optimizers.replayed import Replayed
from jahslib.problem import Fidelity, Problem
from jahslib.trials import Suggestion, Trial


@dataclass
class SmacBohb(Replayed):
    """SMAC's multi-fidelity facade, asked and told by a search.

    Args:
        eta: Hyperband's halving rate.
        min_fidelity: epochs of the lowest rung, at least; None is the problem's own minimum.
        n_init: random configurations before the model is asked; None is one a hyperparameter.
        retrain_after: results between two fits of the forest.
        min_trials: results at a budget before the forest is fitted to them; None is one a hyperparameter, at least 8.
        use_default_config: the space's default follows the random configurations.

    Constraints enter as a penalty (`Problem.penalised_cost`), so that a failed or rejected trial costs the most of all.
    A problem without constraints gives the plain baseline.

    Raises:
        UserError: a space without named hyperparameters, or no Hyperband plan.
    """

    problem: Problem
    seed: int
    eta: int = 3
    min_fidelity: int | None = None
    n_init: int | None = None
    retrain_after: int = 8
    min_trials: int | None = None
    use_default_config: bool = False

    def describe(self) -> dict[str, Any]:
        """The last two options are named where they are used: logs made before there were any stay valid."""
        unused = {"min_trials": None, "use_default_config": False}
        return {k: v for k, v in super().describe().items() if k not in unused or v != unused[k]}

    def __post_init__(self):
        super().__post_init__()
        spaces.refuse_others(self.problem.space, "BOHB", forbidden=True)
        hyperband.plan(self._fidelity().low, self._fidelity().high, self.eta)  # refuses what SMAC would fail on

    def _fidelity(self) -> Fidelity:
        return self.problem.fidelity.above(self.min_fidelity)

    def start(self) -> None:
        self._smac = self._facade()
        self._asked, self._infos, self._trained = None, {}, {}
        self._exhausted = False

    def propose(self) -> Suggestion | None:
        if self._exhausted:
            return None
        try:
            # SMAC averages the durations of a local search, none where it ended at once.
            with warnings.catch_warnings(category=RuntimeWarning, action="ignore"):
                self._asked = self._smac.ask()
        except StopIteration:  # the space holds no configuration that was not tried
            self._exhausted = True
            return None
        configuration = spaces.plain(self._asked.config)
        assert self._asked.budget is not None, "Hyperband gives every trial a budget"
        fidelity = math.ceil(self._asked.budget - 1e-9)
        lower, parent = self._trained.get(spaces.key(configuration), (0, None))
        return Suggestion(
            configuration,
            fidelity,
            parent=parent if lower < fidelity else None,
            final=fidelity >= self.problem.fidelity.high,
        )

    def accept(self, id: int) -> None:
        self._infos[id] = self._asked

    def adopt(self, id: int, suggestion: Suggestion) -> None:
        raise NotImplementedError

    def observe(self, trial: Trial) -> None:
        from smac.runhistory import TrialValue

        value = TrialValue(cost=self.problem.penalised_cost(trial), time=0.0)
        self._smac.tell(self._infos.pop(trial.id), value, save=False)
        if trial.status == "ok":
            self._trained[spaces.key(trial.configuration)] = (trial.fidelity, trial.id)

    def _facade(self):
        from smac import MultiFidelityFacade, Scenario
        from smac.main.config_selector import ConfigSelector

        dimensions = len(self.problem.space)
        # SMAC insists on a folder and reads back what an earlier run left there; the trial log makes both needless.
        self._folder = tempfile.TemporaryDirectory(prefix="jahslib-smac-", ignore_cleanup_errors=True)
        scenario = Scenario(
            self.problem.space,
            output_directory=Path(self._folder.name),
            deterministic=True,
            n_trials=1_000_000,  # the search loop keeps the budget
            min_budget=self._fidelity().low,
            max_budget=self._fidelity().high,
            seed=self.seed,
            use_default_config=self.use_default_config,
        )
        maximizer = MultiFidelityFacade.get_acquisition_maximizer(scenario)
        _order_starting_points(maximizer)
        with warnings.catch_warnings(category=UserWarning, action="ignore"):
            return MultiFidelityFacade(
                scenario,
                _never_called,
                intensifier=MultiFidelityFacade.get_intensifier(
                    scenario, eta=self.eta, incumbent_selection="highest_budget"
                ),
                acquisition_maximizer=maximizer,
                initial_design=MultiFidelityFacade.get_initial_design(scenario, n_configs=self.n_init or dimensions),
                config_selector=ConfigSelector(
                    scenario, retrain_after=self.retrain_after, min_trials=self.min_trials or max(8, dimensions)
                ),
                logging_level=False,
                overwrite=True,
            )


def _order_starting_points(maximizer) -> None:
    """SMAC 2.4 passes the starting points of its local search through a set of configurations, whose order hangs on the
    process's string hashing (PYTHONHASHSEED), and with it what is proposed."""
    search = maximizer._local_search
    unordered = search._get_init_points_from_previous_configs

    def ordered(*args, **options):
        return sorted(unordered(*args, **options), key=lambda configuration: configuration.get_array().tobytes())

    search._get_init_points_from_previous_configs = ordered


def _never_called(config, seed: int = 0, budget: float = 0.0) -> float:
    raise NotImplementedError("the search loop evaluates")

"""Parts of SMAC for BOHB, repaired where SMAC 2.4 loops forever or is not reproducible.

Where a space still has configurations to try, the decisions are SMAC's own.
"""

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from ConfigSpace import Configuration

from jahslib.extras import extra

with extra("smac"):
    from smac.intensifier.hyperband import Hyperband
    from smac.main.config_selector import ConfigSelector
    from smac.main.exceptions import ConfigurationSpaceExhaustedException as Exhausted
    from smac.runhistory import TrialInfo
    from smac.runhistory.encoder import RunHistoryLogScaledEncoder

UNTRIED_DRAWS = 10_000  # before a space counts as exhausted
LOWEST_LOGARITHM = -50.0  # below all finite values of SMAC's own

if logging.getLogger("smac").level == logging.NOTSET:
    # An exhausted space causes warnings that advise to change SMAC's settings.
    logging.getLogger("smac").setLevel(logging.ERROR)


class Selector(ConfigSelector):
    """SMAC's choice of configurations, ended once the whole space was tried.

    SMAC's own draws forever while its model has too few results, and gives up after sixteen draws once it has a model.
    """

    def _set_components(self, *args, **components) -> None:
        super()._set_components(*args, **components)
        # SMAC draws them from a copy of the space, and configurations of two spaces compare equal only where the spaces
        # do: not where one has been pickled, nor where it has priors, which the copy lacks.
        self._initial_design_configs = [
            Configuration(self._scenario.configspace, vector=drawn.get_array(), origin=drawn.origin)
            for drawn in self._initial_design_configs
        ]

    def __iter__(self) -> Iterator[Configuration]:
        assert self._runhistory is not None
        self._tried = set(self._runhistory.get_configs())
        tries = self._max_new_config_tries
        while True:
            self._max_new_config_tries = tries - len(self._runhistory.get_configs())  # SMAC adds this number again
            yield from self._until_repeating(tries)
            drawn = self._scenario.configspace.sample_configuration(UNTRIED_DRAWS)
            untried = next((configuration for configuration in drawn if configuration not in self._tried), None)
            if untried is None:
                return
            self._tried.add(untried)
            yield untried

    def _until_repeating(self, tries: int) -> Iterator[Configuration]:
        repeated = 0
        try:
            for configuration in super().__iter__():
                repeated = repeated + 1 if configuration in self._tried else 0
                if repeated > tries:
                    return
                self._tried.add(configuration)
                yield configuration
        except Exhausted:
            return


class Brackets(Hyperband):
    """SMAC's Hyperband with brackets that may begin with fewer configurations than planned; (b, n) is bracket b with n.

    Raises:
        Exhausted: from its iterator, when all trials that can follow now were given and the space has no untried
            configuration. Iterating again continues from there, once results came in.
    """

    def reset(self) -> None:
        super().reset()
        self._short: set[tuple[int, int]] = set()

    def __post_init__(self) -> None:
        super().__post_init__()
        for bracket, n in self._short:
            self._shorten(bracket, n)

    def _shorten(self, bracket: int, n: int) -> Any:
        """Add a bracket planned like this one, but beginning with n configurations; return its name."""
        stages = range(self._max_iterations[bracket])
        self._short.add((bracket, n))
        self._n_configs_in_stage[bracket, n] = [max(1, int(n // self._eta**stage)) for stage in stages]
        self._budgets_in_stage[bracket, n] = self._budgets_in_stage[bracket]
        self._max_iterations[bracket, n] = self._max_iterations[bracket]
        return bracket, n

    @property
    def config_selector(self) -> ConfigSelector:
        return super().config_selector

    @config_selector.setter
    def config_selector(self, config_selector: ConfigSelector) -> None:
        self._config_selector = config_selector
        self._untaken = iter(config_selector)

    def _get_next_bracket(self) -> Any:
        bracket = super()._get_next_bracket()
        planned = self._n_configs_in_stage[bracket][0]
        configurations = list(islice(self._untaken, planned))
        if len(configurations) < planned:
            known = self.runhistory.has_config
            configurations = [c for c in dict.fromkeys(configurations) if not known(c)]
            if not configurations:
                raise Exhausted
            bracket = self._shorten(bracket, len(configurations))
        self._config_generator = iter(configurations)
        return bracket

    def budgets(self) -> set[float]:
        """Return the budgets of its plan."""
        self.__post_init__()
        return {budget for stages in self._budgets_in_stage.values() for budget in stages}

    def trial(self, configuration: Configuration, budget: float) -> TrialInfo:
        """Build the trial info that this intensifier would have given out."""
        return TrialInfo(configuration, seed=self.get_instance_seed_keys_of_interest()[0].seed, budget=budget)

    def resume(self, suggested: list[tuple[Configuration, float]]) -> None:
        """Put what was suggested elsewhere, with its budgets, into brackets in SMAC's order.

        The runhistory has these trials already. The last two brackets, and those with a running trial, continue; the
        others ended, though SMAC might have promoted more: a log does not tell what SMAC draws again for a bracket.
        """
        self.config_selector = self._config_selector  # restart with the configurations of the runhistory
        planned = {bracket: self._n_configs_in_stage[bracket][0] for bracket in range(self._s_max + 1)}
        begins = {self._budgets_in_stage[bracket][0]: bracket for bracket in planned}
        first: dict[Configuration, float] = {}
        promoted = {c for c, budget in suggested if budget > first.setdefault(c, budget)}
        filled: list[tuple[int, list[Configuration]]] = []
        for configuration, budget in first.items():
            if (bracket := begins.get(budget)) is None:  # from another plan
                continue
            if not filled or filled[-1][0] != bracket or len(filled[-1][1]) == planned[bracket]:
                filled.append((bracket, []))
            filled[-1][1].append(configuration)
        self._tracker.clear()
        self._next_bracket = 0
        if filled:
            last, members = filled[-1]
            self._next_bracket = (last + 1) % len(planned)
            if promoted.isdisjoint(members):
                members += islice(self._untaken, planned[last] - len(members))
        running = set(self.runhistory.get_running_configs())
        going_on = [(b, members) for b, members in filled[:-2] if not running.isdisjoint(members)] + filled[-2:]
        for bracket, members in going_on or [(0, [])]:
            whole = len(members) in (0, planned[bracket])
            begun = bracket if whole else self._shorten(bracket, len(members))
            # SMAC checks the stages that are listed: with all of them it promotes through several at once.
            stages = [self._tracker[begun, stage] for stage in range(self._max_iterations[begun])]
            if members:
                stages[0].append((self._get_next_order_seed(), members))


class Finite(RunHistoryLogScaledEncoder):
    """SMAC's scaled logarithm of the costs, finite also where rounding loses the distance to its bound 1e-10 below."""

    def transform_response_values(self, values: np.ndarray) -> np.ndarray:
        return np.maximum(super().transform_response_values(values), LOWEST_LOGARITHM)

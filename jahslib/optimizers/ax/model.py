"""Ax's generation strategy with bounds on its effort.

By default Ax optimises its acquisition function from 20 restarts, chosen among 1,024 points, with up to 64
alternations between discrete and continuous steps, and fits its Gaussian process to convergence. Bounds on all four at
least halve the time of a proposal; by `benchmarks/ax_proposing.md` the regret is not told apart.
"""

import math
from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from ax.adapter.registry import Generators
from ax.api.utils.generation_strategy_dispatch import choose_generation_strategy
from ax.api.utils.structs import GenerationStrategyDispatchStruct
from ax.core.experiment import Experiment
from ax.core.observation import ObservationFeatures
from ax.core.utils import extract_pending_observations
from ax.exceptions.core import SearchSpaceExhausted
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.generators.torch.botorch_modular.surrogate import SurrogateSpec
from ax.generators.torch.botorch_modular.utils import ModelConfig, fit_botorch_model
from botorch.exceptions.errors import (
    CandidateGenerationError,
    InfeasibilityError,
    InputDataError,
    ModelFittingError,
    OptimizationGradientError,
)
from botorch.fit import fit_gpytorch_mll
from botorch.models import MixedSingleTaskGP, SingleTaskGP
from botorch.optim.optimize_mixed import (
    ALTERNATING_OPTIMIZER_THRESHOLD,
    MAX_CARDINALITY_FOR_LOCAL_SEARCH,
    MAX_CHOICES_ENUMERATE,
)
from linear_operator.utils.errors import NanError, NotPSDError

from jahslib.core.trials import Origin
from jahslib.optimizers.ax.parameters import Box

if TYPE_CHECKING:
    from jahslib.optimizers.ax.optimizer import AxBO

ATTEMPTS = 3  # of the model to propose something new
POINTS = 100  # of the Sobol sequence, likewise; they may differ in inactive hyperparameters only

# Failures caused by the data of the model, not by its user.
FAILURES = (
    SearchSpaceExhausted,
    ModelFittingError,
    CandidateGenerationError,
    InfeasibilityError,
    InputDataError,
    OptimizationGradientError,
    NanError,
    NotPSDError,
)

FIT_STEPS = 60  # of L-BFGS; convergence takes up to 200 and changes the likelihood's third digit
ALTERNATIONS = {"maxiter_alternating": 1, "maxiter_continuous": 12, "maxiter_init": 5}
EACH = {"maxiter": 20}  # steps for each combination of few discrete values, whose best is taken


class QuickGP(SingleTaskGP):
    """BoTorch's default model, fitted in at most `FIT_STEPS` steps."""


class QuickMixedGP(MixedSingleTaskGP):
    """BoTorch's default model with categorical inputs, fitted in at most `FIT_STEPS` steps."""


@fit_botorch_model.register((QuickGP, QuickMixedGP))
def _fit(model: Any, mll_class: Any, mll_options: dict[str, Any] | None = None) -> None:
    mll = mll_class(likelihood=model.likelihood, model=model, **(mll_options or {}))
    fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": FIT_STEPS}})


def strategy(settings: "AxBO", box: Box, acquisition: dict[str, Any], trials: int) -> GenerationStrategy:
    """Build a strategy that continues after `trials` trials; its only memory is the experiment.

    Over choices alone the rounded optimum of Ax's continuous relaxation is often a configuration that was already
    tried. There its categorical kernel is used instead, with a local search that avoids what was tried.
    """
    struct = GenerationStrategyDispatchStruct(
        method=settings.method,
        initialization_budget=settings.n_init,
        initialization_random_seed=settings.seed,
        use_existing_trials_for_initialization=True,
        **settings.initialisation,
    )
    made = choose_generation_strategy(struct)
    for name, node in made.nodes_by_name.items():
        if name == "Sobol":  # position in the sequence; the centre is not one of its points
            node.generator_spec.generator_kwargs["init_position"] = max(0, trials - struct.initialize_with_center)
        elif name == "MBM":
            _choose(node.generator_spec, box, acquisition, not settings.unbounded)
    return made


def proposals(made: GenerationStrategy, experiment: Experiment) -> Iterator[tuple[dict[str, Any], Origin]]:
    """Yield Ax's next proposal, and alternatives: further Sobol points, or two of the model told to avoid the earlier.

    Raises:
        DataRequiredError: Ax waits for the results of pending trials.
    """
    made.experiment = experiment
    made.current_generator_run_limit()  # advances to the phase of the experiment's trials
    avoided: list[ObservationFeatures] = []
    for _ in range(POINTS):
        if not avoided:
            ((run,),) = made.gen(experiment=experiment, n=1)
        else:
            pending = extract_pending_observations(experiment) or {}
            pending = {name: [*pending.get(name, []), *deepcopy(avoided)] for name in experiment.metrics}
            run = made.current_node.gen(experiment=experiment, pending_observations=pending, n=1, skip_fit=True)
        assert run is not None
        (arm,) = run.arms
        if made.current_node_name != "MBM":
            yield arm.parameters, "initial"
            continue
        from_model = made.current_node.generator_spec_to_gen_from.generator_key != "Fallback_Sobol"
        yield arm.parameters, "model" if from_model else "random"
        avoided.append(ObservationFeatures(parameters=dict(arm.parameters)))
        if len(avoided) == ATTEMPTS:
            return


def _choose(spec: Any, box: Box, acquisition: dict[str, Any], bounded: bool) -> None:
    varying = [p for p in box.parameters.values() if p.size > 1]
    choices_alone = all(p.size < math.inf for p in varying) and any(p.is_unordered for p in varying)
    optimizer = dict(acquisition)
    if choices_alone:
        spec.generator_enum = Generators.BO_MIXED
    bounds = _bounds([p.size for p in varying if choices_alone or not p.is_unordered], len(varying))
    if bounds is None:
        optimizer.pop("options", None)
    elif bounds and bounded:
        optimizer["options"] = bounds | optimizer.get("options", {})
    spec.generator_gen_kwargs["model_gen_options"] = {"optimizer_kwargs": optimizer}
    if not bounded:
        return
    config = ModelConfig(botorch_model_class=QuickMixedGP if choices_alone else QuickGP, name="MBM, quickly fitted")
    spec.generator_kwargs["surrogate_spec"] = SurrogateSpec(model_configs=[config])


def _bounds(sizes: list[float], dimensions: int) -> dict[str, int] | None:
    """Choose bounds for the acquisition optimizer that Ax will pick.

    None if it takes no options. Ax picks by the sizes of what it does not relax. An unordered choice beside numbers is
    one-hot encoded and relaxed, so it is not among `sizes`.
    """
    discrete = [size for size in sizes if size < math.inf]
    combinations = math.prod(discrete)
    if discrete and len(discrete) == dimensions:
        few = combinations <= MAX_CHOICES_ENUMERATE or max(discrete) <= MAX_CARDINALITY_FOR_LOCAL_SEARCH
        return None if few else ALTERNATIONS
    return ALTERNATIONS if combinations > ALTERNATING_OPTIMIZER_THRESHOLD else EACH if discrete else {}

"""How spaces and metrics read in Ax."""

import warnings

import numpy as np
import pytest
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    Constant,
    Float,
    InCondition,
    Integer,
    NormalFloatHyperparameter,
    OrdinalHyperparameter,
)

from jahslib.core.problem import Constraint, Objective
from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.optimizers.ax.parameters import Box, configure, constrained_names, metric_names, outcomes
from jahslib.spaces import configurations as spaces
from tests.conftest import Toy, conditional_space

ORDINARY = [
    Integer("a", (4, 512), log=True),
    Float("a", (1e-5, 0.1), log=True),
    Float("a", (0.0, 1e-4)),
    Categorical("a", [True, False]),
    Categorical("a", list("uvw")),
    OrdinalHyperparameter("a", [3, 5, 7]),
    Constant("a", 3),
    Categorical("a", ["only"]),
]

# What Ax refuses, or takes minutes and gigabytes for, as it stands.
ODD = {
    "a large integer": Integer("a", (1, 10**7)),
    "a large integer on a log scale": Integer("a", (1, 10**7), log=True),
    "an integer as large as a float is exact": Integer("a", (0, 2**53)),
    "text and numbers": Categorical("a", ["auto", 1.0, 2]),
    "none": Categorical("a", [None, "b"]),
    "a number and its text": Categorical("a", ["1", 1]),
    "a truth value and text": Categorical("a", [True, "auto"]),
    "integers and floats": Categorical("a", [1, 2.5]),
    "mixed ranks": OrdinalHyperparameter("a", ["low", 1, 2.5]),
    "many choices": Categorical("a", [f"v{i}" for i in range(1200)]),
    "many ranks": OrdinalHyperparameter("a", list(range(1200))),
    "a narrow range": Float("a", (0.5, 0.5 + 5e-8)),
    "a narrow range on a log scale": Float("a", (1e-6, 1e-5), log=True),
    "a range that is narrow on its log scale": Float("a", (1.0, 1.00001), log=True),
}


def box_of(*hps):
    space = ConfigurationSpace()
    space.add(*hps)
    return Box(space)


def client_of(box):
    from ax.api.client import Client

    client = Client(random_seed=0)
    client.configure_experiment(parameters=box.configs())
    return client


class TestBox:
    @pytest.mark.parametrize("hp", ORDINARY, ids=str)
    def test_the_ordinary_is_told_as_it_is(self, hp):
        box = box_of(hp)
        for configuration in sampled(box.space):
            assert box.encode(configuration) == configuration == box.decode(configuration)
            assert {type(v) for v in box.encode(configuration).values()} == {type(v) for v in configuration.values()}

    @pytest.mark.parametrize("name", ODD)
    def test_the_odd_is_told_in_code_and_read_back(self, name):
        box = box_of(ODD[name])
        client = client_of(box)
        with warnings.catch_warnings(action="error", category=RuntimeWarning):  # Ax's, of what lies outside
            for configuration in sampled(box.space):
                told = box.encode(configuration)
                client.attach_trial(told)
                (value,), (read,) = configuration.values(), box.decode(told).values()
                assert type(read) is type(value)
                assert read == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)

    def test_what_is_told_is_told_apart(self):
        for hp in (Categorical("a", ["1", 1, "null", None, "None", 1.5, "1.5"]), ODD["many choices"]):
            box = box_of(hp)
            told = [str(box.encode({"a": choice})) for choice in hp.choices]
            assert len(set(told)) == len(hp.choices)

    def test_the_inactive_is_told_at_its_default_and_dropped_again(self):
        box = Box(conditional_space())
        configuration = {"kernel": 3, "layers": 1, "norm": True, "rate": 0.01}
        assert box.encode(configuration) == {**configuration, "width": 256}
        assert box.decode({**configuration, "width": 8}) == configuration
        assert box.values({**configuration, "width": 8}) == {**configuration, "width": 8}

    def test_columns_of_axs_own_are_not_overwritten(self):
        names = ["metadata", "trial_index", "arm_name", "step", "hp_step", "rate"]
        box = box_of(*(Float(name, (0, 1)) for name in names))
        told = box.encode({name: i / 8 for i, name in enumerate(names)})
        assert len(set(told)) == len(names) and not {"metadata", "trial_index", "arm_name", "step"} & set(told)
        assert told["hp_step"] == 0.5 and told["rate"] == 0.625
        assert box.decode(told) == {name: i / 8 for i, name in enumerate(names)}

    def test_every_configuration_of_a_small_space_is_known(self):
        space = ConfigurationSpace()
        layers, width = Integer("layers", (1, 2)), Integer("width", (1, 3))
        space.add(layers, width, Constant("c", 1), Categorical("norm", [True, False]))
        space.add(InCondition(width, layers, [2]))
        assert len(Box(space).every()) == (1 + 3) * 2
        assert not Box(space).every(most=3) and not Box(conditional_space()).every()

    def test_refuses_a_kind_that_ax_lacks(self):
        with pytest.raises(UserError, match=r"Ax has no parameter like .*normal"):
            box_of(NormalFloatHyperparameter("normal", mu=0, sigma=1, lower=-1, upper=1))


def sampled(space, n=20):
    rng = np.random.default_rng(0)
    return [spaces.sample(space, rng) for _ in range(n)]


def problem_of(objective, *constrained):
    toy = Toy([Constraint(metric, ">=", 0.5) for metric in constrained])
    toy.objective = Objective(objective)
    return toy


class TestMetrics:
    def test_ordinary_names_stay_and_others_are_as_they_were(self):
        assert metric_names(problem_of("top1", "params", "sum", "top-1")) == {
            "top1": "top1",
            "params": "params",
            "sum": "metric_sum",
            "top-1": "metric_top_1",
        }

    @pytest.mark.parametrize(
        "metrics",
        [
            ("val-loss", "val loss", "val_loss"),
            ("val-loss", "val loss", "metric_val_loss"),
            ("sum", "metric_sum", "metric_sum_2"),
            ("baseline", "E", "lambda", "größe", "gr\u00f6\u00dfe ", "1st", "a*b", "x__y"),
        ],
    )
    def test_metrics_of_any_name_are_told_apart(self, metrics):
        problem = problem_of(*metrics)
        values = {metric: float(i) for i, metric in enumerate(metrics)}
        from ax.api.client import Client

        client = Client(random_seed=0)
        configure(client, problem, Box(problem.space))
        told = outcomes(problem, Trial({}, 9, metrics=values))
        assert sorted(told.values()) == sorted(values.values())
        assert set(told) == set(client._experiment.metrics)

    def test_the_objective_may_be_bounded_too(self):
        problem = problem_of("accuracy", "accuracy", "accuracy_bounded")
        names = constrained_names(problem)
        assert len({"accuracy", *names}) == 3
        told = outcomes(problem, Trial({}, 9, metrics={"accuracy": 0.75, "accuracy_bounded": 0.25}))
        assert told == {"accuracy": 0.75, names[0]: 0.75, names[1]: 0.25}

    @pytest.mark.parametrize(("best", "worst"), [(0.0, 1.0), (-5.0, 1e9), (1e9, -3.0), (1.0, 0.0)])
    def test_the_direction_is_that_of_the_bounds(self, best, worst):
        from ax.api.client import Client

        problem = Toy()
        problem.objective = Objective("accuracy", best=best, worst=worst)
        client = Client(random_seed=0)
        configure(client, problem, Box(problem.space))
        assert client._experiment.optimization_config.objective.minimize == (best < worst)
        assert outcomes(problem, Trial({}, 9, status="failed")) == {"accuracy": worst}

"""The published settings make the decisions that the committed logs hold, and describe themselves as those do."""

import json

import pytest
from ConfigSpace import ConfigurationSpace

from jahslib.core.problem import Constraint, Fidelity, Objective, Problem
from jahslib.core.trials import History
from jahslib.models import flower_cnn
from jahslib.optimizers.published_evolution import PublishedEvolution
from jahslib.optimizers.regularized_evolution import RegularizedEvolution
from jahslib.paths import ROOT
from jahslib.problems.cells.cell_edges import CellEdges
from jahslib.search import triallog

LOGS = [
    "07_constrained_EA/logs/ea-seed42",
    "07_constrained_EA/logs/ea_hb-seed0",
    "07_constrained_EA/logs/ea_hb-precision0.32-size200000",
    "08_head_to_head/logs/constrained_cnn-ea_hb-seed0",
    "08_head_to_head/logs/constrained_cnn-re-seed0",
    "08_head_to_head/logs/growing_convnet-ea-seed0",
    "08_head_to_head/logs/growing_convnet-ea_hb-seed1",
    "08_head_to_head/logs/growing_convnet-re-seed1",
]


class Declared(Problem):
    """What a log's fingerprint says of its problem; nothing is evaluated."""

    def __init__(self, described):
        self.name = described["name"]
        self.space = ConfigurationSpace.from_serialized_dict(described["space"])
        self.fidelity = Fidelity(*described["fidelity"])
        self.objective = Objective(*described["objective"])
        self.constraints = tuple(map(Constraint.parse, described["constraints"]))

    def evaluate(self, job):
        raise NotImplementedError

    def known(self, configuration):
        if self.name == "constrained_cnn":
            return {"params": flower_cnn.count_parameters(configuration, channels=3, size=16, classes=17)}
        return CellEdges.known(self, configuration) if self.name == "cell_edges" else {}

    term = CellEdges.term


@pytest.mark.parametrize("name", LOGS)
def test_a_committed_log_is_derived_again(name):
    log = triallog.read(ROOT / f"results/cpu/{name}.jsonl")
    described = log.fingerprint["optimizer"]
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in described.items() if k not in ("name", "seed")}
    problem = Declared(log.fingerprint["problem"])
    if described["name"] == "Evolution":
        optimizer = PublishedEvolution(problem, described["seed"], **settings)
    else:
        optimizer = RegularizedEvolution(problem, described["seed"], newly_active="default", **settings)
    assert json.loads(json.dumps(optimizer.describe())) == described

    history, logged = History(), {t.id: t.suggestion() for t in log.trials}
    for trial in log.trials:
        while len(history.suggestions) < trial.asked:
            suggestion = optimizer.ask(history)
            assert suggestion == logged[len(history.suggestions)]
            history.ask(suggestion)
        history.finish(trial)

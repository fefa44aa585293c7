"""LCBench by YAHPO Gym's surrogate: tuning of neural networks on tabular data.

LCBench: Zimmer et al., IEEE TPAMI 43(9), 2021, arXiv 2006.13799; YAHPO Gym: Pfisterer et al., AutoML 2022,
arXiv 2109.03670.

Seven hyperparameters of a multilayer perceptron on 34 OpenML tasks; a network predicts what LCBench recorded after each
of up to 52 epochs, so an evaluation takes less than a millisecond and has no noise. The network is the file
lcbench/model.onnx of version 1.0.2 of slds-lmu/yahpo_data on GitHub; LCBench's data (figshare 13286105) are under the
Apache License 2.0. Nothing of them is distributed with this package: the file is searched for where data sets are, else
downloaded into data/, and opened only if it has the known digest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ConfigSpace import ConfigurationSpace, Float, Integer

from jahslib.core.problem import Constraint, Fidelity, Job, Objective, Outcome, Problem, checked_constraints
from jahslib.core.trials import Configuration
from jahslib.data import archives, places
from jahslib.errors import refuse_illegal, refuse_unknown
from jahslib.extras import require

FILE = "lcbench/model.onnx"
URL = f"https://raw.githubusercontent.com/slds-lmu/yahpo_data/v1.0.2/{FILE}"
SHA256 = "b45c0d85ae39abf8820c8bea5ac82f415763afcbaf3b725e36af452b09cb6dcd"

# The network's code of a task is its position here, from 1; LCBench has no data for 167083, which has a code.
_CODES = (
    "126025 126026 126029 146212 167083 167104 167149 167152 167161 167168 167181 167184 167185 167190 167200 167201 "
    "168329 168330 168331 168335 168868 168908 168910 189354 189862 189865 189866 189873 189905 189906 189908 189909 "
    "34539 3945 7593"
).split()
TASKS = tuple(task for task in _CODES if task != "167083")

_INPUTS = "batch_size learning_rate momentum weight_decay num_layers max_units max_dropout".split()
METRICS = "time val_accuracy val_cross_entropy val_balanced_accuracy test_cross_entropy test_balanced_accuracy".split()
_OBJECTIVES = {
    "val_accuracy": Objective("val_accuracy", best=100.0, worst=0.0),
    "val_balanced_accuracy": Objective("val_balanced_accuracy", best=1.0, worst=0.0),
    "val_cross_entropy": Objective("val_cross_entropy", best=0.0, worst=30.0),
}


@dataclass
class LCBench(Problem):
    """Training for up to 52 epochs on one OpenML task; continuing costs the further epochs only.

    Args:
        task: the OpenML task's number, one of `TASKS`.
        metric: what is optimised: "val_accuracy" (percent), "val_balanced_accuracy" (0..1) or "val_cross_entropy".
        constraints: on any of `METRICS`; `time` is seconds of training up to the trial's epoch.

    Predictions are clipped to the range of their metric (accuracies to 0..100 and 0..1, the others to 0 or more).

    Raises:
        UserError: an unknown task, metric or constrained metric; from `evaluate`, no onnxruntime, or a model that is
            neither found nor downloaded, or is another file.
    """

    task: str = "3945"
    metric: Literal["val_accuracy", "val_balanced_accuracy", "val_cross_entropy"] = "val_accuracy"
    constraints: tuple[Constraint, ...] = ()

    name = "lcbench"
    fidelity = Fidelity(1, 52)

    def __post_init__(self):
        self.task = str(self.task)
        refuse_unknown("lcbench: task", [self.task], TASKS)
        refuse_illegal(self, "lcbench: ")
        self.constraints = checked_constraints(self.constraints, METRICS, "lcbench")
        self.objective = _OBJECTIVES[self.metric]

    @cached_property
    def space(self) -> ConfigurationSpace:
        made = ConfigurationSpace(name="lcbench")
        made.add(
            Integer("batch_size", (16, 512), log=True),
            Float("learning_rate", (1e-4, 0.1), log=True),
            Float("momentum", (0.1, 0.99)),
            Float("weight_decay", (1e-5, 0.1)),
            Integer("num_layers", (1, 5)),
            Integer("max_units", (64, 1024), log=True),
            Float("max_dropout", (0.0, 1.0)),
        )
        return made

    def evaluate(self, job: Job) -> Outcome:
        measured = self.measure([job.configuration], job.fidelity)
        # the network computes in single precision, which has no more digits than these
        metrics = {name: float(f"{values[0]:.7g}") for name, values in measured.items()}
        return Outcome(metrics, self.epochs(job.stages))

    def training_seconds(self, job: Job) -> float:
        """Compute the seconds that LCBench's own machine took for a job's last stage, what it continues excluded."""
        ends = [self.measure([job.configuration], epochs)["time"][0] for epochs in job.stages[-2:]]
        return float(max(ends[-1] - (ends[0] if len(ends) > 1 else 0.0), 0.0))

    def measure(self, configurations: Sequence[Configuration], epochs: int) -> dict[str, np.ndarray]:
        """Predict each of `METRICS` after so many epochs, as arrays over the n configurations."""
        rows = [[epochs, *(configuration[name] for name in _INPUTS)] for configuration in configurations]
        codes = np.full((len(rows), 1), 1 + _CODES.index(self.task), dtype=np.int32)
        (found,) = _session().run(None, {"x_cat": codes, "x_cont": np.asarray(rows, dtype=np.float32)})
        upper = {"val_accuracy": 100.0, "val_balanced_accuracy": 1.0, "test_balanced_accuracy": 1.0}
        columns = zip(METRICS, found.T.astype(float), strict=True)
        return {name: np.clip(values, 0.0, upper.get(name)) for name, values in columns}

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "task": self.task, "model": SHA256[:16]}


def _session():
    require("lcbench", "onnxruntime")  # before anything is downloaded
    mend = "put the folder lcbench of github.com/slds-lmu/yahpo_data (1.0.2) there"
    return _opened(places.obtain("lcbench", [FILE], mend, lambda: ([URL], f"sha256:{SHA256}"))[1])


@lru_cache(maxsize=2)
def _opened(path: Path):
    import onnxruntime

    model = archives.read(path, f"sha256:{SHA256}", "replace it by that of version 1.0.2")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # single rows do not parallelise
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

"""Weights of a final training, stored in a file and measured on the test split again.

A file holds tensors, numbers and text and is loaded as such (`weights_only`): opening one runs none of its contents.
"""

import json
from pathlib import Path
from typing import Any

from jahslib.core.problem import Job
from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.problems.constrained_cnn import ConstrainedCNN
from jahslib.training import checkpoints


def made_of(problem: ConstrainedCNN, job: Job) -> dict[str, Any]:
    """Describe a training, its data and its settings, in JSON types."""
    own = problem.describe()
    training = {"configuration": job.configuration, "epochs": job.fidelity, "seed": job.seed}
    return training | {name: own[name] for name in ("data", "digest", "per_class", "optimizer", "loss")}


def check(problem: ConstrainedCNN, job: Job, path: Path) -> dict[str, Any]:
    """Load the weights in a file, by name. Raises `UserError` for a damaged file or that of another training."""
    state = checkpoints.read(path)
    with checkpoints.applied(path, again="give another model_path"):
        found, wanted = json.loads(state["made_of"]), json.loads(json.dumps(made_of(problem, job)))
        for name, value in wanted.items():
            if found.get(name) != value:
                raise UserError(
                    f"model_path: {path} holds a training with {name} {found.get(name)!r}, not {value!r}; "
                    "give another path, or the settings it was made with"
                )
        return state["model"]


def trained(problem: ConstrainedCNN, job: Job, path: Path, *, fresh: bool = False) -> Trial:
    """Measure a file's weights, from whatever device, on the whole test split.

    Trains and writes it first, bit for bit as `problem.evaluate(job)`, if it is missing or if `fresh`. Raises as
    `check`, `UserError` where it cannot be written, and `Diverged`, without writing it.
    """
    training = problem.training(job, problem.training_images)
    if fresh or not path.exists():
        training.run(job.fidelity)
        description = json.dumps(made_of(problem, job))
        checkpoints.write(path, training.device, {}, model=training.model.state_dict(), made_of=description)
    weights = check(problem, job, path)
    with checkpoints.applied(path, again="give another model_path"):
        training.model.load_state_dict(weights)
    images, labels = problem.test_images
    logits = training.predict(images).cpu()
    measured = problem.known(job.configuration) | problem.measure(training, logits, labels, job)
    outputs = problem.outputs([problem.note(training, logits, measured)])
    return Trial(job.configuration, job.fidelity, metrics=measured, outputs=outputs, epochs=float(training.epoch))

"""Training of one given configuration, tested or cross-validated, as study 07's main.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jahslib.core.problem import Job
from jahslib.core.trials import Trial
from jahslib.errors import UserError
from jahslib.experiments.study import Study
from jahslib.problems import kept_weights
from jahslib.problems.constrained_cnn import ConstrainedCNN
from jahslib.search.runs import Run
from jahslib.spaces import configurations as spaces


@dataclass(frozen=True)
class Given:
    """A configuration from a file, trained in `run`, or once with its `weights` kept in a file."""

    problem: ConstrainedCNN
    job: Job
    run: Run | None = None
    weights: Path | None = None

    def train(self, study: Study) -> Sequence[Trial]:
        """Train the configuration, or measure kept weights again. Raises `UserError` if no training succeeded."""
        if self.weights is not None:
            return [kept_weights.trained(self.problem, self.job, self.weights, fresh=study.settings.fresh)]
        assert self.run is not None
        trials = study.train({"given": self.run})["given"]
        if not trials:
            raise UserError(f"configuration: no training of {self.run.log.stem} succeeded; its trial log says why")
        return trials


def given(
    study: Study,
    problem: ConstrainedCNN,
    *,
    configuration: str | None,
    model_path: str | None = None,
    count: int,
    seed: int,
) -> Given | None:
    """Plan to train the configuration in a file `count` times, or once with its weights kept at `model_path`.

    Args:
        problem: measures on the test split, or cross-validates on its folds.
        configuration: path of a JSON file, such as `Report.configuration` writes; None plans nothing.
        seed: of the training whose weights are kept.

    Raises:
        UserError: no configuration of the space; weights of another training, or to be kept of more than one.
    """
    if model_path is not None and (configuration is None or problem.split != "test"):
        raise UserError("model_path: keeps the weights of one configuration on the test split; give configuration")
    if configuration is None:
        return None
    values = spaces.read(problem.space, configuration)
    job = Job(values, (problem.max_epochs,), seed)
    if model_path is None:
        digest = spaces.digest(values)
        log = f"test-{digest}" if problem.split == "test" else f"cv-{digest}-seed{problem.seed}"
        run = study.trainings(problem, [values] * count, log, method="configuration", seed=0)
        return Given(problem, job, run)
    path = Path(model_path)
    if path.exists() and not study.settings.fresh:
        kept_weights.check(problem, job, path)
    return Given(problem, job, weights=path)

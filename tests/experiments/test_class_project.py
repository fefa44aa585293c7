"""One configuration from a file, as notebook 07 plans it: tested, cross-validated, or its weights kept."""

import json

import pytest
import torch

from jahslib.core.problem import Job
from jahslib.data import registry
from jahslib.errors import UserError
from jahslib.experiments.notebook import experiment
from jahslib.problems import kept_weights
from jahslib.search import triallog
from jahslib.spaces import configurations as spaces
from jahslib.training.trainer import Training

SMALL = {"n_conv_layers": 1, "n_channels_conv_0": 16, "n_fc_layers": 1, "n_channels_fc_0": 16, "batch_size": 64}


@pytest.fixture
def of(tmp_path, monkeypatch):
    """Notebook 07's experiment in a temporary folder with a small network for `configuration`."""
    monkeypatch.setenv("JAHSLIB_RESULTS", str(tmp_path / "results"))
    path = tmp_path / "opt_cfg.json"
    path.write_text(json.dumps(SMALL))

    def made(**changes):
        base = {"profile": "smoke", "device": "cpu", "configuration": str(path), "max_epochs": 2, "methods": ["rs"]}
        return experiment("07_constrained_EA", base | changes)

    return made


def train(made):
    return made.given.train(made.study)


class TestTrainings:
    def test_are_as_many_as_final_trainings_and_measured_on_the_test_split(self, of):
        made = of(final_seeds=2)
        trials = train(made)
        images = len(registry.load("digits", "test").labels)
        assert [len(t.outputs["predictions"]) for t in trials] == [images] * 2
        assert made.given.run in made.study.planned and made.given.problem.split == "test"

    def test_are_cross_validated_on_all_folds_of_the_seed(self, of):
        """With the final optimizer, as the original's main script; the folds are those of `--seed`."""
        made = of(test=False, seeds=[123])
        (trial,) = train(made)
        (log,) = made.study.folder.glob("logs/cv-*-seed123.jsonl")
        described = triallog.read(log).fingerprint["problem"]
        kept = [described[name] for name in ("split", "folds_used", "seed", "optimizer")]
        assert kept == ["validation", 3, 123, "adamw"] and trial.epochs == 3 * 2

    def test_may_be_of_a_network_larger_than_the_searches_limit(self, of):
        (trial,) = train(of(test=False, constraint_max_model_size=100))
        assert trial.metrics["params"] > 100

    @pytest.mark.parametrize(("content", "said"), [(None, "no file"), ("{", "not JSON"), ('{"depth": 3}', "'depth'")])
    def test_of_what_is_no_configuration_are_refused_before_anything_is_trained(self, content, said, of, tmp_path):
        path = tmp_path / "other.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(UserError, match=said):
            of(configuration=str(path))


class TestWeights:
    def test_are_kept_and_give_the_same_metrics_without_training(self, of, tmp_path, monkeypatch):
        path = tmp_path / "models" / "one.pt"
        made = of(model_path=str(path))
        (trained,) = train(made)
        task = made.given.problem
        whole = task.evaluate(Job(trained.configuration, (2,), 0))
        assert trained.metrics == whole.metrics | task.known(trained.configuration) and trained.epochs == 2
        state = torch.load(path, weights_only=True)
        assert set(state["model"]) and all(isinstance(v, torch.Tensor) for v in state["model"].values())

        monkeypatch.setattr(Training, "run", lambda *args: pytest.fail("trained again"))
        (tested,) = train(of(model_path=str(path)))
        assert tested.metrics == trained.metrics and tested.outputs == whole.outputs and tested.epochs == 0

    def test_are_what_is_measured(self, of, tmp_path):
        """Other weights in the file give other predictions."""
        (before,) = train(of(model_path=str(tmp_path / "one.pt")))
        (after,) = train(of(model_path=str(tmp_path / "other.pt"), seeds=[1]))
        assert before.outputs["predictions"] != after.outputs["predictions"]

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"max_epochs": 3}, "holds a training with epochs 2, not 3"),
            ({"seeds": [1]}, "holds a training with seed 0, not 1"),
            ({"final_optimizer": "adam"}, "holds a training with optimizer 'adamw', not 'adam'"),
            ({"configuration": "other"}, "holds a training with configuration"),
        ],
    )
    def test_of_another_training_are_refused_before_anything_runs(self, changes, said, of, tmp_path):
        path = tmp_path / "one.pt"
        task = of().given.problem
        kept_weights.trained(task, Job(spaces.complete(task.space, SMALL), (2,), 0), path)
        if "configuration" in changes:
            changes = {"configuration": str(tmp_path / "other.json")}
            (tmp_path / "other.json").write_text(json.dumps(SMALL | {"n_channels_conv_0": 17}))
        with pytest.raises(UserError, match=f"model_path: .*one.pt {said}"):
            of(model_path=str(path), **changes)
        of(model_path=str(path), fresh=True, **changes)

    @pytest.mark.parametrize("content", [b"", b"no weights"])
    def test_in_a_file_that_is_none_are_refused(self, content, of, tmp_path):
        (tmp_path / "one.pt").write_bytes(content)
        with pytest.raises(UserError, match=r"one\.pt is not a readable checkpoint"):
            of(model_path=str(tmp_path / "one.pt"))

    def test_are_of_one_configuration_on_the_test_split(self, of):
        with pytest.raises(UserError, match="model_path: keeps the weights of one configuration on the test split"):
            of(model_path="model.pt", test=False)

"""Settings from a cfg file and from keys and values: which goes before which, which keys there are."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jahslib.errors import UserError
from jahslib.experiments.cfg import Layers
from jahslib.experiments.settings import Names, Settings

PROFILES = {"smoke": {"max_epochs": 1, "bounds": {"lr": [0, 1], "decay": [0, 1]}}}
ALIASES = {
    "num_epoch": "max_epochs",
    "dataset_name": "data",
    "train.lr": "lr",
    "train.num_epoch": "max_epochs",
    "meters": None,
}


@dataclass
class Task:
    lr: float = 1e-3
    max_epochs: int = 20
    use_gpu: bool | None = True
    split: Literal["test", "validation"] = "test"
    pair: tuple[float, float] = (0.0, 1.0)
    bounds: dict[str, Any] = field(default_factory=dict)


def settings(named=None, **layers):
    namespace = {"profile": "smoke", "device": "cpu"} | (named or {})
    return Settings(namespace, PROFILES, Task, layers=Layers(**layers, aliases=ALIASES), data=Names)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "run.yml"
        path.write_text(text)
        return path

    return write


class TestPrecedence:
    def test_profile_then_cfg_then_set_then_named(self, file):
        path = file("max_epochs: 2\nlr: 0.2\nnote: from cfg\n")
        made = settings({"max_epochs": 4}, cfg=path, set="max_epochs 3 lr 0.3")
        assert (made.max_epochs, made.lr, made.note, made.split) == (4, 0.3, "from cfg", "test")
        assert settings(cfg=path, set="max_epochs 3").max_epochs == 3
        assert settings(cfg=path).max_epochs == 2
        assert settings().max_epochs == 1
        assert settings(cfg=path).of(Task) == {"max_epochs": 2, "lr": 0.2, "bounds": PROFILES["smoke"]["bounds"]}

    def test_none_in_words_is_none_on_every_layer(self, file):
        assert settings(cfg=file("use_gpu: none")).use_gpu is None
        assert settings(cfg=file("use_gpu: true"), set="USE_GPU none").use_gpu is None
        assert settings(cfg="none", set="none").use_gpu is True  # no file, no list

    def test_a_named_none_and_an_empty_value_give_nothing(self, file):
        assert settings({"lr": None}, cfg=file("max_epochs:\n"), set="lr 0.5").of(Task)["lr"] == 0.5
        assert settings(cfg=file("max_epochs:\n")).max_epochs == 1

    @given(st.dictionaries(st.sampled_from(["lr", "pair"]), st.just(None)), st.floats(0, 1), st.floats(0, 1))
    def test_the_highest_layer_that_speaks_wins(self, silent, low, high):
        assert settings({**silent, "lr": high}, set={"lr": low}).lr == high
        assert settings(silent, set={"lr": low}).lr == low

    def test_a_mapping_is_the_highest_layers_or_merged_over_all(self, file):
        made = settings({"bounds": {"decay": [0, 3]}}, cfg=file("bounds: {lr: [0, 2]}"), set="bounds.momentum '[0, 2]'")
        assert made.bounds == {"decay": [0, 3]}
        assert made.merged("bounds") == {"lr": [0, 2], "decay": [0, 3], "momentum": [0, 2]}


class TestKeys:
    def test_the_originals_keys_in_upper_case(self, file, caplog):
        made = settings(cfg=file("LR: 0.01\nNUM_EPOCH: 5\nMETERS: [loss]\n"), set=["DATASET_NAME", "mnist"])
        assert (made.lr, made.max_epochs, made.data) == (0.01, 5, ("mnist",))
        assert "METERS changes nothing here" in caplog.text

    def test_the_originals_nested_keys(self, file):
        made = settings(cfg=file("TRAIN: {LR: 1e-2, NUM_EPOCH: 5}"), set="TRAIN.LR 0.02")
        assert (made.lr, made.max_epochs) == (0.02, 5)

    def test_a_dot_reaches_into_a_mapping(self, file):
        path = file("bounds: {lr: [0.01, 0.1], momentum: [0, 0.5]}\n")
        assert settings(cfg=path, set=["BOUNDS.momentum", [0, 0.9]]).bounds == {"lr": [0.01, 0.1], "momentum": [0, 0.9]}

    @pytest.mark.parametrize(
        ("key", "hint"), [("max_epoch", "did you mean"), ("num_epochs", "did you mean"), ("zz", "known: bounds, data")]
    )
    def test_an_unknown_key_is_named(self, file, key, hint):
        path = file(f"{key}: 3\n")
        with pytest.raises(UserError, match=f"cfg .*run.yml: unknown key '{key}'; {hint}"):
            settings(cfg=path)
        with pytest.raises(UserError, match=f"set: unknown key '{key}'; {hint}"):
            settings(set=[key, 3])

    def test_only_mappings_have_an_inside(self):
        with pytest.raises(UserError, match=r"set: unknown key 'lr\.x'"):
            settings(set="lr.x 3")

    def test_a_field_that_the_notebook_does_not_set_is_unknown(self):
        cell = "profile = 'smoke'\nlr = None\n"
        with pytest.raises(UserError, match="set: unknown key 'split'"):
            Settings({"profile": "smoke", "In": [cell]}, PROFILES, Task, layers=Layers(set="split test"))


class TestTypes:
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("max_epochs: ten", r"max_epochs: 'ten' \(str\)"),
            ("max_epochs: 2.5", r"max_epochs: 2.5 \(float\)"),
            ("max_epochs: true", "max_epochs: True"),
            ("lr: fast", r"lr: 'fast' \(str\)"),
            ("lr: .nan", "lr: nan"),
            ("use_gpu: 2", r"use_gpu: 2 \(int\)"),
            ("data: 3", r"data: 3 \(int\)"),
            ("data: [3]", r"data: \[3\] \(list\)"),
            ("split: train", "split: 'train'"),
            ("pair: [1]", r"pair: \[1\]"),
            ("bounds: 7", "bounds: 7"),
        ],
    )
    def test_a_wrong_type_is_named_with_its_place(self, file, line, said):
        with pytest.raises(UserError, match=f"cfg .*run.yml: {said}"):
            settings(cfg=file(line + "\n"))

    def test_words_of_a_list_are_numbers_where_they_can_be(self):
        """The original's --use-gpu was always refused: a whole number is not a bool."""
        made = settings(set="lr 1 use_gpu 1 data \"['mnist', 'cifar10']\" pair '[0, 2]'")
        assert (made.lr, made.use_gpu, made.data, made.pair) == (1.0, True, ("mnist", "cifar10"), (0.0, 2.0))
        with pytest.raises(UserError, match="set: max_epochs: 'ten'"):
            settings(set="max_epochs ten")

    def test_yaml_takes_1e_3_for_text_and_it_is_a_number_all_the_same(self, file):
        assert settings(cfg=file("lr: 1e-3\n")).lr == 1e-3


class TestFiles:
    """The original's yaml.load without a loader fails with PyYAML 6."""

    def test_an_empty_file_gives_nothing(self, file):
        assert settings(cfg=file("# nothing\n")).max_epochs == 1

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("- lr\n", r"holds \['lr'\] \(list\); give a mapping"),
            ("lr: [1\n", "is not YAML"),
            ("!!python/object/apply:os.getcwd []", "is not YAML"),
        ],
    )
    def test_refuses_what_is_no_mapping_and_runs_nothing_of_it(self, file, text, said):
        with pytest.raises(UserError, match=said) as error:
            settings(cfg=file(text))
        assert "\n" not in str(error.value)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(UserError, match=r"nowhere\.yml: no such file"):
            settings(cfg=tmp_path / "nowhere.yml")

    def test_a_key_without_a_value_is_refused(self):
        with pytest.raises(UserError, match="set: 'lr' has no value"):
            settings(set="max_epochs 3 lr")

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jahslib.errors import UserError
from jahslib.experiments import cfg
from jahslib.experiments.profiles import RunOptions, resolve


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    lr: float = 1e-3
    max_epochs: int = 20
    use_gpu: bool | None = None
    data: tuple[str, ...] | str = "cifar100"
    split: Literal["test", "validation"] = "test"
    pair: tuple[float, float] = (0.0, 1.0)
    bounds: dict[str, Any] = field(default_factory=dict)
    note: str = ""


DEFAULTS = {"smoke": {"max_epochs": 1}, "cpu": {}, "paper": {}}
ALIASES = {"num_epoch": "max_epochs", "dataset_name": "data"}


def merge(named=None, **layers):
    return cfg.merge(Options, {"profile": "smoke"} | (named or {}), aliases=ALIASES, **layers)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "run.yml"
        path.write_text(text)
        return path

    return write


class TestPrecedence:
    def test_defaults_then_cfg_then_set_then_named(self, file):
        path = file("max_epochs: 2\nlr: 0.2\nnote: from cfg\n")
        layers = {"cfg": path, "set": "max_epochs 3 lr 0.3"}
        shown = resolve(Options, DEFAULTS, merge({"max_epochs": 4}, **layers))
        assert (shown.max_epochs, shown.lr, shown.note, shown.data) == (4, 0.3, "from cfg", "cifar100")
        assert resolve(Options, DEFAULTS, merge(**layers)).max_epochs == 3
        assert resolve(Options, DEFAULTS, merge(cfg=path)).max_epochs == 2
        assert resolve(Options, DEFAULTS, merge()).max_epochs == 1

    def test_none_in_words_passes_every_layer_to_resolve(self, file):
        for text, above in (("use_gpu: none", None), ("use_gpu: true", "USE_GPU none")):
            made = merge(cfg=file(text), set=above)
            assert made["use_gpu"] == "none"
            assert resolve(Options, DEFAULTS | {"smoke": {"use_gpu": True}}, made).use_gpu is None
        assert cfg.file("none") is None and cfg.file("some.yaml") == "some.yaml"

    def test_a_named_none_is_not_given(self):
        assert merge({"lr": None}, set="lr 0.5")["lr"] == 0.5

    @given(st.dictionaries(st.sampled_from(["lr", "pair"]), st.just(None)), st.floats(0, 1), st.floats(0, 1))
    def test_the_highest_layer_that_speaks_wins(self, silent, low, high):
        assert merge({**silent, "lr": high}, set={"lr": low})["lr"] == high
        assert merge(silent, set={"lr": low})["lr"] == low

    def test_unknown_named_parameters_pass_through_for_resolve_to_refuse(self):
        with pytest.raises(UserError, match="parameter 'max_epoch' is unknown; did you mean 'max_epochs'"):
            resolve(Options, DEFAULTS, merge({"max_epoch": 3}))


class TestKeys:
    def test_the_originals_keys_in_upper_case(self, file):
        merged = merge(cfg=file("LR: 0.01\nNUM_EPOCH: 5\n"), set=["DATASET_NAME", "mnist"])
        assert merged == {"profile": "smoke", "lr": 0.01, "max_epochs": 5, "data": "mnist"}

    def test_a_dot_reaches_into_a_mapping(self, file):
        path = file("bounds: {lr: [0.01, 0.1], momentum: [0, 0.5]}\n")
        merged = merge(cfg=path, set=["BOUNDS.momentum", [0, 0.9]])
        assert merged["bounds"] == {"lr": [0.01, 0.1], "momentum": [0, 0.9]}

    @pytest.mark.parametrize(
        ("key", "hint"), [("max_epoch", "did you mean"), ("num_epochs", "did you mean"), ("zz", "known: bounds, data")]
    )
    def test_an_unknown_key_is_named(self, file, key, hint):
        path = file(f"{key}: 3\n")
        with pytest.raises(UserError, match=f"cfg .*run.yml: unknown key '{key}'; {hint}"):
            merge(cfg=path)
        with pytest.raises(UserError, match=f"set: unknown key '{key}'; {hint}"):
            merge(set=[key, 3])

    def test_only_mappings_have_an_inside(self):
        with pytest.raises(UserError, match=r"set: unknown key 'lr\.x'"):
            merge(set="lr.x 3")


class TestTypes:
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("max_epochs: ten", r"max_epochs is 'ten' \(str\); expected int"),
            ("max_epochs: 2.5", r"max_epochs is 2.5 \(float\); expected int"),
            ("max_epochs: true", r"max_epochs is True \(bool\); expected int"),
            ("lr: fast", r"lr is 'fast' \(str\); expected float"),
            ("use_gpu: 2", r"use_gpu is 2 \(int\); expected bool or None"),
            ("data: 3", r"data is 3 \(int\); expected a list of str or str"),
            ("data: [3]", r"data is \[3\] \(list\); expected a list of str or str"),
            ("split: train", r"split is 'train' \(str\); expected one of 'test', 'validation'"),
            ("pair: [1]", r"pair is \[1\] \(list\); expected a list of 2 values"),
            ("bounds: 7", r"bounds is 7 \(int\); expected a mapping"),
        ],
    )
    def test_a_wrong_type_is_named_with_the_expected_one(self, file, line, said):
        with pytest.raises(UserError, match=rf"cfg .*run.yml: {said}"):
            merge(cfg=file(line + "\n"))
        name, _, value = line.partition(": ")
        with pytest.raises(UserError, match=said.split(" is ")[0] + " is "):
            merge(set=[name, value if name != "use_gpu" else 2])

    def test_named_parameters_are_checked_too(self):
        with pytest.raises(UserError, match=r"parameter lr is 'x' \(str\); expected float"):
            resolve(Options, DEFAULTS, merge({"lr": "x"}))

    def test_whole_numbers_are_floats_and_0_and_1_are_bools(self):
        """The original's --use-gpu was always refused: a whole number is not a bool."""
        assert merge(set="lr 1 use_gpu 1")["use_gpu"] is True
        assert resolve(Options, DEFAULTS, merge({"use_gpu": 0})).use_gpu is False
        assert isinstance(resolve(Options, DEFAULTS, merge({"lr": 1})).lr, float)

    def test_yaml_takes_1e_3_for_text_and_it_is_a_number_all_the_same(self, file):
        assert merge(cfg=file("lr: 1e-3\n"))["lr"] == 1e-3

    def test_lists_become_tuples_and_words_stay_words(self):
        assert merge(set="data \"['mnist', 'cifar10']\" note none")["data"] == ("mnist", "cifar10")
        assert merge(set={"pair": [0, 2]})["pair"] == (0.0, 2.0)


class TestFiles:
    """The original's yaml.load without a loader fails with PyYAML 6."""

    def test_an_empty_file_gives_nothing(self, file):
        assert merge(cfg=file("# nothing\n")) == {"profile": "smoke"}

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
            merge(cfg=file(text))
        assert "\n" not in str(error.value)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(UserError, match=r"nowhere\.yml: no such file"):
            merge(cfg=tmp_path / "nowhere.yml")

    def test_a_key_without_a_value_is_refused(self):
        with pytest.raises(UserError, match="set: 'lr' has no value"):
            merge(set="max_epochs 3 lr")

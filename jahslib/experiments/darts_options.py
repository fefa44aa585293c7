"""Study 05's options under its class project's names: YAML files, DARTS search, supernet.

Source: the AutoML class project "DARTS with skip prevention and flexible cell stacking" (Hannover, 2024).
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from jahslib.data import registry
from jahslib.errors import UserError, refuse_unknown
from jahslib.experiments import cfg
from jahslib.experiments.notebook import FOLDER
from jahslib.experiments.settings import checked
from jahslib.problems.darts.search import Settings

CONFIGS = FOLDER / "configs" / "05"

# Keys of the class project's YAML files -> settings of notebook 05; None: accepted without effect.
ORIGINAL_KEYS: dict[str, str | None] = {
    "data": "datasetpath",
    "out_dir": "working_dir",
    "save": None,  # its script derived it from the others
    "dataset_meta.num_classes": "num_classes",
    "dataset_meta.num_img_channels": "num_img_channels",
    "arch_search": "search",
    "arch_search.checkpoint_freq": "checkpoint_freq",
    "arch_search.seed": "seed",
}
FIXED = {"op_optimizer": "SGD", "arch_optimizer": "Adam"}  # keys of the search with a single supported value
SEARCH_KEYS = {"gamma": "focal_loss_gamma", "smoothing": "class_weight_smoothing"}
MODEL_KEYS = ("n_cells", "n_fc_layers", "dropout_rate", "fc_out_features", "cell_out_channels", "use_max_pooling")
DEAD_KEYS = ("use_BN",)  # it never reached the operations: batch normalisation is always on

log = logging.getLogger(__name__)


def config_file(given: str | None) -> str | None:
    """Return the path given, or else the study's own file of that name. Raises `UserError` if there is neither."""
    if cfg.file(given) is None or Path(str(given)).exists():
        return given
    own = CONFIGS / f"{str(given).removesuffix('.yaml')}.yaml"
    if own.exists():
        return str(own)
    names = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
    raise UserError(f"config_file: no file {given}; give the path of a YAML file or one of {names}")


def darts_settings(place: str, given: Mapping[str, Any]) -> Settings:
    """Build a DARTS search's settings from options, also by the class project's names; `UserError` names `place`."""
    hints = get_type_hints(Settings)
    chosen = {}
    for key, value in given.items():
        if key in FIXED:
            if value != FIXED[key]:
                raise UserError(f"{place}: {key} is {value!r}; there is {FIXED[key]} alone, leave it out")
            continue
        name = SEARCH_KEYS.get(key, key)
        refuse_unknown(f"{place}:", [name], [*hints, *SEARCH_KEYS])
        none = cfg.says_none(value, hints[name])
        typed = None if none else checked(f"{place}: {key}", value, hints[name])
        chosen[name] = typed if isinstance(value, str) else value  # 5 stays 5, not 5.0: checkpoints' names hash it
    return Settings(**chosen)


def network(model: Mapping[str, Any]) -> dict[str, Any]:
    """Build the supernet's options from the YAML files' section `model`. Raises `UserError` if a list is too short."""
    refuse_unknown("model:", model, (*MODEL_KEYS, *DEAD_KEYS))
    if dead := [name for name in DEAD_KEYS if name in model]:
        log.warning("model: %s changes nothing, here as in the original: batch normalisation is always on", dead[0])
    n_cells, n_fc = model.get("n_cells", 3), model.get("n_fc_layers", 1)
    layers = {"cell_out_channels": n_cells, "use_max_pooling": n_cells, "fc_out_features": n_fc}
    for name, n in layers.items():
        if len(model[name]) < n or n < 1:
            raise UserError(f"model: {name} has {len(model[name])} values for {n} layers; give one a layer")
    return {
        "out_channels": tuple(model["cell_out_channels"][:n_cells]),
        "pooling": tuple(model["use_max_pooling"][:n_cells]),
        "fc": tuple(model["fc_out_features"][:n_fc]),
        "dropout": model.get("dropout_rate", 0.0),
    }


def refuse_other_data(data: str, *, num_classes: int | None, num_img_channels: int | None) -> None:
    """Raise `UserError` if a given number of classes or channels is not the data set's."""
    shape = registry.load(data).shape
    given = {"num_classes": (num_classes, "classes"), "num_img_channels": (num_img_channels, "channels")}
    for name, (number, key) in given.items():
        if number not in (None, shape[key]):
            raise UserError(f"{name}: {number}, but {data} has {shape[key]}; leave it out")

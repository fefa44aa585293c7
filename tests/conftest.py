"""What all tests share: the small problems of `tests.toys`, one thread, and processes that are killed."""

import multiprocessing

import hypothesis
import pytest
import torch

from jahslib.data import archives, places, registry
from jahslib.errors import UserError
from jahslib.spaces import configurations as spaces
from tests.toys import PRECISION, SIZE, RichToy, Toy, conditional_space, decisions, rich_space, tiny_space

__all__ = ["PRECISION", "SIZE", "RichToy", "Toy", "conditional_space", "decisions", "rich_space", "tiny_space"]

# Networks this small gain nothing from a second thread and lose much where tests run side by side.
torch.set_num_threads(1)

# Where cores are shared, how long an example takes says nothing.
hypothesis.settings.register_profile("shared cores", deadline=None)
hypothesis.settings.load_profile("shared cores")


def forked(function, *args):
    """Start a function in a copy of this process, which has all imports and may be killed."""
    process = multiprocessing.get_context("fork").Process(target=function, args=args, daemon=True)
    process.start()
    return process


@pytest.fixture
def few_draws(monkeypatch):
    """A space counts as exhausted after hundreds of draws, not ten thousand."""
    monkeypatch.setattr(spaces.sample_where, "__defaults__", (300,))


@pytest.fixture
def toy():
    return Toy([SIZE, PRECISION])


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A fresh project root with an empty data/, no other place, and a network that is down; gives the root."""
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    monkeypatch.delenv("JAHSLIB_DATA", raising=False)
    monkeypatch.setattr(places, "ROOT", root)
    monkeypatch.setattr(places, "SYSTEM", tmp_path / "system")

    def down(urls, expected, target, timeout=15.0):
        raise UserError(f"{target.name} could not be downloaded (no network in this test)")

    monkeypatch.setattr(archives, "download", down)
    registry._load.cache_clear()
    yield root
    registry._load.cache_clear()

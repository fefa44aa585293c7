"""The optimizers by their short names."""

import subprocess
import sys

import pytest

import jahslib.optimizers
from jahslib.core.optimizer import Described
from jahslib.errors import UserError
from tests.toys import SIZE, Toy


@pytest.mark.parametrize("name", jahslib.optimizers.__all__)
def test_each_name_is_an_optimizer(name):
    assert issubclass(getattr(jahslib.optimizers, name), Described)


@pytest.mark.parametrize("wrong", [{"fidelity": (1, 9)}, {"constraints": SIZE}, {"objective": "accuracy"}])
@pytest.mark.parametrize("name", jahslib.optimizers.__all__)
def test_a_problem_that_is_none_is_refused_at_the_door(name, wrong):
    problem = Toy()
    vars(problem).update(wrong)
    for given in (problem, "problem"):
        with pytest.raises(UserError, match="no Problem" if given == "problem" else next(iter(wrong))):
            getattr(jahslib.optimizers, name)(given, 0)


def test_a_name_alone_loads_no_other_optimizers_packages():
    code = "import sys; from jahslib.optimizers import RandomSearch; print({'torch', 'smac', 'ax'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_an_unknown_name():
    with pytest.raises(ImportError, match="Evolutoin"):
        from jahslib.optimizers import Evolutoin  # type: ignore[attr-defined]  # noqa: F401

"""Study 03's objectives by name."""

import pytest

from jahslib.errors import UserError
from jahslib.problems.grammar_objectives import OBJECTIVES, ActivationFunctions, DartsCells, problem, tasks


def test_every_objective_has_a_problem_over_each_of_its_spaces():
    for name, spaces in OBJECTIVES.items():
        for space in spaces:
            made = problem(name, grammar=space)
            assert (made.name, made.grammar, made.min_epochs) == (name, space, made.max_epochs)
    assert isinstance(problem("act_cifar10"), ActivationFunctions) and isinstance(problem("darts_cifar10"), DartsCells)


def test_other_images_are_in_the_name_and_standardised_by_channel():
    p = problem("nb201_cifarTile", grammar="shared", data="digits")
    assert (p.name, p.data, p.shape["channels"], len(p.mean)) == ("nb201_digits", "digits", 1, 1)
    p = problem("act_cifar10", data={"act_cifar10": "mnist5k"})
    assert (p.name, p.data) == ("act_mnist5k", "mnist5k")
    assert problem("nb201_addNIST", data={"act_cifar10": "mnist5k"}).name == "nb201_addNIST"
    assert problem("nb201_addNIST", data="digits", mean=(100.0,)).mean == (100.0,)


def test_a_space_goes_with_the_objectives_that_have_it():
    found = tasks(["nb201_addNIST", "act_cifar10"], ["shared", "hierarchical"], all_used=True)
    assert found == [("nb201_addNIST", "shared"), ("nb201_addNIST", "hierarchical"), ("act_cifar10", "activation")]
    assert tasks(["act_cifar10"], ["shared"], all_used=False) == [("act_cifar10", "activation")]
    with pytest.raises(UserError, match="'shared' is unknown"):
        tasks(["act_cifar10"], ["shared"], all_used=True)
    with pytest.raises(UserError, match="none of nb201_addNIST's is among those given"):
        tasks(["nb201_addNIST"], ["activation"], all_used=True)

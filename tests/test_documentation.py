"""Every public name of the library says what it is: none is an empty entry of the reference."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType

import jahslib


def modules() -> list[ModuleType]:
    names = [found.name for found in pkgutil.walk_packages(jahslib.__path__, "jahslib.")]
    return [importlib.import_module(name) for name in ["jahslib", *names]]


def defined_by(module: ModuleType) -> dict[str, object]:
    """The module's public classes and functions."""
    kinds = (inspect.isclass, inspect.isfunction)
    public = {name: thing for name, thing in vars(module).items() if not name.startswith("_")}
    own = {n: t for n, t in public.items() if getattr(t, "__module__", "") == module.__name__}
    return {n: inspect.unwrap(t) for n, t in own.items() if any(is_kind(t) for is_kind in kinds)}


def methods(kind: type) -> dict[str, Callable]:
    """Public methods and properties of a class, but for those that a base class or a protocol describes."""
    found = {}
    for name, member in vars(kind).items():
        function = getattr(member, "fget", None) or getattr(member, "func", None) or member
        function = inspect.unwrap(getattr(function, "__func__", function))
        if inspect.isfunction(function) and not name.startswith("_") and not any(of(name) for of in above(kind)):
            found[name] = function
    return found


def above(kind: type) -> Iterator[Callable[[str], bool]]:
    """For each class that `kind` follows, whether it describes a name: in a docstring or among its attributes."""
    for base in (*kind.__mro__[1:], *protocols()):
        yield (
            lambda name, base=base: (
                name in vars(base).get("__annotations__", {}) or bool(getattr(vars(base).get(name), "__doc__", ""))
            )
        )


def protocols() -> list[type]:
    """What optimizers and spaces are without deriving from it."""
    return [
        importlib.import_module("jahslib.core.optimizer").Optimizer,
        importlib.import_module("jahslib.core.problem").Space,
    ]


def is_described(thing: object) -> bool:
    """Whether it has a docstring of its own; the signature that a data class gets by itself is none."""
    if inspect.isclass(thing):
        text = vars(thing).get("__doc__") or ""
        return bool(text) and not text.startswith(f"{thing.__name__}(")
    return bool(thing.__doc__)


def test_every_module_says_what_it_is_for():
    assert [m.__name__ for m in modules() if not m.__doc__] == []


def test_every_public_class_says_what_it_is():
    kinds = {f"{m.__name__}.{n}": t for m in modules() for n, t in defined_by(m).items() if inspect.isclass(t)}
    assert len(kinds) > 90
    assert [place for place, kind in kinds.items() if not is_described(kind)] == []


def test_every_public_function_and_method_says_what_it_does():
    found = {}
    for module in modules():
        for name, thing in defined_by(module).items():
            own = methods(thing) if inspect.isclass(thing) else {"": thing}
            found |= {f"{module.__name__}.{name}.{method}".rstrip("."): function for method, function in own.items()}
    assert len(found) > 400
    silent = [place for place, function in found.items() if not is_described(function)]
    assert silent == []

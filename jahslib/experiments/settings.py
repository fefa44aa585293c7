"""A notebook's settings: parameters over layers over a profile's values over defaults.

A setting is declared where it is used: its type and default are those of the problem's or optimizer's own parameter.
"""

import ast
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from jahslib.core.optimizer import SEEDS
from jahslib.data import places
from jahslib.errors import UserError, refuse_unknown
from jahslib.experiments.cfg import Layers, finite, says_none
from jahslib.extras import extra

with extra("notebooks"):
    from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PositiveInt, TypeAdapter, ValidationError

Value = TypeVar("Value")


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Validate that seeds are distinct: two searches of one seed would share one trial log."""
    if not seeds:
        raise ValueError("give at least one")
    if twice := [seed for i, seed in enumerate(seeds) if seed in seeds[:i]]:
        raise ValueError(f"{twice[0]} is given twice; give different ones")
    return seeds


Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
Seeds = Annotated[tuple[Seed, ...], AfterValidator(_different)]
# One name or number stands for a tuple of one: `Several[int]`.
Several = Annotated[tuple[Value, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str | float | int) else v)]
Names = Several[str]

# What every study may have, beside the settings of its problem and optimizers.
COMMON: dict[str, Any] = {
    "profile": str,
    "note": str,  # what the profile changes against the original
    "device": str,
    "workers": PositiveInt,
    "scheduler": str | None,
    "seeds": Seeds,
    "fresh": bool,
    "methods": tuple[str, ...],
    "runtime": float | None,  # seconds of a search
    "data_dir": str | None,  # searched first for data sets
    "working_dir": str | None,
}


class Settings:
    """The settings of one run of a notebook, as attributes.

    A parameter that is None has the value of `layers`, or the profile's, or else the default of its user. The text
    "none" stands for None itself in every setting that may be None: `max_params="none"` is no limit, whatever the
    profile has. The device "auto" becomes "cuda" where there is one, else "cpu".

    Args:
        namespace: the notebook's `globals()`, after its parameters cell.
        profiles: values by profile and setting; `note` says what the profile changes against the original.
        users: classes or functions (problems, optimizers), whose parameters give types and defaults.
        layers: a cfg file and the like, between the profile and the parameters.
        types: of settings that are no user's parameter, such as `pydantic.PositiveInt`, also where one has that name.

    Raises:
        UserError: an unknown profile or parameter, a value of the wrong type or out of bounds, a device that is not
            available. Papermill only warns of a parameter that the notebook lacks; here it is an error.
    """

    def __init__(
        self,
        namespace: Mapping[str, Any],
        profiles: Mapping[str, Mapping[str, Any]],
        *users: Callable[..., Any],
        layers: Layers | None = None,
        **types: Any,
    ):
        profile = namespace["profile"]
        refuse_unknown("profile:", [profile], profiles)
        used = {name: found for user in reversed(users) for name, found in parameters(user).items()}
        self._types = {name: hint for name, (hint, _) in used.items()} | COMMON | types
        self._defaults = {name: default for name, (_, default) in used.items() if name not in types}
        self._own = frozenset(types)
        self._profile = dict(profiles[profile])
        self._left_out: dict[str, list[str]] = {}
        cell, injected = _cells(namespace.get("In", []))
        refuse_unknown("parameter", {*cell, *self._profile}, self._types)
        known = {*COMMON, *types, *cell, *(name for values in profiles.values() for name in values)}
        refuse_unknown("parameter", injected, known if cell else self._types)
        for name, value in self._profile.items():
            self._checked(name, value)
        mine = {name: hint for name, hint in self._types.items() if name in known or not cell}
        self._layers = layers.read(mine, self._checked) if layers else {}
        given = {name: self._checked(name, namespace[name]) for name in mine if namespace.get(name) is not None}
        self._given = self._layers | given
        self._given["device"] = found_device(self._given.get("device", "auto"))
        places.look_in(self.data_dir, "data_dir")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._types:
            raise AttributeError(f"no setting {name!r}")
        return self._values.get(name, self._defaults.get(name))

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    @property
    def _values(self) -> dict[str, Any]:
        return self._profile | self._given

    def of(self, user: Callable[..., Any]) -> dict[str, Any]:
        """Select the settings that have a value and are parameters of `user`, to call it with."""
        names = parameters(user).keys() - self._own
        return {name: value for name, value in self._values.items() if name in names}

    def merged(self, name: str) -> dict[str, Any]:
        """Merge a setting that is a mapping over the layers, entry by entry, the highest winning."""
        layers = (self._profile, self._layers, self._given)
        return {key: value for layer in layers for key, value in (layer.get(name) or {}).items()}

    def pick(self, name: str, known: Mapping[str, Value], *, without: Iterable[str] = ()) -> dict[str, Value]:
        """Select the entries of `known` that setting `name` lists, by default all `without` some; not none."""
        given = self._values.get(name)
        refuse_unknown(f"{name}:", given or (), known)
        chosen = [part for part in (known if given is None else given) if part not in without]
        if not chosen:
            offered = ", ".join(part for part in known if part not in without)
            raise UserError(f"{name}: none given; give at least one of {offered}")
        self._left_out[name] = [part for part in known if part not in chosen]
        return {part: known[part] for part in chosen}

    def stand_in(self, name: str, value: Any, why: str) -> None:
        """Replace a profile's value that is not available here, unless a parameter gives it; `note` then says why."""
        if name not in self._given and getattr(self, name) != value:
            self._given |= {name: value, "note": f"{self.note}; {why}"}

    @property
    def left_out(self) -> dict[str, list[str]]:
        """Parts of the study that this run leaves out, by setting; fewer seeds leave nothing out.

        What `pick` did not select, and what of a profile's tuple of names or floats (ints may be a range) a parameter
        does not have.
        """
        found = dict(self._left_out)
        for name, whole in self._profile.items():
            chosen = getattr(self, name)
            if name != "seeds" and isinstance(whole, tuple) and isinstance(chosen, tuple):
                found[name] = [str(p) for p in whole if isinstance(p, str | float) and p not in chosen]
        return {name: parts for name, parts in found.items() if parts}

    def _checked(self, name: str, value: Any, place: str = "") -> Any:
        hint = self._types[name]
        if says_none(value, hint):
            return None
        mend = ' (or "none" for no limit)' if type(None) in get_args(hint) else ""
        return checked(place or name, value, hint, mend=mend)


def parameters(user: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Return type and default of the parameters of a class or function, by name; mutable defaults are made anew."""
    hints = get_type_hints(user.__init__ if isinstance(user, type) else user)
    made = getattr(user, "__dataclass_fields__", {})
    found = {}
    for name, parameter in inspect.signature(user).parameters.items():
        factory = getattr(made.get(name), "default_factory", None)
        default = factory() if callable(factory) else parameter.default
        found[name] = hints.get(name, Any), None if default is inspect.Parameter.empty else default
    return found


def checked(place: str, value: Any, hint: Any, *, mend: str = "") -> Any:
    """Convert `value` to the type `hint` by pydantic's rules; `UserError` if it cannot be, or is not finite."""
    if not finite(value):
        raise UserError(f"{place}: {value!r}; give finite numbers{mend}")
    if isinstance(value, bool) and _takes_no_flag(hint):  # pydantic would accept it as 0 or 1
        raise UserError(f"{place}: {value!r} is a flag; give a value of its type{mend}")
    try:
        return TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False)).validate_python(value)
    except ValidationError as error:
        said = (text["msg"].replace("Input should be", "give").removeprefix("Value error, ") for text in error.errors())
        wanted = " or ".join(dict.fromkeys(said))
        raise UserError(f"{place}: {value!r} ({type(value).__name__}); {wanted}{mend}") from None


def _takes_no_flag(hint: Any) -> bool:
    return hint is not Any and hint is not bool and all(map(_takes_no_flag, get_args(hint)))


def found_device(name: str, place: str = "device") -> str:
    """Resolve "auto" to a device. Raises `UserError` for one that is not available; `place` is where it was given."""
    if name == "cpu":
        return name
    if name != "auto" and not re.fullmatch(r"cuda(:\d+)?", name):
        raise UserError(f"{place}: {name!r} is unknown; choose one of auto, cpu, cuda, cuda:N")
    if name == "auto" and importlib.util.find_spec("torch") is None:  # what trains on a device brings torch
        return "cpu"
    with extra("training"):
        import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if count else "cpu"
    if int(name.partition(":")[2] or 0) >= count:
        raise UserError(f"{place}: no {name} here (CUDA devices: {count}); use cpu, or auto for what there is")
    return name


def _cells(inputs: list[str]) -> tuple[set[str], set[str]]:
    cell: set[str] = set()
    injected: set[str] = set()
    for source in inputs:
        names = assigned(source)
        if source.startswith("# Parameters\n"):  # the comment that papermill's cell begins with
            injected |= names
        elif "profile" in names:
            cell = names
    return cell, injected


def assigned(source: str) -> set[str]:
    """List the names that a cell's statements assign; none for a cell with magics."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return set()
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return {target.id for target in targets if isinstance(target, ast.Name)}

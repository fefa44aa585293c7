"""Optimizers, whose proposals depend only on settings, seed and history.

    from jahslib.optimizers import Evolution

The interface is `jahslib.core.optimizer.Optimizer`. Classes are imported on first use: those built on SMAC, Ax, Optuna
or torch take seconds, and need the extra `smac`, `ax`, `optuna` or, for `GrammarBO`, `grammars`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jahslib.optimizers.ax.optimizer import AxBO as AxBO
    from jahslib.optimizers.evolution import Evolution as Evolution
    from jahslib.optimizers.grammar_bo import GrammarBO as GrammarBO
    from jahslib.optimizers.optuna import OptunaSampler as OptunaSampler
    from jahslib.optimizers.random_search import RandomSearch as RandomSearch
    from jahslib.optimizers.regularized_evolution import RegularizedEvolution as RegularizedEvolution
    from jahslib.optimizers.smac_bohb import SmacBohb as SmacBohb
    from jahslib.optimizers.sobol import Sobol as Sobol
    from jahslib.optimizers.successive_halving import ASHA as ASHA
    from jahslib.optimizers.successive_halving import Hyperband as Hyperband

_HOMES = {
    "ASHA": "successive_halving",
    "AxBO": "ax.optimizer",
    "Evolution": "evolution",
    "GrammarBO": "grammar_bo",
    "Hyperband": "successive_halving",
    "OptunaSampler": "optuna",
    "RandomSearch": "random_search",
    "RegularizedEvolution": "regularized_evolution",
    "SmacBohb": "smac_bohb",
    "Sobol": "sobol",
}
__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"jahslib.optimizers.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Figures that are redrawn as a person chooses in JupyterLab, and static ones where no one can."""

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def explorable(plot: Callable[..., Any], first: Mapping[str, Any], controls: Callable[[], dict[str, Any]]) -> Any:
    """Return a widget that plots what its controls say, or the plot of `first` where no one can choose.

    Args:
        plot: returns a figure of matplotlib or Plotly, or None to draw nothing.
        controls: makes the widgets (ipywidgets), or what they are made of, for `plot`'s arguments; called where wanted.
    """
    if not interactive():
        figure = plot(**first)
        plt.close(figure)  # a notebook shows what is returned, and would show an open figure again
        return figure
    import ipywidgets
    from IPython.display import display

    def show(**values: Any) -> None:
        if (figure := plot(**values)) is not None:
            display(figure)
            if isinstance(figure, Figure):
                plt.close(figure)

    return ipywidgets.interactive(show, **controls())


def chosen(plot: Callable[..., Any], /, **choices: Mapping[str, Any]) -> Any:
    """Make a plot `explorable` with a list of choices for each argument, label -> value."""
    first = {name: next(iter(values.values())) for name, values in choices.items()}
    return explorable(plot, first, lambda: {name: list(values.items()) for name, values in choices.items()})


def interactive() -> bool:
    """Tell whether a person sits at a notebook with widgets: not under the runner, papermill, nbconvert or nbval."""
    if "JAHSLIB_RUN" in os.environ or "PYTEST_VERSION" in os.environ or not find_spec("ipywidgets"):
        return False
    import psutil
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return False
    started_by = " ".join(psutil.Process(os.getppid()).cmdline())
    return not any(word in started_by for word in ("papermill", "nbconvert", "execute.py"))

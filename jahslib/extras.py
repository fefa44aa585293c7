"""Optional parts: one line says what is missing and how it is installed.

`pip install jahslib` brings what spaces, the search loop and most optimizers need. What else a part imports comes with
an extra of pyproject.toml, which that part names here, so that a traceback never ends in a package of somebody else.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from jahslib.errors import UserError


class MissingExtra(UserError, ImportError):
    """A package is not installed that an extra of this library brings."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Guard imports of what the extra `name` brings.

    Raises:
        MissingExtra: a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(f'{error.name} is not installed; run pip install "jahslib[{name}]"') from None


def require(name: str, *packages: str) -> None:
    """Look for packages of the extra `name` without importing them, which may take seconds.

    Raises:
        MissingExtra: the first that is not installed.
    """
    with extra(name):
        for package in packages:
            if importlib.util.find_spec(package) is None:
                raise ModuleNotFoundError(name=package)

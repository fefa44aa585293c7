"""Hyperband's rung plan (Li et al., JMLR 18(185), 2018), as study 07 uses it."""

import math
from dataclasses import dataclass

from jahslib.errors import UserError


@dataclass(frozen=True)
class Rung:
    """How many members are trained to which fidelity (epochs)."""

    members: int
    fidelity: int


def plan(low: int, high: int, eta: int = 2) -> list[list[Rung]]:
    """One Hyperband iteration: a list of brackets, most exploratory first, each a list of rungs.

    Bracket s starts with ceil((s_max + 1) / (s + 1) * eta^s) members at int(high / eta^s) epochs; each rung keeps
    floor(n / eta) of them and multiplies the epochs by eta. Fidelities are whole epochs, so a bracket may end a little
    below `high`: with 2..50 epochs and eta 2 it is 16@3, 8@6, 4@12, 2@24, 1@48. This rounding is study 07's; Li et al.
    keep fractions.

    Raises:
        UserError: eta < 2 or no range.
    """
    if eta < 2:
        raise UserError(f"hyperband: eta={eta} halves nothing; give 2 or more")
    if not 1 <= low <= high:
        raise UserError(f"hyperband: epochs {low}..{high} are no range; give 1 <= low <= high")
    s_max = _integer_log(high, low, eta)
    return [_bracket(s, s_max, high, eta) for s in range(s_max, -1, -1)]


def _bracket(s: int, s_max: int, high: int, eta: int) -> list[Rung]:
    members, fidelity = math.ceil((s_max + 1) / (s + 1) * eta**s), high // eta**s
    rungs = []
    for _ in range(s + 1):
        rungs.append(Rung(max(1, members), fidelity))
        members, fidelity = members // eta, fidelity * eta
    return rungs


def _integer_log(high: int, low: int, eta: int) -> int:
    """The largest s with low * eta^s <= high, in whole numbers: math.log would round 3^5 down."""
    s = 0
    while low * eta ** (s + 1) <= high:
        s += 1
    return s

"""Grammars of published search spaces, each read as `Grammar(TEXT)`.

Sources: Schrodi et al., NeurIPS 2023 (arXiv 2211.01842) for the hierarchical, cell-based, shared and activation
spaces; Dong and Yang, ICLR 2020 (NAS-Bench-201) for the cell; Liu et al., ICLR 2019 (DARTS) for the DARTS cell.
"""

from functools import cache

from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.terms import Term

_TOPOLOGIES = """
Linear1:   1-2
Linear2:   1-2 2-3
Linear3:   1-2 2-3 3-4
Linear4:   1-2 2-3 3-4 4-5
Residual2: 1-2 1-3 2-3
Residual3: 1-2 2-3 1-4 3-4
Cell:      1-2 1-3 2-3 1-4 2-4 3-4
"""

_MACRO = """
D2 -> Linear3(D1, D1, D0) | Linear3(D0, D1, D1) | Linear4(D1, D1, D0, D0)
D1 -> Linear3(C, C, DOWN) | Linear4(C, C, C, DOWN) | Residual3(C, C, DOWN, DOWN)
D0 -> Linear3(C, C, CELL) | Linear4(C, C, C, CELL) | Residual3(C, C, CELL, CELL)
DOWN -> Linear2(CELL, resBlock) | Linear3(CELL, CELL, resBlock) | Residual2(CELL, resBlock, resBlock)
C -> Linear2(CELL, CELL) | Linear3(CELL, CELL, CELL) | Residual2(CELL, CELL, CELL)
CELL -> Cell(OPS, OPS, OPS, OPS, OPS, OPS)
"""

_CONVBLOCK = """
CONVBLOCK -> Linear3(ACT, CONV, NORM)
ACT -> relu | hardswish | mish
CONV -> conv3x3o | conv1x1o | dconv3x3o
NORM -> batch | instance | layer
"""

# Every path from input to output meets exactly two resBlocks, each of which halves the resolution and doubles the
# channels. The convolution block is listed twice: it stands for the two convolutions of NAS-Bench-201's cell, and is as
# likely as the two together.
HIERARCHICAL = f"""{_TOPOLOGIES}
{_MACRO}
OPS -> id | zero | Linear1(CONVBLOCK) | Linear1(CONVBLOCK) | avg_pool
{_CONVBLOCK}"""

# One cell for the whole network, one activation and one convolution for all its blocks; normalisations are free.
SHARED = f"""{_TOPOLOGIES}
{_MACRO}
OPS -> zero | id | avg_pool | Linear1(CONVBLOCK)
{_CONVBLOCK}
shared CELL, ACT, CONV
"""

_NB201_CELL = """
CELL -> Cell(OPS, OPS, OPS, OPS, OPS, OPS)
OPS -> id | zero | conv3x3 | conv1x1 | avg_pool
"""

CELL_BASED = f"""
Cell: 1-2 1-3 2-3 1-4 2-4 3-4
{_NB201_CELL}"""

# The network around the one cell of the cell-based space: NAS-Bench-201's five cells in each of three stages.
CELL_BASED_NETWORK = f"""{_TOPOLOGIES}
D2 -> Linear3(D1, D1, D0)
D1 -> Linear3(C, C, DOWN)
D0 -> Linear3(C, C, CELL)
DOWN -> Linear2(CELL, resBlock)
C -> Linear2(CELL, CELL)
{_NB201_CELL}
shared CELL
"""

# Replaces the activations of a network. BinaryTopo stacks its two inputs at node 4.
ACTIVATION = """
BinaryTopo: 4-5 1-2 1-3 2-4 3-4
UnaryTopo:  1-2

L2 -> BinaryTopo(BinOp, L1, L1, id, id) | UnaryTopo(L1)
L1 -> BinaryTopo(BinOp, UnOp, UnOp, id, id) | UnaryTopo(UnOp)
BinOp -> add | multi | sub | div | bmax | bmin | bsigmoid | bgaussian_sq | bgaussian_abs | wavg
UnOp -> id | neg | abs | square | cubic | square_root | mconst | aconst | log | exp | sin | cos | sinh | cosh | tanh
      | asinh | atanh | sinc | umax | umin | sigmoid | logexp | gaussian | erf | const
"""

# Nodes 0 and 1 are the outputs of the two cells before; each of the nodes 2 to 5 takes two different earlier nodes.
# Terms name the two in order, so there are 2^4 terms for each of DARTS's cells.
_DARTS = """
DARTS: in-0=previous2 in-1=previous1 ?-2 ?-2 ?-3 ?-3 ?-4 ?-4 ?-5 ?-5 2-out=id 3-out=id 4-out=id 5-out=id

OP -> max_pool3x3 | avg_pool3x3 | id | sep_conv3x3 | sep_conv5x5 | dil_conv3x3 | dil_conv5x5
IN1 -> 0 | 1
IN2 -> 0 | 1 | 2
IN3 -> 0 | 1 | 2 | 3
IN4 -> 0 | 1 | 2 | 3 | 4
"""
_DARTS_EDGES = "DARTS(OP, IN1, OP, IN1, OP, IN2, OP, IN2, OP, IN3, OP, IN3, OP, IN4, OP, IN4)"
DARTS_CELL = _DARTS.replace("OP ->", f"CELL -> {_DARTS_EDGES}\nOP ->")

# The two cells of a network, one after the other.
DARTS_CELLS = f"""
Cells: 1-2 2-3
{_DARTS}""".replace(
    "OP ->", f"CELLS -> Cells(NORMAL, REDUCTION)\nNORMAL -> {_DARTS_EDGES}\nREDUCTION -> {_DARTS_EDGES}\nOP ->"
)

TEXTS = {
    "hierarchical": HIERARCHICAL,
    "shared": SHARED,
    "cell-based": CELL_BASED,
    "activation": ACTIVATION,
    "DARTS cell": DARTS_CELL,
}


@cache
def grammar(name: str) -> Grammar:
    """Build one of `TEXTS`, or the pair "darts-cells", by name; cached."""
    return Grammar(TEXTS[name] if name in TEXTS else {"darts-cells": DARTS_CELLS}[name])


@cache
def _network() -> Term:
    cell = f"Cell({', '.join(['id'] * 6)})"
    pair = f"Linear2({cell}, {cell})"
    stage = f"Linear3({pair}, {pair}, Linear2({cell}, resBlock))"
    return Grammar(CELL_BASED_NETWORK).parse(f"Linear3({stage}, {stage}, Linear3({pair}, {pair}, {cell}))")


def cell_based_network(cell: Term) -> Term:
    """Build the whole network, a term of `CELL_BASED_NETWORK`, from a cell of `CELL_BASED`."""
    return _network().replace_all("CELL", cell)

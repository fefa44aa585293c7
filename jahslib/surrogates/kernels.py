"""The WL kernel, which is hierarchical (hWL) where its table has folding levels, as a GPyTorch kernel.

Inputs are ids of a `TermTable`, as floats in the first of the columns a kernel sees; give `active_dims` to combine them
with kernels over ordinary hyperparameters in other columns:

    WLKernel(table, active_dims=(0,)) * MaternKernel(nu=2.5, active_dims=(1, 2))

No gradient flows to the ids. Source: Schrodi et al., NeurIPS 2023 (arXiv 2211.01842), section 4; Ru et al., ICLR 2021
(arXiv 2006.07556) for WL in architecture search.

A baseline beside it sees counts and degrees, not the connections. After the distance of NASBOT (Kandasamy et al.,
NeurIPS 2018, arXiv 1802.07191), in the simple form in which Schrodi et al. compare with it: the L1 distance d of
operation counts and of sorted in-degrees and out-degrees, and exp(-d / 9). The optimal transport of the original
distance is left out there, and here.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from jahslib.errors import UserError
from jahslib.extras import extra
from jahslib.spaces.grammars.graphs import Graph, graph
from jahslib.spaces.grammars.terms import Term
from jahslib.surrogates.wl import TermTable

with extra("grammars"):
    import torch
    from gpytorch.kernels import Kernel, MaternKernel
    from torch import Tensor


SCALE = 9.0  # of the distance in `NasbotKernel`


class WLKernel(Kernel):
    """A convex combination of cosine-normalised WL kernels, of full graphs and of the table's folding levels.

    With the levels of a grammar it is the hierarchical WL kernel, with none the WL kernel. The weights are the softmax
    of `raw_weights`, equal at first. `h`, the number of iterations on full graphs, is chosen by the fit; at the folding
    levels it is the table's.
    """

    raw_weights: torch.nn.Parameter

    def __init__(self, table: TermTable, h: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        self.table, self.h, levels = table, h, len(table.levels)
        self.register_parameter("raw_weights", torch.nn.Parameter(torch.zeros(levels), requires_grad=levels > 1))
        self._kept: tuple[object, Tensor] = (None, torch.empty(0))

    @property
    def weights(self) -> Tensor:
        """Weights, full graph first, of shape `1 + number of folding levels`; they sum to 1."""
        return self.raw_weights.softmax(-1)

    def forward(
        self, x1: Tensor, x2: Tensor, diag: bool = False, last_dim_is_batch: bool = False, **params: Any
    ) -> Tensor:
        """Compute similarities of x1 (`batch x n x 1`) and x2 (`batch x m x 1`).

        Returns `batch x n x m`, or `batch x n` for `diag`.
        """
        stack = self._similarities(x1, x2, diag)
        return torch.tensordot(self.weights.to(stack), stack, dims=1)

    def _similarities(self, x1: Tensor, x2: Tensor, diag: bool) -> Tensor:
        """Cache those of the observations: each step of a fit asks for them and changes only the weights."""
        h = (self.h, *self.table.h[1:])
        if diag or x1.dim() != 2 or not torch.equal(x1, x2):
            return _similarities(self.table, h, x1, x2, diag)
        key = (h, x1.dtype, x1.device, x1.detach().cpu().numpy().tobytes())
        if key != self._kept[0]:
            self._kept = key, _similarities(self.table, h, x1, x2, diag)
        return self._kept[1]


def joint_kernel(table: TermTable, columns: int = 0) -> Kernel:
    """Build the kernel over `[id, hyperparameters ...]`: the WL kernel, times a Matérn 5/2 over the `columns`."""
    kernel: Kernel = WLKernel(table, active_dims=(0,))
    if columns:
        kernel = kernel * MaternKernel(nu=2.5, ard_num_dims=columns, active_dims=tuple(range(1, columns + 1)))
    return kernel


def _similarities(table: TermTable, h: Sequence[int], x1: Tensor, x2: Tensor, diag: bool) -> Tensor:
    """Stack the similarities at each level, of `h` iterations: `levels x batch x n x m`, without m for `diag`."""
    single = diag or x1.shape[-2] == x2.shape[-2] == 1
    if single and torch.equal(x1, x2):
        shape = x1.shape[:-1] if diag else (*x1.shape[:-1], 1)
        return x1.new_ones(len(h), *shape)
    (a, in_a), (b, in_b) = _distinct(x1), _distinct(x2)
    if not diag:
        in_a, in_b = in_a.unsqueeze(-1), in_b.unsqueeze(-2)
    matrices = [table.similarity(number, k, a, b) for number, k in enumerate(h)]
    return torch.stack([torch.as_tensor(m, dtype=x1.dtype, device=x1.device)[in_a, in_b] for m in matrices])


def _distinct(x: Tensor) -> tuple[np.ndarray, Tensor]:
    """Return the distinct ids of `batch x n x 1`, ascending, and the inverse (`batch x n`)."""
    ids, inverse = x[..., 0].detach().unique(return_inverse=True)
    whole = ids.round()
    if not torch.equal(ids, whole):
        raise UserError(f"kernel: {ids[ids != whole][0].item()} is no id of a term; take ids from TermTable.index")
    return whole.to(torch.int64).cpu().numpy(), inverse


class NasbotKernel(Kernel):
    """The kernel exp(-d / 9) over ids of a `TermTable`; it has no parameters.

    Args:
        terms: all that the kernel will see; they stay in the table.
    """

    def __init__(self, table: TermTable, terms: Sequence[Term], **kwargs: Any):
        super().__init__(**kwargs)
        terms = list(dict.fromkeys(terms))
        ids = table.index(terms)
        order = np.argsort(ids)
        self.ids = ids[order]
        self.features = torch.from_numpy(features([graph(table.grammar, terms[i]) for i in order]))

    def forward(
        self, x1: Tensor, x2: Tensor, diag: bool = False, last_dim_is_batch: bool = False, **params: Any
    ) -> Tensor:
        """Compute similarities of x1 (`batch x n x 1`) and x2 (`batch x m x 1`).

        Returns `batch x n x m`, or `batch x n` for `diag`.
        """
        a, b = self._rows(x1), self._rows(x2)
        distance = (a - b).abs().sum(-1) if diag else torch.cdist(a, b, p=1.0)
        return (-distance / SCALE).exp().to(x1)

    def _rows(self, x: Tensor) -> Tensor:
        ids = x[..., 0].round().to(torch.int64).numpy()
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        if not (self.ids[rows] == ids).all():
            raise UserError(f"kernel: no features of the term with id {ids[self.ids[rows] != ids][0]}; name all terms")
        return self.features[torch.from_numpy(rows)]


def features(graphs: Sequence[Graph]) -> np.ndarray:
    """Count operations and sort in-degrees and out-degrees, largest first; one row per graph."""
    size = max(len(g.names) for g in graphs)
    names = {name: i for i, name in enumerate(sorted({label for g in graphs for label in g.labels}))}
    rows = np.zeros((len(graphs), len(names) + 2 * size))
    for row, g in zip(rows, graphs, strict=True):
        for label, count in Counter(g.labels).items():
            row[names[label]] = count
        for offset, ends in ((len(names), g.arcs[1]), (len(names) + size, g.arcs[0])):
            degrees = np.bincount(ends, minlength=len(g.names))
            row[offset : offset + len(degrees)] = np.sort(degrees)[::-1]
    return rows

"""A baseline kernel over terms that sees counts and degrees, not the connections.

After the distance of NASBOT (Kandasamy et al., NeurIPS 2018, arXiv 1802.07191), in the simple form in which Schrodi et
al. (arXiv 2211.01842) compare with it: the L1 distance d of operation counts and of sorted in-degrees and out-degrees,
and exp(-d / 9). The optimal transport of the original distance is left out there, and here.
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
    from gpytorch.kernels import Kernel
    from torch import Tensor

SCALE = 9.0


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

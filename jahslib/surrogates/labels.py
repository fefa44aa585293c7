"""Weisfeiler-Lehman labels of graphs, and their counts.

Shervashidze et al., JMLR 12, 2011, on directed graphs: iteration k + 1 relabels a node with its own label and the
multiset of its successors' labels at iteration k.

A label is a 64-bit hash of what it stands for, and a multiset's is the sum of its members' hashes, so that whole
batches are relabelled by array operations and labels need no dictionary. That two of a million different labels collide
has a probability of 3e-8; without a collision all counts are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import islice

import numpy as np
from scipy.sparse import csr_matrix, vstack

from jahslib.spaces.grammars.graphs import NAMES, Graph

_EVEN, _ODD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)


def relabel(batch: Sequence[Graph], iterations: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Compute the labels (uint64) of all nodes at iterations 0 to `iterations`, by batch.

    Also returns each node's graph number.
    """
    sizes = np.array([len(g.names) for g in batch])
    of_graph = np.repeat(np.arange(len(batch)), sizes)
    offset = np.repeat(np.cumsum(sizes) - sizes, [g.arcs.shape[1] for g in batch])
    tails, heads = np.concatenate([g.arcs for g in batch], axis=1) + offset
    n = len(of_graph)
    successors = csr_matrix((np.ones(len(tails), np.uint64), (tails, heads)), shape=(n, n))
    labels = [_codes(len(NAMES))[np.concatenate([g.names for g in batch])]]
    for _ in range(iterations):
        below = successors @ _mix(labels[-1] + _EVEN)
        labels.append(_mix(_mix(labels[-1]) * _ODD + below))
    return labels, of_graph


@lru_cache(maxsize=1)
def _codes(n: int) -> np.ndarray:
    """Hashes of the first `n` names."""
    digests = (blake2b(name.encode(), digest_size=8).digest() for name in islice(NAMES, n))
    return np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)


def _mix(x: np.ndarray) -> np.ndarray:
    """Scatter 64-bit words by a bijection (the last step of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(eq=False)
class Counts:
    """Label counts at one level and iteration: `matrix` is terms x labels, the columns in the order of `known`.

    `known` are the labels, ascending; `squared_norms` those of the rows.
    """

    known: np.ndarray
    matrix: csr_matrix
    kept: tuple[np.ndarray, csr_matrix] | None = None

    def __post_init__(self):
        n = len(self.matrix.indptr) - 1
        row = np.repeat(np.arange(n), np.diff(self.matrix.indptr))
        self.squared_norms = np.bincount(row, self.matrix.data**2, minlength=n)

    @staticmethod
    def empty() -> Counts:
        """Return the counts of no term."""
        return Counts(np.empty(0, np.uint64), csr_matrix((0, 0)))

    def extended(self, labels: np.ndarray, found: csr_matrix) -> Counts:
        """Append rows: `found` counts the `labels` (some may be equal) in them."""
        known, column = np.unique(np.append(self.known, labels), return_inverse=True)
        n = len(self.known)
        added = _renumbered(found.copy(), column[n:], len(known))
        added.sum_duplicates()
        old = _renumbered(self.matrix, column[:n], len(known))
        return Counts(known, vstack([old, added], format="csr") if n else added)

    def products(self, rows: np.ndarray, other: Counts, others: np.ndarray) -> np.ndarray:
        """Compute dense inner products of these rows with the `others` of another (or this) matrix."""
        chosen = self.matrix if np.array_equal(rows, np.arange(len(self.squared_norms))) else self.matrix[rows]
        column = np.searchsorted(other.known, self.known, side="right") - 1
        absent = len(other.known)  # an empty column for all labels that the other does not have
        column = np.where(other.known[column] == self.known, column, absent)
        return (_renumbered(chosen, column, absent + 1) @ other._transposed(others)).toarray()

    def _transposed(self, rows: np.ndarray) -> csr_matrix:
        """Return labels x rows, with an empty last row, caching the latest.

        Pool after pool is compared with the observed terms.
        """
        if self.kept is None or not np.array_equal(self.kept[0], rows):
            turned = self.matrix[rows].T.tocsr()
            turned.resize(len(self.known) + 1, len(rows))
            self.kept = rows, turned
        return self.kept[1]


def _renumbered(matrix: csr_matrix, column: np.ndarray, width: int) -> csr_matrix:
    """Move each column to another of a matrix of `width` columns; several may share one."""
    return csr_matrix((matrix.data, column[matrix.indices], matrix.indptr), shape=(len(matrix.indptr) - 1, width))

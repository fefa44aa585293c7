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

import numpy as np
from scipy.sparse import csr_matrix, vstack

from jahslib.spaces.grammars.graphs import NAMES, Graph

_EVEN, _ODD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)


def relabel(batch: Sequence[Graph], iterations: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Compute the labels (uint64) of all nodes at iterations 0 to `iterations`, by batch.

    Also returns each node's graph number.
    """
    sizes = np.array([g.n_nodes for g in batch])
    of_graph = np.repeat(np.arange(len(batch)), sizes)
    offset = np.repeat(np.cumsum(sizes) - sizes, [g.n_edges for g in batch])
    tails, heads = np.concatenate([g.arcs for g in batch], axis=1) + offset
    n = len(of_graph)
    successors = csr_matrix((np.ones(len(tails), np.uint64), (tails, heads)), shape=(n, n))
    labels = [_codes(len(NAMES.known))[np.concatenate([g.names for g in batch])]]
    for _ in range(iterations):
        below = successors @ _mix(labels[-1] + _EVEN)
        labels.append(_mix(_mix(labels[-1]) * _ODD + below))
    return labels, of_graph


@lru_cache(maxsize=1)
def _codes(n: int) -> np.ndarray:
    """Hashes of the first `n` names."""
    digests = (blake2b(name.encode(), digest_size=8).digest() for name in NAMES.known[:n])
    return np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)


def _mix(x: np.ndarray) -> np.ndarray:
    """Scatter 64-bit words by a bijection (the last step of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(eq=False)
class Counts:
    """Label counts at one level and iteration.

    `matrix` is terms x labels; its column for the label `known[i]` is `columns[i]`; `known` ascends. Squared norms are
    those of the rows.
    """

    known: np.ndarray
    columns: np.ndarray
    matrix: csr_matrix
    squared_norms: np.ndarray
    kept: tuple[np.ndarray, csr_matrix] | None = None

    @staticmethod
    def empty() -> Counts:
        """Return the counts of no term."""
        return Counts(np.empty(0, np.uint64), np.empty(0, np.int64), csr_matrix((0, 0)), np.empty(0))

    def extended(self, distinct: np.ndarray, found: csr_matrix, n: int) -> Counts:
        """Append `n` rows: `found` counts the labels `distinct` (some may be equal) in them."""
        labels, inverse = np.unique(distinct, return_inverse=True)
        columns = np.full(len(labels), -1)
        if len(self.known):
            position = np.minimum(np.searchsorted(self.known, labels), len(self.known) - 1)
            columns = np.where(self.known[position] == labels, self.columns[position], -1)
        new = columns < 0
        columns[new] = len(self.known) + np.arange(new.sum())
        known, all_columns = np.append(self.known, labels[new]), np.append(self.columns, columns[new])
        order = np.argsort(known, kind="stable")
        width = len(known)
        added = csr_matrix((found.data, columns[inverse][found.indices], found.indptr), shape=(n, width), copy=True)
        added.sum_duplicates()
        norms = np.bincount(np.repeat(np.arange(n), np.diff(added.indptr)), added.data**2, minlength=n)
        n_old = len(self.squared_norms)
        old = csr_matrix((self.matrix.data, self.matrix.indices, self.matrix.indptr), (n_old, width))
        return Counts(
            known[order],
            all_columns[order],
            vstack([old, added], format="csr") if n_old else added,
            np.append(self.squared_norms, norms),
        )

    def products(self, rows: np.ndarray, other: Counts, others: np.ndarray) -> np.ndarray:
        """Compute dense inner products of these rows with the `others` of another (or this) matrix."""
        chosen = self.matrix if np.array_equal(rows, np.arange(len(self.squared_norms))) else self.matrix[rows]
        column = self._columns_in(other)
        width = len(other.known) + 1  # the last stands for all labels that the other does not have
        renumbered = csr_matrix((chosen.data, column[chosen.indices], chosen.indptr), shape=(len(rows), width))
        return (renumbered @ other._transposed(others)).toarray()

    def _columns_in(self, other: Counts) -> np.ndarray:
        """Map each column to that of the same label in another matrix."""
        absent = len(other.known)
        column = np.full(len(self.known), absent)
        if other is self:
            return np.arange(absent)
        if absent:
            at = np.minimum(np.searchsorted(other.known, self.known), absent - 1)
            column[self.columns] = np.where(other.known[at] == self.known, other.columns[at], absent)
        return column

    def _transposed(self, rows: np.ndarray) -> csr_matrix:
        """Return labels x rows, with an empty last row, caching the latest.

        Pool after pool is compared with the observed terms.
        """
        if self.kept is None or not np.array_equal(self.kept[0], rows):
            turned = self.matrix[rows].T.tocsr()
            turned.resize(len(self.known) + 1, len(rows))
            self.kept = rows, turned
        return self.kept[1]

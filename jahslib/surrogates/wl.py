"""Weisfeiler-Lehman (WL) label counts of terms, and their Gram matrices.

Shervashidze et al., JMLR 12, 2011, on directed graphs: iteration k + 1 relabels a node with its own label and the
multiset of its successors' labels at iteration k. The unnormalised kernel of two graphs is the inner product of their
label counts, summed over iterations 0 to h.

A label is a 64-bit hash of what it stands for, and a multiset's is the sum of its members' hashes, so that whole
batches are relabelled by array operations and labels need no dictionary. That two of a million different labels collide
has a probability of 3e-8; without a collision all counts are exact.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from typing import Literal

import numpy as np
from scipy.sparse import csr_matrix, vstack

from jahslib.errors import UserError
from jahslib.spaces.grammars import graphs
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.graphs import Graph
from jahslib.spaces.grammars.terms import Term
from jahslib.surrogates import published_folding

HIERARCHICAL_LEVELS = (0, 1, 2, 3, 4)
MAX_H = 4
FOLDINGS = {"cut": graphs.graph, "published": published_folding.graph}

_EVEN, _ODD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)


def folding_levels(grammar: Grammar) -> tuple[int, ...]:
    """Folding levels of the hierarchical kernel: the published 0 to 4, as far as they differ from the full graph."""
    return HIERARCHICAL_LEVELS[: max(0, grammar.max_depth - 1)]


def relabel(batch: Sequence[Graph], iterations: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Labels (uint64) of all nodes of all graphs at iterations 0 to `iterations`, and each node's graph number."""
    sizes = np.array([g.n_nodes for g in batch])
    of_graph = np.repeat(np.arange(len(batch)), sizes)
    arcs = np.array([g.n_edges for g in batch])
    offset = np.repeat(np.cumsum(sizes) - sizes, arcs)
    tails = np.fromiter(chain.from_iterable(g.tails for g in batch), np.int64, arcs.sum()) + offset
    heads = np.fromiter(chain.from_iterable(g.heads for g in batch), np.int64, arcs.sum()) + offset
    successors = csr_matrix((np.ones(len(tails), np.uint64), (tails, heads)), shape=(sizes.sum(), sizes.sum()))
    code = {label: _code(label) for label in set(chain.from_iterable(g.labels for g in batch))}
    names = chain.from_iterable(g.labels for g in batch)
    labels = [np.fromiter((code[name] for name in names), np.uint64, sizes.sum())]
    for _ in range(iterations):
        below = successors @ _mix(labels[-1] + _EVEN)
        labels.append(_mix(_mix(labels[-1]) * _ODD + below))
    return labels, of_graph


@lru_cache(maxsize=4096)
def _code(label: str) -> int:
    return int.from_bytes(blake2b(label.encode(), digest_size=8).digest(), "little")


def _mix(x: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit words that scatters them (the last step of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True)
class _Counts:
    """Label counts at one level and iteration: `matrix` (terms x labels), whose column for the label `known[i]` is
    `columns[i]`; `known` ascends. Squared norms are those of the rows."""

    known: np.ndarray
    columns: np.ndarray
    matrix: csr_matrix
    squared_norms: np.ndarray

    @staticmethod
    def empty() -> _Counts:
        return _Counts(np.empty(0, np.uint64), np.empty(0, np.int64), csr_matrix((0, 0)), np.empty(0))

    def extended(self, distinct: np.ndarray, found: csr_matrix, n: int) -> _Counts:
        """With `n` more rows: `found` counts the labels `distinct` (some may be equal) in them."""
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
        return _Counts(
            known[order],
            all_columns[order],
            vstack([old, added], format="csr") if n_old else added,
            np.append(self.squared_norms, norms),
        )


@dataclass(frozen=True)
class _State:
    """`ids` ascend with the rows; `counts[level][iteration]`."""

    rows: dict[Term, int]
    ids: np.ndarray
    counts: tuple[tuple[_Counts, ...], ...]


class TermTable:
    """The label counts of terms, computed once per term, at the full graph (level number 0) and at folding levels.

    A term is known by its id, a whole number that is never used twice; a tensor of ids is how terms enter kernels.

    Args:
        levels: folding levels, of level numbers 1, 2, ...; empty for the plain WL kernel.
        h: the most iterations at each level number that will be asked for; by default 4 at the full graph, 1 at level 0
            and 2 at the other levels, as in the paper.
        folding: "cut" is `graphs.graph`, "published" `published_folding.graph`.
    """

    def __init__(
        self,
        grammar: Grammar,
        levels: Sequence[int] = HIERARCHICAL_LEVELS,
        h: Sequence[int] | None = None,
        folding: Literal["cut", "published"] = "cut",
    ):
        if folding not in FOLDINGS:
            raise UserError(f"term table: folding={folding!r}; choose cut or published")
        self.grammar = grammar
        self.levels: tuple[int | None, ...] = (None, *levels)
        self.h = tuple(h) if h is not None else (MAX_H, *(1 if level == 0 else 2 for level in levels))
        if len(self.h) != len(self.levels) or min(self.h) < 0:
            raise UserError(
                f"term table: h={self.h} for the full graph and levels {tuple(levels)}; give one h for each"
            )
        self.folding = folding
        self._state = _State({}, np.empty(0, np.int64), tuple((_Counts.empty(),) * (h + 1) for h in self.h))
        self._next_id = 0
        self._cache: OrderedDict[tuple, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return len(self._state.ids)

    def __deepcopy__(self, memo: dict) -> TermTable:
        """Models share their table when they are copied (as GPyTorch does to condition one on more observations)."""
        return self

    def index(self, terms: Sequence[Term]) -> np.ndarray:
        """Ids (int64, shape n) of the terms; those not in the table yet are added.

        Raises:
            UserError: a term is not one of the grammar.
        """
        new = [t for t in dict.fromkeys(terms) if t not in self._state.rows]
        if new:
            self._add(new)
        rows = [self._state.rows[t] for t in terms]
        return self._state.ids[rows]

    @contextmanager
    def borrowed(self, terms: Sequence[Term]) -> Iterator[np.ndarray]:
        """Ids of the terms for a while: those not in the table before are dropped again."""
        before = self._state
        try:
            yield self.index(terms)
        finally:
            self._state = before

    def _add(self, terms: list[Term]) -> None:
        counts = []
        for level, h, known in zip(self.levels, self.h, self._state.counts, strict=True):
            drawn = [FOLDINGS[self.folding](self.grammar, t, level) for t in terms]
            batch = list(dict.fromkeys(drawn))  # terms often look alike at a folding level
            labels, of_graph = relabel(batch, h)
            # Equal at the last iteration is equal at all: what is counted there is counted for all iterations.
            finest, first, inverse = np.unique(labels[-1], return_index=True, return_inverse=True)
            found = csr_matrix((np.ones(len(inverse)), (of_graph, inverse)), shape=(len(batch), len(finest)))
            if len(batch) < len(drawn):
                number = {g: i for i, g in enumerate(batch)}
                found = found[[number[g] for g in drawn]]
            counts.append(tuple(c.extended(x[first], found, len(terms)) for c, x in zip(known, labels, strict=True)))
        ids = np.append(self._state.ids, self._next_id + np.arange(len(terms)))
        self._next_id += len(terms)
        rows = {**self._state.rows, **{t: len(self) + i for i, t in enumerate(terms)}}
        self._state = _State(rows, ids, tuple(counts))

    def gram(self, number: int, h: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Unnormalised Gram matrix (shape len(a) x len(b)) of the terms with ids `a` and `b` at one level number.

        Raises:
            UserError: an id is not in the table, or h is larger than the table's.
        """
        rows_a, rows_b = self._rows(a), self._rows(b)
        total = np.zeros((len(a), len(b)))
        for counts in self._counts(number, h):
            total += (counts.matrix[rows_a] @ counts.matrix[rows_b].T).toarray()
        return total

    def similarity(self, number: int, h: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The Gram matrix, cosine-normalised: 1 for a term with itself."""
        key = (number, h, a.tobytes())
        same = a is b or np.array_equal(a, b)
        if same and key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        norms = [
            sum(counts.squared_norms[self._rows(ids)] for counts in self._counts(number, h)) ** 0.5 for ids in (a, b)
        ]
        matrix = self.gram(number, h, a, b) / np.outer(*norms)
        if same:
            self._cache[key] = matrix
            if len(self._cache) > 2 * len(self.levels) + MAX_H:
                self._cache.popitem(last=False)
        return matrix

    def _counts(self, number: int, h: int) -> tuple[_Counts, ...]:
        if not 0 <= h <= self.h[number]:
            raise UserError(f"term table: h={h} at level number {number}, but it was made for at most {self.h[number]}")
        return self._state.counts[number][: h + 1]

    def _rows(self, ids: np.ndarray) -> np.ndarray:
        rows = np.searchsorted(self._state.ids, ids)
        found = rows < len(self)
        found[found] = self._state.ids[rows[found]] == ids[found]
        if not found.all():
            raise UserError(f"term table: no term with id {ids[~found][0]}; ids of borrowed terms end with their block")
        return rows

"""Gram matrices of the Weisfeiler-Lehman (WL) kernel between terms.

Shervashidze et al., JMLR 12, 2011: the unnormalised kernel of two graphs is the inner product of their label counts
(`jahslib.surrogates.labels`), summed over iterations 0 to h.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from jahslib.errors import UserError
from jahslib.spaces.grammars import graphs
from jahslib.spaces.grammars.garbage import collector_paused
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.graphs import Graph
from jahslib.spaces.grammars.terms import Term
from jahslib.surrogates.labels import Counts, relabel

HIERARCHICAL_LEVELS = (0, 1, 2, 3, 4)
MAX_H = 4


def folding_levels(grammar: Grammar) -> tuple[int, ...]:
    """List the hierarchical kernel's folding levels: the published 0 to 4, as far as they differ from the whole."""
    return HIERARCHICAL_LEVELS[: max(0, grammar.max_depth - 1)]


@dataclass(frozen=True)
class _State:
    """Label counts of some terms: `ids` ascend with the rows; `counts[level][iteration]`."""

    rows: dict[Term, int]
    ids: np.ndarray
    counts: tuple[tuple[Counts, ...], ...]

    @staticmethod
    def empty(h: Sequence[int]) -> _State:
        return _State({}, np.empty(0, np.int64), tuple((Counts.empty(),) * (k + 1) for k in h))


class TermTable:
    """Label counts of terms, computed once per term, of full graphs and at folding levels.

    The full graph has level number 0. A term is known by its id, a whole number that is never used twice; terms enter
    kernels as a tensor of ids.

    Args:
        levels: folding levels, of level numbers 1, 2, ...; empty for the plain WL kernel.
        h: largest number of iterations at each level number; by default 4 at the full graph, 1 at level 0 and 2 at the
            other levels, as in the paper.
        folded: builds a term's graphs at some folding levels, None for the full one.
    """

    def __init__(
        self,
        grammar: Grammar,
        levels: Sequence[int] = HIERARCHICAL_LEVELS,
        h: Sequence[int] | None = None,
        folded: Callable[[Grammar, Term, Sequence[int | None]], list[Graph]] = graphs.folded,
    ):
        self.grammar, self._folded = grammar, folded
        self.levels: tuple[int | None, ...] = (None, *levels)
        self.h = tuple(h) if h is not None else (MAX_H, *(1 if level == 0 else 2 for level in levels))
        if len(self.h) != len(self.levels) or min(self.h) < 0:
            raise UserError(
                f"term table: h={self.h} for the full graph and levels {tuple(levels)}; give one h for each"
            )
        self._states = [_State.empty(self.h)]  # the last is that of terms that are borrowed, while some are
        self._next_id = 0
        self._cache: OrderedDict[tuple, list[np.ndarray]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(state.ids) for state in self._states)

    def __deepcopy__(self, memo: dict) -> TermTable:
        """Return the table itself, which copies of a model share.

        GPyTorch copies a model to condition it on more observations.
        """
        return self

    def index(self, terms: Sequence[Term]) -> np.ndarray:
        """Return the ids (int64, shape n) of the terms, adding those not in the table yet.

        Raises:
            UserError: a term is not one of the grammar.
        """
        new = [t for t in dict.fromkeys(terms) if not any(t in state.rows for state in self._states)]
        if new:
            self._add(new)
        return np.array([next(s.ids[s.rows[t]] for s in self._states if t in s.rows) for t in terms], np.int64)

    @contextmanager
    def borrowed(self, terms: Sequence[Term]) -> Iterator[np.ndarray]:
        """Yield the ids of the terms; those added are dropped at the end of the block.

        They have a state of their own, as it would take longer to merge their counts with the others'.
        """
        self._states.append(_State.empty(self.h))
        try:
            yield self.index(terms)
        finally:
            self._states.pop()

    @collector_paused()
    def _add(self, terms: list[Term]) -> None:
        counts, state = [], self._states[-1]
        at_levels = zip(*[self._folded(self.grammar, t, self.levels) for t in terms], strict=True)
        for drawn, h, known in zip(at_levels, self.h, state.counts, strict=True):
            batch = list(dict.fromkeys(drawn))  # terms often look alike at a folding level
            labels, of_graph = relabel(batch, h)
            # Equal at the last iteration is equal at all: what is counted there is counted for all iterations.
            finest, first, inverse = np.unique(labels[-1], return_index=True, return_inverse=True)
            found = csr_matrix((np.ones(len(inverse)), (of_graph, inverse)), shape=(len(batch), len(finest)))
            if len(batch) < len(drawn):
                number = {g: i for i, g in enumerate(batch)}
                found = found[[number[g] for g in drawn]]
            counts.append(tuple(c.extended(x[first], found) for c, x in zip(known, labels, strict=True)))
        ids = np.append(state.ids, self._next_id + np.arange(len(terms)))
        self._next_id += len(terms)
        rows = {**state.rows, **{t: len(state.ids) + i for i, t in enumerate(terms)}}
        self._states[-1] = _State(rows, ids, tuple(counts))

    def gram(self, number: int, h: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Compute the unnormalised Gram matrix of ids `a` and `b` at one level number.

        Returns shape len(a) x len(b).

        Raises:
            UserError: an id is not in the table, or h is larger than the table's.
        """
        self._refuse(number, h)
        gram = np.zeros((len(a), len(b)))
        for k in range(h + 1):
            self._add_products(gram, number, k, a, b)
        return gram

    def similarity(self, number: int, h: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Compute the cosine-normalised Gram matrix: 1 for a term with itself."""
        self._refuse(number, h)
        if a is not b and not np.array_equal(a, b):
            norms = self._norms(number, h, a)[h], self._norms(number, h, b)[h]
            return self.gram(number, h, a, b) / np.outer(*norms)
        key = (number, a.tobytes())
        if key not in self._cache:  # at every h, of which a fit chooses one
            self._cache[key] = self._similarities(number, a)
            if len(self._cache) > len(self.levels):
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key][h]

    def _refuse(self, number: int, h: int) -> None:
        if not 0 <= h <= self.h[number]:
            raise UserError(f"term table: h={h} at level number {number}, but it was made for at most {self.h[number]}")

    def _similarities(self, number: int, ids: np.ndarray) -> list[np.ndarray]:
        """Those of terms with one another, with 0 iterations and more."""
        gram, found = np.zeros((len(ids), len(ids))), []
        for k, norms in enumerate(self._norms(number, self.h[number], ids)):
            self._add_products(gram, number, k, ids, ids)
            found.append(gram / np.outer(norms, norms))
        return found

    def _add_products(self, gram: np.ndarray, number: int, k: int, a: np.ndarray, b: np.ndarray) -> None:
        """Add the inner products of the label counts at iteration `k`."""
        for state_b, at_b, rows_b in self._places(b):
            for state_a, at_a, rows_a in self._places(a):
                products = state_a.counts[number][k].products(rows_a, state_b.counts[number][k], rows_b)
                if products.shape == gram.shape:  # all of them, in their order
                    gram += products
                else:
                    gram[np.ix_(at_a, at_b)] += products

    def _norms(self, number: int, h: int, ids: np.ndarray) -> np.ndarray:
        """Compute the norms of the label counts with 0 to `h` iterations (first axis)."""
        squared = np.zeros((h + 1, len(ids)))
        for state, at, rows in self._places(ids):
            squared[:, at] = [counts.squared_norms[rows] for counts in state.counts[number][: h + 1]]
        return squared.cumsum(axis=0) ** 0.5

    def _places(self, ids: np.ndarray) -> list[tuple[_State, np.ndarray, np.ndarray]]:
        """Locate ids: for each state, their positions among `ids` and their rows in it."""
        places, missing = [], np.ones(len(ids), dtype=bool)
        for state in self._states:
            rows = np.searchsorted(state.ids, ids)
            found = rows < len(state.ids)
            found[found] = state.ids[rows[found]] == ids[found]
            if found.any():
                places.append((state, np.flatnonzero(found), rows[found]))
                missing &= ~found
        if missing.any():
            first = ids[missing][0]
            raise UserError(f"term table: no term with id {first}; ids of borrowed terms end with their block")
        return places

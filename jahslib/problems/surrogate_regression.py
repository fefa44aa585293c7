"""Surrogates' predictive quality on architectures as a problem: each evaluation is one fit.

Protocol of Schrodi et al., NeurIPS 2023 (arXiv 2211.01842): architectures are shuffled by a seed, the first `n_train`
are training data and the last `n_test` are predicted. Departures: the negative log likelihood is that of each
observation under its own predictive variance, noise included (theirs passes the whole covariance matrix for the
variances), and training and test architectures never overlap.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ConfigSpace import Categorical, ConfigurationSpace, Integer
from scipy import stats

from jahslib.core.problem import Fidelity, Job, Objective, Outcome, Problem
from jahslib.core.trials import Trial, as_proposed
from jahslib.errors import UserError
from jahslib.problems.cells import nasbench201
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.grammar import Grammar
from jahslib.spaces.grammars.terms import Term
from jahslib.surrogates import gp
from jahslib.surrogates.kernels import NasbotKernel
from jahslib.surrogates.wl import TermTable, folding_levels

MODELS = {"gp_hierarchical": "hWL", "gp": "WL", "gp_nasbot": "counts"}
METRICS = ("kendall", "spearman", "pearson", "nll")


class Source(NamedTuple):
    """Regression data; see the arguments of `Regression`."""

    source: str
    grammar: str
    architectures: tuple[str, ...]
    values: tuple[float, ...]

    def points(self, models: Iterable[str], sizes: Iterable[int], n_test: int) -> list[dict[str, Any]]:
        """Pair models with training sizes that leave `n_test` to predict; for cells alone hWL is WL, and left out."""
        folds = self.grammar != "cell-based"
        admitted = [model for model in models if folds or model != "gp_hierarchical"]
        fitting = [n for n in sizes if n + n_test <= len(self.values)]
        return [{"model": model, "n_train": n} for n in fitting for model in admitted]


def unique(searches: Iterable[Iterable[Trial]]) -> list[Trial]:
    """Select the successful trials of searches as they were proposed, each architecture once."""
    trials = (t for search in searches for t in as_proposed(search))
    return list({t.configuration["architecture"]: t for t in trials if t.status == "ok"}.values())


def of_trials(name: str, grammar: str, trials: Sequence[Trial], *, log: bool) -> Source:
    """Collect the validation errors of trained networks, or their logarithms."""
    architectures = tuple(t.configuration["architecture"] for t in trials)
    return Source(name, grammar, architectures, _observed([t.metrics["val_error"] for t in trials], log))


def of_table(data: str, count: int, *, log: bool) -> Source:
    """Sample up to `count` cells of the NAS-Bench-201 table, always the same. Raises `UserError` without it."""
    table = nasbench201.NasBench201(data).errors()
    chosen = np.random.default_rng(0).permutation(len(table))[:count]
    return Source(data, "cell-based", tuple(table.index[chosen]), _observed(table.val_error.iloc[chosen], log))


def _observed(errors: Iterable[float], log: bool) -> tuple[float, ...]:
    values = np.array([float(error) for error in errors])
    return tuple(float(v) for v in (np.log(values + 1e-8) if log else values))


@dataclass
class Regression(Problem):
    """A surrogate's fit to `n_train` architectures, scored on the last `n_test` of a shuffle.

    Args:
        source: what the values are, for tables.
        grammar: its name, one of `examples.TEXTS`.
        architectures, values: terms in LISP-like form, and their observed values, which are predicted as they are.
        split: seed of the shuffle.

    Metrics: Kendall's, Spearman's and Pearson's correlation of predicted means with values, and the mean negative log
    likelihood of the values. Outputs: the means and deviations themselves, in the order of `tested`.

    Raises:
        UserError: not one value per architecture, or fewer architectures than are to be predicted.
    """

    source: str
    grammar: str
    architectures: tuple[str, ...]
    values: tuple[float, ...]
    split: int
    n_test: int

    name = "surrogate_regression"
    objective = Objective("kendall", best=1.0, worst=-1.0)
    fidelity = Fidelity(1, 1)

    def __post_init__(self):
        if len(self.architectures) != len(self.values):
            raise UserError(f"regression: {len(self.architectures)} architectures, {len(self.values)} values")
        if not 2 <= self.n_test < len(self.values):
            raise UserError(
                f"regression: n_test={self.n_test} of {len(self.values)} architectures; give 2 or more, below"
            )

    @property
    def space(self) -> ConfigurationSpace:
        most = len(self.values) - self.n_test
        space = ConfigurationSpace()
        space.add(Categorical("model", list(MODELS)), Integer("n_train", (1, max(most, 2))))
        return space

    def describe(self) -> dict[str, Any]:
        own = {"source": self.source, "grammar": self.grammar, "split": self.split, "n_test": self.n_test}
        return {**super().describe(), **own, "data": digest(self.architectures, self.values)}

    @property
    def _order(self) -> np.ndarray:
        return np.random.default_rng(self.split).permutation(len(self.values))

    @property
    def tested(self) -> np.ndarray:
        """Indices of the predicted architectures (`n_test`)."""
        return self._order[-self.n_test :]

    def evaluate(self, job: Job) -> Outcome:
        order, test = self._order, self.tested
        train = order[: job.configuration["n_train"]]
        if len(train) + len(test) > len(order):
            raise ValueError(f"{len(train)} to learn from and {len(test)} to predict of {len(order)}: they overlap")
        y = np.array(self.values)
        terms = [_term(self.grammar, text) for text in self.architectures]
        surrogate = fit(examples.grammar(self.grammar), job.configuration["model"], terms, train, test, y)
        mean, deviation = surrogate.predict([terms[i] for i in test], observation_noise=True)
        outputs = {"noise": surrogate.noise, "h": surrogate.h}
        for name, values in (("mean", mean), ("deviation", deviation)):
            outputs[name] = [float(f"{value:.5g}") for value in values]  # short, to keep the log small
        return Outcome(scores(mean, deviation, y[test]), 1, outputs=outputs)


def fit(
    grammar: Grammar, model: str, terms: Sequence[Term], train: np.ndarray, test: np.ndarray, y: np.ndarray
) -> gp.Surrogate:
    """Fit one of `MODELS` to the terms `train`; "gp_nasbot" must know those of `test`, though not their values."""
    table = TermTable(grammar, folding_levels(grammar) if model == "gp_hierarchical" else ())
    learnt, kernel = [terms[i] for i in train], None
    if model == "gp_nasbot":
        kernel = NasbotKernel(table, [*learnt, *(terms[i] for i in test)], active_dims=(0,))
    return gp.fit(table, learnt, y[train], kernel=kernel)


def scores(mean: np.ndarray, deviation: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Compute correlations, 0 for a model that predicts one value for all, and the negative log likelihood."""
    correlations = {"kendall": stats.kendalltau, "spearman": stats.spearmanr, "pearson": stats.pearsonr}
    flat = np.ptp(mean) == 0 or np.ptp(y) == 0
    found = {name: 0.0 if flat else float(f(mean, y)[0]) for name, f in correlations.items()}
    return {**found, "nll": float(-stats.norm.logpdf(y, mean, deviation).mean())}


def digest(architectures: Sequence[str], values: Sequence[float]) -> str:
    """Hash the data to eight hexadecimal digits, for file names and fingerprints."""
    rounded = [f"{value:.8g}" for value in values]  # a logarithm's last digits differ between processors
    return hashlib.sha256(json.dumps([list(architectures), rounded]).encode()).hexdigest()[:8]


# Terms cache what was computed from them, for the next fit.
@lru_cache(maxsize=20_000)
def _term(grammar: str, text: str) -> Term:
    return examples.grammar(grammar).parse(text)

"""WL counts, kernels and Gaussian processes over terms."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from botorch.acquisition import qLogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from jahslib.errors import UserError
from jahslib.spaces.grammars import examples
from jahslib.spaces.grammars.evolve import mutate
from jahslib.spaces.grammars.graphs import Graph, graph
from jahslib.surrogates import gp
from jahslib.surrogates.kernels import WLKernel
from jahslib.surrogates.labels import relabel
from jahslib.surrogates.wl import TermTable, folding_levels
from tests.surrogates import published_folding

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=15, deadline=None)
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "grammar_kernels.json").read_text())
SPACES = {"fixed_1_none": "cell-based", "variable_multi_multi": "hierarchical"}
HIERARCHICAL, CELLS = examples.grammar("hierarchical"), examples.grammar("cell-based")


def sampled(grammar, n, seed=0):
    rng = np.random.default_rng(seed)
    return [grammar.sample(rng) for _ in range(n)]


# Label counts


@pytest.mark.parametrize("space", SPACES)
def test_unnormalised_gram_matrices_equal_the_originals(space):
    grammar, golden = examples.grammar(SPACES[space]), GOLDEN[space]
    levels = [level["level"] for level in golden["levels"]]
    assert levels[0] == "full"
    h = [max(map(int, level["gram_unnormalised"])) for level in golden["levels"]]
    table = TermTable(grammar, levels[1:], h, folded=published_folding.folded)
    ids = table.index([grammar.parse(text) for text in golden["ids"]])
    for number, level in enumerate(golden["levels"]):
        for h, matrix in level["gram_unnormalised"].items():
            np.testing.assert_array_equal(table.gram(number, int(h), ids, ids), matrix)


def test_the_cut_folding_has_the_originals_gram_matrices_where_no_zero_is_in_sight():
    golden = GOLDEN["variable_multi_multi"]
    table = TermTable(HIERARCHICAL, [0, 1], [4, 2, 2])
    ids = table.index([HIERARCHICAL.parse(text) for text in golden["ids"]])
    for number, level in enumerate(golden["levels"][:3]):
        for h, matrix in level["gram_unnormalised"].items():
            np.testing.assert_array_equal(table.gram(number, int(h), ids, ids), matrix)


def test_a_diamond_against_a_line():
    """input->{a,b}->output against input->a->b->output."""
    names = ["input", "a", "b", "output"]
    labels, of_graph = relabel([Graph.of(names, [0, 0, 1, 2], [1, 2, 3, 3]), Graph.of(names, [0, 1, 2], [1, 2, 3])], 3)
    assert of_graph.tolist() == [0] * 4 + [1] * 4
    shared = [len(set(x[:4]) & set(x[4:])) for x in labels]
    assert np.cumsum(shared).tolist() == [4, 6, 8, 10]
    assert np.cumsum([len(set(x[:4])) for x in labels]).tolist() == [4, 8, 12, 16]


def label_counts(g: Graph, h: int) -> Counter:
    """WL with labels written out in full."""
    after = {i: [] for i in range(len(g.names))}
    for tail, head in zip(*g.arcs.tolist(), strict=True):
        after[tail].append(head)
    labels: dict[int, object] = dict(enumerate(g.labels))
    counts = Counter(labels.values())
    for _ in range(h):
        labels = {i: (labels[i], tuple(sorted((labels[j] for j in after[i]), key=repr))) for i in after}
        counts.update(labels.values())
    return counts


@pytest.mark.parametrize("name", ["cell-based", "hierarchical", "activation", "DARTS cell"])
@FEW
@given(seed=SEEDS, h=st.integers(0, 3))
def test_gram_matrices_are_inner_products_of_label_counts(name, seed, h):
    grammar, rng = examples.grammar(name), np.random.default_rng(seed)
    terms = [grammar.sample(rng) for _ in range(3)]
    terms.append(mutate(grammar, terms[0], rng))
    table = TermTable(grammar, [1], [3, 3])
    table.index(terms[:2])  # rows added later must fit those that were there
    ids = table.index(terms)
    for number, level in enumerate((None, 1)):
        counts = [label_counts(graph(grammar, term, level), h) for term in terms]
        expected = [[sum(n * b[label] for label, n in a.items()) for b in counts] for a in counts]
        np.testing.assert_array_equal(table.gram(number, h, ids, ids), expected)


def test_ids_of_borrowed_terms_end_with_their_block_and_are_not_used_again():
    table = TermTable(CELLS, ())
    terms = list(dict.fromkeys(sampled(CELLS, 12)))
    kept = table.index(terms[:4])
    with table.borrowed(terms[2:8]) as ids:
        assert ids[:2].tolist() == kept[2:].tolist() and len(table) == 8
        before = table.gram(0, 2, kept, ids)
        mixed = table.gram(0, 2, ids, np.append(ids, kept))
    assert len(table) == 4
    with pytest.raises(UserError, match="no term with id"):
        table.gram(0, 2, kept, ids)
    again = table.index(terms[2:8])
    assert not set(again[2:]) & set(ids[2:])
    np.testing.assert_array_equal(table.gram(0, 2, kept, again), before)
    np.testing.assert_array_equal(table.gram(0, 2, again, np.append(again, kept)), mixed)


def test_what_a_table_refuses():
    with pytest.raises(UserError, match="give one h for each"):
        TermTable(CELLS, (0, 1), h=(2,))
    table = TermTable(CELLS, ())
    with pytest.raises(UserError, match="starts at CELL"):
        table.index(sampled(HIERARCHICAL, 1))
    ids = table.index(sampled(CELLS, 2))
    with pytest.raises(UserError, match="h=5 at level number 0"):
        table.gram(0, 5, ids, ids)


# Kernels


@FEW
@given(seed=SEEDS)
def test_kernels_are_positive_semi_definite_with_a_unit_diagonal(seed):
    rng = np.random.default_rng(seed)
    terms = [HIERARCHICAL.sample(rng) for _ in range(5)]
    terms += [mutate(HIERARCHICAL, term, rng) for term in terms]
    plain, hierarchical = (WLKernel(TermTable(HIERARCHICAL, levels)).double() for levels in ((), range(5)))
    plain.h, hierarchical.h = int(rng.integers(5)), 3
    hierarchical.raw_weights.data = torch.from_numpy(rng.normal(size=6))
    for kernel in (plain, hierarchical):
        X = torch.tensor(kernel.table.index(terms), dtype=torch.double)[:, None]
        matrix = kernel(X).to_dense().detach()
        assert torch.allclose(matrix, matrix.T) and torch.allclose(matrix.diagonal(), torch.ones(10).double())
        assert torch.linalg.eigvalsh(matrix).min() > -1e-9
        assert matrix.min() >= 0 and matrix.max() <= 1 + 1e-12


def test_folding_levels_are_those_that_differ_from_the_full_graph():
    assert folding_levels(examples.grammar("hierarchical")) == (0, 1, 2, 3, 4)
    assert folding_levels(examples.grammar("cell-based")) == ()


def test_the_hierarchical_kernel_is_the_softmax_weighted_sum_of_its_levels():
    table = TermTable(HIERARCHICAL)
    ids = table.index(sampled(HIERARCHICAL, 6))
    X = torch.tensor(ids, dtype=torch.double)[:, None]
    kernel = WLKernel(table, h=4).double()
    kernel.raw_weights.data = torch.arange(6).double() / 3
    share = np.exp(np.arange(6) / 3) / np.exp(np.arange(6) / 3).sum()
    expected = sum(
        w * table.similarity(i, h, ids, ids) for i, (w, h) in enumerate(zip(share, (4, 1, 2, 2, 2, 2), strict=True))
    )
    np.testing.assert_allclose(kernel(X).to_dense().detach(), expected, atol=1e-12)
    np.testing.assert_allclose(kernel(X[:2], X[3:]).to_dense().detach(), expected[:2, 3:], atol=1e-12)
    np.testing.assert_allclose(kernel(X, diag=True).detach(), np.ones(6), atol=1e-12)
    np.testing.assert_allclose(kernel(X[:3], X[3:], diag=True).detach(), expected[range(3), range(3, 6)], atol=1e-12)
    batch = kernel(X[:4].view(2, 2, 1), X.expand(2, 6, 1)).to_dense().detach()
    np.testing.assert_allclose(batch, expected[:4].reshape(2, 2, 6), atol=1e-12)


def test_a_fit_looks_up_the_similarities_of_its_observations_once_for_each_h(monkeypatch):
    """Its steps move the weights alone."""
    asked, similarity = Counter(), TermTable.similarity

    def counted(self, number, h, *ids):
        asked[number, h] += 1
        return similarity(self, number, h, *ids)

    monkeypatch.setattr(TermTable, "similarity", counted)
    surrogate = gp.fit(TermTable(HIERARCHICAL), sampled(HIERARCHICAL, 6), np.arange(6.0))
    assert {h for number, h in asked if number == 0} == set(range(5))
    assert sum(n for (number, _), n in asked.items() if number == 0) <= 6  # the h that was chosen comes again
    kernel = surrogate.model.covar_module
    before = kernel(surrogate.model.train_inputs[0]).to_dense().detach()
    kernel.raw_weights.data += torch.arange(6.0)
    assert not torch.allclose(before, kernel(surrogate.model.train_inputs[0]).to_dense())


def test_what_is_no_id_is_refused():
    table = TermTable(CELLS, ())
    table.index(sampled(CELLS, 2))
    with pytest.raises(UserError, match=r"0\.5 is no id"):
        WLKernel(table)(torch.tensor([[0.0], [0.5]])).to_dense()


# Gaussian processes


def convolutions(term) -> float:
    """A smooth function of a cell."""
    return -sum(c.head.startswith("conv") for c in term.children) + 0.5 * sum(c.head == "zero" for c in term.children)


@pytest.fixture(scope="module")
def fitted():
    terms = list(dict.fromkeys(sampled(CELLS, 40)))
    y = np.array([convolutions(term) for term in terms])
    table = TermTable(CELLS, ())
    return gp.fit(table, terms, y, kernel=WLKernel(table)), terms, y


def test_predictions_are_the_textbooks(fitted):
    """Rasmussen and Williams, Gaussian Processes for Machine Learning, equations 2.23 and 2.24."""
    surrogate, terms, y = fitted
    test = sampled(CELLS, 20, seed=1)
    table = TermTable(CELLS, ())
    a, b = table.index(terms), table.index(test)
    noisy = table.similarity(0, surrogate.h, a, a) + surrogate.noise * np.eye(len(a))
    cross = table.similarity(0, surrogate.h, b, a)
    mean = y.mean() + y.std(ddof=1) * cross @ np.linalg.solve(noisy, (y - y.mean()) / y.std(ddof=1))
    variance = 1 - np.einsum("ij,ji->i", cross, np.linalg.solve(noisy, cross.T))
    found, sd = surrogate.predict(test)
    np.testing.assert_allclose(found, mean, atol=1e-6)
    np.testing.assert_allclose(sd, y.std(ddof=1) * np.sqrt(variance), atol=1e-6)
    _, noisy_sd = surrogate.predict(test, observation_noise=True)
    np.testing.assert_allclose(noisy_sd, y.std(ddof=1) * np.sqrt(variance + surrogate.noise), atol=1e-6)


def test_expected_improvement_is_its_closed_form_and_leaves_the_table_as_it_was(fitted):
    surrogate, _, y = fitted
    size = len(surrogate.table)
    test = sampled(CELLS, 50, seed=2)
    mean, sd = surrogate.predict(test)
    z = (y.min() - mean) / sd
    found = surrogate.log_expected_improvement(test)
    np.testing.assert_allclose(np.exp(found), sd * (z * norm.cdf(z) + norm.pdf(z)), rtol=1e-4, atol=1e-12)
    assert len(surrogate.table) == size


def test_fit_raises_the_likelihood_and_chooses_the_likeliest_h(fitted):
    surrogate, terms, y = fitted
    table = TermTable(CELLS, ())
    ids = table.index(terms)
    z = (y - y.mean()) / y.std(ddof=1)

    def nlml(h, noise):
        matrix = table.similarity(0, h, ids, ids) + noise * np.eye(len(ids))
        return z @ np.linalg.solve(matrix, z) / 2 + np.linalg.slogdet(matrix)[1] / 2

    assert surrogate.h == min(range(5), key=lambda h: nlml(h, 1e-3))
    assert nlml(surrogate.h, surrogate.noise) < nlml(surrogate.h, 1e-3)
    assert gp.NOISE[0] <= surrogate.noise <= gp.NOISE[1]


def test_a_surrogate_learns_what_the_architecture_decides(fitted):
    surrogate, _, _ = fitted
    test = sampled(CELLS, 200, seed=3)
    mean, _ = surrogate.predict(test)
    assert np.corrcoef(mean, [convolutions(t) for t in test])[0, 1] > 0.75


def test_the_weights_find_the_level_that_matters():
    """A value that only the root's topology and the choice below it decide is read off folding level 0."""
    terms = sampled(HIERARCHICAL, 40)
    y = [sum(c.head == "Residual3" for c in term.children) for term in terms]
    surrogate = gp.fit(TermTable(HIERARCHICAL), terms, y)
    assert max(surrogate.weights, key=surrogate.weights.__getitem__) in (0, 1)
    assert sum(surrogate.weights.values()) == pytest.approx(1)


def test_pending_points_keep_the_mean_and_narrow_the_variance(fitted):
    surrogate, _, _ = fitted
    pending, test = sampled(CELLS, 3, seed=4), sampled(CELLS, 30, seed=5)
    fantasised = surrogate.fantasised(pending)
    (mean, sd), (mean_after, sd_after) = surrogate.predict(test), fantasised.predict(test)
    np.testing.assert_allclose(mean_after, mean, atol=1e-6)
    assert (sd_after <= sd + 1e-9).all()
    assert (fantasised.predict(pending)[1] < 0.9 * surrogate.predict(pending)[1]).all()
    assert fantasised.best == surrogate.best
    assert surrogate.fantasised([]) is surrogate


def test_architecture_and_numeric_hyperparameters_together():
    rng = np.random.default_rng(0)
    terms, numeric = sampled(CELLS, 60), rng.random((60, 2))
    y = np.array([convolutions(t) for t in terms]) + 6 * (numeric[:, 0] - 0.3) ** 2
    test, at = sampled(CELLS, 100, seed=1), rng.random((100, 2))
    truth = np.array([convolutions(t) for t in test]) + 6 * (at[:, 0] - 0.3) ** 2
    table = TermTable(CELLS, ())
    summed = ScaleKernel(WLKernel(table, active_dims=(0,))) + ScaleKernel(MaternKernel(nu=2.5, active_dims=(1, 2)))
    correlations = []
    for kernel in (None, summed):
        surrogate = gp.fit(table, terms, y, numeric, kernel=kernel)
        mean, _ = surrogate.predict(test, at)
        correlations.append(np.corrcoef(mean, truth)[0, 1])
        assert surrogate.log_expected_improvement(test, at).shape == (100,)
        assert surrogate.fantasised(test[:2], at[:2]).predict(test[:2], at[:2])[0].shape == (2,)
    assert min(correlations) > 0.6


def test_the_model_is_an_ordinary_botorch_model():
    """Its likelihood is maximised by BoTorch's own fit, and a batch acquisition function takes ids."""
    terms = list(dict.fromkeys(sampled(CELLS, 25)))
    table = TermTable(CELLS)
    surrogate = gp.fit(table, terms, [convolutions(t) for t in terms], steps=0)
    mll = ExactMarginalLogLikelihood(surrogate.model.likelihood, surrogate.model)
    fit_gpytorch_mll(mll)
    with table.borrowed(sampled(CELLS, 6, seed=1)) as ids:
        X = torch.tensor(ids, dtype=torch.double).view(3, 2, 1)
        sampler = SobolQMCNormalSampler(torch.Size([32]), seed=0)
        values = qLogExpectedImprovement(surrogate.model, best_f=-3.0, sampler=sampler)(X)
    assert values.shape == (3,) and values.isfinite().all()


def test_one_observation_and_equal_observations_are_enough():
    terms = list(dict.fromkeys(sampled(CELLS, 3)))
    for n in (1, 3):
        surrogate = gp.fit(TermTable(CELLS, ()), terms[:n], [2.0] * n)
        mean, sd = surrogate.predict(terms)
        assert np.allclose(mean, 2.0) and np.isfinite(sd).all()


def test_a_fit_is_reproducible_and_uses_no_global_generator():
    terms = sampled(HIERARCHICAL, 8)
    y = np.random.default_rng(0).normal(size=8)
    before = torch.get_rng_state()
    a, b = (gp.fit(TermTable(HIERARCHICAL), terms, y) for _ in range(2))
    test = sampled(HIERARCHICAL, 5, seed=1)
    assert (a.log_expected_improvement(test) == b.log_expected_improvement(test)).all()
    assert a.weights == b.weights
    assert torch.equal(before, torch.get_rng_state())


def test_bad_observations_are_refused():
    terms = sampled(CELLS, 2)
    for y, message in (([1.0], "2 terms and y of shape"), ([1.0, math.nan], "observation nan"), ([], "2 terms")):
        with pytest.raises(UserError, match=message):
            gp.fit(TermTable(CELLS, ()), terms, y)
    with pytest.raises(UserError, match="0 terms"):
        gp.fit(TermTable(CELLS, ()), [], [])
    with pytest.raises(UserError, match="numeric has shape"):
        gp.fit(TermTable(CELLS, ()), terms, [0.0, 1.0], np.zeros((3, 1)))

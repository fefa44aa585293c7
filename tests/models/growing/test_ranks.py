import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jahslib.models.growing import ranks

DESCENDING = torch.tensor([5.0, 4.0, 3.0, 0.0, 0.0])


def matrix(samples, n, seed=0, dtype=torch.float64, decay=0.0):
    """Random, with singular values that fall off like exp(-decay i)."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(samples, n, generator=generator, dtype=torch.float64)
    u, s, v = torch.linalg.svd(made, full_matrices=False)
    return (u * (s * torch.exp(-decay * torch.arange(len(s)))) @ v).to(dtype)


class TestActivationMatrix:
    def test_images_become_samples_and_the_scale_counts_the_batch_only(self):
        activations = torch.arange(96.0).reshape(2, 3, 4, 4)
        flat = ranks.activation_matrix(activations)
        assert flat.shape == (32, 3)
        for sample, (image, row, column) in enumerate(np.ndindex(2, 4, 4)):
            expected = activations[image, :, row, column] / math.sqrt(2)
            assert flat[sample].tolist() == pytest.approx(expected.tolist())

    def test_rows_of_a_linear_layer_stay_rows(self):
        activations = torch.arange(12.0).reshape(4, 3)
        assert torch.equal(ranks.activation_matrix(activations), activations / 2)

    def test_the_layout_in_memory_does_not_matter(self):
        activations = torch.arange(96.0).reshape(2, 3, 4, 4)
        last = activations.contiguous(memory_format=torch.channels_last)
        assert torch.equal(ranks.activation_matrix(last), ranks.activation_matrix(activations))


class TestSingularValues:
    @settings(deadline=None)
    @given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 100))
    def test_they_are_those_of_the_svd(self, samples, n, seed):
        h = matrix(samples, n, seed)
        s, expected = ranks.singular_values(h), torch.linalg.svdvals(h)
        assert s.shape == expected.shape and s.dtype == torch.float64
        # The root of the rounding error: what the Gram matrix costs small singular values.
        torch.testing.assert_close(s, expected, rtol=1e-10, atol=1e-7 * float(expected[0]))

    @pytest.mark.parametrize(("dtype", "stated"), [(torch.float64, 1e-7), (torch.float32, 3e-4)])
    def test_the_error_of_small_ones_is_within_the_stated_bound(self, dtype, stated):
        """Singular values over five decades, from 4900 samples of 32 neurons."""
        h = matrix(4900, 32, dtype=dtype, decay=0.37)
        s, expected = ranks.singular_values(h), torch.linalg.svdvals(h.double())
        assert expected[0] / expected[-1] > 9e4
        assert float((s - expected).abs().max() / expected[0]) < stated

    def test_ranks_from_the_gram_matrix_agree_with_the_svds_in_float64(self):
        for seed in range(5):
            h = matrix(4900, 32, seed, torch.float32, decay=0.1)
            s, expected = ranks.singular_values(h), torch.linalg.svdvals(h.double())
            assert ranks.effective_rank(s) == pytest.approx(ranks.effective_rank(expected), rel=1e-5)
            assert ranks.numerical_rank(s, 4.0) == ranks.numerical_rank(expected, 4.0)

    @pytest.mark.parametrize("shape", [(20, 6, 5, 5), (20, 6), (3, 8)])
    @pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
    def test_those_of_activations_are_those_of_their_matrix(self, shape, memory_format):
        activations = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        if activations.ndim == 4:
            activations = activations.contiguous(memory_format=memory_format)
        expected = torch.linalg.svdvals(ranks.activation_matrix(activations))
        torch.testing.assert_close(ranks.activation_singular_values(activations), expected, rtol=1e-9, atol=1e-7)

    def test_dead_neurons_give_zeros_and_no_nan(self):
        h = torch.zeros(50, 4)
        h[:, 1] = 2.0
        s = ranks.singular_values(h)
        assert s.tolist() == pytest.approx([2 * math.sqrt(50), 0, 0, 0])


class TestRanks:
    def test_of_the_papers_example(self):
        assert ranks.numerical_rank(DESCENDING) == 3
        assert ranks.effective_rank(DESCENDING) == pytest.approx(2.93749250232, abs=1e-6)
        assert ranks.effective_rank(DESCENDING.double()) == pytest.approx(2.93749250232, abs=1e-11)

    def test_the_numerical_rank_counts_what_exceeds_epsilon(self):
        s = torch.tensor([1.0, 0.1, 0.05, 0.011, 0.009], dtype=torch.float64)
        assert [ranks.numerical_rank(s), ranks.numerical_rank(s, 0.01), ranks.numerical_rank(s, 2.0)] == [1, 4, 0]

    @pytest.mark.parametrize("n", [1, 5, 16])
    def test_the_effective_rank_of_equal_directions_is_their_number_whatever_their_size(self, n):
        for scale in (1e-3, 1.0, 50.0):
            assert ranks.effective_rank(torch.full((n,), scale, dtype=torch.float64)) == pytest.approx(n)

    def test_nothing_has_rank_zero(self):
        assert ranks.effective_rank(torch.zeros(4)) == ranks.numerical_rank(torch.zeros(4)) == 0


class TestOrthogonalityGap:
    @staticmethod
    def by_definition(h):
        """From the samples x samples Gram matrix ([Maile22] section 3)."""
        gram = h @ h.T
        return float((gram / h.square().sum() - torch.eye(len(h), dtype=h.dtype) / len(h)).norm())

    @pytest.mark.parametrize(("samples", "n"), [(40, 6), (6, 40), (12, 12), (1, 3)])
    def test_agrees_with_its_definition(self, samples, n):
        h = matrix(samples, n, decay=0.2)
        gap = ranks.orthogonality_gap(ranks.singular_values(h), samples)
        assert gap == pytest.approx(self.by_definition(h), abs=1e-7)

    def test_orthonormal_samples_have_none_and_a_single_direction_nearly_one(self):
        assert ranks.orthogonality_gap(torch.ones(8, dtype=torch.float64), 8) == pytest.approx(0, abs=1e-8)
        assert ranks.orthogonality_gap(torch.tensor([3.0, 0, 0]), 100) == pytest.approx(math.sqrt(0.99))
        assert ranks.orthogonality_gap(torch.zeros(3), 100) == 1


class TestResidual:
    BASIS = torch.tensor([[1.0, 2, 3], [2, 8, 1], [0, 0, 0]])
    CANDIDATES = torch.tensor([[1.0, 2, 3, 4], [2, 8, 1, 3], [0, 1, 0, 6]])

    def test_the_least_representable_come_first(self):
        missed = ranks.residual(self.BASIS, self.CANDIDATES)
        assert missed.argsort(descending=True)[:2].tolist() == [3, 1]
        assert missed.tolist() == pytest.approx([0, 1, 0, 36], abs=1e-4)

    @settings(deadline=None)
    @given(st.integers(0, 100), st.sampled_from([(30, 5), (5, 5), (4, 9)]))
    def test_it_is_the_least_squares_residual(self, seed, shape):
        h, new = matrix(*shape, seed), matrix(shape[0], 7, seed + 1)
        solved = h.numpy() @ np.linalg.lstsq(h.numpy(), new.numpy(), rcond=None)[0]
        expected = ((new.numpy() - solved) ** 2).sum(0)
        assert ranks.residual(h, new).tolist() == pytest.approx(expected.tolist(), abs=1e-8)

    def test_dead_neurons_represent_nothing(self):
        h, new = matrix(20, 3), matrix(20, 4, 1)
        with_dead = torch.cat([h, torch.zeros(20, 2, dtype=h.dtype)], 1)
        torch.testing.assert_close(ranks.residual(with_dead, new), ranks.residual(h, new))

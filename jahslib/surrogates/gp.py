"""Gaussian-process surrogates over terms, alone or with numeric hyperparameters, in BoTorch.

Schrodi et al., NeurIPS 2023 (arXiv 2211.01842), sections 4 and 5. Inference is exact. Departures from their program: of
the iterates of a fit the one whose likelihood was measured is kept (theirs keeps its successor), and the variance of a
prediction is not raised to the noise's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jahslib.errors import UserError
from jahslib.extras import extra
from jahslib.spaces.grammars.terms import Term
from jahslib.surrogates.kernels import WLKernel, joint_kernel
from jahslib.surrogates.wl import TermTable

with extra("grammars"):
    import gpytorch
    import torch
    from botorch.acquisition import LogExpectedImprovement
    from botorch.models import SingleTaskGP
    from gpytorch.constraints import Interval
    from gpytorch.kernels import Kernel
    from gpytorch.likelihoods import GaussianLikelihood
    from gpytorch.means import ZeroMean
    from gpytorch.mlls import ExactMarginalLogLikelihood
    from torch import Tensor

NOISE, FIRST_NOISE = (1e-5, 0.5), 1e-3  # bounds of the noise's variance, and where its fit starts
LEARNING_RATE, STEPS = 0.1, 20


@dataclass(frozen=True)
class Surrogate:
    """A fitted Gaussian process; `model` is a BoTorch model with inputs `[id, numeric ...]`."""

    table: TermTable
    model: SingleTaskGP
    best: float

    @property
    def noise(self) -> float:
        """Variance of the noise, relative to that of the observations."""
        return self.model.likelihood.noise.item()  # type: ignore[union-attr]

    @property
    def h(self) -> int | None:
        """Number of WL iterations on the full graphs; None for a kernel without any."""
        return next((k.h for k in _wl_kernels(self.model.covar_module)), None)

    @property
    def weights(self) -> dict[int | None, float]:
        """Weight of each folding level in the WL kernel (None is the full graph); empty without such a kernel."""
        kernels = _wl_kernels(self.model.covar_module)
        return dict(zip(self.table.levels, kernels[0].weights.tolist(), strict=True)) if kernels else {}

    def predict(
        self, terms: Sequence[Term], numeric: np.ndarray | None = None, *, observation_noise: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict mean and standard deviation (each of shape n) of the value or an observation."""
        with self.table.borrowed(terms) as ids, _exact(), torch.no_grad():
            posterior = self.model.posterior(_inputs(ids, numeric).unsqueeze(-2), observation_noise=observation_noise)
            mean, variance = posterior.mean[:, 0, 0], posterior.variance[:, 0, 0]
        return mean.numpy(), variance.sqrt().numpy()

    def log_expected_improvement(self, terms: Sequence[Term], numeric: np.ndarray | None = None) -> np.ndarray:
        """Compute the log expected improvement below the best observation, shape n (Ament et al., NeurIPS 2023)."""
        with self.table.borrowed(terms) as ids, _exact(), torch.no_grad():
            acquisition = LogExpectedImprovement(self.model, best_f=self.best, maximize=False)
            return acquisition(_inputs(ids, numeric).unsqueeze(-2)).numpy()

    def fantasised(self, terms: Sequence[Term], numeric: np.ndarray | None = None) -> Surrogate:
        """Condition on pending points, taken to be observed at their posterior means (the original fits once more)."""
        if not terms:
            return self
        X = _inputs(self.table.index(terms), numeric)
        with _exact(), torch.no_grad():
            Y = self.model.posterior(X).mean
            return Surrogate(self.table, self.model.condition_on_observations(X, Y), self.best)


def fit(
    table: TermTable,
    terms: Sequence[Term],
    y: Sequence[float] | np.ndarray,
    numeric: np.ndarray | None = None,
    *,
    kernel: Kernel | None = None,
    maximum_noise: float = NOISE[1],
    steps: int = STEPS,
) -> Surrogate:
    """Fit a Gaussian process, by likelihood, to observations that are to be minimised.

    First the number of WL iterations on the full graphs, of all that the table holds (0 to 4), then the other
    parameters.

    Args:
        table: label counts; those of `terms` stay in it.
        y: observations, shape n; they are standardised for the fit.
        numeric: further hyperparameters, shape n x d, best scaled to the unit cube.
        kernel: over `[id, numeric ...]`; by default `joint_kernel`.
        maximum_noise: upper bound on the noise's variance, whose lower one is `NOISE`'s.
        steps: of Adam at a learning rate of 0.1, on all parameters at once.

    Raises:
        UserError: no observations, another number of them than of terms, one that is not finite, or a term of another
            grammar.
    """
    y = np.asarray(y, dtype=np.float64)
    if not len(terms) or y.shape != (len(terms),):
        raise UserError(f"gp: {len(terms)} terms and y of shape {y.shape}; give one observation for each, at least one")
    if not np.isfinite(y).all():
        raise UserError(f"gp: observation {y[~np.isfinite(y)][0]}; replace failed evaluations by a finite cost")
    X = _inputs(table.index(terms), numeric)
    if kernel is None:
        kernel = joint_kernel(table, X.shape[1] - 1)
    # Without a transform, Adam moves the noise itself, as in the original; `_descend` holds it in its bounds.
    bounds = (NOISE[0], maximum_noise)
    start = min(FIRST_NOISE, maximum_noise)
    likelihood = GaussianLikelihood(noise_constraint=Interval(*bounds, transform=None, initial_value=start))
    model = SingleTaskGP(
        X, torch.from_numpy(y)[:, None], likelihood=likelihood, covar_module=kernel, mean_module=ZeroMean()
    )
    mll = ExactMarginalLogLikelihood(likelihood, model)
    with _exact():
        _choose_h(model, mll, range(table.h[0] + 1))
        _descend(model, mll, steps, bounds)
    mll.eval()
    return Surrogate(table, model, float(y.min()))


def _inputs(ids: np.ndarray, numeric: np.ndarray | None) -> Tensor:
    """Assemble the inputs (`n x (1 + d)`) in doubles, which represent every id."""
    X = torch.from_numpy(ids.astype(np.float64))[:, None]
    if numeric is None:
        return X
    numeric = np.asarray(numeric, dtype=np.float64)
    if numeric.ndim != 2 or len(numeric) != len(ids):
        raise UserError(f"gp: numeric has shape {numeric.shape}; give one row for each of the {len(ids)} terms")
    return torch.cat([X, torch.from_numpy(numeric)], dim=1)


def _exact():
    """Force Cholesky factors at any size, where GPyTorch would approximate beyond 800."""
    return gpytorch.settings.max_cholesky_size(1_000_000)


def _wl_kernels(kernel: torch.nn.Module) -> list[WLKernel]:
    return [k for k in kernel.modules() if isinstance(k, WLKernel)]


def _loss(model: SingleTaskGP, mll: ExactMarginalLogLikelihood) -> Tensor:
    """Compute the negative log marginal likelihood per observation."""
    return -mll(model(*model.train_inputs), model.train_targets)  # type: ignore[operator]


def _choose_h(model: SingleTaskGP, mll: ExactMarginalLogLikelihood, grid: Iterable[int]) -> None:
    for kernel in _wl_kernels(model.covar_module):
        losses = {}
        for kernel.h in grid:
            with torch.no_grad():
                losses[kernel.h] = _loss(model, mll).item()
        kernel.h = min(losses, key=losses.__getitem__)


def _descend(model: SingleTaskGP, mll: ExactMarginalLogLikelihood, steps: int, noise: tuple[float, float]) -> None:
    """Minimise by Adam, keeping the iterate of the highest likelihood."""
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    best, kept = float("inf"), [p.detach().clone() for p in parameters]
    for step in range(steps + 1):
        loss = _loss(model, mll)
        if loss.item() < best:
            best, kept = loss.item(), [p.detach().clone() for p in parameters]
        if step < steps:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.likelihood.raw_noise.clamp_(*noise)  # type: ignore[operator]
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)

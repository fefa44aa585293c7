"""Bayesian optimisation by Ax: the optimizer, its use of Ax's client, and Ax's own analyses."""

from jahslib.extras import require

require("ax", "ax", "botorch")

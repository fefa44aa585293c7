"""Bayesian optimisation by Ax: the optimizer, what it asks of Ax's client, and Ax's own analyses."""

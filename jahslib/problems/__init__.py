"""Optimisation problems of the studies, and benchmarks that need no training."""

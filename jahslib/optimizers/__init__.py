"""Optimizers: each proposes from its settings, its seed and the history alone (`jahslib.core.optimizer.Optimizer`)."""

"""jahslib: models, search spaces, optimizers and one search loop for joint architecture and hyperparameter search."""

__version__ = "0.1.0"

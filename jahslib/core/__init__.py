"""Core records and interfaces: configurations, trials, problems and optimizers."""

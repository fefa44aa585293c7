"""What everything else speaks of: configurations and trials, problems, optimizers."""

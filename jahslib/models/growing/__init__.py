"""Networks that gain neurons during training."""

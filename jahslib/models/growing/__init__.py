"""Networks that gain neurons while they train."""

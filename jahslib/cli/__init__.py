"""Commands of `python -m jahslib` and of the two scripts."""

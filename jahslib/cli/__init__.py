"""The commands of `python -m jahslib` and of the two scripts."""

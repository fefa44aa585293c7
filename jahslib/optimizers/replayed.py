from jahslib.optimizer import Described, Replayed, checked_seed  # noqa: F401

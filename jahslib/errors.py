"""The one error a user meets: a single line with the wrong value, its place and the remedy."""


class UserError(ValueError):
    """Invalid input that only the user can correct.

    The message is one line, and nothing is left half-written when it is raised.
    """

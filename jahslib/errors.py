"""The one error a user meets: a single line that names the wrong value, the place and the mend."""


class UserError(ValueError):
    """Input that only the user can mend; the message is one line and nothing is left half-written when it is raised."""

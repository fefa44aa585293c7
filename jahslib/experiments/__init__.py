"""Building blocks of a notebook's experiment: settings, methods and their runs."""

"""What a notebook's experiment is made of: its settings, its methods and their runs."""

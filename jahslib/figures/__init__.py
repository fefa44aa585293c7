"""From tables to figures."""

from jahslib.extras import require

require("notebooks", "matplotlib", "networkx", "pandas", "seaborn", "sklearn")

"""From tables to figures."""

from jahslib.extras import require

require("notebooks", "matplotlib", "pandas", "seaborn", "sklearn")

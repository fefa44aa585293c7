"""Tables from finished searches."""

from jahslib.extras import require

require("notebooks", "pandas", "scikit_posthocs", "statsmodels")

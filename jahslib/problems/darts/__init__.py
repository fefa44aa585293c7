"""Study 05's two steps: the search for a cell by DARTS, and networks stacked from cells."""

from jahslib.extras import require

require("training", "torch")

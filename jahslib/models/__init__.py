"""Networks, layers, and measurements on them."""

from jahslib.extras import require

require("training", "torch")

"""The training loop, its schedules, losses, augmentation, metrics and checkpoints."""

from jahslib.extras import require

require("training", "torch")

"""The training loop, its schedules, losses, augmentation, metrics and checkpoints."""

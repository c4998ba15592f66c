"""From a feed of chips to checkpoints: losses, augmentation, parameter groups, schedule, moving average, the fit itself, soups."""

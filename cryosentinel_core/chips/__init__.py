"""What training and judging look at: chips, labels, splits, metrics."""

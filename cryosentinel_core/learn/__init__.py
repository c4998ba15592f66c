"""Where torch lives: the network, its inference and its training."""

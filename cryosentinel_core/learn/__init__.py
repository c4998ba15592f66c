"""Room of torch: the network, its inference and its training."""

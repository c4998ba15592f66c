"""A network as a segmenter: batches, precision, flips, devices."""

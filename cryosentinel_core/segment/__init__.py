"""From a stack to logits: windows, batches, blending, the water index."""
